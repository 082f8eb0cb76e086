package knowledge

import (
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
)

// words reads the patterns by which a log of either end, the kernel's messages
// or a person name a cause. They become two lines of evidence: a log proves
// much, what somebody said less. In expressions of the file they are $words.
func (m mapping) words() []diagnosis.Line {
	list := m.texts("words")
	if len(list) == 0 {
		return nil
	}
	pattern := make([]string, len(list))
	for i, t := range list {
		pattern[i] = t.S
	}
	r := quoted("(?i)" + strings.Join(pattern, "|"))
	logs := "log.text matches " + r + " or log.victim_text matches " + r + " or host.kernel_text matches " + r
	said := "symptom.text matches " + r
	m.d.words = logs + " or " + said
	at := list[0].Pos
	text := func(s string) diagnosis.Text { return diagnosis.Text{S: s, Pos: at} }
	seen := 5
	return []diagnosis.Line{
		{If: text(logs), Weight: text("proof"), Seen: &seen, Says: text("a log of one of the ends, or the kernel's, names it")},
		{If: text(said), Weight: text("strong"), Seen: &seen, Says: text("what was said about it names it")},
	}
}

// quoted writes a string as expressions want it.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
