// Package cli is the command line of Holdfast, one file for each subcommand.
// It parses flags, calls the packages that do the work, and prints. Data goes
// to standard output, everything else to standard error.
//
// Exit codes: 0 ok, 1 findings or failed checks, 2 usage or configuration,
// 3 not found, 4 permission or kernel, 5 store or server unreachable, 130
// interrupted before there was a result (a stream that Ctrl-C ends with its
// summary is a result: 0). An error says what happened and then what to try.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// The exit codes.
const (
	codeOK          = 0
	codeFindings    = 1
	codeUsage       = 2
	codeNotFound    = 3
	codePermission  = 4
	codeUnreachable = 5
	codeInterrupted = 130
)

// env is what a command may touch of the world. Tests replace it.
type env struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	width    func() int // of the terminal behind out; 0 when it is none
	plain    io.Writer  // for text on out, when the locale has only ASCII
}

// Main runs the command line of this process and returns its exit code. It
// comes back at once in the helper processes that the lab starts.
func Main() int {
	if labActor() {
		return codeOK
	}
	e := &env{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, width: func() int { return terminalWidth(os.Stdout) }}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return e.run(ctx, os.Args[1:])
}

// run executes one command line and returns the exit code.
func (e *env) run(ctx context.Context, args []string) int {
	out := &sticky{w: e.out}
	e.out = out
	if onlyASCII(e.getenv) {
		e.plain = &ascii{out}
		e.err = &ascii{e.err}
	}
	root := e.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if lost := out.failed(); lost != nil {
		err = lost
	}
	if err == nil {
		return codeOK
	}
	code, text := describe(err)
	if text != "" {
		fmt.Fprintln(e.err, "holdfast: "+report.CleanText(text))
	}
	return code
}

// cliError is an error with an exit code and a hint: what to try next.
type cliError struct {
	code int
	err  error
	hint string
}

func (e *cliError) Error() string { return e.err.Error() }
func (e *cliError) Unwrap() error { return e.err }

// usageError is a mistake in the command line.
func usageError(hint, format string, args ...any) error {
	return &cliError{codeUsage, fmt.Errorf(format, args...), hint}
}

// quiet ends the program with a code and no message: all was said.
func quiet(code int) error { return &cliError{code: code, err: errors.New("")} }

// describe returns the exit code and the message of an error, with its hint.
func describe(err error) (code int, text string) {
	code = codeFindings
	hint := ""
	var ce *cliError
	var access *trace.AccessError
	switch {
	case errors.As(err, &ce):
		code, hint = ce.code, ce.hint
	case errors.As(err, &access):
		code, hint = codePermission, access.Hint
	case errors.Is(err, context.Canceled):
		return codeInterrupted, "interrupted"
	case errors.Is(err, os.ErrPermission):
		code = codePermission
	case errors.Is(err, os.ErrNotExist):
		code = codeNotFound
	}
	text = err.Error()
	if hint != "" {
		text += "\n  try: " + strings.ReplaceAll(hint, "\n", "\n       ")
	}
	return code, text
}

// options are the flags that every command has.
type options struct {
	env    *env
	output string
	color  string

	pipes map[string]io.Reader // arguments that give their bytes only once and were looked at
}

func (e *env) root() *cobra.Command {
	o := &options{env: e, pipes: map[string]io.Reader{}}
	root := &cobra.Command{
		Use:     "holdfast",
		Version: readVersion().Version,
		Short:   "Who reset the connection, why, with what proof, and how to make it stop",
		Long: `Holdfast watches a host from inside the kernel and answers one sentence that
every engineer has met, "connection reset by peer": who sent the reset, why,
with what proof, what it cost, and how to make it stop.

  holdfast watch            every reset on this host as it happens (root)
  holdfast watch --demo     the same, with a dozen resets made on purpose
  holdfast explain TEXT     what a pasted error message means
  holdfast probe TARGET     where an exchange with a service breaks, seen from here
  holdfast check            what on this host breaks connections
  holdfast causes           the knowledge base`,
		SuggestionsMinimumDistance: 2,
		SilenceErrors:              true,
		SilenceUsage:               true,
		Args:                       unknownCommand,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			return o.check(c)
		},
		// completion is a command of cobra's own
	}
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.PersistentFlags().StringVarP(&o.output, "output", "o", "text", "form of the output: text, json, ndjson or yaml")
	root.PersistentFlags().StringVar(&o.color, "color", "auto", "colours: auto, always or never (NO_COLOR is obeyed by auto)")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		hint := c.CommandPath() + " --help"
		if strings.Contains(err.Error(), "missing unit in duration") {
			hint = "give the unit: 30s, 5m, 1h"
		}
		return usageError(hint, "%w", err)
	})
	root.AddCommand(o.watchCommand(), o.explainCommand(), o.causesCommand(), o.factsCommand(), o.labCommand(),
		o.mcpCommand(), o.probeCommand(), o.checkCommand(), o.snapshotCommand(), o.diffCommand(), o.proxyCommand(), o.accuracyCommand(), o.versionCommand())
	root.SetVersionTemplate("holdfast {{.Version}}\n")
	root.SetHelpCommand(helpCommand())
	completeValues(root)
	return root
}

// helpCommand is cobra's, but it fails for a command that does not exist.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(c *cobra.Command, args []string) error {
			sub, rest, err := c.Root().Find(args)
			if err != nil || sub == nil {
				return usageError("holdfast --help", "no command %q", strings.Join(args, " "))
			}
			if len(rest) > 0 {
				return unknownCommand(sub, rest)
			}
			return sub.Help()
		},
	}
}

// unknownCommand refuses a word that is no subcommand.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := c.CommandPath() + " --help"
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if near := diagnosis.Nearest(args[0], names); near != "" {
		hint = c.CommandPath() + " " + near
	}
	return usageError(hint, "unknown command %q for %q", args[0], c.CommandPath())
}

// usage wraps a check of arguments, so that it fails with our exit code and hint.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError(c.UseLine(), "%w", err)
		}
		return nil
	}
}
