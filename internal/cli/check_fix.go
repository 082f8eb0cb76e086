package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/holdfast-project/holdfast/internal/audit"
	"github.com/holdfast-project/holdfast/internal/hostdoc"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/remedy"
	"github.com/holdfast-project/holdfast/internal/repair"
	"github.com/holdfast-project/holdfast/internal/report"
)

// fixFlags are the flags of holdfast check that change the host.
type fixFlags struct {
	fix, yes, edit, dry bool
	undo                string
	list                bool
	journal             string
	sysctlDir           string
}

func (ff *fixFlags) flags(f *pflag.FlagSet) {
	f.BoolVar(&ff.fix, "fix", false, "show the plan of what can be changed and undone, and ask")
	f.BoolVar(&ff.yes, "yes", false, "with --fix: do not ask")
	f.BoolVar(&ff.dry, "dry-run", false, "with --fix: show the plan only; so it is without a terminal and --yes")
	f.BoolVar(&ff.edit, "edit", false, "with --fix: change configuration files of servers too, test them and reload the server")
	f.StringVar(&ff.undo, "undo", "", "undo the repair with this `ID`, or \"all\"")
	f.BoolVar(&ff.list, "repairs", false, "list the repairs of this host and how they ended")
	f.StringVar(&ff.journal, "journal", "/var/lib/holdfast/repair", "`DIR` of the journal of repairs")
	f.StringVar(&ff.sysctlDir, "sysctl-dir", "/etc/sysctl.d", "`DIR` of the file that keeps settings over a restart")
}

// openJournal opens the journal, and undoes what was interrupted.
func (o *options) openJournal(ff *fixFlags) (*repair.Journal, *repair.Host, error) {
	w, err := repair.Open(ff.journal, &linux.Host{})
	if err != nil {
		return nil, nil, err
	}
	j := &repair.Journal{World: w, Now: time.Now, Netns: hostdoc.OwnNetns(&linux.Host{})}
	undone, err := j.Recover()
	for _, r := range undone {
		o.notef("repair %s was interrupted and is undone\n", r.Plan.ID)
	}
	if err != nil {
		w.Close()
		return nil, nil, err
	}
	return j, w, nil
}

func (o *options) undo(ff *fixFlags) error {
	j, w, err := o.openJournal(ff)
	if err != nil {
		return err
	}
	defer w.Close()
	all, err := j.List()
	if err != nil {
		return err
	}
	if ff.list {
		return o.printRepairs(all)
	}
	ids := []string{ff.undo}
	if ff.undo == "all" {
		ids = nil
		for _, r := range slices.Backward(all) {
			if r.End == repair.Applied {
				ids = append(ids, r.Plan.ID)
			}
		}
		if len(ids) == 0 {
			o.printf("There is no repair to undo.\n")
		}
	}
	var failed []error
	for _, id := range ids {
		r, err := j.Undo(id)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return &cliError{codeNotFound, fmt.Errorf("no repair %s", id), "holdfast check --repairs"}
			}
			failed = append(failed, fmt.Errorf("repair %s: %w", id, err))
			continue
		}
		o.printf("repair %s: %s\n", id, r.End)
	}
	return errors.Join(failed...)
}

func (o *options) printRepairs(list []repair.Repair) error {
	if o.output != "text" {
		return value(o, list)
	}
	if len(list) == 0 {
		o.printf("There is no repair.\n")
	}
	for _, r := range list {
		o.printf("%s  %s  %s  %s\n", r.Plan.ID, r.Plan.Made.Local().Format(time.DateTime), padTo(r.End, 8), report.Clean(strings.Join(r.Plan.Advice, ", ")))
		for _, s := range r.Plan.Steps {
			o.printf("      %s\n", report.Clean(s.What))
		}
	}
	return nil
}

// fix plans what can be changed, shows it, and changes it when that is wanted.
func (o *options) fix(ctx context.Context, doc *hostdoc.Host, res *audit.Result, cf *checkFlags) error {
	p, left, err := remedy.Make(doc, res, remedy.Options{Edit: cf.fixing.edit, All: cf.all || len(cf.only) > 0, SysctlDir: cf.fixing.sysctlDir, Host: &linux.Host{}})
	if err != nil {
		return err
	}
	for _, l := range left {
		o.notef("not changed: %s\n", report.Clean(l))
	}
	if len(p.Steps) == 0 {
		o.printf("There is nothing that can be changed here.\n")
		return nil
	}
	if o.output == "text" {
		o.printPlan(p)
	}
	yes, err := o.agreed(&cf.fixing)
	if err != nil || !yes {
		if o.output != "text" {
			return single(o, p)
		}
		return err
	}
	j, w, err := o.openJournal(&cf.fixing)
	if err != nil {
		return err
	}
	defer w.Close()
	r, err := j.Apply(&p.Plan)
	if err != nil {
		if r != nil {
			return fmt.Errorf("repair %s: %w; it is %s", r.Plan.ID, err, r.End)
		}
		return err
	}
	if o.output != "text" {
		return single(o, r)
	}
	o.printf("repair %s: applied, and every step took. Undo: holdfast check --undo %s\n", r.Plan.ID, r.Plan.ID)
	if p.Effect != "" {
		o.printf("%s\n", report.CleanText(p.Effect))
	}
	return nil
}

func (o *options) printPlan(p *remedy.Plan) {
	for i, s := range p.Steps {
		o.printf("%d. %s\n", i+1, report.Clean(s.What))
		for _, l := range remedy.Lines(&s) {
			o.printf("     %s\n", report.Clean(l))
		}
	}
	for _, t := range p.Tests {
		o.printf("   tested with: %s\n", report.Clean(strings.Join(t.Argv, " ")))
	}
	for _, r := range p.Reload {
		o.printf("   then: %s\n", report.Clean(r.What))
	}
	for _, s := range p.Interrupts {
		o.printf("   interrupts: %s\n", report.Clean(s))
	}
}

// agreed asks on a terminal. Without one, only --yes changes anything.
func (o *options) agreed(ff *fixFlags) (bool, error) {
	switch {
	case ff.dry:
		return false, nil
	case ff.yes:
		return true, nil
	}
	in, ok := o.env.in.(*os.File)
	if !ok || terminalWidth(in) == 0 || o.output != "text" {
		o.notef("nothing was changed: --yes changes it without asking\n")
		return false, nil
	}
	o.notef("Change this? [y/N] ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return false, nil
	}
	return strings.EqualFold(strings.TrimSpace(line), "y"), nil
}

// emit writes the changes in the form of another tool.
func (o *options) emit(res *audit.Result, form string) error {
	text, left := audit.Emit(res, form)
	o.printf("%s", text)
	for _, l := range left {
		o.notef("not in this form: %s\n", report.Clean(l))
	}
	return nil
}
