package cli

import (
	"fmt"
	"os"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/knowledge"
)

// loadBase compiles the knowledge base: what is built in, and the directories
// that the user named. A mistake in those is an error. A mistake in the default
// directory is only reported: it must not stop a watch.
func (o *options) loadBase(dirs []string) (*diagnosis.Base, error) {
	for _, d := range dirs {
		if _, err := os.Stat(d); err != nil {
			return nil, &cliError{codeNotFound, fmt.Errorf("open knowledge directory: %w", err), ""}
		}
	}
	named := len(dirs) > 0
	if !named {
		dirs = []string{userKnowledge}
	}
	base, err := knowledge.Load(dirs...)
	if err == nil {
		return base, nil
	}
	if named || base == nil {
		return nil, &cliError{codeUsage, err, ""}
	}
	o.notef("holdfast: %s\n", report.CleanText(err.Error()))
	return base, nil
}
