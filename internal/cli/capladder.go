package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/capture"
	"github.com/holdfast-project/holdfast/internal/report"
)

// fewStories is how many stories are shown with their packets unless asked.
const fewStories = 3

// proofFrames notes in which frame each line of the proof can be seen.
func proofFrames(f *fact.Finding, c *capture.Case) {
	for i := range f.Proof {
		p := &f.Proof[i]
		if n := c.FrameOf(p.Facts); n != 0 && p.File == "" {
			p.File, p.Frame = c.Point.Name, int(n)
		}
	}
}

// wantsLadders is how many stories, the first ones, need their packets.
func (cf *captureFlags) wantsLadders(o *options, stories int) int {
	switch {
	case cf.report != "" || cf.extract != "" || cf.svg != "":
		return min(stories, capture.MaxLadders)
	case o.output != "text" || !cf.details && stories > fewStories:
		return 0
	case cf.stories > 0:
		return min(stories, cf.stories, capture.MaxLadders)
	}
	return min(stories, capture.MaxLadders)
}

// addLadders reads the captures again for the packets of the first stories. What
// fails here costs pictures, no verdicts: it is said and the rest goes on.
func (o *options) addLadders(ctx context.Context, got *captured, rep *report.Report, cf *captureFlags) error {
	n := cf.wantsLadders(o, len(rep.Stories))
	var cases []*capture.Case
	for i := range rep.Stories[:n] {
		cases = append(cases, got.caseOf(rep.Stories[i].Findings[0]))
	}
	if len(cases) == 0 {
		return nil
	}
	ladders, err := capture.Ladders(ctx, cases, cf.spool.open)
	for i, c := range cases {
		rep.Stories[i].Ladder = ladders[c]
		if across := c.Across(); across != nil {
			rep.Stories[i].Ladder = across
			continue
		}
		if l := ladders[c]; l != nil {
			notes(l, rep.Stories[i].Findings[0])
		}
	}
	return err
}

// caseOf returns the case of a finding of g.
func (g *captured) caseOf(f *fact.Finding) *capture.Case {
	for i := range g.findings {
		if &g.findings[i] == f {
			return g.cases[i]
		}
	}
	return nil
}

// notes marks in a ladder the frames that the proof names and that have no part
// yet.
func notes(l *fact.Ladder, f *fact.Finding) {
	for _, p := range f.Proof {
		i := slices.IndexFunc(l.Frames, func(x fact.Frame) bool {
			return p.Frame != 0 && x.Number == int64(p.Frame) && x.File == p.File
		})
		if i < 0 {
			continue
		}
		if x := &l.Frames[i]; x.Kind == fact.FramePlain || x.Kind == fact.FrameNextStep {
			x.Kind, x.Note = fact.FrameProof, cmp.Or(x.Note, p.Says)
		}
	}
}

// writeFiles writes what --report, --svg and --extract ask for. ladderErr is why
// packets could not be read again: only an extract fails for that.
func (o *options) writeFiles(ctx context.Context, got *captured, rep *report.Report, cf *captureFlags, ladderErr error) error {
	if ladderErr != nil && cf.extract == "" {
		o.notef("holdfast: packets are not shown: %s\n", report.CleanText(ladderErr.Error()))
	}
	if cf.report != "" {
		if err := hashes(rep); err != nil {
			return err
		}
		if err := o.writeReport(rep, cf.report); err != nil {
			return err
		}
	}
	if cf.svg != "" {
		if err := o.writeDrawings(rep, cf.svg); err != nil {
			return err
		}
	}
	if cf.extract == "" {
		return nil
	}
	return o.writeExtract(ctx, got, rep, cf, ladderErr)
}

// writeDrawings writes the ladder of each story into the directory of --svg.
func (o *options) writeDrawings(rep *report.Report, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write drawings: %w", err)
	}
	n := 0
	for i := range rep.Stories {
		if rep.Stories[i].Ladder == nil {
			continue
		}
		svg := report.LadderSVG(rep.Stories[i].Ladder)
		err := replaceFile(filepath.Join(dir, fmt.Sprintf("story-%d.svg", i+1)), func(w io.Writer) error {
			_, err := w.Write(svg)
			return err
		})
		if err != nil {
			return fmt.Errorf("write drawings: %w", err)
		}
		n++
	}
	o.notef("holdfast: wrote %d drawings to %s\n", n, report.Clean(dir))
	return nil
}

// writeReport writes the HTML file of --report.
func (o *options) writeReport(rep *report.Report, path string) error {
	err := replaceFile(path, func(w io.Writer) error { return report.HTML(w, rep) })
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	o.notef("holdfast: wrote %s\n", report.Clean(path))
	return nil
}

// writeExtract writes the frames of the ladders to the file of --extract.
func (o *options) writeExtract(ctx context.Context, got *captured, rep *report.Report, cf *captureFlags, ladderErr error) error {
	picks := picked(got, rep)
	if len(picks) == 0 && ladderErr != nil {
		return fmt.Errorf("write extract: %w", ladderErr)
	}
	if len(picks) == 0 {
		o.notef("holdfast: no packets to extract, %s was not written\n", report.Clean(cf.extract))
		return nil
	}
	n := 0
	err := replaceFile(cf.extract, func(w io.Writer) (err error) {
		n, err = capture.Extract(ctx, w, picks, cf.spool.open)
		return err
	})
	if err != nil {
		return fmt.Errorf("write extract: %w", err)
	}
	o.notef("holdfast: wrote %s to %s\n", plural(n, "packets"), report.Clean(cf.extract))
	return ladderErr
}

// picked lists the frames of all ladders by capture, in the order in which the
// captures were given, with what is to be said of them.
func picked(got *captured, rep *report.Report) []capture.Pick {
	byFile := map[string]map[int64]string{}
	for i := range rep.Stories {
		s := &rep.Stories[i]
		if s.Ladder == nil {
			continue
		}
		for j := range s.Ladder.Frames {
			x := &s.Ladder.Frames[j]
			if byFile[x.File] == nil {
				byFile[x.File] = map[int64]string{}
			}
			if text := comment(x, s.Findings[0], i+1); text != "" || byFile[x.File][x.Number] == "" {
				byFile[x.File][x.Number] = text
			}
		}
	}
	var list []capture.Pick
	for _, p := range got.points {
		if frames := byFile[p.Name]; len(frames) > 0 {
			list = append(list, capture.Pick{File: p.Name, Frames: frames})
			delete(byFile, p.Name)
		}
	}
	return list
}

// comment is what Wireshark shows beside an extracted frame; "" for one that
// only belongs to the connection.
func comment(x *fact.Frame, f *fact.Finding, story int) string {
	head := fmt.Sprintf("holdfast, story %d, frame %d of %s: ", story, x.Number, filepath.Base(x.File))
	switch {
	case f.Where != nil && x.Number == int64(f.Where.Frame) && x.File == f.Where.File:
		return head + verdict(f)
	case x.Kind == fact.FrameTrigger:
		return head + "what the reset answers"
	case x.Kind == fact.FrameICMPError:
		return head + x.Info
	case x.Kind == fact.FramePlain || x.Kind == fact.FrameNextStep || x.Note == "":
		return ""
	}
	return head + x.Note
}

// verdict is a finding in two or three sentences.
func verdict(f *fact.Finding) string {
	text := fmt.Sprintf("%s (%s). Sent by: %s (%s).", cmp.Or(f.Cause.Title, f.Cause.ID), f.Cause.Grade, f.Sender.Role, f.Sender.Grade)
	if f.Sender.Role == fact.Nobody {
		text = fmt.Sprintf("%s (%s).", cmp.Or(f.Cause.Title, f.Cause.ID), f.Cause.Grade)
	}
	if f.Cause.Says != "" {
		text += " " + f.Cause.Says
	}
	return report.Clean(strings.Join(strings.Fields(text), " "))
}

// replaceFile writes a file so that its name stands for the old content or for
// all of the new one, never for a part.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() { // /dev/stdout, a FIFO
		return writeTo(path, write)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(fill(f, write), f.Chmod(0o644)); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func writeTo(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(fill(f, write), f.Close())
}

// fill writes through a buffer.
func fill(f io.Writer, write func(io.Writer) error) error {
	w := bufio.NewWriter(f)
	if err := write(w); err != nil {
		return err
	}
	return w.Flush()
}
