package linux

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of what is kept of the kernel's messages.
const (
	maxKernelLines = 512
	maxKernelLine  = 256
	maxKernelText  = 4 << 10
	maxKernelReads = 4096 // in one call
)

// KernelLog follows the messages of the kernel (/dev/kmsg) from the moment it
// was opened. It is safe for concurrent use.
type KernelLog struct {
	host *Host

	mu      sync.Mutex // guards the rest
	fd      int        // -1 when it could not be opened
	lines   []kernelLine
	dropped uint64 // lines that were overwritten before anybody asked
}

type kernelLine struct {
	at   time.Time
	text string
}

// Around returns the messages within d of a time, oldest first, at most 4 KiB.
// looked is false when the messages cannot be read here.
func (k *KernelLog) Around(at time.Time, d time.Duration) (text string, looked bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fd < 0 {
		return "", false
	}
	k.drain()
	var b strings.Builder
	for _, l := range k.lines {
		if gap := l.at.Sub(at).Abs(); gap <= d && b.Len()+len(l.text) < maxKernelText {
			b.WriteString(l.text + "\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n"), true
}

// keep adds a record of /dev/kmsg: "priority,sequence,microseconds,flags;text".
// What programs write there themselves is not the kernel's.
func (k *KernelLog) keep(record []byte, epoch time.Time) {
	head, text, ok := bytes.Cut(record, []byte{';'})
	if !ok {
		return
	}
	fields := strings.Split(string(head), ",")
	if len(fields) < 3 {
		return
	}
	priority, err := strconv.Atoi(fields[0])
	us, err2 := strconv.ParseInt(fields[2], 10, 64)
	const facility = 3 // bits of the level below it
	if err != nil || err2 != nil || priority>>facility != 0 {
		return
	}
	text, _, _ = bytes.Cut(text, []byte{'\n'}) // the lines after it are fields
	if len(k.lines) == maxKernelLines {
		k.lines = append(k.lines[:0], k.lines[maxKernelLines/2:]...)
		k.dropped += maxKernelLines / 2
	}
	k.lines = append(k.lines, kernelLine{epoch.Add(time.Duration(us) * time.Microsecond), string(text[:min(len(text), maxKernelLine)])})
}

// Dropped is how many lines were overwritten before anybody asked for them.
func (k *KernelLog) Dropped() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dropped
}
