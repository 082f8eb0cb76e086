package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/internal/handbook"
	"github.com/holdfast-project/holdfast/internal/report"
)

func (o *options) labLearnCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "learn [NUMBER...]",
		Short: "Twelve resets to learn from: who sent it, and why?",
		Long: `learn walks through twelve resets, all of them or those that are named by number:
it shows the wire and what both ends are told, asks who sent the reset and why, and
explains. It needs no root and opens no connection. An empty answer shows the right
one; q ends. When nothing can be asked (no input) the answers are shown. docs/learn
has the same as documents.`,
		Example: "  holdfast lab learn\n  holdfast lab learn 5\n  holdfast lab learn -o json",
		Args:    usage(cobra.ArbitraryArgs),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := handbook.Lessons()
			if err != nil {
				return err
			}
			list, err := chosenLessons(all, args)
			if err != nil {
				return err
			}
			if o.output != "text" {
				return value(o, list)
			}
			base, err := o.loadBase(nil)
			if err != nil {
				return err
			}
			return o.learn(base, list)
		},
	}
}

func chosenLessons(all []handbook.Lesson, args []string) ([]handbook.Lesson, error) {
	if len(args) == 0 {
		return all, nil
	}
	var list []handbook.Lesson
	for _, a := range args {
		n, err := strconv.Atoi(a)
		if err != nil || n < 1 || n > len(all) {
			return nil, usageError(fmt.Sprintf("a number from 1 to %d", len(all)), "there is no lesson %q", a)
		}
		list = append(list, all[n-1])
	}
	return list, nil
}

var errEnough = errors.New("enough")

// learn asks and explains.
func (o *options) learn(base *diagnosis.Base, list []handbook.Lesson) error {
	in := bufio.NewReader(io.LimitReader(o.env.in, 1<<16)) // answers are short
	right, asked := 0, 0
	for i := range list {
		l := &list[i]
		page := o.style().Page()
		page.Title(fmt.Sprintf("%d. %s", l.Number, l.Title))
		page.Row("", l.Scene)
		page.Blank()
		page.Picture("", l.Wire)
		page.Blank()
		page.Row("client", l.Client)
		page.Row("server", l.Server)
		page.Blank()
		o.printf("%s", page.String())
		for _, q := range []struct {
			*handbook.Question
			because string
		}{{&l.Who, l.WhoBecause}, {&l.Why, l.WhyBecause}} {
			answer, err := o.ask(base, in, q.Question)
			if errors.Is(err, errEnough) {
				o.score(right, asked)
				return nil
			}
			o.explainAnswer(base, q.Question, answer, q.because)
			if answer != "" {
				asked++
				if answer == q.Right {
					right++
				}
			}
		}
		page = o.style().Page()
		page.Row("remember", l.Remember)
		page.Row("see it", "sudo holdfast lab run "+l.Scenario+" --details --why")
		page.Row("read", "holdfast causes "+l.Why.Right)
		page.Blank()
		o.printf("%s", page.String())
	}
	o.score(right, asked)
	return nil
}

func (o *options) score(right, asked int) {
	if asked > 0 {
		o.printf("%d of %d right\n", right, asked)
	}
}

// ask puts a question; the answer is empty when none was given.
func (o *options) ask(base *diagnosis.Base, in *bufio.Reader, q *handbook.Question) (string, error) {
	choices := q.Choices()
	o.printf("%s\n", o.style().Bold(report.Clean(q.Ask)))
	for i, c := range choices {
		o.printf("  %d  %s\n", i+1, report.Clean(handbook.Words(base, c)))
	}
	for {
		o.printf("> ")
		line, err := in.ReadString('\n')
		line = strings.TrimSpace(line)
		if n, bad := strconv.Atoi(line); bad == nil && n >= 1 && n <= len(choices) {
			o.printf("\n")
			return choices[n-1], nil
		}
		switch {
		case line == "q" || line == "quit":
			return "", errEnough
		case line == "" || err != nil:
			o.printf("\n")
			return "", nil
		}
		o.printf("a number from 1 to %d, nothing to be told, q to end\n", len(choices))
	}
}

func (o *options) explainAnswer(base *diagnosis.Base, q *handbook.Question, answer, because string) {
	page := o.style().Page()
	word := handbook.Words(base, q.Right)
	switch answer {
	case "":
		page.Row("answer", word+". "+because)
	case q.Right:
		page.Row("right", word+". "+because)
	default:
		page.Row("no", "not "+handbook.Words(base, answer)+", but "+word+". "+because)
	}
	page.Blank()
	o.printf("%s", page.String())
}
