package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holdfast-project/holdfast/internal/report"
)

var (
	outputs = []string{"text", "json", "ndjson", "yaml"}
	colors  = []string{"auto", "always", "never"}
)

// moreOutputs is the annotation of a command with the forms that it has besides.
const moreOutputs = "outputs"

// check refuses values of the common flags that are not known.
func (o *options) check(c *cobra.Command) error {
	if more := strings.Fields(c.Annotations[moreOutputs]); !slices.Contains(outputs, o.output) && !slices.Contains(more, o.output) {
		all := slices.Concat(outputs, more)
		return usageError("-o "+strings.Join(all[:len(all)-1], ", ")+" or "+all[len(all)-1], "unknown output form %q", o.output)
	}
	if !slices.Contains(colors, o.color) {
		return usageError("--color auto, always or never", "unknown value %q of --color", o.color)
	}
	return nil
}

// style returns how text on standard output looks.
func (o *options) style() report.Style {
	w := o.env.width()
	st := report.Style{Width: w, Color: w > 0 && o.env.getenv("NO_COLOR") == "" && o.env.getenv("TERM") != "dumb"}
	switch o.color {
	case "always":
		st.Color = true
	case "never":
		st.Color = false
	}
	return st
}

// sticky remembers the first error of a writer, so that the exit code can tell
// that output was lost; after it nothing more is written.
type sticky struct {
	w   io.Writer
	mu  sync.Mutex // guards err
	err error
}

// Write implements io.Writer.
func (s *sticky) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(b)
	s.err = err
	return n, err
}

// failed returns the first error, nil when the reader of a pipe has left: that
// is its good right.
func (s *sticky) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil || errors.Is(s.err, syscall.EPIPE) {
		return nil
	}
	return &cliError{codeFindings, fmt.Errorf("write output: %w", s.err), "free space, or write elsewhere; what is missing was not shown"}
}

// printf writes text to standard output. Of a failed write, sticky tells.
func (o *options) printf(format string, args ...any) {
	out := o.env.out
	if o.env.plain != nil {
		out = o.env.plain
	}
	fmt.Fprintf(out, format, args...)
}

// notef writes a note to standard error.
func (o *options) notef(format string, args ...any) {
	fmt.Fprintf(o.env.err, format, args...)
}

// value writes v in the chosen machine-readable form; a list becomes one line
// for each element with ndjson.
func value[T any](o *options, list []T) error {
	switch o.output {
	case "json":
		return report.JSON(o.env.out, list)
	case "yaml":
		return report.YAML(o.env.out, list)
	}
	for _, v := range list {
		if err := report.NDJSON(o.env.out, v); err != nil {
			return err
		}
	}
	return nil
}

// single writes one value in the chosen machine-readable form.
func single(o *options, v any) error {
	switch o.output {
	case "yaml":
		return report.YAML(o.env.out, v)
	case "ndjson":
		return report.NDJSON(o.env.out, v)
	}
	return report.JSON(o.env.out, v)
}

// terminalWidth returns the width of the terminal that f is, 0 when it is none.
func terminalWidth(f *os.File) int {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) {
		return 0
	}
	w, _, err := term.GetSize(fd)
	if err != nil || w <= 0 {
		return 80
	}
	return w
}
