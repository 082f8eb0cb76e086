package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/lab"
)

// captureAccuracy is how good the verdicts from one set of captures are.
type captureAccuracy struct {
	Set   string `json:"set"`
	Cases int    `json:"cases"`

	KnownSender   int     `json:"known_sender"` // cases whose truth names the sender
	ExactSender   int     `json:"exact_sender"` // the very role
	RightEnd      int     `json:"right_end"`    // client, server, a device or nobody is right; the exact ones included
	UnknownSender int     `json:"unknown_sender"`
	WrongSender   int     `json:"wrong_sender"`
	Recall        float64 `json:"sender_recall"`    // right end of known sender
	Precision     float64 `json:"sender_precision"` // right end of those that were named

	RightCause   int `json:"right_cause"`
	GeneralCause int `json:"general_cause"` // true, and less than the truth: the family, or "from this side the choice cannot be made"
	UnknownCause int `json:"unknown_cause"`
	WrongCause   int `json:"wrong_cause"`

	Silent      int `json:"silent"` // nothing was reported; counted in neither unknown nor wrong
	WrongProved int `json:"wrong_proved"`

	Accused      int        `json:"accused"`       // at least probable: a device or injector
	AccusedRight int        `json:"accused_right"` // of them, it was one
	AccusedRange [2]float64 `json:"accused_range"` // 95 % interval of that share (Wilson)

	SenderBrier float64 `json:"sender_brier"`
	CauseBrier  float64 `json:"cause_brier"`

	Grades   []calibration    `json:"grades"` // of causes, general ones counted as right
	Missing  []missingCause   `json:"missing_causes,omitempty"`
	Verdicts []captureVerdict `json:"verdicts"`
}

// missingCause tells which causes of a label's verdict the knowledge base has
// not.
type missingCause struct {
	Verdict string   `json:"verdict"`
	Causes  []string `json:"causes"`
	Any     bool     `json:"any"` // it has another one that is right, too
}

// captureVerdict compares one verdict with its truth.
type captureVerdict struct {
	Name  string         `json:"name"` // scenario, or file of labelled captures
	Where *fact.Where    `json:"where,omitempty"`
	Label string         `json:"label,omitempty"` // why, in the words of labelled captures
	Truth captureTruth   `json:"truth"`
	Said  captureFinding `json:"said"`

	Sender      mark `json:"sender"`
	Cause       mark `json:"cause"`
	WrongProved bool `json:"wrong_proved"`
}

// captureTruth is what a verdict may say. No role and no cause: the truth does
// not know; any answer is as good.
type captureTruth struct {
	Roles   []string `json:"roles,omitempty"`
	Place   string   `json:"place,omitempty"` // client or server, when a firewall there is the sender
	Causes  []string `json:"causes,omitempty"`
	Nothing bool     `json:"nothing,omitempty"` // there is nothing to report
}

// captureFinding is the part of a finding that is compared.
type captureFinding struct {
	Role             string     `json:"role"`
	RoleGrade        fact.Grade `json:"role_grade,omitempty"`
	RoleScore        float64    `json:"role_score"`
	Cause            string     `json:"cause"`
	Grade            fact.Grade `json:"grade,omitempty"`
	Score            float64    `json:"score"`
	Others           int        `json:"others,omitempty"` // further findings on the same connection
	alternativeClaim map[string]float64
}

// mark is how a part of a verdict fares.
type mark string

const (
	markExact   mark = "exact"
	markEnd     mark = "right end" // of senders
	markGeneral mark = "general"   // of causes
	markUnknown mark = "unknown"
	markWrong   mark = "wrong"
	markSilent  mark = "silent"
	markNone    mark = "-" // the truth does not say
)

// generalCauses are verdicts of one end about the other: true whenever that
// end sent the reset in this form, and less than the cause.
var generalCauses = []string{"peer-application-aborted", "peer-has-no-such-connection"}

// explainer returns the findings of holdfast explain on captures that were
// taken at the same time, one for each place.
type explainer func(files []string) ([]fact.Finding, error)

// captureJudge compares findings from captures with the truth.
type captureJudge struct {
	base    *diagnosis.Base
	explain explainer
}

// measure judges a directory of labelled captures or a corpus of the lab.
func (j *captureJudge) measure(dir string) ([]captureAccuracy, error) {
	labelled, err := hasLabels(dir)
	if err != nil {
		return nil, err
	}
	if labelled {
		a, err := j.labelled(dir)
		return []captureAccuracy{a}, err
	}
	list, err := recordings(dir)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &cliError{
			codeNotFound, fmt.Errorf("%s has neither %s nor a directory with %s", dir, labelFile, lab.RecordingFile),
			"sudo holdfast lab run --all --source none --pcap " + dir,
		}
	}
	return j.corpus(list)
}

// labelled judges each label by the finding on its frame.
func (j *captureJudge) labelled(dir string) (a captureAccuracy, err error) {
	labels, err := readLabels(dir)
	if err != nil {
		return a, err
	}
	found := map[string][]fact.Finding{}
	for _, l := range labels {
		if _, ok := found[l.File]; ok {
			continue
		}
		if found[l.File], err = j.explain([]string{filepath.Join(dir, l.File)}); err != nil {
			return a, fmt.Errorf("%s: %w", l.File, err)
		}
	}
	a = captureAccuracy{Set: setName(dir), Missing: j.missing(labels)}
	t := newScore(&a)
	for i := range labels {
		l := &labels[i]
		causes, known := l.causesOf()
		if !known {
			return a, &cliError{codeUsage, fmt.Errorf("%s: verdict %q of %s is not known", labelFile, l.Verdict, l.File), "a verdict of labelCauses in internal/cli/captruth.go"}
		}
		truth := captureTruth{Roles: labelRoles(l.Sender), Causes: causes, Nothing: l.Sender == fact.Nobody}
		f, others := l.finding(found[l.File])
		v := j.compare(l.File, truth, f)
		v.Where = &fact.Where{File: l.File, Stream: l.Stream, Frame: l.Frame}
		v.Said.Others, v.Label = others, l.Verdict
		t.add(v)
	}
	t.end()
	return a, nil
}

// finding returns the finding that answers for a label, seen in the direction
// of the label, and how many others speak of the same stream: the one on its
// frame, else the first of its stream that is no consequence, else the first.
func (l *label) finding(list []fact.Finding) (best *fact.Finding, others int) {
	rank := 0
	for i := range list {
		f := facing(list[i], l.Client, l.Server)
		if !sameEnd(f.Flow.Client, l.Client) || !sameEnd(f.Flow.Server, l.Server) || f.Where != nil && f.Where.Stream != l.Stream {
			continue
		}
		others++
		r := 1
		switch {
		case f.Where != nil && f.Where.Frame == l.Frame:
			r = 3
		case f.Story == "":
			r = 2
		}
		if r > rank {
			rank, best = r, &f
		}
	}
	return best, max(0, others-1)
}

// facing returns a finding with client and server exchanged when they are the
// other way round: a capture that begins in the middle of a connection does
// not tell who opened it.
func facing(f fact.Finding, client, server netip.AddrPort) fact.Finding {
	if !sameEnd(f.Flow.Client, server) || !sameEnd(f.Flow.Server, client) || sameEnd(f.Flow.Client, client) {
		return f
	}
	f.Flow.Client, f.Flow.Server = f.Flow.Server, f.Flow.Client
	if role, ok := exchanged[f.Sender.Role]; ok {
		f.Sender.Role = role
	}
	return f
}

var exchanged = map[string]string{
	fact.ClientApp: fact.ServerApp, fact.ServerApp: fact.ClientApp,
	fact.ClientKernel: fact.ServerKernel, fact.ServerKernel: fact.ClientKernel,
}

// missing lists the causes that labels allow and the knowledge base has not,
// by verdict.
func (j *captureJudge) missing(labels []label) (list []missingCause) {
	seen := map[string]bool{}
	for i := range labels {
		causes, _ := labels[i].causesOf()
		m := missingCause{Verdict: labels[i].Verdict}
		for _, id := range causes {
			if _, ok := j.base.Cause(id); ok {
				m.Any = true
			} else {
				m.Causes = append(m.Causes, id)
			}
		}
		if key := fmt.Sprint(m); len(m.Causes) > 0 && !seen[key] {
			seen[key] = true
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b missingCause) int { return cmp.Compare(a.Verdict, b.Verdict) })
	return list
}

// points are the ways to look at a recording of the lab.
var points = []struct {
	set  string
	pick func(*lab.Recording) []string
}{
	{"lab: the client's host alone", func(r *lab.Recording) []string { return busiest(r, "client") }},
	{"lab: the server's host alone", func(r *lab.Recording) []string { return busiest(r, "server") }},
	{"lab: the hosts of client and server", func(r *lab.Recording) []string { return append(first(r, "client"), first(r, "server")...) }},
	{"lab: all hosts together", func(r *lab.Recording) (files []string) {
		for _, h := range r.Hosts {
			if h.Packets > 0 {
				files = append(files, h.File)
			}
		}
		return files
	}},
}

// busiest is the capture of the host that played an end: where two did, one
// after the other, the one that saw the resets.
func busiest(r *lab.Recording, role string) []string {
	var best *lab.RecordedHost
	for i := range r.Hosts {
		h := &r.Hosts[i]
		if h.Role == role && h.Packets > 0 && (best == nil || h.Resets > best.Resets) {
			best = h
		}
	}
	if best == nil {
		return nil
	}
	return []string{best.File}
}

// first is the capture of the host that played an end at first: another one may
// have had its address later.
func first(r *lab.Recording, role string) []string {
	for i := range r.Hosts {
		if h := &r.Hosts[i]; h.Role == role && h.Packets > 0 {
			return []string{h.File}
		}
	}
	return nil
}

// corpus judges each recording of the lab from each of the points.
func (j *captureJudge) corpus(dirs []string) ([]captureAccuracy, error) {
	sets := make([]captureAccuracy, len(points))
	scores := make([]*score, len(points))
	for i := range points {
		sets[i].Set = points[i].set
		scores[i] = newScore(&sets[i])
	}
	for _, dir := range dirs {
		r, err := lab.ReadRecording(dir)
		if err != nil {
			return nil, err
		}
		for i := range points {
			v, err := j.recorded(dir, r, points[i].pick(r))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.Scenario, err)
			}
			scores[i].add(v)
		}
	}
	for _, t := range scores {
		t.end()
	}
	return sets, nil
}

// recorded judges what some captures of a recording say.
func (j *captureJudge) recorded(dir string, r *lab.Recording, files []string) (v captureVerdict, err error) {
	truth := labTruth{Sender: r.Sender, Cause: r.Cause, Also: r.Also}
	res := lab.Result{Flows: r.Flows, At: r.At}
	var paths []string
	for _, f := range files {
		paths = append(paths, filepath.Join(dir, f))
	}
	var list []fact.Finding
	if len(paths) > 0 {
		if list, err = j.explain(paths); err != nil {
			return v, err
		}
	}
	var seen []sighting
	for _, f := range list {
		for _, x := range r.Flows {
			f = facing(f, x.Client, x.Server)
		}
		if onFlows(&f, res) {
			seen = append(seen, sighting{f: f})
		}
	}
	var best *fact.Finding
	if p := primary(seen, truth, false); p != nil {
		best = &p.f
	}
	want := captureTruth{
		Roles: []string{r.Sender}, Causes: append([]string{r.Cause}, r.Also...),
		Nothing: r.Sender == fact.Nobody && r.Error == "", // nobody reset it and no application saw an error
	}
	if r.Sender == fact.LocalFirewall {
		want.Place = r.Role(r.SenderHost)
	}
	v = j.compare(r.Scenario, want, best)
	v.Said.Others = max(0, len(seen)-1)
	for i := range seen {
		f := &seen[i].f
		v.WrongProved = v.WrongProved || wrongProved(f, j.widened(f, truth))
	}
	return v, nil
}

// widened is the truth with the cause of a finding, when that one is true and
// only says less. The sender is not widened.
func (j *captureJudge) widened(f *fact.Finding, truth labTruth) labTruth {
	if j.general(f.Cause.ID, captureTruth{Roles: []string{truth.Sender}, Causes: append([]string{truth.Cause}, truth.Also...)}) {
		truth.Cause = f.Cause.ID
	}
	return truth
}

// compare marks a finding, nil when nothing was reported.
func (j *captureJudge) compare(name string, truth captureTruth, f *fact.Finding) captureVerdict {
	v := captureVerdict{Name: name, Truth: truth}
	if f == nil {
		v.Said = captureFinding{Role: silent, Cause: silent}
		v.Sender, v.Cause = markSilent, markSilent
		if truth.Nothing {
			v.Sender, v.Cause = markExact, markExact
		}
		return v
	}
	v.Said = captureFinding{
		Role: f.Sender.Role, RoleGrade: f.Sender.Grade, RoleScore: f.Sender.Score,
		Cause: f.Cause.ID, Grade: f.Cause.Grade, Score: f.Cause.Score, alternativeClaim: causeClaims(f),
	}
	v.Sender, v.Cause = markSender(f, truth), j.markCause(f, truth)
	v.WrongProved = v.Sender == markWrong && f.Sender.Grade == fact.Proved || v.Cause == markWrong && f.Cause.Grade == fact.Proved
	return v
}

func markSender(f *fact.Finding, truth captureTruth) mark {
	said := f.Sender.Role
	switch {
	case len(truth.Roles) == 0:
		return markNone
	case slices.Contains(truth.Roles, said):
		return markExact
	case said == fact.UnknownSender:
		return markUnknown
	case placeOf(said) == truth.Place, slices.ContainsFunc(truth.Roles, func(r string) bool { return placeOf(r) == placeOf(said) }):
		return markEnd
	}
	return markWrong
}

// placeOf is where a sender sits: client, server, device or none.
func placeOf(role string) string {
	switch role {
	case fact.LocalFirewall, fact.Middlebox, fact.Injector:
		return "device"
	}
	end, _, _ := strings.Cut(role, "-")
	return end
}

func (j *captureJudge) markCause(f *fact.Finding, truth captureTruth) mark {
	switch {
	case slices.Contains(truth.Causes, f.Cause.ID):
		return markExact
	case f.Cause.Grade == fact.Unknown:
		return markUnknown
	case j.general(f.Cause.ID, truth):
		return markGeneral
	}
	return markWrong
}

// general reports whether a cause is true of a truth and says less: it is the
// family of a true cause, looks the same on the wire (wireSame), or is one of
// generalCauses that the true sender can have caused.
func (j *captureJudge) general(id string, truth captureTruth) bool {
	for _, c := range truth.Causes {
		if spec, ok := j.base.Cause(c); ok && spec.Family.S == id {
			return true
		}
	}
	if slices.ContainsFunc(truth.Causes, func(c string) bool { return slices.Contains(wireSame[id], c) }) {
		return true
	}
	spec, ok := j.base.Cause(id)
	if !ok || !slices.Contains(generalCauses, id) {
		return false
	}
	return slices.ContainsFunc(spec.Senders, func(s diagnosis.Text) bool { return slices.Contains(truth.Roles, s.S) })
}

// score adds verdicts up.
type score struct {
	a      *captureAccuracy
	grades map[fact.Grade]*calibration
}

func newScore(a *captureAccuracy) *score {
	return &score{a, map[fact.Grade]*calibration{}}
}

func (t *score) add(v captureVerdict) {
	a := t.a
	a.Cases++
	a.Verdicts = append(a.Verdicts, v)
	if v.WrongProved {
		a.WrongProved++
	}
	if v.Sender == markSilent || v.Cause == markSilent {
		a.Silent++
	}
	if v.Sender != markNone {
		a.KnownSender++
	}
	switch v.Sender {
	case markExact:
		a.ExactSender++
		a.RightEnd++
	case markEnd:
		a.RightEnd++
	case markUnknown:
		a.UnknownSender++
	case markWrong:
		a.WrongSender++
	}
	switch v.Cause {
	case markExact:
		a.RightCause++
	case markGeneral:
		a.GeneralCause++
	case markUnknown:
		a.UnknownCause++
	case markWrong:
		a.WrongCause++
	}
	if placeOf(v.Said.Role) == "device" && (v.Said.RoleGrade == fact.Probable || v.Said.RoleGrade == fact.Proved) {
		a.Accused++
		if v.Sender == markExact || v.Sender == markEnd {
			a.AccusedRight++
		}
	}
	a.SenderBrier += v.senderBrier()
	a.CauseBrier += v.causeBrier()
	if v.Said.Grade != "" {
		g := t.grades[v.Said.Grade]
		if g == nil {
			g = &calibration{Grade: v.Said.Grade}
			t.grades[v.Said.Grade] = g
		}
		g.Cases++
		g.Score += v.Said.Score
		if v.Cause == markExact || v.Cause == markGeneral {
			g.Right++
		}
	}
}

// senderBrier is brier, where each role that the truth allows is the truth; 0
// when the truth does not say.
func (v *captureVerdict) senderBrier() float64 {
	switch {
	case v.Sender == markNone || v.Said.RoleGrade == "" && v.Sender == markExact:
		return 0
	case v.Said.RoleGrade == "" || v.Sender == markUnknown:
		return 1
	}
	return brierOf(map[string]float64{v.Said.Role: v.Said.RoleScore}, v.Truth.Roles)
}

func (v *captureVerdict) causeBrier() float64 {
	if v.Said.Grade == "" && v.Cause == markExact {
		return 0
	}
	return brierOf(v.Said.alternativeClaim, v.Truth.Causes)
}

// brierOf is brier for a truth that is one of several: what is claimed of any
// of them counts.
func brierOf(claims map[string]float64, truths []string) float64 {
	const truth = "the truth"
	merged := map[string]float64{}
	for said, p := range claims {
		if slices.Contains(truths, said) {
			said = truth
		}
		merged[said] += p
	}
	return brier(merged, truth)
}

func (t *score) end() {
	a := t.a
	a.Recall = ratio(a.RightEnd, a.KnownSender)
	a.Precision = ratio(a.RightEnd, a.RightEnd+a.WrongSender)
	if a.Accused > 0 {
		a.AccusedRange[0], a.AccusedRange[1] = wilson(a.AccusedRight, a.Accused)
	}
	if a.Cases > 0 {
		a.SenderBrier /= float64(a.Cases)
		a.CauseBrier /= float64(a.Cases)
	}
	a.Grades = finish(t.grades)
	slices.SortStableFunc(a.Verdicts, func(x, y captureVerdict) int { return cmp.Compare(x.Name, y.Name) })
}

// ratio is 1 of nothing: no claim was wrong.
func ratio(n, of int) float64 {
	if of == 0 {
		return 1
	}
	return float64(n) / float64(of)
}

// captureLimits are what a set of captures must reach; a negative one is not
// checked.
type captureLimits struct {
	sender, precision, accused, cause float64
	wrongProved                       int
}

// check returns what a set does not reach.
func (l *captureLimits) check(a *captureAccuracy) error {
	var errs []error
	below := func(what string, got, want float64) {
		if want >= 0 && got < want {
			errs = append(errs, fmt.Errorf("%s: %s is %.3f, less than %.3f", a.Set, what, got, want))
		}
	}
	below("the share of right senders", a.Recall, l.sender)
	below("the share of right among the named senders", a.Precision, l.precision)
	below("the share of right among the accused devices and injectors", ratio(a.AccusedRight, a.Accused), l.accused)
	below("the share of causes that are right, general or unknown", ratio(a.RightCause+a.GeneralCause+a.UnknownCause, a.Cases), l.cause)
	if l.wrongProved >= 0 && a.WrongProved > l.wrongProved {
		errs = append(errs, fmt.Errorf("%s: %d wrong proved, more than %d", a.Set, a.WrongProved, l.wrongProved))
	}
	return errors.Join(errs...)
}
