package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/packet"
)

// inNamespace runs f in a network namespace of its own with the loopback device
// up. Its thread ends with the test: it is never unlocked.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("make a network namespace: %v", err)
			return
		}
		if err := loopbackUp(); err != nil {
			t.Errorf("set the loopback device up: %v", err)
			return
		}
		f(t)
	}()
	<-done
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

func TestRootLive(t *testing.T) {
	for _, name := range []string{"any", "lo"} {
		t.Run(name, func(t *testing.T) { inNamespace(t, func(t *testing.T) { liveRefused(t, name) }) })
	}
}

// liveRefused captures a connection that is refused: a SYN and a RST.
func liveRefused(t *testing.T, name string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := OpenLive(ctx, name, nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer l.Close()
	before := time.Now()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("connect: %v", err)
	}
	var b packet.Batch
	d := packet.Decoder{Verify: true}
	var got []string
	for len(got) < 2 {
		if err := l.ReadBatch(&b); err != nil {
			t.Errorf("after %v: %v", got, err)
			return
		}
		for i := range b.Records {
			s := packet.Segment{Frame: b.First + int64(i)}
			if d.Decode(&b.Records[i], b.Frame(i), &s) != packet.TCP {
				continue
			}
			got = append(got, s.Flags.String())
			if at := time.Unix(0, s.Time); at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("time %v, the test began at %v", at, before)
			}
			if ifs := l.Interfaces(); ifs[s.Interface].Name != "lo" || s.Direction != packet.DirIn {
				t.Errorf("interface %v of %v, direction %v", s.Interface, ifs, s.Direction)
			}
			if s.TCPSum == packet.SumBad || s.Dst.Netip().String() != "127.0.0.1" {
				t.Errorf("checksum %v, to %v", s.TCPSum, s.Dst.Netip())
			}
		}
	}
	if strings.Join(got, " ") != "S RA" || l.Dropped() != 0 {
		t.Errorf("got %v, %d dropped", got, l.Dropped())
	}
	cancel()
	for {
		if err := l.ReadBatch(&b); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Error(err)
			return
		}
	}
}

// TestRootLiveMany sends more frames than a batch and the ring hold, and wants
// every one read or counted as dropped.
func TestRootLiveMany(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		l, err := OpenLive(ctx, "lo", &LiveOptions{RingBytes: 2 << 20, SnapLen: 100})
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
		const n = 30_000
		if err := sendDatagrams(n); err != nil {
			t.Error(err)
			return
		}
		cancel() // what is in the ring is still read
		var b packet.Batch
		frames, next := 0, int64(1)
		for {
			err := l.ReadBatch(&b)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Error(err)
				return
			}
			if b.First != next {
				t.Errorf("batch begins with %d, want %d", b.First, next)
			}
			next += int64(len(b.Records))
			for _, r := range b.Records {
				if r.Length == 14+20+8+500 && r.Captured == 100 {
					frames++
				}
			}
		}
		if err := l.count(); err != nil {
			t.Error(err)
		}
		// Answers of the kernel (ICMP) are among what is dropped.
		dropped := int(l.Dropped())
		if frames == 0 || frames > n || frames+dropped < n {
			t.Errorf("%d frames and %d dropped, of %d", frames, dropped, n)
		}
		t.Logf("%d frames read, %d dropped", frames, dropped)
	})
}

func sendDatagrams(n int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}
	for range n {
		if err := unix.Sendto(fd, make([]byte, 500), 0, to); err != nil {
			return err
		}
	}
	return nil
}

func TestRootLiveRefuses(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		if _, err := OpenLive(t.Context(), "none0", nil); err == nil || !strings.Contains(err.Error(), "any, lo") {
			t.Errorf("got %v", err)
		}
	})
}

// TestLiveNeedsPrivilege gives up CAP_NET_RAW in a thread of its own.
func TestLiveNeedsPrivilege(t *testing.T) {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and ends with this goroutine
		var none [2]unix.CapUserData
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			done <- err
			return
		}
		_, err := OpenLive(context.Background(), "", nil)
		done <- err
	}()
	if err := <-done; !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "setcap") {
		t.Errorf("got %v", err)
	}
}

// TestLiveTag checks where a tag that was taken off is put back.
func TestLiveTag(t *testing.T) {
	f := make([]byte, 200)
	ne := binary.NativeEndian
	ne.PutUint16(f[frameMAC:], 100)
	ne.PutUint16(f[frameNet:], 114)
	ne.PutUint32(f[frameSnap:], 20)
	ne.PutUint32(f[frameLength:], 60)
	ne.PutUint32(f[frameStatus:], unix.TP_STATUS_VLAN_VALID|unix.TP_STATUS_VLAN_TPID_VALID)
	ne.PutUint32(f[frameTCI:], 0x2007)
	ne.PutUint16(f[frameTPID:], unix.ETH_P_8021AD)
	ne.PutUint16(f[frameAddress+addrHardware:], unix.ARPHRD_ETHER)
	for i := range 20 {
		f[100+i] = byte(i)
	}
	l := &Live{index: map[liveKey]uint16{}}
	var b packet.Batch
	l.frame(&b, f)
	want := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x88, 0xa8, 0x20, 0x07, 12, 13, 14, 15, 16, 17, 18, 19}
	if string(b.Frame(0)) != string(want) || b.Records[0].Length != 64 {
		t.Errorf("got %x of %d", b.Frame(0), b.Records[0].Length)
	}
	ne.PutUint16(f[frameAddress+addrHardware:], unix.ARPHRD_NONE)
	l.frame(&b, f)
	if r := b.Records[1]; r.Link != packet.LinkRaw || r.Length != 46 || string(b.Frame(1)) != string(want[18:]) {
		t.Errorf("got %x, %+v", b.Frame(1), r)
	}
}

// TestRootLiveEnds cancels a capture in a flood that does not end.
func TestRootLiveEnds(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l, err := OpenLive(ctx, "lo", &LiveOptions{RingBytes: 2 << 20})
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		over := make(chan struct{})
		ended := make(chan struct{})
		go func() { // the socket belongs to the namespace, whoever uses it
			defer close(ended)
			for {
				select {
				case <-over:
					return
				default:
					_ = unix.Sendto(fd, make([]byte, 100), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
				}
			}
		}()
		defer func() { close(over); <-ended }()
		var b packet.Batch
		frames, after := 0, 0
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
			// A reader that is slower than the flood always finds something.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}, 200)
			err := l.ReadBatch(&b)
			if errors.Is(err, io.EOF) {
				if frames < 1000 {
					t.Errorf("%d frames of a flood", frames)
				}
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if frames += len(b.Records); ctx.Err() != nil {
				after += len(b.Records)
			}
			if frames >= 10_000 {
				cancel()
			}
		}
		t.Errorf("it did not end: %d frames came after it was told to", after)
	})
}
