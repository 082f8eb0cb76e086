package cli

import (
	"io"
	"strings"
)

// ascii writes for a terminal whose locale has no other characters, one for one,
// so that columns stay in line.
type ascii struct{ w io.Writer }

var asciiForms = strings.NewReplacer(
	"●", "*", "○", "o", "↳", "'", "→", ">", "←", "<", "×", "x", "µ", "u", "…", "~", "✓", "+", "✗", "x", "–", "-", "·", ".",
	"─", "-", "━", "-", "│", "|", "┃", "|", "┌", "+", "┐", "+", "└", "+", "┘", "+", "├", "+", "┤", "+", "┬", "+", "┴", "+", "┼", "+",
	"╌", "-", "╎", "|", "▏", "|", "█", "#", "▁", "_", "▂", "_", "▃", "-", "▄", "-", "▅", "=", "▆", "=", "▇", "#", "≥", ">", "≤", "<", "►", ">", "◄", "<", "▲", "^", "▼", "v",
)

// Write implements io.Writer. It reports what it was given, not what it made of it.
func (a *ascii) Write(b []byte) (int, error) {
	if _, err := io.WriteString(a.w, asciiForms.Replace(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// onlyASCII reports whether the locale is C or POSIX. Without any, as in a
// container, the terminal is taken for a usual one.
func onlyASCII(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			return v == "C" || v == "POSIX"
		}
	}
	return false
}
