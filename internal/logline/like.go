package logline

import (
	"math"
	"regexp"
	"strings"
)

// Pages ranks pages by likeness to a text (Okapi BM25; Robertson and Zaragoza
// 2009, k1 1.2, b 0.75).
type Pages struct {
	ids   []string
	terms []map[string]float64
	size  []float64
	mean  float64
	idf   map[string]float64
}

// NewPages indexes pages by their identifiers.
func NewPages(pages map[string]string, order []string) *Pages {
	p := &Pages{idf: map[string]float64{}}
	for _, id := range order {
		m := map[string]float64{}
		n := 0.0
		for _, w := range termsOf(pages[id]) {
			if m[w] == 0 {
				p.idf[w]++
			}
			m[w]++
			n++
		}
		p.ids, p.terms, p.size = append(p.ids, id), append(p.terms, m), append(p.size, n)
		p.mean += n
	}
	p.mean /= max(1, float64(len(order)))
	for w, n := range p.idf {
		p.idf[w] = math.Log(1 + (float64(len(order))-n+0.5)/(n+0.5))
	}
	return p
}

// Like is how much each page is like the text, 1 for the most like one.
func (p *Pages) Like(text string) map[string]float64 {
	const k1, b = 1.2, 0.75
	score := map[string]float64{}
	best := 0.0
	seen := map[string]bool{}
	for _, w := range termsOf(text) {
		if seen[w] || p.idf[w] == 0 {
			continue
		}
		seen[w] = true
		for i, m := range p.terms {
			if f := m[w]; f > 0 {
				score[p.ids[i]] += p.idf[w] * f * (k1 + 1) / (f + k1*(1-b+b*p.size[i]/p.mean))
				best = max(best, score[p.ids[i]])
			}
		}
	}
	for id := range score {
		score[id] /= best
	}
	return score
}

var term = regexp.MustCompile(`[\pL\pN]{3,}`)

// common words say nothing of a cause.
var common = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields("the and for with that this from not are was were but has have had when what which its his her they them then than into out all any can may one two connection connections closed close server client sent send data holdfast reset after before") {
		m[w] = true
	}
	return m
}()

func termsOf(text string) []string {
	var list []string
	for _, w := range term.FindAllString(strings.ToLower(text), 4000) {
		if !common[w] {
			list = append(list, strings.TrimSuffix(strings.TrimSuffix(w, "ing"), "s"))
		}
	}
	return list
}
