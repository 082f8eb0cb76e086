package diagnosis

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"sync/atomic"
)

// pattern is a regular expression with the words of which one must stand in
// any text that it matches. Most patterns ask for a word that a log does not
// contain; without the words a diagnosis of two logs of 4 KiB takes twelve times as long
// (33 against 3 ms, BenchmarkExplainLog in package knowledge).
type pattern struct {
	re    *regexp.Regexp
	words []string // in lower case; none when no word is certain
	lower *lowered
}

// lowered remembers the latest text in lower case: one diagnosis asks many
// patterns about the same log.
type lowered struct{ last atomic.Pointer[[2]string] }

// latest is shared by all patterns; expressions are compiled one by one and
// know nothing of each other.
var latest lowered

func (l *lowered) of(text string) string {
	if p := l.last.Load(); p != nil && p[0] == text {
		return p[1]
	}
	// (?i)s also matches a long s, which has no lower case
	p := &[2]string{text, strings.ReplaceAll(strings.ToLower(text), "\u017f", "s")}
	l.last.Store(p)
	return p[1]
}

// shortest is the length below which a word is no use: it is in every text.
const shortest = 2

func newPattern(expr string, lower *lowered) (*pattern, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	p := &pattern{re: re, lower: lower}
	if tree, err := syntax.Parse(expr, syntax.Perl); err == nil {
		if words := certain(tree); shortestOf(words) >= shortest {
			p.words = words
		}
	}
	return p, nil
}

func (p *pattern) match(text string) bool {
	if len(p.words) > 0 && !p.possible(text) {
		return false
	}
	return p.re.MatchString(text)
}

// possible says whether one of the words stands in the text.
func (p *pattern) possible(text string) bool {
	low := p.lower.of(text)
	for _, w := range p.words {
		if strings.Contains(low, w) {
			return true
		}
	}
	return false
}

// certain returns words, in lower case, of which at least one is in every text
// that the expression matches; none when there is no such list.
func certain(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return literal(re.Rune)
	case syntax.OpCapture, syntax.OpPlus:
		return certain(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return certain(re.Sub[0])
		}
	case syntax.OpConcat: // the part with the longest words stands for all
		var best []string
		for _, sub := range re.Sub {
			if words := certain(sub); shortestOf(words) > shortestOf(best) {
				best = words
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			words := certain(sub)
			if len(words) == 0 {
				return nil
			}
			all = append(all, words...)
		}
		return all
	}
	return nil
}

// literal returns the word if it is ASCII, whose cases fold in known ways.
func literal(runes []rune) []string {
	for _, r := range runes {
		if r > '~' {
			return nil
		}
	}
	return []string{strings.ToLower(string(runes))}
}

func shortestOf(words []string) int {
	if len(words) == 0 {
		return 0
	}
	n := len(words[0])
	for _, w := range words {
		n = min(n, len(w))
	}
	return n
}
