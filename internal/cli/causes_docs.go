package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/internal/handbook"
)

func (o *options) causesDocsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "docs DIR",
		Short: "Write the pages of all causes as Markdown, with an index by symptom",
		Long: `docs writes one Markdown file for each cause, and README.md with an index by what
people write, by outcome, class and harm. docs/causes of the repository is made so;
with --knowledge your own causes are in it too.`,
		Example: "  holdfast causes docs /tmp/causes",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			dirs, err := c.Flags().GetStringSlice("knowledge")
			if err != nil {
				return err
			}
			base, err := o.loadBase(dirs)
			if err != nil {
				return err
			}
			docs, err := handbook.Docs(base)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make directory: %w", err)
			}
			for name, text := range docs {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return fmt.Errorf("write page: %w", err)
				}
			}
			o.notef("%s in %s\n", plural(len(docs)-1, "causes"), args[0])
			return nil
		},
	}
}
