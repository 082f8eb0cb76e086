package logline

import (
	"regexp/syntax"
	"slices"
	"strings"
)

// words finds which of many words are in a text, in one pass over it (Aho and
// Corasick 1975). A word may stand for several forms.
type words struct {
	next [][256]int32
	out  [][]int32 // forms whose word ends in this state
}

func newWords(list []string) *words {
	w := &words{next: make([][256]int32, 1), out: make([][]int32, 1)}
	for i, s := range list {
		state := int32(0)
		for _, b := range []byte(s) {
			if w.next[state][b] == 0 {
				w.next = append(w.next, [256]int32{})
				w.out = append(w.out, nil)
				w.next[state][b] = int32(len(w.next) - 1)
			}
			state = w.next[state][b]
		}
		w.out[state] = append(w.out[state], int32(i))
	}
	w.link()
	return w
}

// link turns the tree into an automaton: where a word does not go on, the
// longest end of it that begins another word does.
func (w *words) link() {
	fail := make([]int32, len(w.next))
	var queue []int32
	for _, s := range w.next[0] {
		if s != 0 {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		w.out[state] = append(w.out[state], w.out[fail[state]]...)
		for b, s := range w.next[state] {
			back := w.next[fail[state]][b]
			if s == 0 {
				w.next[state][b] = back
				continue
			}
			fail[s] = back
			queue = append(queue, s)
		}
	}
}

// each calls found with every form whose word is in text, perhaps more than once.
func (w *words) each(text string, found func(form int)) {
	state := int32(0)
	for i := range len(text) {
		state = w.next[state][text[i]]
		for _, f := range w.out[state] {
			found(int(f))
		}
	}
}

// required returns words of which one must be in every text that the pattern
// matches; none when there is no such set.
func required(pattern string) []string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	return wordsOf(re.Simplify())
}

func wordsOf(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return []string{string(re.Rune)}
	case syntax.OpCapture, syntax.OpPlus:
		return wordsOf(re.Sub[0])
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			list := wordsOf(sub)
			if len(list) == 0 {
				return nil
			}
			all = append(all, list...)
		}
		return all
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if list := wordsOf(sub); len(list) > 0 && (best == nil || shortest(list) > shortest(best)) {
				best = list
			}
		}
		return best
	case syntax.OpCharClass:
		if len(re.Rune) > 8 {
			return nil
		}
		var list []string
		for i := 0; i < len(re.Rune); i += 2 {
			for c := re.Rune[i]; c <= re.Rune[i+1] && len(list) < 8; c++ {
				list = append(list, string(c))
			}
		}
		return list
	}
	return nil
}

func shortest(list []string) int {
	return len(slices.MinFunc(list, func(a, b string) int { return len(strings.TrimSpace(a)) - len(strings.TrimSpace(b)) }))
}
