package trace

import (
	"io"
	"time"
	"unsafe"

	"github.com/holdfast-project/holdfast/fact"
)

// Threads of the kernel close sockets for others: io_uring does so for
// descriptors that it holds itself, often after the process has ended. They own
// nothing. The file of a socket bears the credentials of the process that opened
// it, and each process has a copy of its own (kernel/cred.c copy_creds).

// Limits of what is asked about credentials.
const (
	openerGone = 5 * time.Second // an exit longer ago did not close the socket
	maxTasks   = 1 << 20
)

// opener fills p with the process that opened the socket: the one that had the
// credentials of its file when the socket was closed, or, of a process older than
// the watch, whoever has them now and had them then. It returns 0 when there is
// none.
func (b *builder) opener(p *fact.Process, tgid uint32, cred, at uint64) int {
	if tgid == 0 {
		t := b.byCred(cred, at)
		if t.Tgid == 0 || t.StartNs > at {
			return 0
		}
		tgid = t.Tgid
	}
	b.living(p, int(tgid))
	p.PID = some(int64(tgid))
	var r resetExitRecord
	m := b.kernel.maps["exits"]
	if m == nil || m.Lookup(tgid, &r) != nil || r.TsNs+uint64(openerGone) < at {
		return int(tgid)
	}
	p.Name, p.PPID = some(command(r.Comm)), some(int64(r.Ppid))
	// /proc may show it as gone by now, which it was not at that time
	p.Exiting, p.Signal, p.ExitCode, p.OOM = some(r.TsNs <= at), fact.Opt[string]{}, fact.Opt[int64]{}, fact.Opt[bool]{}
	if r.TsNs <= at {
		b.death(r.Tgid, r.ExitCode, &p.Signal, &p.ExitCode, &p.OOM)
		b.killed(p, r.Tgid, r.ExitCode)
	}
	return int(tgid)
}

// byCred finds the living process with those credentials, in a list that is not
// older than at.
func (b *builder) byCred(cred, at uint64) (t resetTaskRecord) {
	if b.kernel.tasks == nil || cred == 0 {
		return t
	}
	if b.credsAt > at {
		return b.creds[cred]
	}
	b.credsAt = monotonic()
	it, err := b.kernel.tasks.Open()
	if err != nil {
		return t
	}
	defer it.Close()
	const size = int(unsafe.Sizeof(resetTaskRecord{}))
	raw, _ := io.ReadAll(io.LimitReader(it, maxTasks*int64(size))) // of a list cut short, what there is
	b.creds = map[uint64]resetTaskRecord{}
	for ; len(raw) >= size; raw = raw[size:] {
		if t := (*resetTaskRecord)(unsafe.Pointer(unsafe.SliceData(raw))); t.Kernel == 0 {
			b.creds[t.Cred] = *t
		}
	}
	return b.creds[cred]
}
