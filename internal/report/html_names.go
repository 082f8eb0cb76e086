package report

import (
	"path/filepath"
	"slices"

	"github.com/holdfast-project/holdfast/fact"
)

// withoutDirectories returns the report with the names of its files alone, where
// these differ: a page for others need not tell how somebody keeps his files.
func (r *Report) withoutDirectories() *Report {
	names := map[string]string{}
	count := map[string]int{}
	for i := range r.Inputs {
		name := r.Inputs[i].Name
		if _, ok := names[name]; !ok {
			names[name] = filepath.Base(name)
			count[names[name]]++
		}
	}
	for name, base := range names {
		if count[base] > 1 {
			names[name] = name
		}
	}
	short := func(name string) string {
		if base, ok := names[name]; ok {
			return base
		}
		return name
	}
	out := *r
	out.Inputs, out.Stories = slices.Clone(r.Inputs), slices.Clone(r.Stories)
	for i := range out.Inputs {
		out.Inputs[i].Name = short(out.Inputs[i].Name)
	}
	for i := range out.Stories {
		list := slices.Clone(out.Stories[i].Findings)
		for j, f := range list {
			list[j] = renamed(f, short)
		}
		out.Stories[i].Findings = list
		if l := out.Stories[i].Ladder; l != nil {
			ladder := *l
			ladder.Frames = slices.Clone(l.Frames)
			for j := range ladder.Frames {
				ladder.Frames[j].File = short(ladder.Frames[j].File)
			}
			out.Stories[i].Ladder = &ladder
		}
	}
	return &out
}

// renamed returns a finding with other names of files.
func renamed(f *fact.Finding, short func(string) string) *fact.Finding {
	out := *f
	if f.Where != nil {
		where := *f.Where
		where.File = short(where.File)
		out.Where = &where
	}
	out.Proof = slices.Clone(f.Proof)
	for i := range out.Proof {
		out.Proof[i].File = short(out.Proof[i].File)
	}
	return &out
}
