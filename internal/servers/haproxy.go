package servers

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/conf"
)

func readHAProxy(r *reading) {
	var names []string
	for i, a := range r.argv {
		if a == "-f" && i+1 < len(r.argv) {
			names = append(names, r.abs(r.argv[i+1]))
		}
	}
	if len(names) == 0 && r.out.Main != "" {
		names = []string{r.out.Main}
	}
	if len(names) == 0 {
		r.out.Unread = "its configuration file was not found"
		return
	}
	all := conf.HAProxy(names, r.files)
	r.out.Main, r.out.Files, r.out.Problems = names[0], all.Files, all.Problems
	for _, s := range all.List {
		if s.Kind == "frontend" || s.Kind == "listen" {
			if f, ok := haproxyFront(s); ok {
				r.out.Fronts = append(r.out.Fronts, f)
			}
		}
		if s.Kind == "backend" || s.Kind == "listen" {
			if b, ok := haproxyBack(s); ok {
				r.out.Backs = append(r.out.Backs, b)
			}
		}
	}
}

func haproxyMode(s *conf.Section) string {
	if l := s.Get("mode"); l != nil && l.Word(1) != "" {
		return l.Word(1)
	}
	return "tcp"
}

// haproxyTimer makes a timer of "timeout NAME"; without one there is no limit.
func haproxyTimer(s *conf.Section, meaning, name string) Timer {
	t := Timer{Meaning: meaning, Key: "timeout " + name, Never: true, Origin: Default}
	l := s.Get("timeout", name)
	if l == nil {
		at := conf.Span{File: s.File, Line: s.Line, Start: s.End, End: s.End}
		t.Set = &Place{Span: at, Before: "\n    timeout " + name + " ", Unit: time.Millisecond, Words: true}
		return t
	}
	d, ok := conf.Duration(l.Word(2), time.Millisecond)
	if !ok {
		t.Note = "its value is not understood"
		return t
	}
	t.Seconds, t.Never, t.Origin, t.At = d.Seconds(), d == 0, Configured, l.Span
	t.Set = &Place{Span: l.Span, Before: "timeout " + name + " ", Unit: time.Millisecond, Words: true}
	return t
}

func haproxyFront(s *conf.Section) (f Front, ok bool) {
	f = Front{Name: s.Name, Mode: haproxyMode(s)}
	for _, b := range s.Find("bind") {
		for a := range strings.SplitSeq(b.Word(1), ",") {
			f.Listen = append(f.Listen, strings.TrimPrefix(strings.TrimPrefix(a, "*"), "ipv4@"))
		}
		if i := slices.Index(b.Words, "backlog"); i > 0 {
			f.Backlog = number(b.Word(i + 1))
		}
	}
	if l := s.Get("backlog"); l != nil && f.Backlog == 0 {
		f.Backlog = number(l.Word(1))
	}
	if f.Mode == "http" {
		// without http-keep-alive, http-request counts, and then client (manual, "timeout http-keep-alive")
		for _, name := range []string{"http-keep-alive", "http-request", "client"} {
			if t := haproxyTimer(s, Close, name); !t.Never || name == "client" {
				f.Timers = append(f.Timers, t)
				break
			}
		}
	} else {
		f.Timers = append(f.Timers, haproxyTimer(s, Close, "client"))
	}
	return f, len(f.Listen) > 0
}

func haproxyBack(s *conf.Section) (b Back, ok bool) {
	b = Back{Name: s.Name, Mode: haproxyMode(s)}
	for _, l := range s.Find("server") {
		b.Peers = append(b.Peers, l.Word(2))
	}
	if b.Mode == "http" {
		b.Reuses = true
		if l := s.Get("http-reuse"); l != nil && l.Word(1) == "never" {
			b.Reuses = false
		}
		if s.Get("option", "http-server-close") != nil || s.Get("option", "httpclose") != nil {
			b.Reuses = false
		}
		if b.Reuses {
			b.Timers = append(b.Timers, Timer{Meaning: Reuse, Key: "http-reuse", Never: true, Origin: Default,
				Note: "HAProxy has no idle limit for kept server connections; pool-purge-delay only halves the pool"})
		}
		b.Timers = append(b.Timers, haproxyTimer(s, Deadline, "server"))
	} else {
		name := "server"
		if s.Get("timeout", "tunnel") != nil {
			name = "tunnel"
		}
		b.Timers = append(b.Timers, haproxyTimer(s, Reuse, name))
	}
	return b, len(b.Peers) > 0
}
