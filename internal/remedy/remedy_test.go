//go:build linux

package remedy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/internal/audit"
	"github.com/holdfast-project/holdfast/internal/conf"
	"github.com/holdfast-project/holdfast/internal/hostdoc"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/servers"
)

// edit is an audit with one change of one file.
func edit(file, product string, problems []conf.Problem) (*hostdoc.Host, *audit.Result) {
	h := &hostdoc.Host{Services: []hostdoc.Service{{ID: "web", Product: product, Exe: "/usr/sbin/" + product, Live: &hostdoc.ServiceLive{PIDs: []int{os.Getpid()}},
		Config: &servers.Config{Product: product, Main: filepath.Join(filepath.Dir(file), "main.conf"), Problems: problems}}}}
	e := conf.Edit{Span: conf.Span{File: file, Line: 1, Start: 0, End: 3}, Text: "new"}
	return h, &audit.Result{Advices: []audit.Advice{{ID: "x", Subject: "web", Severity: audit.Near, Actions: []audit.Action{{Kind: "edit", Service: "web", Edit: e}}}}}
}

// TestRefused: what is not understood, or belongs to somebody else, is left alone,
// with the reason.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	plain := write("etc/a.conf", "old;\n")
	managed := write("etc/b.conf", "# This file is managed by Puppet. DO NOT EDIT\nold;\n")
	outside := write("elsewhere/c.conf", "old;\n")
	link := filepath.Join(dir, "etc/link.conf")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(dir, "etc/enabled.conf")
	if err := os.Symlink("a.conf", inside); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file, product string
		problems            []conf.Problem
		edit                bool
		want                string // empty: it is planned
	}{
		{"a plain file", plain, "nginx", nil, true, ""},
		{"a link inside the tree", inside, "nginx", nil, true, ""},
		{"not allowed", plain, "nginx", nil, false, "--edit allows that"},
		{"managed by somebody", managed, "nginx", nil, true, "a program writes it"},
		{"a link out of the tree", link, "nginx", nil, true, "leads out of"},
		{"not understood", plain, "nginx", []conf.Problem{{Span: conf.Span{File: plain, Line: 9}, Text: "a quote is not closed"}}, true, "not all of it is understood"},
		{"no reload", plain, "redis", nil, true, "does not take a new value while it runs"},
		{"haproxy without a master", plain, "haproxy", nil, true, "without a master"},
	} {
		h, res := edit(c.file, c.product, c.problems)
		p, left, err := Make(h, res, Options{Edit: c.edit, SysctlDir: dir, Host: &linux.Host{}})
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" {
			if len(p.Steps) != 1 || string(p.Steps[0].After.Data) != "new;\n" || p.Steps[0].Target != plain || len(p.Reload) != 1 || len(p.Tests) != 1 {
				t.Errorf("%s: %+v %v", c.name, p, left)
			}
			continue
		}
		if len(p.Steps) > 0 || len(left) != 1 || !strings.Contains(left[0], c.want) {
			t.Errorf("%s: %d steps, %q, want %q", c.name, len(p.Steps), left, c.want)
		}
	}
}
