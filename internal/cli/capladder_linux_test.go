package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/fact"
)

// output is what a command writes while it runs.
type output struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (w *output) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *output) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// TestRootExplainInterface captures in a namespace of its own: a refused
// connection is explained while the command runs.
func TestRootExplainInterface(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	t.Parallel() // it waits for seconds
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), loopbackOn()); err != nil {
			t.Errorf("make a network namespace: %v", err)
			return
		}
		explainLoopback(t)
	}()
	<-done
}

func loopbackOn() error {
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

// explainLoopback runs the command on this thread and has a timer of this
// goroutine's making connect from a thread of the same namespace.
func explainLoopback(t *testing.T) {
	var out, notes output
	e := &env{in: bytes.NewReader(nil), out: &out, err: &notes, getenv: func(string) string { return "" }, width: func() int { return 0 }}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	netns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Error(err)
		return
	}
	defer netns.Close()
	client := make(chan struct{})
	go func() {
		defer close(client)
		defer cancel()
		runtime.LockOSThread() // never unlocked
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		poll(t, "the capture begins", func() bool { return bytes.Contains([]byte(notes.String()), []byte("captures from lo")) })
		refused(t)
		poll(t, "the finding comes", func() bool { return out.String() != "" })
	}()
	code := e.run(ctx, []string{"explain", "--interface", "lo", "-o", "ndjson", "--exit-code"})
	<-client
	if code != codeFindings {
		t.Errorf("code %d: %s", code, notes.String())
	}
	var f fact.Finding
	if err := json.Unmarshal([]byte(out.String()), &f); err != nil || f.Cause.ID != "connection-refused-closed-port" || f.Flow.Server.Port() != 9 || f.Where != nil {
		t.Errorf("%v %s", err, out.String())
	}
}

// refused connects to a port that nobody has, on this thread.
func refused(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect: %v, want a refusal", err)
	}
}

func poll(t *testing.T, what string, ok func() bool) {
	for deadline := time.Now().Add(50 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("waited in vain until %s", what)
			return
		}
	}
}
