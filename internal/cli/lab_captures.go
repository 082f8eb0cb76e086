package cli

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/internal/synth"
)

func (o *options) labCapturesCommand() *cobra.Command {
	var from uint64
	var scenes int
	c := &cobra.Command{
		Use:   "captures DIR",
		Short: "Write captures of simulated connections, with the truth beside them",
		Long: `Plays connections between a dozen kinds of TCP stacks, with devices that reset
some of them, and writes what a place between them captured: one file for each
scene, and truth.tsv, which says of every RST who sent it and why. It shares no
code with what explains captures. Needs no privileges.

The same seeds give the same files. Seeds below 1,000,000 are for setting weights;
figures are measured on those above.`,
		Example: "  holdfast lab captures --scenes 300 /tmp/captures && holdfast accuracy --captures /tmp/captures",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := writeScenes(args[0], from, scenes)
			if err == nil {
				o.printf("%d scenes with %d resets in %s\n", scenes, n, args[0])
			}
			return err
		},
	}
	c.Flags().Uint64Var(&from, "seed", 1_000_000, "seed of the first scene")
	c.Flags().IntVar(&scenes, "scenes", 1000, "how many scenes")
	return c
}

// writeScenes writes scenes and the table of their truth, and returns how many
// resets the table has.
func writeScenes(dir string, from uint64, scenes int) (resets int, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("make %s: %w", dir, err)
	}
	f, err := os.Create(filepath.Join(dir, labelFile))
	if err != nil {
		return 0, fmt.Errorf("write the truth: %w", err)
	}
	defer f.Close()
	table := bufio.NewWriter(f)
	fmt.Fprintln(table, synth.Header)
	for i := range scenes {
		s := synth.Make(from + uint64(i))
		if len(s.Truth) == 0 {
			continue
		}
		name := fmt.Sprintf("%d.pcap", s.Seed)
		if err := os.WriteFile(filepath.Join(dir, name), s.File, 0o644); err != nil {
			return 0, fmt.Errorf("write a scene: %w", err)
		}
		fmt.Fprint(table, s.Lines(name))
		resets += len(s.Truth)
	}
	if err := table.Flush(); err != nil {
		return 0, fmt.Errorf("write the truth: %w", err)
	}
	seeds := fmt.Sprintf("seeds %d to %d\n", from, from+uint64(scenes)-1)
	if err := os.WriteFile(filepath.Join(dir, seedFile), []byte(seeds), 0o644); err != nil {
		return 0, fmt.Errorf("write the seeds: %w", err)
	}
	return resets, nil
}
