package knowledge

import (
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
)

// words reads the patterns by which a cause is named: "words" are sentences
// that programs or the kernel write, in whatever log; "said" is how people speak
// of it, and is looked for only where a person spoke. They become two lines of
// evidence: a log proves much, what somebody said less. In expressions of the
// file both are $words.
func (m mapping) words() []diagnosis.Line {
	words, said := m.strs("words"), m.strs("said")
	if len(words)+len(said) == 0 {
		return nil
	}
	at := m.at["words"]
	if len(words) == 0 {
		at = m.at["said"]
	}
	text := func(s string) diagnosis.Text { return diagnosis.Text{S: s, Pos: at} }
	seen := 5
	spoken := "symptom.text matches " + pattern(append(words, said...))
	lines := []diagnosis.Line{
		{If: text(spoken), Weight: text("strong"), Seen: &seen, Says: text("what was said about it names it")},
	}
	m.d.words = spoken
	if len(words) > 0 {
		r := pattern(words)
		logs := "log.text matches " + r + " or log.receiver_text matches " + r + " or host.kernel_text matches " + r
		lines = append(lines, diagnosis.Line{If: text(logs), Weight: text("proof"), Seen: &seen, Says: text("a log of one of the ends, or the kernel's, names it")})
		m.d.words = logs + " or " + spoken
	}
	return lines
}

// pattern is any of the patterns, as expressions write it.
func pattern(list []string) string {
	return `"(?i)` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.Join(list, "|")) + `"`
}
