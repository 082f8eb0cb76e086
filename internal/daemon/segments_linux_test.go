package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/trace"
	"github.com/holdfast-project/holdfast/knowledge"
)

// TestRootPacketSourceFollows closes connections with unread data, in a namespace
// where nothing else happens, and sees the packet source name who did it, which
// without the segments between it cannot.
func TestRootPacketSourceFollows(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a packet socket needs root or CAP_NET_RAW")
	}
	for _, light := range []bool{false, true} {
		f := aborted(t, light)
		if light != (f.Sender.Role == fact.UnknownSender) || !light && f.Sender.Role != "server-app" {
			t.Errorf("light %v: sender %s (%s), cause %s", light, f.Sender.Role, f.Sender.Grade, f.Cause.ID)
		}
		if f.Sender.Grade == fact.Proved || f.Cause.Grade == fact.Proved {
			t.Errorf("light %v: packets proved something: %s %s", light, f.Sender.Grade, f.Cause.Grade)
		}
	}
}

// aborted is the finding of a connection that its server closes with unread
// data.
func aborted(t *testing.T, light bool) fact.Finding {
	t.Helper()
	space := privateSpace(t)
	w := opened(t, Config{Source: "packet", Light: light})
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	done, findings := make(chan error, 1), make(chan fact.Finding, 1024)
	go func() {
		done <- w.Run(ctx, func(f fact.Finding) {
			if f.Flow.Server.String() == abortedAt && (light || f.Sender.Role != fact.UnknownSender) {
				findings <- f
			}
		})
	}()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	again := time.NewTicker(time.Second) // the capture may begin after the first connection
	defer again.Stop()
	for {
		space.do(t, abort)
		for waiting := true; waiting; {
			select {
			case f := <-findings:
				return f
			case <-again.C:
				waiting = false
			case <-ctx.Done():
				t.Fatalf("light %v: no finding with a sender", light)
			}
		}
	}
}

// abortedAt is where a server closes with unread data.
const abortedAt = "127.0.0.1:7"

// abort makes a connection in the namespace of the calling thread and lets the
// server close it with unread data.
func abort() error {
	l, err := net.Listen("tcp4", abortedAt)
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("tcp4", abortedAt)
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := c.Write([]byte("unread")); err != nil {
		return err
	}
	b := make([]byte, 1)
	if _, err := s.Read(b); err != nil { // so that the rest is there
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if _, err := c.Read(b); err == nil {
		return errors.New("the server answered")
	}
	return nil
}

func TestCoverageClaimsOnlyWhatRuns(t *testing.T) {
	s := newSegments()
	s.enter(linux.Netns{Inode: 1, Cookie: 1, Path: "/nonexistent/ns"})
	c := func() (c trace.Coverage) {
		c.Blind = []string{trace.BlindTimeouts}
		s.coverage(&c)
		return c
	}
	for deadline := time.Now().Add(10 * time.Second); len(c().Failures) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the failure is not told")
		}
	}
	if got := c(); len(got.Sees) > 0 || len(got.Hooks) > 0 || got.Blind[0] != trace.BlindTimeouts {
		t.Errorf("nothing is followed, and the coverage says %+v", got)
	}
	s.close()
}

// TestStatsWhileRunning is for the race detector.
func TestStatsWhileRunning(t *testing.T) {
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	w, err := Open(Config{Source: "counters", Knowledge: base})
	if err != nil {
		t.Skip("the counters cannot be read: ", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 1200*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, func(fact.Finding) {}) }()
	for ctx.Err() == nil {
		w.Stats()
		w.Coverage()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
