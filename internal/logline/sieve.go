package logline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"regexp/syntax"
	"slices"
	"strings"
)

// sieve finds, in one pass over a line, the forms whose word may be in it. Each
// form has one short gram of a word that must be there; a bit in a table that fits
// the processor's cache says whether any form has the gram at a place. Case does
// not count. It says too much at times, never too little.
type sieve struct {
	bits  [2][]uint64 // for each length of grams
	forms [2]map[uint64][]int32
}

// gram is a few bytes with their length.
type gram struct {
	bytes uint64
	class uint8
}

// gramSizes are the lengths of grams, the longest first: longer ones say more.
var gramSizes = [2]int{6, 4}

// tableBits are the sizes of the tables, as powers of two.
var tableBits = [2]uint{bits6, bits4}

const (
	bits6 = 19
	bits4 = 18
	mask6 = 1<<48 - 1
	mask4 = 1<<32 - 1
	mix   = 0x9e3779b97f4a7c15 // spreads a gram over the table
)

// folded makes ASCII letters small, in eight bytes at once.
const folded = 0x2020202020202020

func maskOf(size int) uint64 { return 1<<(8*uint(size)) - 1 }

func place64(g uint64, bits uint) uint64 { return g * mix >> (64 - bits) }

// newSieve takes the word of each form, in small letters.
func newSieve(words []string) (*sieve, error) {
	s := &sieve{}
	for class := range s.bits {
		s.forms[class] = map[uint64][]int32{}
		s.bits[class] = make([]uint64, 1<<tableBits[class]/64)
	}
	for i, w := range words {
		g, ok := rarest(w)
		if !ok {
			return nil, fmt.Errorf("%q is too short a word to look for", w)
		}
		s.forms[g.class][g.bytes] = append(s.forms[g.class][g.bytes], int32(i))
		at := place64(g.bytes, tableBits[g.class])
		s.bits[g.class][at/64] |= 1 << (at % 64)
	}
	return s, nil
}

// rarest is the gram of a word that is least common in logs.
func rarest(w string) (gram, bool) {
	for class, size := range gramSizes {
		if len(w) < size {
			continue
		}
		from := 0
		if w[0] >= 0x80 && len(w) > size+2 {
			from = 2 // the first letter may be a capital, which only ASCII folds
		}
		best, least := gram{}, math.Inf(1)
		for i := from; i+size <= len(w); i++ {
			if n := commonness(w[i : i+size]); n < least {
				var b [8]byte
				copy(b[:], w[i:i+size])
				best, least = gram{(binary.LittleEndian.Uint64(b[:]) | folded) & maskOf(size), uint8(class)}, n
			}
		}
		return best, true
	}
	return gram{}, false
}

// dull are words of lines that say nothing: a gram of one of them is no help.
const dull = "request requests response connection connections session system client server service error message upstream downstream mozilla/5.0 https://www. process started level info debug warn \"msg\": \"message\": time method status body header logger thread context user host port address socket timeout read write data state closed close open get post put delete http/1.1\" version failed received sending reading writing network transport remote local closing because while from with this that"

// commonness is the logarithm of how often a gram is in a log, roughly: letters
// by their frequency in English, signs and digits as common.
func commonness(s string) float64 {
	const letters = "zqxjkvbpygfwmucldrhsinoate" // the rarest first
	n := 0.0
	if strings.Contains(dull, s) {
		n = 100
	}
	for _, c := range []byte(s) {
		switch i := strings.IndexByte(letters, c); {
		case i >= 0:
			n += math.Log(float64(i + 1))
		case c >= '0' && c <= '9' || c == ' ':
			n += math.Log(30)
		case c >= 0x80:
			n++
		default:
			n += math.Log(15)
		}
	}
	return n
}

// any reports whether a line may have a word of a form.
func (s *sieve) any(line []byte) bool {
	found := false
	s.scan(line, func([]int32) bool { found = true; return false })
	return found
}

// each calls found with every form whose gram is in a line, perhaps more than
// once.
func (s *sieve) each(line string, found func(form int)) {
	s.scan([]byte(line), func(forms []int32) bool {
		for _, f := range forms {
			found(int(f))
		}
		return true
	})
}

// scan calls hit with the forms of every gram in the line until it returns
// false.
func (s *sieve) scan(line []byte, hit func([]int32) bool) {
	b6, b4 := s.bits[0], s.bits[1]
	n := len(line)
	for i := 0; i+8 <= n; i++ {
		x := binary.LittleEndian.Uint64(line[i:]) | folded
		at6, at4 := (x&mask6)*mix>>(64-bits6), (x&mask4)*mix>>(64-bits4)
		if (b6[at6>>6]>>(at6&63)|b4[at4>>6]>>(at4&63))&1 != 0 && !s.verify(x, hit) {
			return
		}
	}
	for i := max(0, n-7); i < n; i++ {
		var b [8]byte
		copy(b[:], line[i:])
		if !s.verify(binary.LittleEndian.Uint64(b[:])|folded, hit) {
			return
		}
	}
}

// verify looks up the grams at a place.
func (s *sieve) verify(x uint64, hit func([]int32) bool) bool {
	if f, ok := s.forms[0][x&mask6]; ok && !hit(f) {
		return false
	}
	f, ok := s.forms[1][x&mask4]
	return !ok || hit(f)
}

// MaySay reports whether a line may say anything: a cheap test before Read.
func (r *Reader) MaySay(line []byte) bool {
	return r.sieve.any(line) || hidden(line)
}

// hidden reports whether colours or escapes could hide a word from the sieve.
func hidden(line []byte) bool {
	if bytes.IndexByte(line, 0x1b) >= 0 || bytes.Contains(line, []byte("\xe2\x80\x99")) {
		return true
	}
	for rest := line; ; {
		i := bytes.IndexByte(rest, '\\')
		if i < 0 || i+2 >= len(rest) {
			return false
		}
		switch string(rest[i+1 : i+3]) {
		case "u0", "e[", "x1", "03":
			return true
		}
		rest = rest[i+1:]
	}
}

// mostWords bounds the words of a pattern of which one must be there.
const mostWords = 64

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
	if list := spelled(re); list != nil {
		return list
	}
	switch re.Op {
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
		return bestRun(re.Sub)
	}
	return nil
}

// bestRun finds the words of the part of a sequence that says most.
func bestRun(subs []*syntax.Regexp) []string {
	var best, run []string
	keep := func(list []string) {
		if len(list) > 0 && (best == nil || shortest(list) > shortest(best)) {
			best = list
		}
	}
	for _, sub := range subs {
		list := spelled(sub)
		switch {
		case list == nil:
			keep(run)
			keep(wordsOf(sub))
			run = nil
		case run == nil:
			run = list
		case len(run)*len(list) <= mostWords:
			run = cross(run, list)
		default:
			keep(run)
			run = list
		}
	}
	keep(run)
	return best
}

// spelled returns every text that a part matches, when they are few; nil when
// they are not.
func spelled(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return []string{string(re.Rune)}
	case syntax.OpCapture:
		return spelled(re.Sub[0])
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			list := spelled(sub)
			if list == nil || len(all)+len(list) > mostWords {
				return nil
			}
			all = append(all, list...)
		}
		return all
	case syntax.OpConcat:
		all := []string{""}
		for _, sub := range re.Sub {
			list := spelled(sub)
			if list == nil || len(all)*len(list) > mostWords {
				return nil
			}
			all = cross(all, list)
		}
		return all
	case syntax.OpCharClass:
		var list []string
		for i := 0; i < len(re.Rune); i += 2 {
			if re.Rune[i+1]-re.Rune[i] > 12 {
				return nil
			}
			for c := re.Rune[i]; c <= re.Rune[i+1]; c++ {
				list = append(list, string(c))
			}
		}
		if len(list) > 12 {
			return nil
		}
		return list
	}
	return nil
}

func cross(a, b []string) []string {
	var list []string
	for _, x := range a {
		for _, y := range b {
			list = append(list, x+y)
		}
	}
	return list
}

func shortest(list []string) int {
	return len(slices.MinFunc(list, func(a, b string) int { return len(a) - len(b) }))
}
