package trace

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"unsafe"
)

// Kinds of events, as in bpf/event.h.
const (
	kindSend = iota + 1
	kindRecv
	kindErr
	kindDrop
	kindWire
	kindOwner
	kindICMP
	kindArrival
	kindEnded
)

var kindNames = [...]string{kindSend: "send", kindRecv: "recv", kindErr: "err", kindDrop: "drop", kindWire: "wire", kindOwner: "owner", kindICMP: "icmp", kindArrival: "arrive", kindEnded: "end"}

// How a connection failed its user without a RST, as in bpf/event.h.
const (
	cutByExit = iota + 1
	noAnswer
	gaveUpConnecting
	gaveUpWaiting
)

// Origins of a RST on the wire, as in bpf/reset.bpf.c.
const (
	originActive    = 1
	originReply     = 2
	originRaw       = 4
	originPacket    = 5
	originForwarded = 6
)

var originNames = [...]string{"other", "tcp-active", "tcp-reply", "other", "raw-socket", "packet-socket", "forwarded"}

const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// decodeEvent copies one record of the ring buffer into e. It allocates nothing.
func decodeEvent(raw []byte, e *resetEvent) bool {
	if len(raw) < int(unsafe.Sizeof(*e)) {
		return false
	}
	*e = *(*resetEvent)(unsafe.Pointer(unsafe.SliceData(raw)))
	return true
}

func addrOf(family uint16, b *[16]uint8) netip.Addr {
	if family == 2 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(*b).Unmap()
}

func (e *resetEvent) local() netip.AddrPort {
	return netip.AddrPortFrom(addrOf(e.Family, &e.Laddr), e.Lport)
}

func (e *resetEvent) remote() netip.AddrPort {
	return netip.AddrPortFrom(addrOf(e.Family, &e.Raddr), e.Rport)
}

// key is the tuple key of the event's socket, see tupleKey.
func (e *resetEvent) key() uint64 { return tupleKey(e.Netns, e.local(), e.remote()) }

func (e *resetEvent) packetSrc() netip.AddrPort {
	return netip.AddrPortFrom(packetAddr(e.Packet.Version, &e.Packet.Saddr), e.Packet.Sport)
}

func (e *resetEvent) packetDst() netip.AddrPort {
	return netip.AddrPortFrom(packetAddr(e.Packet.Version, &e.Packet.Daddr), e.Packet.Dport)
}

func packetAddr(version uint8, b *[16]uint8) netip.Addr {
	if version == 4 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(*b).Unmap()
}

// fromTCP says whether a device got the RST from a TCP stack, by the socket
// that it bears.
func (e *resetEvent) fromTCP() bool { return e.Origin == originActive || e.Origin == originReply }

// command is comm without control characters; it comes from outside.
func command(comm [16]int8) string {
	b := make([]byte, 0, 16)
	for _, c := range comm {
		if c == 0 {
			break
		}
		if c < ' ' || c == 0x7f {
			c = '?'
		}
		b = append(b, byte(c))
	}
	return string(b)
}

// flagString writes TCP flags in the order FSRPAU.
func flagString(f uint8) string {
	var b strings.Builder
	for i, c := range "FSRPAU" {
		if f>>i&1 == 1 {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// hasTimestamp walks the TCP options of a packet for kind 8 (RFC 7323).
func hasTimestamp(options [40]uint8, n uint8) bool {
	return findOption(options, n, 8) != nil
}

// findOption returns the data of a TCP option, nil when it is not there.
func findOption(options [40]uint8, n uint8, kind uint8) []byte {
	o := options[:min(int(n), len(options))]
	for len(o) > 0 {
		switch {
		case o[0] == 0:
			return nil
		case o[0] == 1:
			o = o[1:]
			continue
		case len(o) < 2 || o[1] < 2 || int(o[1]) > len(o):
			return nil
		case o[0] == kind:
			return append([]byte{}, o[2:o[1]]...)
		}
		o = o[o[1]:]
	}
	return nil
}

// printable escapes bytes that came from a packet.
func printable(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		switch {
		case c == '\n':
			s.WriteString(`\n`)
		case c == '\r':
			s.WriteString(`\r`)
		case c >= ' ' && c < 0x7f && c != '\\':
			s.WriteByte(c)
		default:
			s.WriteString(`\x` + hex.EncodeToString([]byte{c}))
		}
	}
	return s.String()
}
