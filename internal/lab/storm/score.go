package storm

import (
	"fmt"
	"net/netip"
	"slices"
)

// Found is what was said about a RST, in the terms of the ledger.
type Found struct {
	Netns       uint64
	From, To    netip.AddrPort
	Role        string // client-app, server-kernel, injector ...
	SenderGrade string
	PID         int
	Cause       string
	Grade       string
	Count       int
	Harmful     bool
	Reset       bool // a RST exists
	AtNS        int64
}

// Report is how what was found compares with the ledger and the witnesses.
type Report struct {
	Terminations int `json:"endings"`
	Failed       int `json:"failed"` // endings that did not do what they should
	Resets       int `json:"resets"` // that the witnesses saw, and the ledger explains
	Missing      int `json:"missing"`
	Extra        int `json:"extra"`        // findings beyond the witnessed ones
	Wrong        int `json:"wrong_proved"` // proved, and not so
	Sender       int `json:"sender_right"`
	Owner        int `json:"owner_right"`
	Owned        int `json:"owned"` // resets of which a process is the owner
	Cause        int `json:"cause_right"`
	Noise        int `json:"noise"` // harmful findings on endings without a RST

	Classes map[string]*Tally `json:"classes"`
	Samples []string          `json:"samples,omitempty"` // an example of each fault of each class
}

// Tally is the account of one class.
type Tally struct {
	Terminations int `json:"endings"`
	Failed       int `json:"failed,omitempty"`
	Resets       int `json:"resets"`
	Missing      int `json:"missing,omitempty"`
	Wrong        int `json:"wrong_proved,omitempty"`
	Sender       int `json:"sender_wrong,omitempty"`
	Owner        int `json:"owner_wrong,omitempty"`
	Cause        int `json:"cause_wrong,omitempty"`
	Noise        int `json:"noise,omitempty"`
}

type way struct {
	netns    uint64
	from, to netip.AddrPort
}

// Score compares what was found with the ledger.
func Score(list []*Termination, found []Found) *Report {
	r := &Report{Terminations: len(list), Classes: map[string]*Tally{}}
	by := map[way][]Found{}
	slices.SortStableFunc(found, func(a, b Found) int { return int(a.AtNS - b.AtNS) })
	for _, f := range found {
		w := way{f.Netns, f.From, f.To}
		by[w] = append(by[w], f)
	}
	for _, e := range list {
		t := r.Classes[e.Class]
		if t == nil {
			t = &Tally{}
			r.Classes[e.Class] = t
		}
		t.Terminations++
		if e.Err != "" {
			r.Failed++
			t.Failed++
			r.sample("failed", e, e.Err)
			continue
		}
		for _, ends := range [][2]netip.AddrPort{{e.Client, e.Server}, {e.Server, e.Client}} {
			r.direction(t, e, ends[0], by[way{e.Netns, ends[0], ends[1]}])
		}
	}
	return r
}

// direction scores the RSTs of an ending that bear one address.
func (r *Report) direction(t *Tally, e *Termination, from netip.AddrPort, found []Found) {
	var acts []Act
	for _, a := range e.Acts {
		if a.From == from {
			acts = append(acts, a)
		}
	}
	witnessed, told := 0, 0
	for _, x := range e.Resets {
		if x.From == from {
			witnessed++
		}
	}
	if len(acts) == 0 {
		for _, f := range found {
			if f.Harmful && witnessed == 0 {
				r.Noise++
				t.Noise++
				r.sample("noise", e, f)
			}
		}
		return
	}
	r.Resets += witnessed
	t.Resets += witnessed
	for _, f := range found {
		if !f.Reset {
			continue
		}
		for range max(f.Count, 1) {
			if told < witnessed {
				r.one(t, e, &acts[min(told, len(acts)-1)], f)
			} else {
				r.Extra++
			}
			told++
		}
	}
	if n := witnessed - told; n > 0 {
		r.Missing += n
		t.Missing += n
		r.sample("missing", e, fmt.Sprintf("%d of %d", n, witnessed))
	}
}

// one scores what was found of one RST.
func (r *Report) one(t *Tally, e *Termination, a *Act, f Found) {
	role := a.Sender
	if role != "injector" {
		side := "client-"
		if a.From == e.Server {
			side = "server-"
		}
		role = side + a.Sender
	}
	cause := slices.Contains(a.Causes, f.Cause)
	sender := f.Role == role
	if !sender && f.SenderGrade == "proved" || !cause && f.Grade == "proved" {
		r.Wrong++
		t.Wrong++
		r.sample("wrong proved", e, f)
	}
	count(sender, &r.Sender, &t.Sender)
	count(cause, &r.Cause, &t.Cause)
	if a.PID != 0 {
		r.Owned++
		count(f.PID == a.PID, &r.Owner, &t.Owner)
	}
	switch {
	case !sender:
		r.sample("sender", e, f)
	case !cause:
		r.sample("cause", e, f)
	case a.PID != 0 && f.PID != a.PID:
		r.sample("owner", e, f)
	}
}

func count(right bool, good, bad *int) {
	if right {
		*good++
	} else {
		*bad++
	}
}

// sample keeps the first example of each fault of each class.
func (r *Report) sample(fault string, e *Termination, what any) {
	head := fmt.Sprintf("%s: %s: ", e.Class, fault)
	for _, s := range r.Samples {
		if len(s) > len(head) && s[:len(head)] == head {
			return
		}
	}
	r.Samples = append(r.Samples, fmt.Sprintf("%s%+v; ledger: ending %d, client %s, server %s, acts %+v, witnessed %+v", head, what, e.N, e.Client, e.Server, e.Acts, e.Resets))
}
