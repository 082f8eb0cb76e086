package linux

import (
	"time"

	"golang.org/x/sys/unix"
)

// clockEpochs returns the wall-clock times at which CLOCK_MONOTONIC and
// CLOCK_BOOTTIME were 0. Of several readings the one taken fastest counts.
func clockEpochs() (monotonic, boot time.Time, ok bool) {
	best := int64(1) << 62
	for range 5 {
		var before, mono, bt, after unix.Timespec
		if unix.ClockGettime(unix.CLOCK_REALTIME, &before) != nil ||
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil ||
			unix.ClockGettime(unix.CLOCK_BOOTTIME, &bt) != nil ||
			unix.ClockGettime(unix.CLOCK_REALTIME, &after) != nil {
			return time.Time{}, time.Time{}, false
		}
		if took := after.Nano() - before.Nano(); took >= 0 && took < best {
			best = took
			mid := before.Nano() + took/2
			monotonic, boot = time.Unix(0, mid-mono.Nano()), time.Unix(0, mid-bt.Nano())
			ok = true
		}
	}
	return monotonic, boot, ok
}

// coarseHz derives CONFIG_HZ from the resolution of the coarse clock.
func coarseHz() int {
	var ts unix.Timespec
	if unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts) != nil || ts.Nano() <= 0 {
		return 0
	}
	return int((int64(time.Second) + ts.Nano()/2) / ts.Nano())
}
