package capture

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
)

// waitFor polls until a condition holds.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestWatchGrowing follows a file: a RST is handed out although nothing comes
// after it, and what is written later is read.
func TestWatchGrowing(t *testing.T) {
	t.Parallel() // it takes seconds
	k := newTalk(t)
	path := filepath.Join(t.TempDir(), "growing.pcapng")
	flush := func() {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := k.file.WriteTo(f); err != nil {
			t.Fatal(err)
		}
	}
	k.send(t, true, packet.SYN, 100, 0, "")
	k.send(t, false, packet.RST|packet.ACK, 0, 101, "")
	flush()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f, err := Follow(ctx, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var n atomic.Int32
	var got []fact.Where
	var firsts []*Case
	done := make(chan *Point)
	go func() {
		p, err := WatchFile(ctx, path, f, WatchOptions{Each: func(c *Case, w fact.Where) {
			got = append(got, w)
			firsts = append(firsts, c.First)
			n.Add(1)
		}})
		if err != nil {
			t.Error(err)
		}
		done <- p
	}()
	waitFor(t, "the first RST is handed out", func() bool { return n.Load() == 1 })
	k.send(t, true, packet.SYN, 7000, 0, "")
	k.send(t, false, packet.RST|packet.ACK, 0, 7001, "")
	k.send(t, false, packet.RST|packet.ACK, 0, 7001, "")
	flush()
	waitFor(t, "the other two are handed out", func() bool { return n.Load() == 3 })
	cancel()
	p := <-done
	want := []fact.Where{{File: path, Stream: 0, Frame: 2}, {File: path, Stream: 1, Frame: 4}, {File: path, Stream: 1, Frame: 5}}
	for i, w := range want {
		if got[i] != w {
			t.Errorf("%+v, want %+v", got[i], w)
		}
	}
	if firsts[0] != nil || firsts[1] != nil || firsts[2] == nil {
		t.Errorf("%v", firsts)
	}
	if p.Packets != 5 || p.Segments != 5 || p.TCP.RSTs != 3 || p.TCP.Conns != 2 || p.TCP.Backwards != 0 || p.Damage != nil {
		t.Errorf("%+v", p)
	}
}

// silent gives its batch once and then waits for the end.
type silent struct {
	ctx   context.Context
	given atomic.Bool
	batch packet.Batch
	err   error
}

func (s *silent) ReadBatch(b *packet.Batch) error {
	if !s.given.Swap(true) {
		*b = s.batch
		return nil
	}
	<-s.ctx.Done()
	return s.err
}

func (s *silent) Interfaces() []packet.Interface { return nil }

// TestWatchStopped: what was read in vain is told as damage, the rest is handed out.
func TestWatchStopped(t *testing.T) {
	_, data := writtenCapture(t)
	f, err := reader(data)("")
	if err != nil {
		t.Fatal(err)
	}
	r, err := packet.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	s := &silent{err: &packet.DamageError{Offset: 7, What: "bad"}}
	if err := r.ReadBatch(&s.batch); err != nil {
		t.Fatal(err)
	}
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(t.Context())
	frames := []int64{}
	ticks := 0
	p := Watch(s.ctx, "x", s, WatchOptions{
		Each:   func(c *Case, _ fact.Where) { frames = append(frames, c.Termination.Frame) },
		Ticker: func() { ticks++; cancel() },
	})
	cancel()
	if len(frames) == 0 || frames[0] != 105 || ticks == 0 || p.Damage == nil || p.Packets != 117 {
		t.Errorf("frames %v, %d ticks, %d packets, %v", frames, ticks, p.Packets, p.Damage)
	}
}
