// Package field plays faults of production on real servers (nginx, HAProxy,
// PostgreSQL, Redis, Node, gunicorn ...), and ordinary traffic without a fault,
// each in namespaces of its own. What an expert would say of each was written
// down before anybody looked at what Holdfast says.
//
// It differs from the laboratory (internal/lab), whose scenarios make one cause
// each by exact steps: a play here is what an operator does, in a shell, and may
// end in several ways. To debug a play, see its output in the result.
package field

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed data
var data embed.FS

// Expectation is one thing that must be told of a play.
type Expectation struct {
	Who     []string `yaml:"who"`     // sender roles that are right
	Cause   []string `yaml:"cause"`   // cause ids that are right
	General []string `yaml:"general"` // cause ids that are true and say less
	Count   int      `yaml:"count"`   // how many findings at least; 0 is 1
	Silent  bool     `yaml:"silent"`  // to say nothing is no fault: no segment and no error of the kernel shows it
}

// Play is a fault, or ordinary traffic when it expects nothing.
type Play struct {
	ID     string        `yaml:"id"`
	Title  string        `yaml:"title"`
	Expert string        `yaml:"expert"` // what an expert would say
	Needs  []string      `yaml:"needs"`  // programs
	Script string        `yaml:"play"`   // for bash, after data/lib.sh
	Expect []Expectation `yaml:"expect"`
	Also   []string      `yaml:"also"` // causes of further findings that are true
}

// Faults returns the plays with a fault.
func Faults() ([]Play, error) { return load("data/faults.yaml") }

// Traffic returns the plays without a fault.
func Traffic() ([]Play, error) { return load("data/traffic.yaml") }

func load(name string) ([]Play, error) {
	b, err := data.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read plays: %w", err)
	}
	var list []Play
	if err := yaml.UnmarshalWithOptions(b, &list, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return list, nil
}

// Missing returns the programs that a play needs and that are not here.
func (p *Play) Missing() []string {
	return slices.DeleteFunc(slices.Clone(p.Needs), func(name string) bool {
		_, err := exec.LookPath(name)
		return err == nil
	})
}

// searchPath has the directories in which Debian keeps servers.
func searchPath() string {
	path := os.Getenv("PATH") + ":/usr/sbin:/sbin"
	if dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin"); err == nil {
		path += ":" + strings.Join(dirs, ":")
	}
	return path
}

var setPath = sync.OnceFunc(func() { os.Setenv("PATH", searchPath()) }) //nolint:errcheck // of a valid name

// Running is a play that goes on.
type Running struct {
	Cookie uint64 // SO_NETNS_COOKIE of its network namespace

	cmd    *exec.Cmd
	dir    string
	done   chan struct{} // closed when the script has ended or failed
	failed error         // valid after done
	out    output
}

// Done is closed when the script has come to its end; its processes live on
// until Close.
func (r *Running) Done() <-chan struct{} { return r.done }

// Err says how the script failed, after Done.
func (r *Running) Err() error { return r.failed }

// Output is what the script has printed until now.
func (r *Running) Output() string { return r.out.String() }

// Start starts a play. seconds is how long ordinary traffic goes on.
func Start(ctx context.Context, p *Play, seconds int) (*Running, error) {
	setPath()
	lib, err := data.ReadFile("data/lib.sh")
	if err != nil {
		return nil, fmt.Errorf("read lib.sh: %w", err)
	}
	dir, err := os.MkdirTemp("", "holdfast-field-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	r := &Running{dir: dir, done: make(chan struct{})}
	script := fmt.Sprintf("mount -t proc proc /proc\nip link set lo up\nexport D=%s T=%d\n%s\n%s\necho %s\nwait -n 2>/dev/null || true\nsleep 600\n", dir, seconds, lib, p.Script, ended)
	if err := r.start(ctx, script); err != nil {
		os.RemoveAll(dir) //nolint:errcheck // the error at hand says more
		return nil, fmt.Errorf("start play %s: %w", p.ID, err)
	}
	return r, nil
}

// ended is what a script prints when it has come to its end.
const ended = "== the play has ended =="
