package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// The limits of Watch: what it remembers of earlier endings to find patterns and
// first resets, and of connections to number them.
const (
	watchPatterns = 256
	watchFirsts   = 4096
	watchStreams  = 1 << 20
)

// When Watch looks at the time, and how long a connection must be silent until it
// counts as dead. Retransmissions of a SYN come after 1, 3, 7, 15 and 31 s.
const (
	watchTick    = 200 * time.Millisecond
	watchSweep   = 5 * time.Second
	watchSilence = 30 * time.Second
)

// Source gives batches of frames: a capture file or a live interface.
type Source interface {
	ReadBatch(b *packet.Batch) error
	Interfaces() []packet.Interface
}

// WatchOptions are for Watch.
type WatchOptions struct {
	Conns  int                     // connections remembered at the same time; 0 means 120,000
	After  time.Duration           // how long after a RST its consequences are awaited; 0 means 3 s
	Lag    time.Duration           // how late a frame may come; 0 means 1 s
	Each   func(*Case, fact.Where) // called for each ending, seconds after it
	Ticker func()                  // called a few times in a second, by the goroutine that calls Each; may be nil
}

// Watch reads a source that goes on, and hands out endings as they come. It ends
// with the source, whose ReadBatch has to return io.EOF when its context is
// done. What silence means is decided after 30 seconds of it.
func Watch(ctx context.Context, name string, src Source, o WatchOptions) *Point {
	w := &watcher{point: &Point{Name: name}, opt: &o, firsts: map[int64]*Case{}, start: time.Now()}
	if w.opt.Conns == 0 {
		w.opt.Conns = 120_000
	}
	if w.opt.Ticker == nil {
		w.opt.Ticker = func() {}
	}
	if w.opt.Lag == 0 {
		w.opt.Lag = time.Second
	}
	w.decoder.VerifyFlags = packet.SYN | packet.FIN | packet.RST
	w.table = tcp.NewTable(tcp.Options{Conns: w.opt.Conns, Watch: w.opt.After, Hosts: &w.hosts, OnOpen: w.open, OnEnd: w.end})
	full, empty := make(chan pumped), make(chan *packet.Batch, 2)
	empty <- &packet.Batch{}
	empty <- &packet.Batch{}
	done := make(chan error, 1)
	go func() {
		done <- pump(src, full, empty)
		close(full)
	}()
	w.run(full, empty)
	w.finish(ctx, src, <-done)
	return w.point
}

// pumped is a batch with the interfaces known when it was read.
type pumped struct {
	*packet.Batch
	interfaces []packet.Interface
}

// pump reads until the source ends.
func pump(src Source, full chan<- pumped, empty <-chan *packet.Batch) error {
	for b := range empty {
		if err := src.ReadBatch(b); err != nil {
			return err
		}
		full <- pumped{b, src.Interfaces()}
	}
	return nil
}

// watcher is a Watch under way. One goroutine has it.
type watcher struct {
	point   *Point
	opt     *WatchOptions
	table   *tcp.Table
	hosts   tcp.Hosts
	decoder packet.Decoder
	segment packet.Segment

	recent []*tcp.Termination // the latest, for patterns
	firsts map[int64]*Case    // by the first frame of their connection
	opened []int64            // first frames of the latest connections
	before int64              // connections before those

	start, heard, swept time.Time // by the clock of this host
	now                 int64     // of the latest frame
}

func (w *watcher) run(full <-chan pumped, empty chan<- *packet.Batch) {
	t := time.NewTicker(watchTick)
	defer t.Stop()
	for {
		select {
		case b, ok := <-full:
			if !ok {
				return
			}
			w.point.Interfaces = b.interfaces
			w.batch(b.Batch)
			empty <- b.Batch
		case now := <-t.C:
			w.tick(now)
			w.opt.Ticker()
		}
	}
}

func (w *watcher) batch(b *packet.Batch) {
	p := w.point
	w.heard = time.Now()
	p.Packets += int64(len(b.Records))
	p.Bytes += int64(len(b.Data))
	for i := range b.Records {
		rec := &b.Records[i]
		if w.now = rec.Time; p.First.IsZero() {
			p.First = when(rec.Time)
		}
		w.frame(rec, b.Frame(i), b.First+int64(i))
	}
	p.Last = when(w.now)
}

func (w *watcher) frame(rec *packet.Record, data []byte, number int64) {
	w.segment.Frame = number
	switch w.decoder.Decode(rec, data, &w.segment) {
	case packet.TCP:
		w.point.Segments++
		w.hosts.Take(&w.segment, true)
		w.table.Segment(&w.segment)
	case packet.ICMP:
		w.point.ICMPErrors++
		w.decoder.ICMPError.Frame = number
		w.table.ICMPError(&w.decoder.ICMPError)
	case packet.Truncated:
		w.point.Truncated++
	case packet.Malformed:
		w.point.Malformed++
	case packet.Unknown:
		w.point.Unknown++
	}
}

// tick lets time pass while no frame comes. Somewhat less passes than did: a
// frame may be on its way from the kernel or from the program that writes it.
func (w *watcher) tick(now time.Time) {
	if w.heard.IsZero() {
		return
	}
	passed := w.now + int64(max(now.Sub(w.heard)-w.opt.Lag, 0))
	w.table.Tick(passed)
	if now.Sub(w.swept) >= watchSweep {
		w.table.Sweep(passed, watchSilence)
		w.swept = now
	}
}

// open numbers a connection.
func (w *watcher) open(frame int64) {
	if len(w.opened) >= 2*watchStreams {
		n := len(w.opened) - watchStreams
		w.opened = append(w.opened[:0], w.opened[n:]...)
		w.before += int64(n)
	}
	w.opened = append(w.opened, frame)
}

// stream is the number of the connection that began with a frame; -1 when that
// is too long ago.
func (w *watcher) stream(frame int64) int {
	i, ok := slices.BinarySearch(w.opened, frame)
	if !ok {
		return -1
	}
	return int(w.before) + i
}

// end hands out an ending.
func (w *watcher) end(e *tcp.Termination) {
	if len(w.recent) >= watchPatterns {
		w.recent = slices.Delete(w.recent, 0, 1)
	}
	w.recent = append(w.recent, e)
	c := &Case{Point: w.point, Termination: e, pattern: patterns(w.recent)[len(w.recent)-1]}
	if f := w.firsts[e.Conn.Opened]; f != nil {
		c.First = f
	} else if !e.Corrupt {
		if len(w.firsts) >= watchFirsts {
			clear(w.firsts)
		}
		w.firsts[e.Conn.Opened] = c
	}
	w.opt.Each(c, fact.Where{File: w.point.Name, Stream: w.stream(e.Conn.Opened), Frame: int(e.Frame)})
}

// finish hands out what is left and writes down the counts.
func (w *watcher) finish(ctx context.Context, src Source, err error) {
	w.table.Flush()
	p := w.point
	p.Took, p.Interfaces, p.TCP, p.Fragments = time.Since(w.start), src.Interfaces(), w.table.Stats, w.decoder.Fragments
	var cut *packet.DamageError
	if stopped := ctx.Err() != nil && errors.As(err, &cut) && cut.Cut; err != nil && !errors.Is(err, io.EOF) && !stopped {
		p.Damage = err
	}
}

// WatchFile is Watch for a capture file that grows, or a pipe; see Follow. An
// error is of what cannot be read at all.
func WatchFile(ctx context.Context, name string, f *File, o WatchOptions) (*Point, error) {
	src, err := packet.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return Watch(ctx, name, src, o), nil
}
