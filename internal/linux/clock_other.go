//go:build !linux

package linux

import "time"

func clockEpochs() (monotonic, boot time.Time, ok bool) { return }

func coarseHz() int { return 0 }
