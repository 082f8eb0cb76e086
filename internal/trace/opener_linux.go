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
	openerGone   = 5 * time.Second        // an exit longer ago did not close the socket
	believeTasks = 100 * time.Millisecond // the list of all processes
	maxTasks     = 1 << 20
)

// opener fills p with the process that has, or had when it ended just before at,
// those credentials. It returns 0 when there is none.
func (b *builder) opener(p *fact.Process, cred, at uint64) int {
	if cred == 0 {
		return 0
	}
	var r resetExitRecord
	if m := b.kernel.maps["exits"]; m != nil && m.Lookup(cred, &r) == nil {
		if r.TsNs > at+uint64(time.Second) || at > r.TsNs+uint64(openerGone) {
			return 0
		}
		b.living(p, int(r.Tgid))
		p.PID, p.Name, p.Exiting = some(int64(r.Tgid)), some(command(r.Comm)), some(true)
		p.PPID = some(int64(r.Ppid))
		b.death(r.Tgid, r.ExitCode, &p.Signal, &p.ExitCode, &p.OOM)
		b.killed(p, r.Tgid, r.ExitCode)
		return int(r.Tgid)
	}
	pid := b.byCred(cred)
	if pid != 0 {
		b.living(p, pid)
	}
	return pid
}

// byCred finds the living process with those credentials.
func (b *builder) byCred(cred uint64) int {
	if b.kernel.tasks == nil {
		return 0
	}
	if time.Since(b.credsAt) < believeTasks {
		return b.creds[cred]
	}
	b.credsAt = time.Now()
	it, err := b.kernel.tasks.Open()
	if err != nil {
		return 0
	}
	defer it.Close()
	const size = int(unsafe.Sizeof(resetTaskRecord{}))
	raw, _ := io.ReadAll(io.LimitReader(it, maxTasks*int64(size))) // of a list cut short, what there is
	b.creds = map[uint64]int{}
	for ; len(raw) >= size; raw = raw[size:] {
		if t := (*resetTaskRecord)(unsafe.Pointer(unsafe.SliceData(raw))); t.Kernel == 0 {
			b.creds[t.Cred] = int(t.Tgid)
		}
	}
	return b.creds[cred]
}
