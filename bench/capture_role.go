package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/holdfast-project/holdfast/internal/traffic"
)

// captureKinds are the captures that package traffic makes.
var captureKinds = map[string]traffic.Options{
	"mixed": {},
	"ipv6":  {V6: true},
	"scan":  {Scan: true},
	"many":  {Conns: 50_000},
	"clean": {Resets: -1},
}

// writeTraffic is the role that writes a capture: KIND PACKETS.
func writeTraffic(args []string, w io.Writer) error {
	if len(args) != 2 {
		return errors.New("role traffic: want a kind and a number of packets")
	}
	o, ok := captureKinds[args[0]]
	n, err := strconv.ParseInt(args[1], 10, 64)
	if !ok || err != nil || n <= 0 {
		return fmt.Errorf("role traffic: no kind %q, or no number %q", args[0], args[1])
	}
	o.Packets = n
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, traffic.Reader(o), make([]byte, 1<<20))
	return err
}

// hop reads a pcap file and only goes from record header to record header:
// what no reader can be faster than that looks at every record. It prints the
// number of records.
func hop(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	if _, err := in.Discard(24); err != nil {
		return err
	}
	n := 0
	for {
		h, err := in.Peek(16)
		if errors.Is(err, io.EOF) && len(h) == 0 {
			break
		}
		if err != nil {
			return err
		}
		if _, err := in.Discard(16 + int(binary.LittleEndian.Uint32(h[8:]))); err != nil {
			return err
		}
		n++
	}
	fmt.Println(n)
	return nil
}
