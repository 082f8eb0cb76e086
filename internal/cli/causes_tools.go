package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/internal/lab"
	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/knowledge"
)

func (o *options) causesLintCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lint [DIR]",
		Short: "Check causes of your own: syntax, types, facts, completeness",
		Long: `lint reads a directory with causes as watch would, and reports every problem with
file, line and column: unknown facts, wrong types, unknown words, missing fixes,
references or test cases. Without a directory it
checks the built-in causes. The exit code is 1 when there is any.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, name := "", "built-in knowledge"
			if len(args) == 1 {
				dir, name = args[0], args[0]
				if err := needDirectory(dir); err != nil {
					return err
				}
			}
			problems := knowledge.Lint(dir, isScenario)
			if o.output != "text" {
				if err := value(o, problemDocs(problems)); err != nil {
					return err
				}
			} else {
				for _, p := range problems {
					o.printf("%s\n", report.Clean(p.Error()))
				}
			}
			if len(problems) > 0 {
				o.notef("%s\n", plural(len(problems), "problems"))
				return quiet(codeFindings)
			}
			o.notef("%s: no problems\n", name)
			return nil
		},
	}
}

// isScenario reports whether the lab can manufacture what a cause names.
func isScenario(id string) bool {
	return slices.ContainsFunc(lab.All(), func(s lab.Scenario) bool { return s.ID == id })
}

// problemDoc is a problem as holdfast causes lint prints it for programs.
type problemDoc struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func problemDocs(list []diagnosis.Problem) []problemDoc {
	out := []problemDoc{}
	for _, p := range list {
		out = append(out, problemDoc{p.Pos.File, p.Pos.Line, p.Pos.Column, p.Message, p.Hint})
	}
	return out
}

func needDirectory(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return &cliError{codeNotFound, fmt.Errorf("open knowledge directory: %w", err), ""}
	}
	if !st.IsDir() {
		return usageError("give the directory that holds it", "%s is not a directory", dir)
	}
	return nil
}

func (o *options) causesTestCommand() *cobra.Command {
	var recordings string
	c := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run the test cases that causes carry: facts in, verdict out",
		Long: `test compiles the knowledge base with the causes of DIR and runs every test case in
it, those of the built-in causes too: a cause of your own may not break them. The
exit code is 1 when any fails.

With --recordings it also diagnoses the cases that "holdfast lab run --record" wrote,
with the built-in knowledge alone and with that of DIR, and prints what differs: what
a cause, a line or a weight of yours does to verdicts whose truth is known. To try
another weight of a built-in cause, copy its file to DIR: it replaces the original.`,
		Example: "  holdfast causes test mine --recordings internal/cli/testdata/cases",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			base, err := o.loadBase(args)
			if err != nil {
				return err
			}
			failures := knowledge.Test(base)
			for _, f := range failures {
				o.printf("%s\n", report.CleanText(f.Error()))
			}
			if recordings != "" {
				err = o.testRecordings(base, recordings)
			}
			if len(failures) > 0 {
				o.notef("%s\n", plural(len(failures), "failures"))
				return quiet(codeFindings)
			}
			o.notef("%d cases of %d causes pass\n", knowledge.CountTests(base), len(base.Causes()))
			return err
		},
	}
	c.Flags().StringVar(&recordings, "recordings", "", "directory with recordings of the lab: show what changes in their verdicts")
	return c
}

var causeID = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func (o *options) causesNewCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "new ID",
		Short: "Write the skeleton of a cause of your own",
		Long: `new writes ID.yaml, a cause that passes lint and test, to be changed into yours.
See docs/adding-a-cause.md.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			id := args[0]
			if !causeID.MatchString(id) {
				return usageError("lower-case words joined by hyphens, such as pool-too-old", "%q cannot be the id of a cause", id)
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("create directory: %w", err)
			}
			path := filepath.Join(dir, id+".yaml")
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return fmt.Errorf("create cause: %w", err)
			}
			defer f.Close()
			if _, err := f.WriteString(knowledge.Skeleton(id)); err != nil {
				return fmt.Errorf("write cause: %w", err)
			}
			o.printf("%s\n", path)
			o.notef("edit it, then: holdfast causes lint %s && holdfast causes test %s\n", dir, dir)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "directory to write into")
	return c
}
