package report

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// Input is one capture file, or another source, and what was read of it.
type Input struct {
	Name        string
	LinkTypes   []string
	Packets     int64
	TCPPackets  int64
	Connections int64
	Resets      int64 // packets with the RST flag
	Bytes       int64 // on the wire
	First, Last time.Time
	Until       time.Time     // how long the capture went on; zero when that is not known
	Lost        string        // what the capture says it lost, in words
	SHA256      string        // of the file, in hexadecimal; "" when not computed
	Clock       time.Duration // its clock minus that of the first input
	ClockKnown  bool
	Rate        float64  // packets read per second of analysis; 0 when not measured
	Warnings    []string // what limits the answer: damage, losses, refusals
}

// Report is everything one run found.
type Report struct {
	Title   string // "" for a title made of the inputs
	Made    time.Time
	Version string
	Inputs  []Input
	Places  bool    // the inputs are captures of the same traffic at several places
	Stories []Story // in the order of Stories
}

// Story is one incident: findings that belong together.
type Story struct {
	Findings []*fact.Finding // the first is the one that matters, the others in order of time
	Ladder   *fact.Ladder    // of the first finding; nil when there is no capture
	Side     string          // on which side of the path its reset was written; "" when not known
}

// The limits of an incident: how long after one reset the next like it still
// belongs to it, and how long after a reset another one of the same connection
// does.
const (
	incidentGap   = 5 * time.Minute
	connectionGap = time.Minute
)

// Stories groups findings into incidents, those that matter first. Together go
// findings that name each other (Story and ID), resets of one connection, and
// findings with the same cause and the same sender role that share the server's
// endpoint or the client's address and follow each other within five minutes;
// an unknown cause must share the server's endpoint. The stories point into
// list. Ladders are nil; the caller has them.
func Stories(list []fact.Finding) []Story {
	s := newSets(len(list))
	byID := map[string]int{}
	for i := range list {
		for _, id := range []string{list[i].ID, list[i].Story} {
			if id == "" {
				continue
			}
			if j, ok := byID[id]; ok {
				s.join(i, j)
			} else {
				byID[id] = i
			}
		}
	}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return list[a].Time.Compare(list[b].Time) })
	last := map[incident]int{}
	for _, i := range order {
		for _, k := range incidents(&list[i]) {
			if j, ok := last[k.incident]; ok && list[i].Time.Sub(list[j].Time) <= k.gap {
				s.join(i, j)
			}
			last[k.incident] = i
		}
	}
	return collect(list, s)
}

// incident is what findings of one incident have in common.
type incident struct {
	kind           string
	cause, role    string
	harmful        bool
	outcome        string
	client, server netip.AddrPort
}

type timedIncident struct {
	incident
	gap time.Duration
}

// incidents returns the keys under which a finding is looked for.
func incidents(f *fact.Finding) []timedIncident {
	var out []timedIncident
	client, server := f.Flow.Client, f.Flow.Server
	both := client.IsValid() && server.IsValid()
	if both {
		out = append(out, timedIncident{incident{kind: "connection", client: client, server: server}, connectionGap})
	}
	k := incident{cause: f.Cause.ID, role: f.Sender.Role, harmful: f.Harmful}
	unknown := f.Cause.ID == "" || f.Cause.Grade == fact.Unknown || f.Cause.ID == string(fact.Unknown)
	if unknown {
		k.outcome = f.Outcome + " " + f.Phase
	}
	if server.IsValid() {
		at := k
		at.kind, at.server = "server", server
		out = append(out, timedIncident{at, incidentGap})
	}
	if client.IsValid() && !unknown {
		at := k
		at.kind, at.client = "client", netip.AddrPortFrom(client.Addr(), 0)
		out = append(out, timedIncident{at, incidentGap})
	}
	return out
}

// collect turns the sets into stories and sorts both.
func collect(list []fact.Finding, s *sets) []Story {
	at := map[int]int{}
	var out []Story
	for i := range list {
		root := s.root(i)
		n, ok := at[root]
		if !ok {
			n = len(out)
			at[root] = n
			out = append(out, Story{})
		}
		out[n].Findings = append(out[n].Findings, &list[i])
	}
	for i := range out {
		fs := out[i].Findings
		slices.SortStableFunc(fs, compareFindings)
		slices.SortStableFunc(fs[1:], func(a, b *fact.Finding) int { return a.Time.Compare(b.Time) })
	}
	slices.SortStableFunc(out, compareStories)
	return out
}

var gradeRank = map[fact.Grade]int{fact.Proved: 3, fact.Probable: 2, fact.Possible: 1}

// compareFindings puts what matters first: harm, roots before what follows from
// them, grade, bytes lost, time.
func compareFindings(a, b *fact.Finding) int {
	return cmp.Or(
		-cmp.Compare(b2i(a.Harmful), b2i(b.Harmful)),
		cmp.Compare(b2i(a.Story != ""), b2i(b.Story != "")),
		-cmp.Compare(gradeRank[a.Cause.Grade], gradeRank[b.Cause.Grade]),
		-cmp.Compare(lost(a), lost(b)),
		a.Time.Compare(b.Time),
	)
}

// compareStories puts what matters first: harm, what a third party did, the
// connections that were harmed, bytes lost, grade, time.
func compareStories(a, b Story) int {
	x, y := a.Findings[0], b.Findings[0]
	return cmp.Or(
		-cmp.Compare(b2i(x.Harmful), b2i(y.Harmful)),
		-cmp.Compare(b2i(byThirdParty(x)), b2i(byThirdParty(y))),
		-cmp.Compare(a.Harmful(), b.Harmful()),
		-cmp.Compare(a.Lost(), b.Lost()),
		-cmp.Compare(gradeRank[x.Cause.Grade], gradeRank[y.Cause.Grade]),
		-cmp.Compare(a.Terminations(), b.Terminations()),
		x.Time.Compare(y.Time),
	)
}

// byThirdParty reports whether a device or an injector is at least probably the
// sender.
func byThirdParty(f *fact.Finding) bool {
	return (f.Sender.Role == fact.Middlebox || f.Sender.Role == fact.Injector) && gradeRank[f.Sender.Grade] >= gradeRank[fact.Probable]
}

// lost is what a reset destroyed, in bytes, as far as known.
func lost(f *fact.Finding) int64 {
	var n int64
	for _, p := range []*int64{f.Effect.BytesLost, f.Effect.BytesUnread} {
		if p != nil {
			n = max(n, *p)
		}
	}
	return n
}

// Lost is how many bytes the story destroyed, as far as known.
func (s *Story) Lost() int64 {
	var n int64
	for _, f := range s.Findings {
		n += lost(f)
	}
	return n
}

// Terminations is how many connection ends the story counts, folded repeats
// included, with a reset or without.
func (s *Story) Terminations() int64 { return s.sum(func(*fact.Finding) bool { return true }) }

// damaged is the cause of a RST that nobody sent as it is.
const damaged = "corrupt-packet"

// Resets is how many of them ended by a reset.
func (s *Story) Resets() int64 {
	return s.sum(func(f *fact.Finding) bool { return f.Sender.Role != fact.Nobody || f.Cause.ID == damaged })
}

// Harmful is how many of them did harm.
func (s *Story) Harmful() int64 { return s.sum(func(f *fact.Finding) bool { return f.Harmful }) }

func (s *Story) sum(counts func(*fact.Finding) bool) int64 {
	var n int64
	for _, f := range s.Findings {
		if counts(f) {
			n += int64(max(f.Count, 1))
		}
	}
	return n
}

// connections is how many different connections the findings are about.
func (s *Story) connections() int64 {
	seen := map[fact.FindingFlow]bool{}
	for _, f := range s.Findings {
		flow := f.Flow
		flow.CommunityID = ""
		seen[flow] = true
	}
	return int64(len(seen))
}

// Span returns the times of the first and the last finding.
func (s *Story) Span() (first, last time.Time) {
	for i, f := range s.Findings {
		if i == 0 || f.Time.Before(first) {
			first = f.Time
		}
		if i == 0 || f.Time.After(last) {
			last = f.Time
		}
	}
	return first, last
}

// sets is a union-find structure over indices.
type sets struct{ parent []int }

func newSets(n int) *sets {
	s := &sets{parent: make([]int, n)}
	for i := range s.parent {
		s.parent[i] = i
	}
	return s
}

func (s *sets) root(i int) int {
	for s.parent[i] != i {
		s.parent[i] = s.parent[s.parent[i]]
		i = s.parent[i]
	}
	return i
}

// join unites two sets; the smaller index stays the root.
func (s *sets) join(i, j int) {
	i, j = s.root(i), s.root(j)
	s.parent[max(i, j)] = min(i, j)
}
