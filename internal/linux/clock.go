package linux

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// userHz is the unit of times in /proc: AT_CLKTCK is 100 on every
// architecture that Go supports, whatever CONFIG_HZ is.
const userHz = 100

// clockCache holds the offsets between the clocks.
type clockCache struct {
	mu sync.Mutex // guards all below

	read      time.Time
	monotonic time.Time // wall time at which CLOCK_MONOTONIC was 0
	boot      time.Time // wall time at which CLOCK_BOOTTIME was 0
	hz        int
}

// MonotonicToTime converts a CLOCK_MONOTONIC reading in nanoseconds, as BPF's
// bpf_ktime_get_ns returns it, to wall-clock time. Accurate to a few
// microseconds, apart from adjustments of the wall clock since.
func (h *Host) MonotonicToTime(ns uint64) time.Time {
	mono, _ := h.epochs()
	return mono.Add(time.Duration(ns))
}

// BootTime is the wall-clock time of boot. Other than btime of /proc/stat it
// is not rounded to seconds when the host is the running system.
func (h *Host) BootTime() time.Time {
	_, boot := h.epochs()
	return boot
}

// epochs returns the zero of both clocks, read again every second because the
// wall clock is adjusted now and then.
func (h *Host) epochs() (monotonic, boot time.Time) {
	c := &h.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.read.IsZero() && time.Since(c.read) < time.Second {
		return c.monotonic, c.boot
	}
	c.read = time.Now()
	var ok bool
	if c.monotonic, c.boot, ok = clockEpochs(); !ok || !h.live() {
		if b := h.btime(); !b.IsZero() {
			c.boot = b
		}
		if !ok {
			c.monotonic = c.boot
		}
	}
	return c.monotonic, c.boot
}

// btime returns the boot time of /proc/stat, zero when it is missing.
func (h *Host) btime() (t time.Time) {
	_ = read(h.path("proc/stat"), 4<<20, func(b []byte) error {
		i := bytes.Index(b, []byte("\nbtime "))
		if i < 0 {
			return nil
		}
		line, _ := nextLine(b[i+7:])
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64); err == nil {
			t = time.Unix(n, 0)
		}
		return nil
	})
	return t
}

// ticksToTime converts the start time of /proc/PID/stat.
func (h *Host) ticksToTime(ticks uint64) time.Time {
	return h.BootTime().Add(time.Duration(ticks) * (time.Second / userHz))
}

// JiffiesHz returns CONFIG_HZ, the unit of kernel times such as
// tcp_sock.linger2: 100, 250, 300 or 1000; 0 when it cannot be found out. The
// resolution of the coarse clocks is exactly one jiffy (clock_getres(2),
// kernel/time/hrtimer.c); the configuration is the second source.
func (h *Host) JiffiesHz() int {
	h.clock.mu.Lock()
	defer h.clock.mu.Unlock()
	if h.clock.hz == 0 {
		if h.live() {
			h.clock.hz = coarseHz()
		}
		if h.clock.hz == 0 {
			h.clock.hz = h.configHz()
		}
	}
	return h.clock.hz
}

// configHz reads CONFIG_HZ from /proc/config.gz or /boot/config-RELEASE.
func (h *Host) configHz() int {
	if f, err := os.Open(h.path("proc/config.gz")); err == nil {
		defer f.Close()
		if z, err := gzip.NewReader(f); err == nil {
			return scanHz(z)
		}
	}
	release, err := readString(h.path("proc/sys/kernel/osrelease"), 256)
	if err != nil || strings.ContainsAny(release, "/") {
		return 0
	}
	f, err := os.Open(h.path("boot/config-" + release))
	if err != nil {
		return 0
	}
	defer f.Close()
	return scanHz(f)
}

// scanHz finds CONFIG_HZ=N, reading at most 1 MiB.
func scanHz(r io.Reader) int {
	s := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for s.Scan() {
		if v, ok := strings.CutPrefix(s.Text(), "CONFIG_HZ="); ok {
			n, _ := strconv.Atoi(v)
			return n
		}
	}
	return 0
}

// Hostname returns the name of the host.
func (h *Host) Hostname() (string, error) {
	s, err := readString(h.path("proc/sys/kernel/hostname"), 256)
	if err == nil && s != "" {
		return Clean([]byte(s), 256), nil
	}
	if !h.live() {
		return "", fmt.Errorf("read host name: %w", err)
	}
	return os.Hostname()
}
