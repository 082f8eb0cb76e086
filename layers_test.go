package holdfast_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/holdfast-project/holdfast/"

// mayImport is the architecture: each package, and which of ours it may import.
// ARCHITECTURE.md says why. Imports only go downward; sources never import
// knowledge and knowledge never imports sources, they meet in fact.
var mayImport = map[string]string{
	"fact":               "",
	"packet":             "",
	"proto":              "",
	"tcp":                "packet",
	"diagnosis":          "fact",
	"knowledge":          "fact diagnosis",
	"internal/capture":   "fact packet proto tcp",
	"internal/netlink":   "",
	"internal/netnstest": "",
	"internal/linux":     "internal/netlink",
	"internal/nft":       "internal/linux internal/netlink",
	"internal/logs":      "fact internal/linux",
	"internal/trace":     "fact internal/linux",
	"internal/traffic":   "packet",
	"internal/synth":     "",
	"internal/probe":     "fact proto",
	"internal/conf":      "",
	"internal/servers":   "internal/conf",
	"internal/hostdoc":   "internal/conf internal/linux internal/nft internal/servers",
	"internal/chain":     "internal/hostdoc internal/servers",
	"internal/repair":    "internal/linux",
	"internal/remedy":    "internal/audit internal/conf internal/hostdoc internal/linux internal/repair",
	"internal/audit":     "fact internal/chain internal/conf internal/hostdoc internal/servers",
	"internal/report":    "fact diagnosis",
	"internal/lab":       "knowledge internal/linux packet",
	"internal/lab/storm": "",
	"internal/field":     "fact",
	"internal/handbook":  "fact diagnosis knowledge",
	"internal/logline":   "",
	"internal/daemon":    "fact diagnosis knowledge internal/capture internal/report internal/linux internal/nft internal/logs internal/trace",
	"internal/cli":       "internal/netnstest internal/audit internal/chain internal/hostdoc internal/remedy internal/repair fact diagnosis knowledge internal/daemon internal/lab internal/lab/storm internal/linux internal/logs internal/report internal/trace internal/capture internal/field internal/handbook internal/logline internal/probe packet steady/framing steady/resettest steady/relay internal/synth",
	"cmd/holdfast":       "internal/cli",
	"steady":             "",
	"steady/drain":       "",
	"steady/framing":     "",
	"steady/handover":    "steady/drain",
	"steady/relay":       "",
	"steady/tap":         "steady",
	"steady/resettest":   "steady/framing",
}

// onlyIn names modules and standard packages that one or two of our packages
// keep to themselves, with the reason.
var onlyIn = []struct{ imported, pkg, why string }{
	{"github.com/cilium/ebpf", "internal/trace", "only internal/trace speaks to the kernel verifier"},
	{"os/exec", "internal/lab internal/lab/storm internal/field internal/netnstest internal/repair", "read /proc or use a socket instead of running a program"},
	{"github.com/spf13/cobra", "internal/cli", "only the command line parses flags"},
	{"github.com/modelcontextprotocol/go-sdk", "internal/cli", "assistants ask the command line"},
}

// pure are the packages that also build for wasm, macOS and Windows.
var pure = []string{"fact", "packet", "proto", "tcp", "diagnosis", "knowledge"}

// impure are what a pure package may not import: I/O, processes, the network.
var impure = []string{"net", "net/http", "os/exec", "os/signal", "syscall", "golang.org/x/sys/unix"}

// TestLayers reads the files itself, not through the go command, so that the
// test cache sees every change.
func TestLayers(t *testing.T) {
	seen := map[string]bool{}
	eachFile(t, func(path string, f *ast.File) {
		pkg := filepath.ToSlash(filepath.Dir(path))
		allowed, ok := mayImport[pkg]
		if !ok {
			t.Errorf("%s: package %s needs a line in mayImport", path, pkg)
			return
		}
		seen[pkg] = true
		for _, imp := range f.Imports {
			checkImport(t, path, pkg, strings.Trim(imp.Path.Value, `"`), strings.Fields(allowed))
		}
	})
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("%s is in mayImport and has no files", pkg)
		}
	}
}

func checkImport(t *testing.T, path, pkg, imp string, allowed []string) {
	t.Helper()
	if dep, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(allowed, dep) {
		t.Errorf("%s: %s may not import %s", path, pkg, dep)
	}
	for _, o := range onlyIn {
		if (imp == o.imported || strings.HasPrefix(imp, o.imported+"/")) && !slices.Contains(strings.Fields(o.pkg), pkg) {
			t.Errorf("%s: imports %s: %s", path, imp, o.why)
		}
	}
	if slices.Contains(pure, pkg) && slices.Contains(impure, imp) {
		t.Errorf("%s: %s is pure and may not import %s", path, pkg, imp)
	}
}

// eachFile parses every Go file of this module that is not a test.
func eachFile(t *testing.T, visit func(path string, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(path, d.Name())
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		visit(path, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// skipDir leaves out test data, hidden directories and other modules.
func skipDir(path, name string) error {
	if path == "." {
		return nil
	}
	if name == "testdata" || name == "out" || strings.HasPrefix(name, ".") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}
