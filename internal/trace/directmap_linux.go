package trace

import (
	"crypto/rand"
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// tryArgs are the arguments of the program learn (bpf/reset.bpf.c).
type tryArgs struct {
	Pattern [32]byte
	FD      int32
	First   int32 // distance to begin with, in GiB
	Count   int32
}

const triesPerRun = 256 // bound of the program's loop

// learnDirectMap lets the kernel programs find out where a page of data lies in
// the kernel's address space, by a pipe whose page has a pattern that nothing
// else has. Without it they see only data that lies behind the headers of its
// packet, which on one host is none.
func (k *kernel) learnDirectMap(base *ebpf.CollectionSpec, types *btf.Cache) error {
	p, err := k.load(base, "learn", types)
	if err != nil {
		return err
	}
	defer p.Close()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	args := tryArgs{FD: int32(fds[0])}
	rand.Read(args.Pattern[:])
	if _, err := unix.Write(fds[1], args.Pattern[:]); err != nil {
		return fmt.Errorf("write to a pipe: %w", err)
	}
	reach := reachGiB()
	for first := int32(0); first <= reach; first += triesPerRun {
		for _, from := range []int32{first, -first - triesPerRun} {
			args.First, args.Count = from, triesPerRun
			switch code, err := p.Run(&ebpf.RunOptions{Context: args}); {
			case err != nil:
				return fmt.Errorf("run: %w", err)
			case code == 0:
				return nil
			case code != notThere:
				return fmt.Errorf("the kernel's pipe looks otherwise than expected (%d)", code)
			}
		}
	}
	return errors.New("no distance fits")
}

const notThere = 3 // learn's answer when no distance that it tried fits

// reachGiB is how far the page of a pipe can lie from its control block, in GiB:
// the size of the memory, with room for the holes that machines leave in it, and
// 64 for each GiB of struct page.
func reachGiB() int32 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return triesPerRun
	}
	return int32(min(2*uint64(info.Totalram)*uint64(info.Unit)>>30+triesPerRun, 64<<10))
}

var _ = [1]struct{}{}[unsafe.Sizeof(tryArgs{})-44] // as in C
