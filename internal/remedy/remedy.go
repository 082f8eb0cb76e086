// Package remedy turns the advices of an audit into a plan that repair can carry
// out: settings of the kernel with the file that keeps them, and patches of server
// configurations with the server's own test and its reload. What it does not
// understand, or what belongs to somebody else, it leaves alone and says so.
package remedy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/internal/audit"
	"github.com/holdfast-project/holdfast/internal/conf"
	"github.com/holdfast-project/holdfast/internal/hostdoc"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/repair"
)

// Options say what may be changed.
type Options struct {
	Edit      bool // configuration files of servers too
	All       bool // for latent advices too
	SysctlDir string
	Host      *linux.Host
}

// Plan is a repair with what people want to know before they agree.
type Plan struct {
	repair.Plan
	Interrupts []string `json:"interrupts,omitempty"`
	Effect     string   `json:"effect,omitempty"`
}

// dropIn is the file of ours that keeps settings over a restart. Its name sorts
// behind others.
const dropIn = "zz-holdfast.conf"

// planner is a plan in the making.
type planner struct {
	doc   *hostdoc.Host
	opt   Options
	world repair.Host
	out   Plan
	left  []string
	edits map[string][]audit.Action // by file
	keep  []string                  // lines for the drop-in
}

// Make plans the changes of an audit. left says what is not changed, and why.
func Make(doc *hostdoc.Host, res *audit.Result, opt Options) (p *Plan, left []string, err error) {
	m := planner{doc: doc, opt: opt, edits: map[string][]audit.Action{}}
	var order []string
	for i := range res.Advices {
		a := &res.Advices[i]
		if a.Severity == audit.Latent && !opt.All {
			continue
		}
		if len(a.Actions) == 0 {
			m.leave(a, "it is for you to do: "+a.Fix.Title)
			continue
		}
		for _, x := range a.Actions {
			switch x.Kind {
			case "sysctl":
				m.sysctl(a, x)
			case "edit":
				if why := m.mayEdit(a, x); why != "" {
					m.leave(a, why)
					continue
				}
				if m.edits[x.Edit.File] == nil {
					order = append(order, x.Edit.File)
				}
				m.edits[x.Edit.File] = append(m.edits[x.Edit.File], x)
				m.out.Advice = append(m.out.Advice, a.ID)
			}
		}
	}
	m.out.Netns = hostdoc.OwnNetns(opt.Host)
	m.dropIn()
	for _, f := range order {
		m.edit(f)
	}
	return &m.out, m.left, nil
}

func (m *planner) leave(a *audit.Advice, why string) {
	m.left = append(m.left, a.ID+" ("+a.Subject+"): "+why)
}

// space is a namespace by its id.
func (m *planner) space(id string) *hostdoc.Namespace {
	for i := range m.doc.Namespaces {
		if m.doc.Namespaces[i].ID == id {
			return &m.doc.Namespaces[i]
		}
	}
	return nil
}

func (m *planner) sysctl(a *audit.Advice, x audit.Action) {
	n := m.space(x.Namespace)
	if n == nil || !n.Own {
		m.leave(a, "the setting belongs to the namespace "+x.Namespace+": give it to what starts the container")
		return
	}
	target := "/proc/sys/" + strings.ReplaceAll(x.Key, ".", "/")
	before, err := m.world.Look("sysctl", target)
	if err != nil || !before.Exists {
		m.leave(a, fmt.Sprintf("%s cannot be read: %v", x.Key, err))
		return
	}
	if slices.ContainsFunc(m.out.Steps, func(s repair.Step) bool { return s.Target == target }) {
		return
	}
	m.out.Steps = append(m.out.Steps, repair.Step{Kind: "sysctl", Target: target, What: fmt.Sprintf("set %s from %s to %s", x.Key, before.Data, x.Value), Before: before, After: with(before, x.Value)})
	m.out.Advice = append(m.out.Advice, a.ID)
	switch {
	case !n.Host:
		m.leave(a, "changed until the namespace ends: nothing keeps settings of a namespace over its end")
	case m.laterFile(x.Key) != "":
		m.leave(a, "changed until the next start only: "+m.laterFile(x.Key)+" asks for another value, and is read later")
	default:
		m.keep = append(m.keep, x.Key+" = "+x.Value)
	}
}

// laterFile names a file that is read behind ours and sets the key.
func (m *planner) laterFile(key string) string {
	for _, f := range m.doc.SysctlFiles {
		if f.Key == key && path.Base(f.File) > dropIn {
			return f.File
		}
	}
	return ""
}

// with is a state with another content.
func with(s repair.State, content string) repair.State {
	sum := sha256.Sum256([]byte(content))
	s.Exists, s.Hash, s.Data = true, hex.EncodeToString(sum[:]), []byte(content)
	return s
}

func (m *planner) dropIn() {
	if len(m.keep) == 0 {
		return
	}
	target := filepath.Join(m.opt.SysctlDir, dropIn)
	before, err := m.world.Look("file", target)
	if err != nil {
		m.left = append(m.left, fmt.Sprintf("the settings last until the next start only: %v", err))
		return
	}
	after := before
	if !before.Exists {
		after = repair.State{Mode: 0o644}
	}
	text := string(before.Data)
	if text == "" {
		text = "# Written by holdfast check --fix. holdfast check --undo takes it back; the file may be deleted.\n"
	}
	var lines []string
	for line := range strings.Lines(text) { // one line for each setting
		key, _, _ := strings.Cut(line, "=")
		if !slices.ContainsFunc(m.keep, func(k string) bool { return strings.HasPrefix(k, strings.TrimSpace(key)+" =") }) {
			lines = append(lines, line)
		}
	}
	m.out.Steps = append(m.out.Steps, repair.Step{Kind: "file", Target: target, What: "keep it over a restart in " + target, Before: before,
		After: with(after, strings.Join(lines, "")+strings.Join(m.keep, "\n")+"\n")})
}

// generated recognises files that a program writes again.
var generated = regexp.MustCompile(`(?i)(managed by|generated (by|from)|do not edit|automatically (created|generated))`)

// mayEdit says why a file is left alone; empty: it may be changed.
func (m *planner) mayEdit(a *audit.Advice, x audit.Action) string {
	s := m.doc.Service(x.Service)
	switch {
	case !m.opt.Edit:
		return "it changes " + x.Edit.File + ": --edit allows that"
	case s == nil || s.Config == nil || s.Live == nil:
		return "the service is not known"
	case s.Container != "":
		return "the file belongs to a container"
	}
	if _, ok := controls[s.Product]; !ok {
		return s.Product + " does not take a new value while it runs: change " + x.Edit.File + " and restart it"
	}
	for _, p := range s.Config.Problems {
		if p.File == x.Edit.File {
			return "not all of it is understood: " + p.String()
		}
	}
	real, err := filepath.EvalSymlinks(x.Edit.File)
	if err != nil {
		return err.Error()
	}
	root, err := filepath.EvalSymlinks(path.Dir(s.Config.Main))
	if err != nil || !strings.HasPrefix(real, root+"/") {
		return x.Edit.File + " leads out of " + path.Dir(s.Config.Main)
	}
	b, err := os.ReadFile(real)
	if err != nil {
		return err.Error()
	}
	if head := b[:min(len(b), 2048)]; generated.Match(head) {
		return x.Edit.File + " says that a program writes it"
	}
	if s.Product == "haproxy" && !slices.ContainsFunc(m.opt.Host.Arguments(s.Live.PIDs[0]), func(a string) bool { return strings.HasPrefix(a, "-W") }) {
		return "HAProxy runs without a master (-W): it must be restarted to read its file again"
	}
	return ""
}

// control is how a product is asked and told.
type control struct {
	test   func(exe string, c *serverConfig) []string // nil: it has no test
	signal string
	says   string
}

type serverConfig struct {
	main string
	argv []string
}

// controls of the products whose files may be changed while they run.
var controls = map[string]control{
	"nginx": {test: func(exe string, c *serverConfig) []string {
		return append([]string{exe, "-t", "-q"}, keepFlags(c, "-c", "-p", "-g")...)
	}, signal: "SIGHUP", says: "nginx reads its files again; its old workers finish what they have"},
	"haproxy": {test: func(exe string, c *serverConfig) []string {
		return append([]string{exe, "-c", "-q"}, keepFlags(c, "-f")...)
	}, signal: "SIGUSR2", says: "HAProxy starts a new worker; the old one finishes what it has"},
	"apache": {test: func(exe string, c *serverConfig) []string {
		return append([]string{exe, "-t"}, keepFlags(c, "-f", "-d")...)
	}, signal: "SIGUSR1", says: "Apache restarts gracefully"},
	"sshd":       {test: func(exe string, c *serverConfig) []string { return append([]string{exe, "-t"}, keepFlags(c, "-f")...) }, signal: "SIGHUP", says: "sshd reads its file again; sessions stay"},
	"postgresql": {signal: "SIGHUP", says: "PostgreSQL reads its files again; sessions stay"},
}

// keepFlags repeats options of the running process, so that the test reads the same
// files.
func keepFlags(c *serverConfig, names ...string) (list []string) {
	for i, a := range c.argv {
		if slices.Contains(names, a) && i+1 < len(c.argv) && a != "-g" {
			list = append(list, a, c.argv[i+1])
		}
	}
	if len(list) == 0 && c.main != "" {
		list = []string{names[0], c.main}
	}
	return list
}

// edit plans the patches of one file.
func (m *planner) edit(file string) {
	list := m.edits[file]
	s := m.doc.Service(list[0].Service)
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		m.left = append(m.left, err.Error())
		return
	}
	before, err := m.world.Look("file", target)
	if err != nil {
		m.left = append(m.left, err.Error())
		return
	}
	var edits []conf.Edit
	var what []string
	for _, x := range list {
		if !slices.ContainsFunc(edits, func(e conf.Edit) bool { return e.Start == x.Edit.Start && e.End == x.Edit.End }) {
			edits = append(edits, x.Edit)
			what = append(what, strings.TrimSpace(x.Edit.Text))
		}
	}
	after, err := conf.Apply(before.Data, edits...)
	if err != nil {
		m.left = append(m.left, err.Error())
		return
	}
	m.out.Effect = "Whether it helped is seen from who closes first: holdfast check --chains, after a minute of traffic."
	m.out.Steps = append(m.out.Steps, repair.Step{Kind: "file", Target: target, What: "change " + target + ": " + strings.Join(what, ", "), Before: before, After: with(before, string(after))})
	m.reload(s)
}

// reload adds the test and the reload of a service once.
func (m *planner) reload(s *hostdoc.Service) {
	c := controls[s.Product]
	pid := s.Live.PIDs[0]
	if slices.ContainsFunc(m.out.Reload, func(r repair.Reload) bool { return r.PID == pid }) {
		return
	}
	p, err := m.opt.Host.Process(pid)
	if err != nil {
		m.left = append(m.left, fmt.Sprintf("%s is not told: %v", s.ID, err))
		return
	}
	if c.test != nil {
		m.out.Tests = append(m.out.Tests, repair.Test{Argv: c.test(s.Exe, &serverConfig{s.Config.Main, m.opt.Host.Arguments(pid)})})
	}
	m.out.Reload = append(m.out.Reload, repair.Reload{PID: pid, Start: p.StartTicks, Signal: c.signal, What: c.says + " (" + s.ID + ")"})
	open := 0
	for i := range m.doc.Namespaces {
		for _, l := range m.doc.Namespaces[i].Listeners {
			if l.Service == s.ID && l.Live != nil {
				open += l.Live.Connections
			}
		}
	}
	if open > 0 && s.Product != "postgresql" && s.Product != "sshd" {
		m.out.Interrupts = append(m.out.Interrupts, fmt.Sprintf("up to %d connections of clients of %s that are idle now are closed by the reload", open, s.ID))
	}
}

// Lines show a step as a difference, without what stays the same.
func Lines(s *repair.Step) (list []string) {
	if s.Kind == "sysctl" {
		return nil
	}
	a, b := strings.Split(string(s.Before.Data), "\n"), strings.Split(string(s.After.Data), "\n")
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	x, y := len(a), len(b)
	for x > i && y > i && a[x-1] == b[y-1] {
		x, y = x-1, y-1
	}
	for _, l := range a[i:x] {
		list = append(list, "- "+l)
	}
	for _, l := range b[i:y] {
		list = append(list, "+ "+l)
	}
	return list
}
