package cli

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/term"

	"github.com/holdfast-project/holdfast/internal/report"
)

var (
	outputs = []string{"text", "json", "ndjson", "yaml"}
	colors  = []string{"auto", "always", "never"}
)

// check refuses values of the common flags that are not known.
func (o *options) check() error {
	if !slices.Contains(outputs, o.output) {
		return usageError("-o text, json, ndjson or yaml", "unknown output form %q", o.output)
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

// printf writes text to standard output. A failed write, as into a closed pipe,
// ends the program elsewhere; there is nothing better to do about it here.
func (o *options) printf(format string, args ...any) {
	fmt.Fprintf(o.env.out, format, args...)
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
