package handbook

import (
	_ "embed"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/holdfast-project/holdfast/diagnosis"
)

//go:embed lessons.yaml
var lessonsYAML []byte

// Lesson is one reset to learn from.
type Lesson struct {
	Number     int      `yaml:"-" json:"number"`
	Scenario   string   `yaml:"scenario" json:"scenario"` // of the laboratory: its truth is the lesson's
	Title      string   `yaml:"title" json:"title"`
	Scene      string   `yaml:"scene" json:"scene"`
	Wire       []string `yaml:"wire" json:"wire"`
	Client     string   `yaml:"client" json:"client"` // what the client's program is told
	Server     string   `yaml:"server" json:"server"`
	Error      string   `yaml:"error" json:"error"` // errno of the end that suffers
	Who        Question `yaml:"who" json:"who"`
	WhoBecause string   `yaml:"who_because" json:"who_because"`
	Why        Question `yaml:"why" json:"why"`
	WhyBecause string   `yaml:"why_because" json:"why_because"`
	Remember   string   `yaml:"remember" json:"remember"`
}

// Question has one right answer.
type Question struct {
	Ask   string   `yaml:"ask" json:"ask"`
	Right string   `yaml:"right" json:"right"`
	Wrong []string `yaml:"wrong" json:"wrong"`
}

// Lessons are the built-in lessons, in order.
func Lessons() ([]Lesson, error) {
	var list []Lesson
	if err := yaml.UnmarshalWithOptions(lessonsYAML, &list, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read lessons: %w", err)
	}
	for i := range list {
		list[i].Number = i + 1
	}
	return list, nil
}

// Choices are all answers, in an order that does not tell which is right and
// never changes.
func (q *Question) Choices() []string {
	list := append([]string{q.Right}, q.Wrong...)
	key := func(s string) uint32 {
		h := fnv.New32a()
		_, _ = h.Write([]byte(q.Ask + s))
		return h.Sum32()
	}
	slices.SortFunc(list, func(a, b string) int { return int(key(a)>>1) - int(key(b)>>1) })
	return list
}

// roles are the senders, in words.
var roles = map[string]string{
	"client-app": "the client's program", "client-kernel": "the client's kernel, by itself", "server-app": "the server's program",
	"server-kernel": "the server's kernel, by itself", "local-firewall": "a firewall on the server's own host", "middlebox": "a device between the two",
	"injector": "somebody else, who forged it", "none": "nobody: there was no RST",
}

// Words says an answer in words: a role, or the title of a cause.
func Words(base *diagnosis.Base, answer string) string {
	if s := roles[answer]; s != "" {
		return s
	}
	if c, ok := base.Cause(answer); ok {
		return c.Title
	}
	return answer
}

// Markdown is the lesson as a document, with the answers below the questions.
func (l *Lesson) Markdown(base *diagnosis.Base) string {
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	w("<!-- Generated from internal/handbook/lessons.yaml; go test ./internal/handbook -update -->\n\n# %d. %s\n\n%s\n\n", l.Number, escape(l.Title), escape(l.Scene))
	w("```text\n%s\n```\n\n- the client is told: %s\n- the server is told: %s\n\n", strings.Join(l.Wire, "\n"), escape(l.Client), escape(l.Server))
	ask := func(q *Question, because string) {
		w("## %s\n\n", escape(q.Ask))
		for i, c := range q.Choices() {
			w("%d. %s\n", i+1, escape(Words(base, c)))
		}
		w("\n<details><summary>Answer</summary>\n\n**%s.** %s\n\n</details>\n\n", escape(Words(base, q.Right)), escape(because))
	}
	ask(&l.Who, l.WhoBecause)
	ask(&l.Why, l.WhyBecause)
	w("## Remember\n\n%s\n\n", escape(l.Remember))
	w("See it happen, and see what Holdfast says: `sudo holdfast lab run %s --details --why`. The page of the cause: [%s](../causes/%s.md).\n", l.Scenario, l.Why.Right, l.Why.Right)
	return b.String()
}

// LessonDocs are docs/learn by file name.
func LessonDocs(base *diagnosis.Base) (map[string]string, error) {
	list, err := Lessons()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("<!-- Generated from internal/handbook/lessons.yaml; go test ./internal/handbook -update -->\n\n# Twelve resets\n\n")
	b.WriteString("Each shows the wire and what both ends were told, asks who sent the reset and why, and explains. `holdfast lab learn` asks the\nsame in the terminal; no root is needed for it.\n\n")
	docs := map[string]string{}
	for i := range list {
		l := &list[i]
		name := fmt.Sprintf("%02d-%s.md", l.Number, l.Scenario)
		docs[name] = l.Markdown(base)
		fmt.Fprintf(&b, "%d. [%s](%s)\n", l.Number, escape(l.Title), name)
	}
	docs["README.md"] = b.String()
	return docs, nil
}
