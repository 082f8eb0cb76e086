package cli

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/report"
)

const (
	foldWindow = 10 * time.Second // repeats within it share a line
	foldMax    = 4096             // different findings remembered at once
)

// printer writes findings as text. Repeats of a finding are folded: on a
// terminal the count of the last line grows in place, elsewhere a line without
// a time of its own says when the window ends how many more there were. It is not safe for concurrent use.
type printer struct {
	o       *options
	st      report.Style
	details bool
	why     bool
	fold    bool
	live    bool // stdout is a terminal: lines may be rewritten

	folds map[foldKey]*folded
	last  *folded // whose line is the last on the terminal
}

// foldKey says which findings are repeats: same cause, sender, process, server
// port and peer host.
type foldKey struct {
	cause, role, outcome string
	pid                  int64
	server               netip.AddrPort
	client               netip.Addr
	story, harmful       bool
}

type folded struct {
	f       fact.Finding // the first one, with the count so far
	begun   time.Time
	latest  time.Time // of the last repeat
	printed int       // count that the screen shows
}

func (o *options) newPrinter() *printer {
	st := o.style()
	return &printer{o: o, st: st, live: st.Width > 0, fold: true, folds: map[foldKey]*folded{}}
}

func keyOf(f *fact.Finding) foldKey {
	k := foldKey{
		cause: f.Cause.ID, role: f.Sender.Role, outcome: f.Outcome, server: f.Flow.Server,
		client: f.Flow.Client.Addr(), story: f.Story != "", harmful: f.Harmful,
	}
	if f.Sender.Process != nil {
		k.pid = f.Sender.Process.PID
	}
	return k
}

// print shows a finding, or adds it to the line of its kind.
func (p *printer) print(f *fact.Finding, now time.Time) {
	n := max(f.Count, 1)
	k := keyOf(f)
	if e := p.folds[k]; e != nil && p.fold && now.Sub(e.begun) < foldWindow {
		e.f.Count += n
		e.latest = f.Time
		return
	}
	if e := p.folds[k]; e != nil {
		p.flush(e)
	}
	e := &folded{f: *f, begun: now, printed: n}
	e.f.Count = n
	if p.fold && len(p.folds) < foldMax {
		p.folds[k] = e
	}
	p.o.printf("%s\n", p.st.Line(&e.f))
	p.last = e
	if p.details {
		p.o.printf("%s", p.st.Details(f))
		p.last = nil
	}
	if p.why {
		p.o.printf("%s", p.st.Why(f))
		p.last = nil
	}
}

// tick updates counts on the screen and forgets folds whose window is over.
func (p *printer) tick(now time.Time) {
	if e := p.last; e != nil && p.live && e.f.Count > e.printed {
		rows := strings.Count(p.st.Line(&e.f), "\n") + 1
		p.o.printf("\x1b[%dA\x1b[J%s\n", rows, p.st.Line(&e.f))
		e.printed = e.f.Count
	}
	for k, e := range p.folds {
		if now.Sub(e.begun) >= foldWindow {
			p.flush(e)
			delete(p.folds, k)
		}
	}
}

// flush writes the final count of a fold when the screen does not show it.
func (p *printer) flush(e *folded) {
	if e.f.Count <= e.printed {
		return
	}
	p.o.printf("%s\n", p.st.Repeats(&e.f, e.f.Count-e.printed, e.latest))
	e.printed = e.f.Count
	p.last = nil
}

// close writes all counts that are not on the screen yet.
func (p *printer) close() {
	p.tick(time.Now())
	for _, e := range p.folds {
		p.flush(e)
	}
	clear(p.folds)
}

// note writes a line between the findings.
func (p *printer) note(format string, args ...any) {
	fmt.Fprintf(p.o.env.err, format+"\n", args...)
	p.last = nil
}
