package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// writeSection replaces what stands between the markers of a section in the
// page. The markers are HTML comments: <!-- bench cost --> and <!-- end cost -->.
func writeSection(page, name, text string) error {
	old, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	fresh, err := replaceSection(string(old), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	if err := os.WriteFile(page, []byte(fresh), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

func replaceSection(page, name, text string) (string, error) {
	begin, end := "<!-- bench "+name+" -->\n", "<!-- end "+name+" -->"
	before, rest, ok := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("no section between %q and %q", strings.TrimSpace(begin), end)
	}
	return before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after, nil
}

// machine says on what, when and what was measured.
func machine(ctx context.Context, repo string) string {
	var u unix.Utsname
	_ = unix.Uname(&u) // cannot fail with a valid pointer
	commit := "unknown"
	if out, err := exec.CommandContext(ctx, "git", "-C", repo, "describe", "--always", "--dirty", "--abbrev=12").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	return table([]string{"machine", ""}, [][]string{
		{"CPU", fmt.Sprintf("%s, %d online", field("/proc/cpuinfo", "model name"), runtime.NumCPU())},
		{"memory", field("/proc/meminfo", "MemTotal")},
		{"kernel", unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])},
		{"virtual", virtual()},
		{"measured", time.Now().UTC().Format("2006-01-02 15:04 UTC") + ", commit " + commit + ", " + runtime.Version()},
		{"busy before", quiet(ctx)},
	})
}

// quiet says how busy the CPUs are with other work.
func quiet(ctx context.Context) string {
	busy, all := cpuTicks()
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
	busy2, all2 := cpuTicks()
	if all2 == all {
		return "unknown"
	}
	share := 100 * (busy2 - busy) / (all2 - all)
	if share > 5 {
		progress("the machine is not quiet: its CPUs are %.0f %% busy with other work; the numbers will be noisy\n", share)
		return fmt.Sprintf("%.0f %% (**not quiet: the numbers are noisy**)", share)
	}
	return fmt.Sprintf("%.1f %%", share)
}

// cpuTicks returns the busy and all ticks of all CPUs since the boot.
func cpuTicks() (busy, all float64) {
	fields := strings.Fields(strings.SplitN(readFile("/proc/stat"), "\n", 2)[0])
	for i, f := range fields {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil || i > 8 { // the name; guests are counted in user already
			continue
		}
		all += n
		if i != 4 && i != 5 { // idle, waiting for a disk
			busy += n
		}
	}
	return busy, all
}

func virtual() string {
	if strings.Contains(field("/proc/cpuinfo", "flags"), "hypervisor") {
		return "yes"
	}
	return "no"
}

// field returns the value of the first line "name : value" of a file.
func field(path, name string) string {
	for line := range strings.Lines(readFile(path)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return "unknown"
}

func readFile(path string) string {
	b, _ := os.ReadFile(path) // what cannot be read is unknown
	return string(b)
}

// table writes a Markdown table with aligned columns.
func table(head []string, rows [][]string) string {
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, c := range row {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	var s strings.Builder
	line := func(cells []string, fill string) {
		s.WriteString("|")
		for i, c := range cells {
			s.WriteString(" " + c + strings.Repeat(fill, width[i]-len([]rune(c))) + " |")
		}
		s.WriteString("\n")
	}
	line(head, " ")
	line(make([]string, len(head)), "-") // empty cells, filled
	for _, row := range rows {
		line(row, " ")
	}
	return s.String()
}
