package resettest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tap sees the segments that a port of loopback sends.
type tap struct{ fd int }

func newTap(t *testing.T, addr string) *tap {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	const ip = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	filter := []unix.SockFilter{ // the source port is ours
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(a.Port), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 128},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: lo.Index}); err != nil {
		t.Fatal(err)
	}
	return &tap{fd}
}

// ends is what was seen of the end of connections.
type ends struct{ fin, rstAck, rstBare, any bool }

func (p *tap) read(t *testing.T, e *ends) {
	t.Helper()
	b := make([]byte, 128)
	for {
		n, _, err := unix.Recvfrom(p.fd, b, 0)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		head := int(b[0]&15) * 4
		if n < head+20 || b[9] != unix.IPPROTO_TCP || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			continue
		}
		const fin, rst, ack = 1, 4, 16
		flags := b[head+13]
		e.any = true
		e.fin = e.fin || flags&fin != 0
		e.rstAck = e.rstAck || flags&rst != 0 && flags&ack != 0
		e.rstBare = e.rstBare || flags&rst != 0 && flags&ack == 0
	}
}

// fits says whether what was seen is what the truth says, in its words.
func (e ends) fits(wire string) bool {
	reset := e.rstAck || e.rstBare
	switch wire {
	case "nothing", "rst_stream": // an orderly FIN may follow when the client leaves
		return !reset
	case "fin", "alert then fin", "goaway then fin":
		return e.fin && !reset
	case "rst-ack", "rst-ack to the SYN": // what was under way gets a bare RST behind it
		return e.rstAck && !e.fin
	case "goaway then rst-ack": // and a second connection, which is healthy
		return e.rstAck
	case "fin then rst-ack, or fin": // the client's FIN may cross the reset, and get a bare one behind it
		return e.fin && (e.rstAck || !e.rstBare)
	case "nothing, or rst without ACK":
		return !e.rstAck && !e.fin
	case "fin then rst without ACK":
		return e.fin && e.rstBare && !e.rstAck
	case "fin, fin then rst, or rst-ack":
		return e.fin || e.rstAck
	}
	return false
}

// TestRootWire makes every fault happen and looks at the segments that the server
// sends: whether there is a RST, of which kind, and whether a FIN was before it.
func TestRootWire(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a packet socket needs root")
	}
	for _, f := range Faults() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			s := New(t, Injection{Fault: f.Name, Times: 1})
			p := newTap(t, s.Addr)
			id := "wire-" + f.Name
			switch {
			case f.stage == stageIdle || f.stage == stageNext:
				second(t, s, f, id)
			case slices.Contains(f.Truth.Sees, "timeout"):
				size := 10
				if f.Name == "stop-reading" {
					size = 32 << 20
				}
				post(t, s, id, []byte(strings.Repeat("x", size)), impatient(s.hit(f)))
			default:
				post(t, s, id, bytes.Repeat([]byte("body "), 2000), patient)
			}
			var e ends
			for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if p.read(t, &e); e.fits(f.Truth.Wire) {
					break
				}
			}
			if !e.fits(f.Truth.Wire) {
				t.Errorf("seen %s, truth says %s", fmt.Sprintf("%+v", e), f.Truth.Wire)
			}
			if f.Name == "black-hole" && e.any {
				t.Error("a black hole sends")
			}
		})
	}
}
