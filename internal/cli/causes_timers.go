package cli

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/knowledge"
)

var errNoTimer = errors.New("no timer fits")

func (o *options) causesTimersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "timers [PRODUCT|SECONDS]",
		Short: "Timers and limits of products, with where each number comes from",
		Long: `timers lists what products do by themselves after a time, and their limits: built-in
defaults, what packages configure, and what a peer really sees. With a number it
lists the timers that fit a gap of so many seconds within four percent, with a word
the products that contain it. What was not opened or measured is marked as known.`,
		Example: "  holdfast causes timers nginx\n  holdfast causes timers 350",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			list, err := knowledge.Timers()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				list = slices.DeleteFunc(list, func(t knowledge.Timer) bool { return !fitsTimer(&t, args[0]) })
			}
			if o.output != "text" {
				return value(o, list)
			}
			for i := range list {
				o.printTimer(&list[i])
			}
			if len(list) == 0 {
				return &cliError{codeNotFound, errNoTimer, "holdfast causes timers, for the list"}
			}
			return nil
		},
	}
}

// fitsTimer reports whether a row is about a product, or fits a number of seconds.
func fitsTimer(t *knowledge.Timer, what string) bool {
	gap, err := strconv.ParseFloat(strings.TrimSuffix(what, "s"), 64)
	if err != nil {
		return strings.Contains(strings.ToLower(t.Product+" "+t.Name), strings.ToLower(what))
	}
	const tolerance = 0.04
	return t.Meaning != "limit" && slices.ContainsFunc(t.Values(), func(x float64) bool {
		if t.Unit == "ms" {
			x /= 1000
		}
		return (t.Unit == "s" || t.Unit == "ms") && gap >= x*(1-tolerance) && gap <= x*(1+tolerance)
	})
}

func (o *options) printTimer(t *knowledge.Timer) {
	what := t.Product
	if t.Versions != "" {
		what += " (" + t.Versions + ")"
	}
	amount := string(t.Default)
	for _, x := range []struct {
		label string
		a     knowledge.Amount
	}{{"shipped", t.Shipped}, {"seen", t.Effective}, {"before", t.Before}} {
		if x.a != "" && x.a != t.Default {
			amount += ", " + x.label + " " + string(x.a)
		}
	}
	if len(t.Default.Numbers()) > 0 {
		amount += " " + t.Unit
	}
	st := o.style()
	from := cmp.Or(t.Source, map[string]string{"run": "measured", "known": "known"}[t.How])
	o.printf("%s  %s\n", st.Bold(report.Clean(what)), report.Clean(t.Key+": "+amount))
	o.printf("    %s\n", st.Dim(report.Clean(t.Meaning+orNote(t.Note)+"; "+map[bool]string{true: "not opened", false: t.How}[t.How == "known"]+", "+from+", "+t.Date)))
}

func orNote(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}
