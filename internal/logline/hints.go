package logline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// hint is a circumstance that points at one cause of several.
type hint struct {
	Re     string   `yaml:"re"`
	When   []string `yaml:"when"`
	Causes []string `yaml:"causes"`

	re *regexp.Regexp
}

func (r *Reader) readHints(b []byte) error {
	if err := yaml.UnmarshalWithOptions(b, &r.hints, yaml.Strict()); err != nil {
		return fmt.Errorf("read hints: %w", err)
	}
	for i := range r.hints {
		re, err := regexp.Compile(r.hints[i].Re)
		if err != nil {
			return fmt.Errorf("hint %d: %w", i+1, err)
		}
		r.hints[i].re = re
	}
	return nil
}

// Rank orders the causes of an event in a text: what its circumstances point at,
// and what the line names, where both agree first.
func (r *Reader) Rank(event, text string, named []string) []string {
	low := strings.ToLower(normal(text))
	score := map[string]float64{}
	var order []string
	add := func(id string, n float64) {
		if score[id] == 0 {
			order = append(order, id)
		}
		score[id] += n
	}
	for i, id := range named {
		add(id, 1/float64(i+1))
	}
	for _, h := range r.hints {
		if (len(h.When) == 0 || event == "" || slices.Contains(h.When, event)) && h.re.MatchString(low) {
			for i, id := range h.Causes {
				add(id, 1.2/float64(i+1))
			}
		}
	}
	slices.SortStableFunc(order, func(a, b string) int {
		switch {
		case score[a] > score[b]:
			return -1
		case score[a] < score[b]:
			return 1
		}
		return 0
	})
	return order
}

// words for an event, as people describe it.
var spoken = []struct {
	event string
	re    *regexp.Regexp
}{
	{"refused", regexp.MustCompile(`\brefused\b`)},
	{"reset", regexp.MustCompile(`\b(reset|resets|rst)\b|broken pipe`)},
	{"timeout", regexp.MustCompile(`\b(time[sd]? ?out|timeouts?|hangs?|no answer|stuck)\b`)},
	{"unreachable", regexp.MustCompile(`\bunreachable\b|no route`)},
	{"closed", regexp.MustCompile(`\b(closed|closes|disconnect(s|ed)?|dropped|drops|eof|hung up|cut off|50[24])\b`)},
}

// Spoken is the event that a sentence of symptoms speaks of; "" when none.
func Spoken(text string) string {
	low := strings.ToLower(text)
	for _, s := range spoken {
		if s.re.MatchString(low) {
			return s.event
		}
	}
	return ""
}
