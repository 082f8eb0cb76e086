package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/trace"
	"github.com/holdfast-project/holdfast/knowledge"
)

// TestRootFloodIsAccountedFor floods a private namespace with segments to a
// closed port and wants each reset that the kernel counted in the ledger,
// every record in the account, and little memory.
func TestRootFloodIsAccountedFor(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to load eBPF programs")
	}
	var findings int
	var before, after runtime.MemStats
	w := opened(t, Config{Source: "kernel", Wire: true})
	runtime.GC()
	runtime.ReadMemStats(&before)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, func(fact.Finding) { findings++ }) }()
	space := privateSpace(t)
	space.flood(t, 500*time.Millisecond)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	s := w.Stats()
	t.Logf("seen %d = reported %d + folded %d + lost %d in %d findings", s.Seen, s.Reported, s.Folded, s.Lost, findings)
	if s.Seen != s.Reported+s.Folded+s.Lost {
		t.Errorf("seen %d != reported %d + folded %d + lost %d", s.Seen, s.Reported, s.Folded, s.Lost)
	}
	if findings == 0 || s.Folded == 0 {
		t.Errorf("%d findings, %d folded: want some of both", findings, s.Folded)
	}
	checkLedger(t, s.Ledgers, fmt.Sprint(space.cookie))
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("%d bytes are still in use that were not before the flood", grown)
	}
}

// opened opens a watcher, or skips where the host does not allow its source.
func opened(t *testing.T, cfg Config) *Watcher {
	t.Helper()
	var err error
	if cfg.Knowledge, err = knowledge.Load(); err != nil {
		t.Fatal(err)
	}
	w, err := Open(cfg)
	var access *trace.AccessError
	if errors.As(err, &access) {
		t.Skipf("no %s source here: %v", cfg.Source, err)
	} else if err != nil {
		t.Fatal(err)
	}
	return w
}

func checkLedger(t *testing.T, list []Ledger, netns string) {
	t.Helper()
	for _, l := range list {
		if l.Netns != netns {
			continue
		}
		if l.OutRsts < 1000 || l.StackSent != l.OutRsts || l.Remainder != 0 {
			t.Errorf("the kernel counts %d resets out, the ledger %d, remainder %d", l.OutRsts, l.StackSent, l.Remainder)
		}
		return
	}
	t.Errorf("no ledger of namespace %s: %+v", netns, list)
}

// floodSpace is a network namespace that a child process holds open.
type floodSpace struct {
	path   string
	cookie uint64
}

// privateSpace makes a namespace with loopback up.
func privateSpace(t *testing.T) *floodSpace {
	t.Helper()
	cmd := exec.Command("cat") // until its input ends
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Skip("cannot make a network namespace: " + err.Error())
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	s := &floodSpace{path: fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)}
	s.do(t, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if s.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err != nil {
			return err
		}
		lo, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		lo.SetUint16(unix.IFF_UP)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	})
	return s
}

// do runs f on a thread inside the namespace, which ends with it.
func (s *floodSpace) do(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		fd, err := unix.Open(s.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// flood sends ACK segments from ever other ports to a closed one.
func (s *floodSpace) flood(t *testing.T, d time.Duration) {
	t.Helper()
	s.do(t, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2}}); err != nil {
			return err
		}
		to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
		for n, end := uint32(0), time.Now().Add(d); time.Now().Before(end); n++ {
			if err := unix.Sendto(fd, ackSegment(n), 0, to); err != nil {
				return err
			}
		}
		return nil
	})
}

// ackSegment is a TCP header from 127.0.0.2 to port 9 of 127.0.0.1.
func ackSegment(n uint32) []byte {
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h, uint16(10000+n%50000))
	binary.BigEndian.PutUint16(h[2:], 9)
	binary.BigEndian.PutUint32(h[4:], n)
	binary.BigEndian.PutUint32(h[8:], 3*n)
	h[12], h[13] = 5<<4, 1<<4
	sum := uint32(unix.IPPROTO_TCP+len(h)) + 2*0x7f00 + 2 + 1 // pseudo header
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(h[16:], ^uint16(sum+sum>>16))
	return h
}
