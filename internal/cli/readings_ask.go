package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/internal/logline"
)

// mostQuestions ends an interview.
const mostQuestions = 8

// standsOut is the share at which a cause needs no further question.
const standsOut = 0.8

// interview asks what tells the causes of a story apart, one question at a time:
// the one whose answer says most for what it costs.
func (o *options) interview(base *diagnosis.Base, t *textReader, s *readingStory) error {
	in := bufio.NewScanner(o.env.in)
	var before []*logline.Said
	skipped := map[string]bool{}
	for asked := 0; asked < mostQuestions; {
		s.rank(base, t.r)
		o.printf("%s\n", s.standing())
		step, ok := s.nextQuestion(t.r, skipped)
		if !ok || len(s.ranked) > 0 && logline.Chances(s.ranked)[0] > standsOut && asked > 0 {
			break
		}
		o.printf("%d. %s\n   %s\n   [%s, Enter: do not know, u: undo, q: enough] ", asked+1, step.Question.Question, step.Command, answerForm(&step.Question))
		if !in.Scan() {
			o.printf("\n")
			break
		}
		switch a := strings.ToLower(strings.TrimSpace(in.Text())); a {
		case "q", "quit":
			asked = mostQuestions
		case "u", "undo":
			if len(before) > 0 {
				s.said, before = before[len(before)-1], before[:len(before)-1]
				clear(skipped)
				asked--
			}
		case "", "?", "d", "n", "no":
			if step.Unit == "" && strings.HasPrefix(a, "n") {
				before = append(before, s.said)
				s.said = s.said.Clone()
				_ = s.said.Set(step.Fact, "no") // a no is taken by every question of yes and no
				asked++
				continue
			}
			skipped[step.Fact] = true
			asked++
		default:
			next := s.said.Clone()
			if err := next.Set(step.Fact, a); err != nil {
				o.printf("   %v\n", err)
				continue
			}
			before = append(before, s.said)
			s.said = next
			asked++
		}
	}
	s.rank(base, t.r)
	if o.output != "text" {
		return value(o, []*readingStory{s})
	}
	o.printf("\n")
	o.printStory(s)
	return nil
}

func answerForm(q *logline.Question) string {
	if q.Unit != "" {
		return "a number of seconds"
	}
	return "y, n"
}

// nextQuestion is the best question that was not passed over.
func (s *readingStory) nextQuestion(r *logline.Reader, skipped map[string]bool) (logline.Step, bool) {
	for _, q := range r.NextSteps(s.ranked, s.said) {
		if !skipped[q.Fact] {
			return q, true
		}
	}
	return logline.Step{}, false
}

// standing is the ranking in one line.
func (s *readingStory) standing() string {
	if len(s.ranked) == 0 {
		return "Nothing points at a cause yet."
	}
	var list []string
	for i, p := range logline.Chances(s.ranked) {
		if i == 3 {
			break
		}
		list = append(list, fmt.Sprintf("%s %.0f %%", s.ranked[i].ID, 100*p))
	}
	return "Now: " + strings.Join(list, ", ")
}
