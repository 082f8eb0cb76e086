package linux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Symbols are the functions of the running kernel, its modules and BPF
// programs, sorted by address.
type Symbols struct {
	addrs []uint64
	names []uint32 // offset into text
	text  []byte   // names, each ended by a newline
}

// maxKallsyms bounds what is read of /proc/kallsyms.
const maxKallsyms = 64 << 20

// Symbols reads /proc/kallsyms, which takes some 40 ms and keeps about 3 MB.
// Without CAP_SYSLOG the kernel shows zeros for addresses: an error.
func (h *Host) Symbols() (*Symbols, error) {
	f, err := os.Open(h.path("proc/kallsyms"))
	if err != nil {
		return nil, fmt.Errorf("read kernel symbols: %w", err)
	}
	defer f.Close()
	return parseKallsyms(io.LimitReader(f, maxKallsyms))
}

// parseKallsyms reads lines such as "ffffffff81c0a2d0 T tcp_v4_rcv\t[mod]".
func parseKallsyms(r io.Reader) (*Symbols, error) {
	s := &Symbols{}
	buf := make([]byte, 0, 64<<10)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		for {
			i := bytes.IndexByte(buf, '\n')
			if i < 0 {
				break
			}
			s.add(buf[:i])
			buf = buf[i+1:]
		}
		if errors.Is(err, io.EOF) {
			s.add(buf)
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read kernel symbols: %w", err)
		}
		if len(buf) > 4096 {
			buf = buf[:0] // no symbol is that long
		}
		fresh := make([]byte, len(buf), 64<<10)
		copy(fresh, buf)
		buf = fresh
	}
	if len(s.addrs) == 0 {
		return nil, errors.New("kernel symbols are hidden: run as root, or with CAP_SYSLOG and kernel.kptr_restrict below 2")
	}
	s.sort()
	return s, nil
}

// add takes one line over when it is a function with an address.
func (s *Symbols) add(line []byte) {
	f := bytes.Fields(line)
	if len(f) < 3 || len(f[1]) != 1 || !bytes.Contains([]byte("tTwW"), f[1]) {
		return
	}
	addr, err := strconv.ParseUint(string(f[0]), 16, 64)
	if err != nil || addr == 0 || len(s.text) > 1<<30 {
		return
	}
	s.addrs = append(s.addrs, addr)
	s.names = append(s.names, uint32(len(s.text)))
	s.text = append(append(s.text, f[2]...), '\n')
}

// sort orders the symbols; /proc/kallsyms is sorted except for modules. Of
// aliases at one address the first stays.
func (s *Symbols) sort() {
	order := make([]int, len(s.addrs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case s.addrs[a] < s.addrs[b]:
			return -1
		case s.addrs[a] > s.addrs[b]:
			return 1
		}
		return 0
	})
	addrs, names := make([]uint64, 0, len(order)), make([]uint32, 0, len(order))
	for _, i := range order {
		if n := len(addrs); n > 0 && addrs[n-1] == s.addrs[i] {
			continue
		}
		addrs, names = append(addrs, s.addrs[i]), append(names, s.names[i])
	}
	s.addrs, s.names = addrs, names
	s.text = slices.Clip(s.text)
}

// Len returns how many functions are known.
func (s *Symbols) Len() int { return len(s.addrs) }

// Lookup returns the function that contains addr and the distance from its
// start, or "" when addr lies below all functions or more than a megabyte
// behind one. The suffixes that compilers add (.isra.0, .cold) are removed.
func (s *Symbols) Lookup(addr uint64) (name string, offset uint64) {
	i, exact := slices.BinarySearch(s.addrs, addr)
	if !exact {
		i--
	}
	if i < 0 || addr-s.addrs[i] > 1<<20 {
		return "", 0
	}
	text := s.text[s.names[i]:]
	line, _ := nextLine(text)
	name = Clean(line, 128)
	if dot := strings.IndexByte(name, '.'); dot > 0 {
		name = name[:dot]
	}
	return name, addr - s.addrs[i]
}

// Address returns the address of a function, 0 when it does not exist.
func (s *Symbols) Address(name string) uint64 {
	for i := range s.addrs {
		if line, _ := nextLine(s.text[s.names[i]:]); string(line) == name {
			return s.addrs[i]
		}
	}
	return 0
}
