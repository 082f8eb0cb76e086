package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-project/holdfast/internal/lab"
	"github.com/holdfast-project/holdfast/internal/report"
)

// noSource is the --source of holdfast lab run that watches nothing.
const noSource = "none"

// recordLab runs scenarios only for their packets.
func (o *options) recordLab(ctx context.Context, l *labFlags, list []lab.Scenario) error {
	st := o.style()
	results, err := runScenarios(ctx, nil, list, l.pcap, func(r *labResult) {
		if o.output != "text" {
			o.labValue(r)
		} else {
			o.printf("%s\n", recordLine(st, r))
		}
	})
	if err != nil {
		return err
	}
	o.noteRecorded(l.pcap, results)
	var done, failed int
	for _, r := range results {
		switch {
		case r.Error != "":
			failed++
		case r.Skipped == "":
			done++
		}
	}
	switch {
	case failed > 0:
		o.notef("%s failed\n", plural(failed, "scenarios"))
		return quiet(codeFindings)
	case done == 0:
		return &cliError{codePermission, errors.New("no scenario could run"), "sudo holdfast lab run, with the programs that holdfast lab list names"}
	}
	return nil
}

// noteRecorded says how much was recorded, and what got lost.
func (o *options) noteRecorded(dir string, results []*labResult) {
	var packets, resets, lost int64
	for _, r := range results {
		n, rst, gone := recordedPackets(r.Recording)
		packets, resets, lost = packets+n, resets+rst, lost+gone
	}
	o.notef("recorded in %s: %d packets, %d of them resets; %d lost\n", dir, packets, resets, lost)
}

// recordedPackets counts over all hosts; lost are those that the kernel or the
// limit of the recording refused.
func recordedPackets(r *lab.Recording) (packets, resets, lost int64) {
	if r == nil {
		return 0, 0, 0
	}
	for _, h := range r.Hosts {
		packets += h.Packets
		resets += h.Resets
		lost += h.Lost + h.Refused
	}
	return packets, resets, lost
}

func recordLine(st report.Style, r *labResult) string {
	name := padTo(r.Scenario, 32) + "  " + padTo(r.Truth.Sender, 14) + " " + padTo(r.Truth.Cause, 34) + "  "
	switch {
	case r.Skipped != "":
		return st.Dim(name + "skipped: " + report.Clean(r.Skipped))
	case r.Error != "":
		return name + st.Bad("failed: "+report.Clean(r.Error))
	}
	n, rst, lost := recordedPackets(r.Recording)
	line := name + fmt.Sprintf("%d hosts, %d packets, %d resets", len(r.Recording.Hosts), n, rst)
	if lost > 0 {
		line += st.Bad(fmt.Sprintf(", %d lost", lost))
	}
	return line
}
