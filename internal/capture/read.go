package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// Options bound and steer the reading of a capture.
type Options struct {
	Workers      int                            // connections are spread over so many; 0 means one for each core
	Conns        int                            // connections remembered at the same time, over all workers; 0 means 120,000
	Terminations int                            // bad ends kept with all detail, the others are counted; 0 means 40,000
	Progress     func(*Point)                   // called now and then while reading
	OnEnd        func(*Point, *tcp.Termination) // when set, endings are handed out at once and not kept; with one worker
}

func (o *Options) fill() {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Conns <= 0 {
		o.Conns = 120_000
	}
	if o.Terminations <= 0 {
		o.Terminations = 40_000
	}
	if o.OnEnd != nil {
		o.Workers = 1
	}
}

// Point is one point of capture: a file, or a live interface, and what was read
// there.
type Point struct {
	Name         string
	Interfaces   []packet.Interface
	Packets      int64
	Segments     int64 // TCP
	ICMPErrors   int64 // ICMP errors about TCP
	Truncated    int64 // frames of which too little was kept
	Malformed    int64
	Unknown      int64 // frames of a link type that is not decoded
	Fragments    packet.FragmentCounts
	Bytes        int64 // of the uncompressed file
	First        time.Time
	Last         time.Time
	Took         time.Duration
	TCP          tcp.Stats
	Dropped      int64 // endings beyond Options.Terminations
	Lost         int64 // packets that the capture says it lost
	Counted      bool  // the capture says what it lost; else Lost is no answer
	Until        int64 // how long the capture went on: its own word, or else its last packet, ns since 1970
	Damage       error // why the rest was not read; nil at a clean end
	Terminations []*tcp.Termination

	// Made by Compare:
	Compared   bool
	Shared     int64         // of the connections that were compared, those that another point has, too
	Clock      time.Duration // its clock minus that of the first point
	ClockKnown bool

	streams streams
}

// Stream is the number that Wireshark gives the connection of an ending.
func (p *Point) Stream(e *tcp.Termination) int64 { return p.streams.number(e.Conn.Opened) }

// frames gives batches of frames: a capture file or a live interface.
type frames interface {
	ReadBatch(*packet.Batch) error
	Interfaces() []packet.Interface
}

// Read reads a whole capture and finds how its connections ended. The error is
// of what makes the whole capture unusable; damage later in the file ends the
// reading, and what came before counts.
func Read(ctx context.Context, name string, r io.Reader, o Options) (*Point, error) {
	src, err := packet.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return readSource(ctx, name, src, o)
}

func readSource(ctx context.Context, name string, src frames, o Options) (*Point, error) {
	o.fill()
	p := &Point{Name: name}
	start := time.Now()
	workers := make([]*worker, o.Workers)
	var done sync.WaitGroup
	for i := range workers {
		workers[i] = newWorker(p, i, &o)
		done.Go(workers[i].run)
	}
	err := p.feed(ctx, src, workers, &o)
	done.Wait()
	p.Took = time.Since(start)
	p.Interfaces = src.Interfaces()
	if err != nil && !errors.Is(err, io.EOF) {
		p.Damage = err
	}
	p.collect(workers)
	if p.TCP.Conns > manyConns {
		// The tables are the most of the memory and not needed any more. Left to
		// the collector, what follows would grow beside them.
		clear(workers)
		debug.FreeOSMemory()
	}
	if len(p.Terminations) > manyEndings && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if ctx.Err() != nil {
		return p, context.Cause(ctx)
	}
	return p, nil
}

// manyConns is how many connections make it worth to give memory back.
const manyConns = 20_000

// collectAt is GOGC for what follows many endings: each with its finding stays
// and takes 5 kB, and as much garbage again would be more memory than reading
// took.
const (
	manyEndings = 20_000
	collectAt   = 10
)

// shared is a batch that all workers read.
type shared struct {
	packet.Batch
	users atomic.Int32
	free  chan<- *shared
}

func (s *shared) done() {
	if s.users.Add(-1) == 0 {
		s.free <- s
	}
}

// feed reads batches and gives each to all workers, until the capture ends.
func (p *Point) feed(ctx context.Context, src frames, workers []*worker, o *Options) error {
	defer func() {
		for _, w := range workers {
			close(w.in)
		}
	}()
	const ahead = 4
	free := make(chan *shared, ahead)
	for range ahead {
		free <- &shared{free: free}
	}
	for {
		b := <-free
		err := src.ReadBatch(&b.Batch)
		if r, ok := src.(*packet.Reader); ok && err != nil { // the workers look at it when their channels are closed
			p.Lost, p.Counted, p.Until = int64(r.Dropped()), r.Counted(), r.Until()
		}
		if err == nil && ctx.Err() != nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		p.Packets += int64(len(b.Records))
		p.Bytes += int64(len(b.Data))
		b.users.Store(int32(len(workers)))
		for _, w := range workers {
			w.in <- b
		}
		if o.Progress != nil {
			o.Progress(p)
		}
	}
}

// collect puts together what the workers found.
func (p *Point) collect(workers []*worker) {
	p.streams.seal()
	for _, w := range workers {
		p.Segments += w.taken
		p.ICMPErrors += w.notices
		p.Terminations = append(p.Terminations, w.endings...)
		p.Dropped += w.dropped
		addStats(&p.TCP, &w.table.Stats)
	}
	// Every worker sees every frame that is not simple; the first one counts them.
	p.Truncated, p.Malformed, p.Unknown, p.Fragments = workers[0].truncated, workers[0].malformed, workers[0].unknown, workers[0].decoder.Fragments
	if w := workers[0]; w.first <= w.last {
		p.First, p.Last = when(w.first), when(w.last)
		p.Until = max(p.Until, w.last)
	}
	slices.SortFunc(p.Terminations, func(a, b *tcp.Termination) int { return cmp.Compare(a.Frame, b.Frame) })
}

func addStats(sum, s *tcp.Stats) {
	sum.Segments += s.Segments
	sum.Conns += s.Conns
	sum.Terminations += s.Terminations
	sum.RSTs += s.RSTs
	sum.Copies += s.Copies
	sum.Evicted += s.Evicted
	sum.Folded += s.Folded
	sum.Hurried += s.Hurried
	sum.Backwards = max(sum.Backwards, s.Backwards)
	sum.BadSums += s.BadSums
	sum.ICMPErrors += s.ICMPErrors
	sum.ICMPErrorsLost += s.ICMPErrorsLost
}

// worker follows the connections whose hash is its own.
type worker struct {
	point    *Point
	index    uint32
	of       uint32
	in       chan *shared
	decoder  packet.Decoder
	hosts    *tcp.Hosts
	table    *tcp.Table
	endings  []*tcp.Termination
	alike    map[alike]int // endings kept
	limit    int
	dropped  int64
	segments [together]packet.Segment // decoded and not yet taken in
	waiting  int                      // how many
	opens    []int64                  // first frames of connections that are not marked yet
	first    int64                    // least and greatest time of all records, ns since 1970
	last     int64
	now      int64 // time of the latest segment of any worker
	taken    int64 // segments
	notices  int64
	truncated,
	malformed,
	unknown int64
}

// waiting is how many resets are kept at the same time until their consequences
// are known, over all workers.
const waiting = 16_384

// together is how many segments are taken in together.
const together = 32

func newWorker(p *Point, i int, o *Options) *worker {
	w := &worker{point: p, index: uint32(i), of: uint32(o.Workers), in: make(chan *shared, 2), limit: o.Terminations / o.Workers, alike: map[alike]int{}}
	// Checksums cost as much as all the rest; here they decide.
	w.decoder.VerifyFlags = packet.SYN | packet.FIN | packet.RST
	w.first, w.last = math.MaxInt64, math.MinInt64
	w.hosts = &tcp.Hosts{}
	w.table = tcp.NewTable(tcp.Options{Conns: max(o.Conns/o.Workers, 16), Waiting: max(waiting/o.Workers, 1024), Hosts: w.hosts, OnOpen: w.open, OnEnd: w.keep})
	if o.OnEnd != nil {
		w.table = tcp.NewTable(tcp.Options{Conns: o.Conns, Hosts: w.hosts, OnOpen: w.open, OnEnd: func(e *tcp.Termination) { o.OnEnd(p, e) }})
	}
	return w
}

func (w *worker) keep(e *tcp.Termination) {
	if !w.wanted(e) {
		w.dropped++
		w.table.Recycle(e)
		return
	}
	w.endings = append(w.endings, e)
}

// alike is what endings of a flood have in common.
type alike struct {
	from, to packet.Addr
	kind     tcp.Kind
	refused  bool
}

// plenty is how many endings between the same two hosts are kept once half of
// the room is used: what a scan or a flood leaves is for the others.
const plenty = 256

// wanted reports whether there is room for an ending.
func (w *worker) wanted(e *tcp.Termination) bool {
	if len(w.endings) >= w.limit {
		return false
	}
	k := alike{e.Conn.Addr[e.From], e.Conn.Addr[1-e.From], e.Kind, e.Sender().Segments == 0}
	if w.alike[k] >= plenty && len(w.endings) >= w.limit/2 {
		return false
	}
	w.alike[k]++
	return true
}

// mine reports whether a connection belongs to this worker.
func (w *worker) mine(hash uint64) bool { return uint32(hash>>40)%w.of == w.index }

func (w *worker) run() {
	for b := range w.in {
		first, last := w.first, w.last
		for i := range b.Records {
			if t := b.Records[i].Time; t != 0 { // there are formats without times
				first, last = min(first, t), max(last, t)
			}
			w.record(b, i)
		}
		w.flush()
		w.first, w.last = first, last
		b.done()
	}
	end := w.point.Until // that it went on is told even when nothing more came
	if w.of > 1 {
		end = max(end, w.now)
	}
	if end != 0 {
		w.table.FlushAt(end)
	} else {
		w.table.Flush()
	}
	w.opened()
}

// record decodes a frame. Its segment waits until several can be taken in
// together.
func (w *worker) record(b *shared, i int) {
	rec := &b.Records[i]
	data := b.Data[rec.Start : rec.Start+rec.Captured]
	simple := false
	if w.of > 1 {
		var hash uint64
		hash, simple = w.decoder.FlowHash(rec, data)
		if simple {
			w.tick(rec.Time)
		}
		if simple && !w.mine(hash) {
			w.foreign(b.First+int64(i), rec.Time)
			return
		}
	}
	s := &w.segments[w.waiting]
	s.Frame = b.First + int64(i)
	switch w.decoder.Decode(rec, data, s) {
	case packet.TCP:
		if w.of > 1 && !simple {
			w.tick(rec.Time)
			if !w.mine(s.FlowHash()) {
				if followed(s.Frame) || s.Flags&packet.RST != 0 {
					w.hosts.Take(s, false)
				}
				return
			}
		}
		if followed(s.Frame) || s.Flags&packet.RST != 0 {
			w.hosts.Take(s, true)
		}
		w.waiting++
		// What was put together from fragments is in memory that the decoder uses again.
		if w.waiting == len(w.segments) || s.Layers&packet.LayerFragments != 0 {
			w.flush()
		}
	case packet.ICMP:
		w.tick(rec.Time)
		w.flush()
		w.notice(&w.decoder.ICMPError, b.First+int64(i))
	case packet.Truncated:
		w.truncated++
	case packet.Malformed:
		w.malformed++
	case packet.Unknown:
		w.unknown++
	}
}

// followed reports whether a frame is noted for what it tells of its host: each of
// the first ones, later one in four, so that long captures are read as quickly as
// without. The next identification of a host is then a few further.
func followed(frame int64) bool {
	const all = 1 << 18
	return frame < all || frame&3 == 0
}

// foreign notes what a segment of another worker tells of its host.
func (w *worker) foreign(frame, now int64) {
	switch p := &w.decoder.Peek; {
	case !p.V4 || !p.RST && !followed(frame):
	case p.RST:
		w.hosts.Reset(p.Src, p.IPID, now)
	default:
		w.hosts.Sent(p.Src, p.Flow, p.IPID, p.TTL, now)
	}
}

// tick follows the clock of all segments, as a table does that gets all of
// them: the end of the capture is the same for each worker.
func (w *worker) tick(now int64) {
	if now >= w.now || w.now-now > int64(time.Second) {
		w.now = now
	}
}

// flush gives the segments that wait to the table.
func (w *worker) flush() {
	w.taken += int64(w.waiting)
	w.table.Segments(w.segments[:w.waiting])
	w.waiting = 0
	if len(w.opens) > 0 {
		w.opened()
	}
}

// open notes the first frame of a connection. Marking it at once would make the
// processor wait until the new connection has been written.
func (w *worker) open(frame int64) { w.opens = append(w.opens, frame) }

func (w *worker) opened() {
	for _, frame := range w.opens {
		w.point.streams.mark(frame)
	}
	w.opens = w.opens[:0]
}

func (w *worker) notice(n *packet.ICMPError, frame int64) {
	k := packet.Segment{Src: n.Src, Dst: n.Dst, SrcPort: n.SrcPort, DstPort: n.DstPort, V6: n.V6}
	if w.of > 1 && !w.mine(k.FlowHash()) {
		return
	}
	w.notices++
	n.Frame = frame
	w.table.ICMPError(n)
}
