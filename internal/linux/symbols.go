package linux

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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

// SymbolsVisible returns an error when the kernel hides the addresses of its
// functions. It reads the first half megabyte: on some kernels per-CPU variables,
// whose addresses are small numbers, come before the functions.
func (h *Host) SymbolsVisible() error {
	f, err := os.Open(h.path("proc/kallsyms"))
	if err != nil {
		return fmt.Errorf("read kernel symbols: %w", err)
	}
	defer f.Close()
	_, err = parseKallsyms(io.LimitReader(f, 512<<10))
	return err
}

// parseKallsyms reads lines such as "ffffffff81c0a2d0 T tcp_v4_rcv\t[mod]".
func parseKallsyms(r io.Reader) (*Symbols, error) {
	s := &Symbols{}
	buf, have := make([]byte, 64<<10), 0
	for {
		n, err := r.Read(buf[have:])
		rest := buf[:have+n]
		for {
			line, after, found := bytes.Cut(rest, newline)
			if !found {
				break
			}
			s.add(line)
			rest = after
		}
		if errors.Is(err, io.EOF) {
			s.add(rest)
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read kernel symbols: %w", err)
		}
		if len(rest) > 4096 {
			rest = nil // no symbol is that long
		}
		have = copy(buf, rest)
	}
	if len(s.addrs) == 0 {
		return nil, errors.New("kernel symbols are hidden: run as root, or with CAP_SYSLOG and kernel.kptr_restrict below 2")
	}
	s.sort()
	return s, nil
}

var newline = []byte{'\n'}

// add takes one line over when it is a function with an address.
func (s *Symbols) add(line []byte) {
	hex, rest, _ := bytes.Cut(line, []byte{' '})
	if len(rest) < 3 || rest[1] != ' ' || rest[0]|0x20 != 't' && rest[0]|0x20 != 'w' {
		return
	}
	name := rest[2:]
	if end := bytes.IndexAny(name, " \t\r"); end >= 0 {
		name = name[:end]
	}
	addr, ok := parseHex(hex)
	if !ok || addr == 0 || len(name) == 0 || len(s.text) > 1<<30 {
		return
	}
	s.addrs = append(s.addrs, addr)
	s.names = append(s.names, uint32(len(s.text)))
	s.text = append(append(s.text, name...), '\n')
}

// parseHex reads an address without allocating: there are 200,000 of them.
func parseHex(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 16 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | uint64(c)
	}
	return n, true
}

// sort orders the symbols; /proc/kallsyms is sorted except for modules. Of
// aliases at one address the first stays.
func (s *Symbols) sort() {
	order := make([]int32, len(s.addrs))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(s.addrs[a], s.addrs[b]) })
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
