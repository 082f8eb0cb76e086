package repair

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// model is a disk that may forget. Every operation is counted, and can be made the
// last one before a crash, or fail.
type model struct {
	now, kept map[string]*node // names as they are, and as the disk has them
	ops       int
	crashAt   int // panics before this operation; 0 never
	failAt    int // this operation fails
	skip      int // this sync does nothing: a mutant
	syncs     int
	kernel    map[string]string // values of the kernel: a reboot forgets none here
}

type node struct{ data, kept string }

type crash struct{}

func newModel() *model {
	m := &model{now: map[string]*node{}, kept: map[string]*node{}, kernel: map[string]string{"/k": "1"}}
	for _, name := range []string{"/etc/a", "/etc/b"} {
		m.now[name] = &node{"old " + name, "old " + name}
	}
	m.kept = maps.Clone(m.now)
	return m
}

func (m *model) op() error {
	m.ops++
	switch m.ops {
	case m.crashAt:
		panic(crash{})
	case m.failAt:
		return errors.New("no space left on device")
	}
	return nil
}

func (m *model) Write(path string, s State) error {
	if err := m.op(); err != nil {
		return err
	}
	m.now[path] = &node{data: string(s.Data)}
	return nil
}

func (m *model) Attributes(string, string) error { return nil }

func (m *model) Append(path string, line []byte) error {
	if err := m.op(); err != nil {
		return err
	}
	if m.now[path] == nil {
		m.now[path] = &node{}
	}
	m.now[path].data += string(line)
	return nil
}

func (m *model) Sync(path string) error {
	if err := m.op(); err != nil {
		return err
	}
	m.syncs++
	if m.syncs == m.skip {
		return nil
	}
	if n := m.now[path]; n != nil {
		n.kept = n.data
		return nil
	}
	for name := range m.kept { // a directory
		if filepath.Dir(name) == path && m.now[name] == nil {
			delete(m.kept, name)
		}
	}
	for name, n := range m.now {
		if filepath.Dir(name) == path {
			m.kept[name] = n
		}
	}
	return nil
}

func (m *model) Rename(from, to string) error {
	if err := m.op(); err != nil {
		return err
	}
	m.now[to] = m.now[from]
	delete(m.now, from)
	return nil
}

func (m *model) Remove(path string) error {
	if m.now[path] == nil {
		return fs.ErrNotExist
	}
	if err := m.op(); err != nil {
		return err
	}
	delete(m.now, path)
	return nil
}

// reboot leaves what the disk kept: nothing that was not synced, or all of it.
func (m *model) reboot(all bool) {
	if all {
		m.kept = m.now
		for _, n := range m.kept {
			n.kept = n.data
		}
	}
	m.now = map[string]*node{}
	for name, n := range m.kept {
		m.now[name] = &node{n.kept, n.kept}
	}
	m.kept = maps.Clone(m.now)
	m.crashAt, m.failAt, m.ops = 0, 0, 0
}

// The world on this disk.
func (m *model) Look(kind, path string) (State, error) {
	if kind == "sysctl" {
		return stateOf([]byte(m.kernel[path]), 0o644, 0, 0), nil
	}
	if n := m.now[path]; n != nil {
		return stateOf([]byte(n.data), 0o644, 0, 0), nil
	}
	return State{}, nil
}

func (m *model) Put(kind, path string, s State) error {
	if kind == "sysctl" {
		if err := m.op(); err != nil {
			return err
		}
		m.kernel[path] = string(s.Data)
		return nil
	}
	return put(m, path, s)
}

func (m *model) Test([]string) error { return nil }
func (m *model) Signal(Reload) error { return nil }
func (m *model) List() (names []string, err error) {
	for name := range m.now {
		if filepath.Dir(name) == "/j" {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}
func (m *model) Read(name string) ([]byte, error) { return []byte(m.now["/j/"+name].data), nil }
func (m *model) ReadAll() string                  { return fmt.Sprint(m.contents()) }
func (m *model) World() World                     { return journalWorld{m} }

// journalWorld gives the names of World to the methods of the model that have them
// for paths.
type journalWorld struct{ *model }

func (w journalWorld) Append(name string, line []byte) error {
	return appendLine(w.model, "/j/"+name, line)
}
func (w journalWorld) Remove(name string) error { return w.model.Remove("/j/" + name) }

// contents are the targets, without the journal.
func (m *model) contents() map[string]string {
	out := map[string]string{"/k": m.kernel["/k"]}
	for name, n := range m.now {
		if filepath.Dir(name) == "/etc" && !strings.Contains(name, ".holdfast-") {
			out[name] = n.data
		}
	}
	return out
}

func plan() *Plan {
	old := func(s string) State { return stateOf([]byte(s), 0o644, 0, 0) }
	return &Plan{Steps: []Step{
		{Kind: "sysctl", Target: "/k", What: "set k", Before: old("1"), After: old("2")},
		{Kind: "file", Target: "/etc/a", What: "change a", Before: old("old /etc/a"), After: old("new a")},
		{Kind: "file", Target: "/etc/new", What: "make new", After: old("new file")},
	}}
}

var before = map[string]string{"/k": "1", "/etc/a": "old /etc/a", "/etc/b": "old /etc/b"}
var after = map[string]string{"/k": "2", "/etc/a": "new a", "/etc/b": "old /etc/b", "/etc/new": "new file"}

func journal(m *model) *Journal {
	return &Journal{World: m.World(), Now: func() time.Time { return time.Unix(1e9, 0) }}
}

func TestApplyAndUndo(t *testing.T) {
	m := newModel()
	j := journal(m)
	r, err := j.Apply(plan())
	if err != nil || r.End != Applied || !maps.Equal(m.contents(), after) {
		t.Fatalf("%+v %v: %v", r, err, m.contents())
	}
	if r, err = j.Undo(r.Plan.ID); err != nil || r.End != Undone || !maps.Equal(m.contents(), before) {
		t.Fatalf("undone: %+v %v: %v", r, err, m.contents())
	}
	list, err := j.List()
	if err != nil || len(list) != 1 || list[0].End != Undone {
		t.Errorf("list: %+v %v", list, err)
	}
	if _, err := j.Undo("0007"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("undo of nothing: %v", err)
	}
}

// attempt runs f until it ends or the model crashes.
func attempt(f func()) (crashed bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			crashed = true
		}
	}()
	f()
	return false
}

// consistent reports what is wrong after a crash, a reboot and the next repair's
// recovery.
func consistent(m *model) string {
	j := journal(m)
	if _, err := j.Recover(); err != nil {
		return "recover: " + err.Error()
	}
	list, err := j.List()
	if err != nil {
		return err.Error()
	}
	want := before
	if len(list) > 0 && list[len(list)-1].End == Applied {
		want = after
	}
	if got := m.contents(); !maps.Equal(got, want) {
		return fmt.Sprintf("%v, want %v (%d repairs)", got, want, len(list))
	}
	return ""
}

// crashes stops apply, and an undo after it, before each of their operations, with
// a disk that kept nothing of what was not synced, and one that kept all of it.
func crashes(skip int) (problems []string, points int) {
	for _, undo := range []bool{false, true} {
		for _, all := range []bool{false, true} {
			for at := 1; ; at++ {
				m := newModel()
				m.skip = skip
				j := journal(m)
				id := ""
				if undo {
					r, err := j.Apply(plan())
					if err != nil {
						return []string{err.Error()}, points
					}
					id = r.Plan.ID
					m.ops = 0
				}
				m.crashAt = at
				crashed := attempt(func() {
					if undo {
						_, _ = j.Undo(id)
					} else {
						_, _ = j.Apply(plan())
					}
				})
				m.reboot(all)
				points++
				bad := consistentAfter(m, undo)
				if bad != "" {
					problems = append(problems, fmt.Sprintf("undo %v, kept %v, before operation %d: %s", undo, all, at, bad))
				}
				if !crashed {
					break
				}
			}
		}
	}
	return problems, points
}

// consistentAfter also asks again for an undo that a crash stopped: it was a
// person's wish, and the journal still says applied.
func consistentAfter(m *model, undo bool) string {
	if !undo {
		return consistent(m)
	}
	j := journal(m)
	list, err := j.List()
	if err != nil || len(list) != 1 {
		return fmt.Sprintf("%d repairs: %v", len(list), err)
	}
	if _, err := j.Undo(list[0].Plan.ID); err != nil {
		return err.Error()
	}
	if got := m.contents(); !maps.Equal(got, before) {
		return fmt.Sprint(got)
	}
	return ""
}

func TestCrashes(t *testing.T) {
	problems, points := crashes(0)
	for _, p := range problems {
		t.Error(p)
	}
	if points < 50 {
		t.Errorf("only %d points", points)
	}
}

// TestMissingSyncs looks that the model would find a sync that is missing: of the
// plan, its directory, each new content, and the last new name. (The fourth, of the
// first new name, is covered by that of the second, in the same directory.)
func TestMissingSyncs(t *testing.T) {
	for _, skip := range []int{1, 2, 3, 5, 6} {
		if problems, _ := crashes(skip); len(problems) == 0 {
			t.Errorf("sync %d can be left out", skip)
		}
	}
}

// TestFailures makes each operation fail, as a full disk does: the repair says so,
// and nothing is changed by half.
func TestFailures(t *testing.T) {
	for at := 1; at < 100; at++ {
		m := newModel()
		m.failAt = at
		_, err := journal(m).Apply(plan())
		if err == nil {
			if at < 10 {
				t.Errorf("only %d operations", at)
			}
			return
		}
		m.failAt = 0
		if bad := consistent(m); bad != "" {
			t.Errorf("operation %d failed: %s", at, bad)
		}
	}
}

func TestForeignEdits(t *testing.T) {
	m := newModel()
	m.now["/etc/a"].data = "edited"
	if _, err := journal(m).Apply(plan()); !errors.Is(err, ErrConflict) || m.kernel["/k"] != "1" {
		t.Errorf("a foreign edit before the plan: %v", err)
	}
	m = newModel()
	j := journal(m)
	r, err := j.Apply(plan())
	if err != nil {
		t.Fatal(err)
	}
	m.now["/etc/a"].data = "edited"
	r, err = j.Undo(r.Plan.ID)
	if !errors.Is(err, ErrConflict) || r.End != Conflict || m.now["/etc/a"].data != "edited" || m.kernel["/k"] != "1" || m.now["/etc/new"] != nil {
		t.Errorf("a foreign edit after it: %+v %v %v", r, err, m.contents())
	}
}

// TestOtherNetns: the names of settings reach only those of the own namespace.
func TestOtherNetns(t *testing.T) {
	m := newModel()
	j := journal(m)
	p := plan()
	p.Netns = "net:[7]"
	r, err := j.Apply(p)
	if err != nil {
		t.Fatal(err)
	}
	j.Netns = "host"
	if _, err := j.Undo(r.Plan.ID); err == nil || !maps.Equal(m.contents(), after) {
		t.Errorf("undone from another namespace: %v", err)
	}
	j.Netns = "net:[7]"
	if _, err := j.Undo(r.Plan.ID); err != nil || !maps.Equal(m.contents(), before) {
		t.Errorf("not undone: %v", err)
	}
}

// TestDoesNotTake: the kernel clamps a value.
func TestDoesNotTake(t *testing.T) {
	m := newModel()
	w := &clamping{m.World()}
	j := &Journal{World: w, Now: time.Now}
	if _, err := j.Apply(plan()); err == nil || !strings.Contains(err.Error(), "did not take") {
		t.Errorf("%v", err)
	}
	if !maps.Equal(m.contents(), before) && m.kernel["/k"] != "7" {
		t.Errorf("%v", m.contents())
	}
}

type clamping struct{ World }

func (c *clamping) Put(kind, path string, s State) error {
	if kind == "sysctl" && string(s.Data) == "2" {
		s.Data = []byte("7")
	}
	return c.World.Put(kind, path, s)
}

func FuzzJournal(f *testing.F) {
	b, _ := encode(record{Type: "plan", Plan: plan()})
	f.Add(b)
	f.Add(append(b, "00000000 {}\n"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := len(decode(b))
		if m := len(decode(append(b, "torn"...))); m > n {
			t.Errorf("a torn line gave %d records of %d", m, n)
		}
	})
}
