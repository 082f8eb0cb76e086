package main

import (
	"fmt"
	"strconv"
)

// floodSeconds is long enough to fill every buffer many times over.
const floodSeconds = 3

// flooded is one run of the flood with a watcher.
type flooded struct {
	account
	ours                   ledger // of the namespace with the flood
	resets                 uint64 // increase of OutRsts there, read by the load itself
	rssBefore, rssMost     int64
	toolCores, resetsPerUs float64
}

// flood measures the reset flood with and without watch, in pairs.
func (b *bench) flood() (string, error) {
	s, err := newSpace()
	if err != nil {
		return "", err
	}
	defer s.close()
	var bare, ratios, null sample
	var watched []flooded
	for r := range max(1, (b.rounds+2)/4) {
		first, err := b.bareFlood(s)
		if err != nil {
			return "", err
		}
		var with float64
		for range 2 {
			f, err := b.watchedFlood(s)
			if err != nil {
				return "", err
			}
			watched = append(watched, f)
			with += f.resetsPerUs * 1e6 / 2
		}
		last, err := b.bareFlood(s)
		if err != nil {
			return "", err
		}
		base := (first + last) / 2
		bare, null, ratios = append(bare, first, last), append(null, last/first), append(ratios, with/base)
		progress("  round %d: %.0f resets/s, with watch x%.3f\n", r+1, base, with/base)
	}
	return floodTable(bare, null, ratios, watched), nil
}

func (b *bench) bareFlood(s *space) (float64, error) {
	var l load
	if err := s.run(&l, "flood", strconv.Itoa(floodSeconds)); err != nil {
		return 0, err
	}
	return float64(l.Resets) / l.Seconds, b.ctx.Err()
}

func (b *bench) watchedFlood(s *space) (f flooded, err error) {
	t, err := b.watch(nil, "--details")
	if err != nil {
		return f, err
	}
	pid := t.cmd.Process.Pid
	f.rssBefore = memory(pid, "VmRSS")
	cpu := cpuTime(pid)
	var l load
	err = s.run(&l, "flood", strconv.Itoa(floodSeconds))
	f.toolCores = (cpuTime(pid) - cpu).Seconds() / floodSeconds
	f.rssMost = memory(pid, "VmHWM")
	t.stop()
	if err != nil {
		return f, err
	}
	f.resets, f.resetsPerUs = l.Resets, float64(l.Resets)/l.Seconds/1e6
	if f.account, err = parseAccount(t.text()); err != nil {
		return f, err
	}
	f.ours = f.ledgers[s.cookie]
	return f, b.ctx.Err()
}

func floodTable(bare, null, ratios sample, watched []flooded) string {
	var rows [][]string
	for i, f := range watched {
		verdict := "equal"
		if uint64(f.ours.stack) != f.resets || uint64(f.ours.outRsts) != f.resets {
			verdict = fmt.Sprintf("**differs by %d**", f.ours.stack-int64(f.resets))
		}
		sum := "adds up"
		if !f.adds || f.seen != f.reported+f.folded+f.lost {
			sum = "**does not add up**"
		}
		rows = append(rows, []string{fmt.Sprint(i + 1), fmt.Sprint(f.resets), fmt.Sprint(f.ours.stack), verdict,
			fmt.Sprintf("%d = %d + %d + %d", f.seen, f.reported, f.folded, f.lost), sum,
			fmt.Sprintf("%.1f -> %.1f MB", mb(f.rssBefore), mb(f.rssMost)), fmt.Sprintf("%.0f %%", 100*f.toolCores)})
	}
	return fmt.Sprintf("Without a watcher: %.0f resets/s (median of %d runs; pairs of such runs differ by x%s). With `holdfast watch`: x%s of that.\n\n",
		bare.median(), len(bare), null.ratio(), ratios.ratio()) +
		table([]string{"run", "OutRsts", "seen leaving the stack", "", "seen = reported + folded + lost", "", "memory, before -> most", "watch's own CPU"}, rows)
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }
