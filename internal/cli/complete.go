package cli

import (
	"net"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/knowledge"
	"github.com/holdfast-project/holdfast/steady/resettest"
)

// completions are the values that the shell offers for flags, by name.
var completions = map[string]func() []string{
	"output":  func() []string { return outputs },
	"color":   func() []string { return colors },
	"source":  func() []string { return sources },
	"sender":  func() []string { return roles },
	"only":    func() []string { return []string{"harmful", "harmless"} },
	"wire":    func() []string { return []string{"auto", "always", "never"} },
	"class":   func() []string { return diagnosis.Classes },
	"outcome": func() []string { return diagnosis.Outcomes },
	"cause":   causeIDs,
	"fault":   faultNames,
	// what only the host knows, and what is no file
	"container": none, "cgroup": none, "interface": interfaceNames, "port": none, "address": none, "pid": none, "process": none,
}

func none() []string { return nil }

// causeIDs are the ids of the embedded knowledge.
func causeIDs() []string {
	base, _ := knowledge.Load() // what of it is sound
	var ids []string
	for _, c := range base.Causes() {
		ids = append(ids, c.ID)
	}
	return ids
}

func interfaceNames() []string {
	list, _ := net.Interfaces() // no names are no completions
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
	}
	return names
}

func faultNames() []string {
	var names []string
	for _, f := range resettest.Faults() {
		names = append(names, f.Name)
	}
	return names
}

// completeValues teaches every command the values of its flags.
func completeValues(c *cobra.Command) {
	for _, sub := range append(slices.Clone(c.Commands()), c) {
		for name, values := range completions {
			if sub.Flags().Lookup(name) == nil && sub.PersistentFlags().Lookup(name) == nil {
				continue
			}
			// The only error is a function that is there already.
			sub.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { //nolint:errcheck // see above
				return values(), cobra.ShellCompDirectiveNoFileComp
			})
		}
		if sub != c {
			completeValues(sub)
		}
	}
}
