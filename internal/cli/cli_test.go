package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-project/holdfast/internal/trace"
)

var update = flag.Bool("update", false, "rewrite golden files and scripts")

// run executes a command line and returns what it printed.
func run(t *testing.T, width int, args ...string) (code int, out, err string) {
	t.Helper()
	var o, e bytes.Buffer
	v := &env{in: strings.NewReader(""), out: &o, err: &e, getenv: func(string) string { return "" }, width: func() int { return width }}
	code = v.run(context.Background(), args)
	return code, o.String(), e.String()
}

func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		code int
		text string
	}{
		{"plain", errors.New("read ring buffer: boom"), codeFindings, "read ring buffer: boom"},
		{"hint", usageError("holdfast --help", "unknown flag"), codeUsage, "unknown flag\n  try: holdfast --help"},
		{"wrapped hint", fmt.Errorf("open: %w", &cliError{codeUnreachable, errors.New("no answer"), "start it"}), codeUnreachable, "open: no answer\n  try: start it"},
		{"access", fmt.Errorf("watch: %w", &trace.AccessError{Op: "load eBPF", Err: os.ErrPermission, Hint: "run it as root"}), codePermission, "watch: load eBPF: permission denied\n  try: run it as root"},
		{"permission", fmt.Errorf("attach: %w", os.ErrPermission), codePermission, "attach: permission denied"},
		{"missing", fmt.Errorf("open x: %w", fs.ErrNotExist), codeNotFound, "open x: file does not exist"},
		{"interrupted", fmt.Errorf("watch: %w", context.Canceled), codeInterrupted, "interrupted"},
		{"quiet", quiet(codeFindings), codeFindings, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, text := describe(c.err); code != c.code || text != c.text {
				t.Errorf("got %d %q, want %d %q", code, text, c.code, c.text)
			}
		})
	}
}

func TestColor(t *testing.T) {
	for _, c := range []struct {
		name  string
		width int
		env   map[string]string
		flag  string
		want  bool
	}{
		{"pipe", 0, nil, "auto", false},
		{"terminal", 80, nil, "auto", true},
		{"NO_COLOR", 80, map[string]string{"NO_COLOR": "1"}, "auto", false},
		{"dumb", 80, map[string]string{"TERM": "dumb"}, "auto", false},
		{"forced", 0, map[string]string{"NO_COLOR": "1"}, "always", true},
		{"never", 80, nil, "never", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &options{color: c.flag, env: &env{getenv: func(k string) string { return c.env[k] }, width: func() int { return c.width }}}
			if got := o.style().Color; got != c.want {
				t.Errorf("colour %v, want %v", got, c.want)
			}
		})
	}
}

// untested are flags that no script or test can exercise, with the reason.
var untested = map[string]string{
	"help":            "cobra's own",
	"no-descriptions": "cobra's own, of completion",
}

// TestEveryFlagIsTested wants the name of each flag in a script or a test.
func TestEveryFlagIsTested(t *testing.T) {
	var text strings.Builder
	for _, pattern := range []string{"testdata/script/*.txtar", "*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(b)
		}
	}
	seen := map[string]bool{}
	for _, c := range commands((&env{}).root()) {
		c.InitDefaultHelpFlag()
		visit := func(f *pflag.Flag) {
			seen[f.Name] = true
			tested := strings.Contains(text.String(), "--"+f.Name) || f.Shorthand != "" && strings.Contains(text.String(), " -"+f.Shorthand+" ")
			if !tested && untested[f.Name] == "" {
				t.Errorf("%s --%s is in no test", c.CommandPath(), f.Name)
			}
		}
		c.Flags().VisitAll(visit)
		c.PersistentFlags().VisitAll(visit)
		if c.Runnable() && !slices.Contains([]string{"help", "completion"}, c.Name()) && !strings.Contains(text.String(), strings.TrimPrefix(c.CommandPath(), "holdfast ")) {
			t.Errorf("%s is in no test", c.CommandPath())
		}
	}
	for name := range untested {
		if !seen[name] && name != "no-descriptions" {
			t.Errorf("--%s is listed as untested and does not exist", name)
		}
	}
}

func commands(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		list = append(list, commands(sub)...)
	}
	return list
}

// TestHelpFitsTheTerminal keeps what people read first within 100 columns.
func TestHelpFitsTheTerminal(t *testing.T) {
	for _, c := range commands((&env{}).root()) {
		if c.Short == "" {
			t.Errorf("%s says nothing about itself", c.CommandPath())
		}
		for line := range strings.Lines(c.Long) {
			if len(line) > 90 {
				t.Errorf("%s: help line too long: %s", c.CommandPath(), line)
			}
		}
	}
}
