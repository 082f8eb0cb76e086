package knowledge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
)

func TestEmbeddedIsClean(t *testing.T) {
	for _, p := range Lint("", nil) {
		t.Error(p.Error())
	}
}

func TestEmbeddedCases(t *testing.T) {
	base, err := Load()
	if err != nil {
		t.Error(err)
	}
	for _, f := range Test(base) {
		t.Error(f.Error())
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSkeletonIsSound(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "my-cause.yaml", Skeleton("my-cause"))
	for _, p := range Lint(dir, nil) {
		t.Error(p.Error())
	}
	base, err := Load(dir)
	if err != nil {
		t.Log(err)
	}
	for _, f := range Test(base) {
		if f.ID == "my-cause" {
			t.Error(f.Error())
		}
	}
}

func TestUserFileOverrides(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "causes/my-cause.yaml", Skeleton("my-cause"))
	second := t.TempDir()
	write(t, second, "my-cause.yaml", strings.Replace(Skeleton("my-cause"), "title: The proxy", "title: Another proxy", 1))
	base, _ := Load(dir, second, filepath.Join(dir, "missing"))
	c, ok := base.Cause("my-cause")
	if !ok || !strings.HasPrefix(c.Title, "Another proxy") || c.Overrides != filepath.Join(dir, "causes/my-cause.yaml") {
		t.Errorf("got %+v", c)
	}
}

func TestBrokenOverrideKeepsTheOriginal(t *testing.T) {
	dir, second := t.TempDir(), t.TempDir()
	write(t, dir, "my-cause.yaml", Skeleton("my-cause"))
	write(t, second, "my-cause.yaml", strings.Replace(Skeleton("my-cause"), "sender.reason ==", "sender.raeson ==", 1))
	base, err := Load(dir, second)
	if c, ok := base.Cause("my-cause"); err == nil || !ok || c.Overrides != "" {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestCasesNeedNotBeLast(t *testing.T) {
	dir := t.TempDir()
	head, cases, _ := strings.Cut(Skeleton("my-cause"), "cases:")
	title, rest, _ := strings.Cut(head, "class:")
	write(t, dir, "my-cause.yaml", title+"cases:"+cases+"class:"+rest)
	write(t, dir, "second.yaml", strings.ReplaceAll(Skeleton("second"), "\n", "\r\n"))
	write(t, dir, ".hidden.yaml", "[")
	write(t, dir, "notes.txt", "[")
	for _, p := range Lint(dir, nil) {
		t.Error(p.Error())
	}
	t.Chdir(dir)
	write(t, dir, "third.yaml", strings.Replace(Skeleton("third"), "not: third", "not: thrid", 1))
	if p := Lint(".", func(string) bool { return false }); len(p) != 2 || p[0].Pos.File != "third.yaml" {
		t.Errorf("%v", p)
	}
	base, _ := Load(dir)
	c, _ := base.Cause("my-cause")
	if n := len(tests(c.Cases)); n != 2 {
		t.Errorf("%d cases", n)
	}
}

func TestFailuresExplainThemselves(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "my-cause.yaml", strings.Replace(Skeleton("my-cause"), "cause: my-cause, grade: proved}", "cause: my-cause, grade: unknown, sender_grade: possible, harmful: false}", 1))
	base, _ := Load(dir)
	for _, f := range Test(base) {
		if f.ID == "my-cause" {
			for _, want := range []string{"my-cause.yaml:44:5: case", "grade should be unknown", "sender's grade should be possible", "harmful should be false", "sender.proc.name"} {
				if !strings.Contains(f.Error(), want) {
					t.Errorf("no %s in %s", want, f.Error())
				}
			}
			return
		}
	}
	t.Error("no failure")
}

func FuzzDecode(f *testing.F) {
	f.Add(Skeleton("x"))
	f.Add("lab: {none: x}\nfacts: 1\nevidence: [{if: |\n a\n, weight: .inf}]\ncases:\n- {not: x, facts: {a: {value: 1, by: x}}}")
	f.Fuzz(func(t *testing.T, s string) {
		from := source{"f", 0, nil, func() ([]byte, error) { return []byte(s), nil }}
		c, problems := decodeCause(from, s)
		tests(c.Cases)
		sender, more := decodeSender(from, s)
		_, compiled := diagnosis.Compile([]diagnosis.SenderSpec{sender}, []diagnosis.CauseSpec{c})
		for _, p := range append(append(problems, more...), compiled...) {
			if p.Message == "" {
				t.Error("empty problem")
			}
		}
	})
}

func TestProblemsNameTheirPlace(t *testing.T) {
	dir := t.TempDir()
	bad := func(name, from, to string) {
		s := Skeleton(name)
		if !strings.Contains(s, from) {
			t.Fatalf("no %q in the skeleton", from)
		}
		write(t, dir, name+".yaml", strings.Replace(s, from, to, 1))
	}
	bad("unknown-fact", `- sender.sock.unread_bytes > 0`, `- sender.sock.unred_bytes > 0`)
	bad("quoted", `- sender.sock.unread_bytes > 0`, `- 'sender.sock.unread_bytes > "x"'`)
	bad("folded", `- sender.sock.unread_bytes > 0`, "- >-\n      sender.sock.unread_bytes > 0\n      and rst.sen")
	bad("wrong-template", "{{.sender.role}}", "{{.sender.rolle}}")
	bad("wrong-class", "class: software-bug", "class: software-bugs")
	bad("wrong-id", "id: wrong-id", "id: other-id")
	write(t, dir, "causes/wrong-class.yaml", Skeleton("wrong-class"))
	write(t, dir, "no-yaml.yaml", "id: [")
	write(t, dir, "unknown-key.yaml", Skeleton("unknown-key")+"evidense: []\n")
	_, err := Load(dir)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`/unknown-fact.yaml:11:5: unknown fact "sender.sock.unred_bytes" (did you mean sender.sock.unread_bytes?)`,
		`/quoted.yaml:11:6: > cannot stand between a number and a string`,
		`/folded.yaml:13:11: unknown fact "rst.sen" (did you mean rst.seen?)`,
		`unknown key "evidense" in a cause (did you mean "evidence"?)`,
		`/wrong-template.yaml:21:38: template: unknown fact "sender.rolle" (did you mean sender.role?)`,
		`/wrong-class.yaml:5:1: unknown class "software-bugs"`,
		`id "other-id" in a file named wrong-id.yaml`,
		`cause wrong-class is also defined in`,
		`/no-yaml.yaml:1:`,
		"hint: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in\n%v", want, err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(); err != nil {
			b.Log(err)
		}
	}
}

// firstCases returns the first case of every embedded cause.
func firstCases(base *diagnosis.Base) (cases []*fact.Case) {
	for _, c := range base.Causes() {
		if list := tests(c.Cases); len(list) > 0 {
			k, _ := caseOf(&list[0])
			cases = append(cases, k)
		}
	}
	return cases
}

// BenchmarkExplain diagnoses the first case of every embedded cause.
func BenchmarkExplain(b *testing.B) {
	base, _ := Load()
	cases := firstCases(base)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		base.Explain(cases[i%len(cases)], diagnosis.Options{})
	}
}

// BenchmarkExplainLog is BenchmarkExplain with what both ends logged, 4 KiB each.
func BenchmarkExplainLog(b *testing.B) {
	base, _ := Load()
	cases := firstCases(base)
	var logs []string
	for n := range 7 {
		var s strings.Builder
		for i := range 30 {
			fmt.Fprintf(&s, "2026/11/30 10:00:%02d [info] 1234#1234: *%d client 10.0.0.1 closed keepalive connection, server: 0.0.0.0:80\n", i, n*100+i)
		}
		logs = append(logs, s.String())
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := *cases[i%len(cases)]
		c.Log.Text, c.Log.ReceiverText = fact.SomeBy(logs[i%7], fact.ByLog), fact.SomeBy(logs[(i+3)%7], fact.ByLog)
		base.Explain(&c, diagnosis.Options{})
	}
}
