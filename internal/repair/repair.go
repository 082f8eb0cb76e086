// Package repair changes a host, and can take every change back. A repair is a
// plan of steps; the plan is on disk before anything is touched, each step is put
// only when the world is still as the plan saw it, and what happened is judged by
// looking at the world again, never by what was remembered. A repair that was
// interrupted is undone when the next one begins.
package repair

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// State is what a target is, or shall be.
type State struct {
	Exists bool   `json:"exists"`
	Hash   string `json:"hash,omitempty"` // SHA-256 of the content
	Mode   uint32 `json:"mode,omitempty"`
	UID    int    `json:"uid,omitempty"`
	GID    int    `json:"gid,omitempty"`
	Data   []byte `json:"data,omitempty"`
}

func stateOf(data []byte, mode uint32, uid, gid int) State {
	sum := sha256.Sum256(data)
	return State{Exists: true, Hash: hex.EncodeToString(sum[:]), Mode: mode, UID: uid, GID: gid, Data: data}
}

// same reports whether two states are the same to a reader.
func (s State) same(o State) bool { return s.Exists == o.Exists && s.Hash == o.Hash }

// Step is one change of one target.
type Step struct {
	Kind   string `json:"kind"`   // sysctl: written in place; file: replaced as a whole
	Target string `json:"target"` // a path
	What   string `json:"what"`   // in words
	Before State  `json:"before"`
	After  State  `json:"after"`
}

// Plan is a repair: its steps in order, and how the programs that read the targets
// are told.
type Plan struct {
	ID     string    `json:"id"` // 0001 ...
	Advice []string  `json:"advice"`
	Made   time.Time `json:"made"`
	Netns  string    `json:"netns,omitempty"` // whose settings are changed: host, or net:[NUMBER]
	Steps  []Step    `json:"steps"`
	Tests  []Test    `json:"tests,omitempty"`  // before and after the steps
	Reload []Reload  `json:"reload,omitempty"` // after the steps, and after undoing them
}

// Test asks a server whether it would take its configuration.
type Test struct {
	Argv []string `json:"argv"`
}

// Reload tells a process to read its configuration again.
type Reload struct {
	PID    int    `json:"pid"`
	Start  uint64 `json:"start"` // clock ticks since boot: the number may be another process's later
	Signal string `json:"signal"`
	What   string `json:"what"`
}

// World is what a repair touches. The real one is the host; tests have others.
type World interface {
	Look(kind, path string) (State, error)
	Put(kind, path string, s State) error // whole, and on disk when it returns
	Test(argv []string) error
	Signal(r Reload) error
	// The journal: files of one directory.
	List() ([]string, error)
	Read(name string) ([]byte, error)
	Append(name string, line []byte) error // on disk with its directory when it returns
	Remove(name string) error
}

// How a repair ended.
const (
	Interrupted = "interrupted" // it has no end: the next one undoes it
	Applied     = "applied"     // every step took
	Undone      = "undone"      // everything is as before
	Conflict    = "conflict"    // somebody else changed a target: it was left alone
)

// record is a line of a journal.
type record struct {
	Type   string    `json:"type"` // plan, end
	Plan   *Plan     `json:"plan,omitempty"`
	End    string    `json:"end,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Repair is a plan with how it ended.
type Repair struct {
	Plan   Plan      `json:"plan"`
	End    string    `json:"end"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Journal keeps the repairs of a host.
type Journal struct {
	World World
	Now   func() time.Time
	Netns string // the network namespace of this process, as in Plan; empty: not compared
}

// elsewhere reports whether a plan changed settings of another network namespace,
// which the names of its targets do not reach from here.
func (j *Journal) elsewhere(p *Plan) bool {
	return p.Netns != "" && j.Netns != "" && p.Netns != j.Netns && slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Kind == "sysctl" })
}

// encode writes a record as a line: a checksum and its JSON.
func encode(r record) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(b), b), nil
}

// decode reads the records of a journal. A line that is torn or wrong ends it: what
// comes after was never written.
func decode(b []byte) (list []record) {
	for line := range bytes.Lines(b) {
		sum, text, ok := bytes.Cut(line, []byte(" "))
		n, err := strconv.ParseUint(string(sum), 16, 32)
		text, whole := bytes.CutSuffix(text, []byte("\n"))
		if !ok || !whole || err != nil || crc32.ChecksumIEEE(text) != uint32(n) {
			break
		}
		var r record
		if json.Unmarshal(text, &r) != nil {
			break
		}
		list = append(list, r)
	}
	return list
}

func file(id string) string { return id + ".journal" }

// List returns the repairs, the oldest first.
func (j *Journal) List() ([]Repair, error) {
	names, err := j.World.List()
	if err != nil {
		return nil, fmt.Errorf("list the journal: %w", err)
	}
	slices.Sort(names)
	var list []Repair
	for _, name := range names {
		if !strings.HasSuffix(name, ".journal") {
			continue
		}
		b, err := j.World.Read(name)
		if err != nil {
			return list, fmt.Errorf("read the journal: %w", err)
		}
		rep := Repair{End: Interrupted}
		for _, r := range decode(b) {
			switch {
			case r.Type == "plan" && r.Plan != nil && rep.Plan.ID == "":
				rep.Plan, rep.At = *r.Plan, r.At
			case r.Type == "end":
				rep.End, rep.Reason, rep.At = r.End, r.Reason, r.At
			}
		}
		if rep.Plan.ID != "" && file(rep.Plan.ID) == name {
			list = append(list, rep)
		}
	}
	return list, nil
}

// nextID is the number after the last one, also after a plan that was torn.
func (j *Journal) nextID() (string, error) {
	names, err := j.World.List()
	if err != nil {
		return "", fmt.Errorf("list the journal: %w", err)
	}
	last := 0
	for _, n := range names {
		if x, err := strconv.Atoi(strings.TrimSuffix(n, ".journal")); err == nil {
			last = max(last, x)
		}
	}
	return fmt.Sprintf("%04d", last+1), nil
}

func (j *Journal) write(id string, r record) error {
	r.At = j.Now().UTC()
	b, err := encode(r)
	if err == nil {
		err = j.World.Append(file(id), b)
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func (j *Journal) end(id, how, reason string) error {
	return j.write(id, record{Type: "end", End: how, Reason: reason})
}

// Recover undoes every repair that was interrupted. Call it before anything else.
func (j *Journal) Recover() (undone []Repair, err error) {
	list, err := j.List()
	if err != nil {
		return nil, err
	}
	for _, r := range slices.Backward(list) {
		if r.End != Interrupted || j.elsewhere(&r.Plan) {
			continue
		}
		if err := j.undo(&r.Plan, "it was interrupted"); err != nil && !errors.Is(err, ErrConflict) {
			return undone, err
		}
		undone = append(undone, r)
	}
	return undone, nil
}

// ErrConflict says that a target is neither as it was before a repair nor as the
// repair left it: somebody else changed it, and it was left alone.
var ErrConflict = errors.New("somebody else changed it meanwhile")

// Apply carries a plan out. Steps need Before and After; the plan gets its number
// here. When a step does not take, everything is undone.
func (j *Journal) Apply(p *Plan) (*Repair, error) {
	if _, err := j.Recover(); err != nil {
		return nil, err
	}
	for _, t := range p.Tests {
		if err := j.World.Test(t.Argv); err != nil {
			return nil, fmt.Errorf("the configuration does not pass its own test before any change, so nothing was changed: %w", err)
		}
	}
	for i := range p.Steps { // a foreign edit between plan and journal
		if err := j.expect(&p.Steps[i], p.Steps[i].Before); err != nil {
			return nil, err
		}
	}
	var err error
	if p.ID, err = j.nextID(); err != nil {
		return nil, err
	}
	p.Made = j.Now().UTC()
	if err := j.write(p.ID, record{Type: "plan", Plan: p}); err != nil {
		_ = j.World.Remove(file(p.ID)) // nothing was touched
		return nil, err
	}
	if err := j.steps(p); err != nil {
		return j.takeBack(p, err)
	}
	if err := j.end(p.ID, Applied, ""); err != nil {
		return j.takeBack(p, err)
	}
	return &Repair{Plan: *p, End: Applied, At: j.Now().UTC()}, nil
}

// takeBack undoes a plan that failed.
func (j *Journal) takeBack(p *Plan, because error) (*Repair, error) {
	rep := &Repair{Plan: *p, End: Undone, Reason: because.Error(), At: j.Now().UTC()}
	if err := j.undo(p, because.Error()); err != nil {
		if errors.Is(err, ErrConflict) {
			rep.End = Conflict
		} else {
			rep.End = Interrupted
		}
		return rep, fmt.Errorf("%w; and undoing it failed: %w", because, err)
	}
	return rep, because
}

func (j *Journal) steps(p *Plan) error {
	for i := range p.Steps {
		s := &p.Steps[i]
		if err := j.expect(s, s.Before); err != nil {
			return err
		}
		if err := j.World.Put(s.Kind, s.Target, s.After); err != nil {
			return fmt.Errorf("%s: %w", s.What, err)
		}
		if err := j.took(s); err != nil {
			return err
		}
	}
	for _, t := range p.Tests {
		if err := j.World.Test(t.Argv); err != nil {
			return fmt.Errorf("the changed configuration does not pass its own test: %w", err)
		}
	}
	for _, r := range p.Reload {
		if err := j.World.Signal(r); err != nil {
			return fmt.Errorf("%s: %w", r.What, err)
		}
	}
	return nil
}

// expect looks whether a target is as the plan saw it.
func (j *Journal) expect(s *Step, want State) error {
	now, err := j.World.Look(s.Kind, s.Target)
	if err != nil {
		return fmt.Errorf("%s: %w", s.What, err)
	}
	if !now.same(want) {
		return fmt.Errorf("%s: %s: %w", s.What, s.Target, ErrConflict)
	}
	return nil
}

// took looks whether a step took: the kernel refuses and clamps.
func (j *Journal) took(s *Step) error {
	now, err := j.World.Look(s.Kind, s.Target)
	if err != nil {
		return fmt.Errorf("%s: %w", s.What, err)
	}
	if !now.same(s.After) {
		return fmt.Errorf("%s: it did not take: %s has %q", s.What, s.Target, strings.TrimSpace(string(now.Data)))
	}
	return nil
}

// Undo takes a repair back.
func (j *Journal) Undo(id string) (*Repair, error) {
	if _, err := j.Recover(); err != nil {
		return nil, err
	}
	list, err := j.List()
	if err != nil {
		return nil, err
	}
	for i := range list {
		r := &list[i]
		if r.Plan.ID != id {
			continue
		}
		if r.End == Undone {
			return r, nil
		}
		if j.elsewhere(&r.Plan) {
			return r, fmt.Errorf("it changed settings of the network namespace %s, and this one is %s: undo it there", r.Plan.Netns, j.Netns)
		}
		err := j.undo(&r.Plan, "asked for")
		r.End, r.At = Undone, j.Now().UTC()
		if errors.Is(err, ErrConflict) {
			r.End, r.Reason = Conflict, err.Error()
		}
		return r, err
	}
	return nil, fmt.Errorf("no repair %s: %w", id, fs.ErrNotExist)
}

// undo restores what a plan changed, the last step first. A target that is neither
// as before nor as after belongs to somebody else and is left alone; the others are
// restored all the same.
func (j *Journal) undo(p *Plan, reason string) error {
	var conflicts []string
	changed := false
	for _, s := range slices.Backward(p.Steps) {
		now, err := j.World.Look(s.Kind, s.Target)
		if err != nil {
			return fmt.Errorf("%s: %w", s.What, err)
		}
		switch {
		case now.same(s.Before):
		case now.same(s.After):
			if err := j.World.Put(s.Kind, s.Target, s.Before); err != nil {
				return fmt.Errorf("undo %s: %w", s.What, err)
			}
			if err := j.expect(&s, s.Before); err != nil {
				return fmt.Errorf("undo: %w", err)
			}
			changed = true
		default:
			conflicts = append(conflicts, s.Target)
		}
	}
	if changed {
		for _, r := range p.Reload {
			_ = j.World.Signal(r) // a process that is gone has nothing to read again
		}
	}
	if len(conflicts) > 0 {
		text := strings.Join(conflicts, ", ") + " was changed by somebody else and left alone"
		if err := j.end(p.ID, Conflict, text); err != nil {
			return err
		}
		return fmt.Errorf("%s: %w", strings.Join(conflicts, ", "), ErrConflict)
	}
	return j.end(p.ID, Undone, reason)
}
