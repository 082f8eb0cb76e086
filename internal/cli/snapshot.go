package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/internal/audit"
	"github.com/holdfast-project/holdfast/internal/chain"
	"github.com/holdfast-project/holdfast/internal/hostdoc"
	"github.com/holdfast-project/holdfast/internal/report"
)

func (o *options) snapshotCommand() *cobra.Command {
	var root string
	var stable, own bool
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Document the network of this host: interfaces, routes, listeners, firewall, timers, settings",
		Long: `snapshot writes what this host is, as far as its connections are concerned: as
Markdown, or with -o json as a document that "holdfast diff" compares and "holdfast
check --from" audits. It runs no program and changes nothing. Of configurations it
takes only the keys that it knows by name, so that no secret leaves with them.

Text and --stable leave out what changes by itself, so that the same host twice
gives the same bytes and git can keep them.`,
		Example:     "  sudo holdfast snapshot > host.md\n  sudo holdfast snapshot -o json --stable > host.json\n  holdfast snapshot --root /mnt/image",
		Args:        usage(cobra.NoArgs),
		Annotations: map[string]string{moreOutputs: "markdown"},
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := o.hostDocument(c.Context(), root, "", hostdoc.Options{OwnOnly: own})
			if err != nil {
				return err
			}
			if o.output != "text" && o.output != "markdown" {
				if stable {
					h = h.Stable()
				}
				return single(o, h)
			}
			links := chain.Of(h)
			var chains []string
			for i := range links {
				if l := &links[i]; len(l.From.Timers)+len(l.To.Timers) > 0 {
					l.Live = nil
					chains = append(chains, l.Text())
				}
			}
			o.printf("%s", h.Stable().Markdown(chains))
			return nil
		},
	}
	c.Flags().StringVar(&root, "root", "", "document the files of an image or of a collected tree below `DIR`")
	c.Flags().BoolVar(&stable, "stable", false, "leave out what changes by itself")
	c.Flags().BoolVar(&own, "own-namespace", false, "only the network namespace of this process")
	return c
}

// diffDoc is what differs between two documents, and what that brought.
type diffDoc struct {
	Changes []hostdoc.Difference `json:"changes"`
	New     []audit.Advice       `json:"new_advices"`
	Gone    []audit.Advice       `json:"gone_advices"`
}

func (o *options) diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "What changed between two documents of a host, and which causes that could explain",
		Long: `diff compares two documents that "holdfast snapshot -o json" wrote, by identity and
not by place. "now" stands for this host. It also audits both, and says which advices
the change brought and which it ended: those name the causes that it could explain.
The exit code is 0 when nothing changed, and 1 when something did.`,
		Example: "  holdfast diff yesterday.json today.json\n  sudo holdfast diff yesterday.json now",
		Args:    usage(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			var docs [2]*hostdoc.Host
			for i, name := range args {
				from := name
				if name == "now" {
					if _, err := os.Stat(name); err != nil {
						from = ""
					}
				}
				h, err := o.hostDocument(c.Context(), "", from, hostdoc.Options{})
				if err != nil {
					return err
				}
				docs[i] = h
			}
			return o.diff(docs[0], docs[1])
		},
	}
}

func (o *options) diff(a, b *hostdoc.Host) error {
	changes, err := hostdoc.Diff(a, b)
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	before, after := audit.Run(a.Stable(), audit.Options{}), audit.Run(b.Stable(), audit.Options{})
	d := diffDoc{Changes: changes, New: missing(after.Advices, before.Advices), Gone: missing(before.Advices, after.Advices)}
	if d.Changes == nil {
		d.Changes = []hostdoc.Difference{}
	}
	if o.output != "text" {
		if err := single(o, d); err != nil {
			return err
		}
	} else {
		o.printDiff(&d)
	}
	if len(changes) > 0 {
		return quiet(codeFindings)
	}
	return nil
}

// missing lists what is in a and not in b.
func missing(a, b []audit.Advice) []audit.Advice {
	list := []audit.Advice{}
	for _, x := range a {
		there := false
		for _, y := range b {
			there = there || x.ID == y.ID && x.Subject == y.Subject
		}
		if !there {
			list = append(list, x)
		}
	}
	return list
}

func (o *options) printDiff(d *diffDoc) {
	if len(d.Changes) == 0 {
		o.printf("Nothing changed.\n")
	}
	for _, c := range d.Changes {
		o.printf("%s\n", report.Clean(c.String()))
	}
	for _, part := range []struct {
		title string
		list  []audit.Advice
	}{{"could now explain", d.New}, {"no longer explains", d.Gone}} {
		for _, a := range part.list {
			check, _ := audit.Find(a.ID)
			o.printf("\n%s %v: %s\n  %s: %s\n", part.title, a.Prevents, check.Title, report.Clean(a.Subject), report.Clean(a.Is))
		}
	}
}
