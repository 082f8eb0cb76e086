package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/fact"
)

// factDoc is the declaration of a fact as holdfast facts prints it.
type factDoc struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Witness string `json:"witness"`
	Doc     string `json:"doc"`
	How     string `json:"how"`
}

func (o *options) factsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "facts [PREFIX]",
		Short: "The reference of all facts that causes may use",
		Long: `Facts are what a source observed about a connection. Each has three answers:
not looked, absent, present. The expressions of the knowledge base use them by
these names; a duration is a number in the unit at the end of its name.`,
		Example: "  holdfast facts sender.sock\n  holdfast facts -o json",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			prefix := ""
			if len(args) == 1 {
				prefix = args[0]
			}
			list := factDocs(prefix)
			if len(list) == 0 {
				return &cliError{codeNotFound, fmt.Errorf("no fact begins with %q", prefix), "holdfast facts"}
			}
			if o.output != "text" {
				return value(o, list)
			}
			o.printFacts(list)
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, d := range fact.Defs() {
				names = append(names, d.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func factDocs(prefix string) []factDoc {
	var list []factDoc
	for _, d := range fact.Defs() {
		if d.Name == prefix || strings.HasPrefix(d.Name, prefix) {
			list = append(list, factDoc{d.Name, d.Kind.String(), d.Witness.String(), d.Doc, d.How})
		}
	}
	return list
}

func (o *options) printFacts(list []factDoc) {
	st := o.style()
	width := 0
	for _, d := range list {
		width = max(width, len(d.Name))
	}
	for _, d := range list {
		o.printf("%s  %s\n", st.Bold(padTo(d.Name, width)), st.Dim(padTo(d.Type, 6)+"  "+padTo(d.Witness, 8))+"  "+d.Doc)
	}
}

func padTo(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-len(s)))
}
