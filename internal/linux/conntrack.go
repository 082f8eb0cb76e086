package linux

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"github.com/holdfast-project/holdfast/internal/netlink"
)

// Conntrack is the state of connection tracking in a namespace. The counters
// are sums over all processors.
type Conntrack struct {
	Count, Max   int64 // entries now, and their limit
	Found        uint64
	Invalid      uint64 // packets that belong to no connection it could accept
	Insert       uint64
	InsertFailed uint64 // lost races, full tuple space
	Drop         uint64 // packets dropped because an entry could not be made
	EarlyDrop    uint64 // entries evicted to make room
	Errors       uint64
	Restarts     uint64 // searches that had to start again
	ClashResolve uint64
	ChainTooLong uint64
}

// CTEntry is one tracked connection.
type CTEntry struct {
	Orig, Reply CTTuple
	Status      uint32 // IPS_ bits (linux/netfilter/nf_conntrack_common.h)
	Timeout     time.Duration
	State       string // ESTABLISHED, TIME_WAIT, CLOSE ...; as conntrack(8)
	Mark        uint32
	ID          uint32
}

// CTTuple is one direction of a connection.
type CTTuple struct{ Src, Dst netip.AddrPort }

// The status bits that matter here.
const (
	ctSeenReply = 1 << 1
	ctSrcNAT    = 1 << 4
	ctDstNAT    = 1 << 5
)

// NAT reports whether the entry translates addresses or ports.
func (e *CTEntry) NAT() bool { return e.Status&(ctSrcNAT|ctDstNAT) != 0 }

// Replied reports whether packets went both ways.
func (e *CTEntry) Replied() bool { return e.Status&ctSeenReply != 0 }

// ctStates are enum tcp_conntrack.
var ctStates = []string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}

// parseCTEntry decodes IPCTNL_MSG_CT_NEW.
func parseCTEntry(b []byte) (e CTEntry, ok bool) {
	const orig, reply, status, proto, timeout, mark, id = 1, 2, 3, 4, 7, 8, 12
	if len(b) < 4 {
		return e, false
	}
	for typ, v := range netlink.Attributes(b[4:]) {
		switch typ {
		case orig:
			e.Orig = parseTuple(v)
		case reply:
			e.Reply = parseTuple(v)
		case status:
			e.Status = netlink.Uint32(v)
		case timeout:
			e.Timeout = time.Duration(netlink.Uint32(v)) * time.Second
		case mark:
			e.Mark = netlink.Uint32(v)
		case id:
			e.ID = netlink.Uint32(v)
		case proto:
			if s := netlink.Attrs(netlink.Attrs(v)[1])[1]; len(s) > 0 && int(s[0]) < len(ctStates) {
				e.State = ctStates[s[0]]
			}
		}
	}
	return e, e.Orig.Src.IsValid()
}

// Attributes of a tuple (enum ctattr_tuple, ctattr_ip, ctattr_l4proto).
const (
	ctTupleIP, ctTupleProto       = 1, 2
	ctV4Src, ctV4Dst              = 1, 2
	ctV6Src, ctV6Dst              = 3, 4
	ctProtoNum, ctSport, ctDport  = 1, 2, 3
	ctStatFound, ctStatInvalid    = 2, 4
	ctStatInsert, ctStatInsFailed = 8, 9
	ctStatDrop, ctStatEarlyDrop   = 10, 11
)

// parseTuple decodes CTA_TUPLE_ORIG and CTA_TUPLE_REPLY.
func parseTuple(b []byte) (t CTTuple) {
	var src, dst netip.Addr
	var sport, dport uint16
	for typ, v := range netlink.Attributes(b) {
		a := netlink.Attrs(v)
		switch typ {
		case ctTupleIP:
			src, dst = ctAddr(a[ctV4Src], a[ctV6Src]), ctAddr(a[ctV4Dst], a[ctV6Dst])
		case ctTupleProto:
			sport, dport = netlink.Uint16(a[ctSport]), netlink.Uint16(a[ctDport])
		}
	}
	return CTTuple{netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)}
}

// ctAddr decodes whichever address is there.
func ctAddr(v4, v6 []byte) netip.Addr {
	if v4 == nil {
		v4 = v6
	}
	a, _ := netip.AddrFromSlice(v4)
	return a
}

// tuple makes the attribute that asks for a TCP connection.
func (t CTTuple) tuple(typ uint16) []byte {
	src, dst := t.Src.Addr().Unmap(), t.Dst.Addr().Unmap()
	kinds := [2]uint16{ctV4Src, ctV4Dst}
	if src.Is6() {
		kinds = [2]uint16{ctV6Src, ctV6Dst}
	}
	ip := netlink.AppendAttribute(netlink.AppendAttribute(nil, kinds[0], src.AsSlice()), kinds[1], dst.AsSlice())
	port := func(n uint16) []byte { return []byte{byte(n >> 8), byte(n)} }
	proto := netlink.AppendAttribute(nil, ctProtoNum, []byte{6})
	proto = netlink.AppendAttribute(netlink.AppendAttribute(proto, ctSport, port(t.Src.Port())), ctDport, port(t.Dst.Port()))
	return netlink.AppendNested(nil, typ, netlink.AppendNested(netlink.AppendNested(nil, ctTupleIP, ip), ctTupleProto, proto))
}

// column returns where a column of /proc/net/stat/nf_conntrack is summed, nil
// when nobody wants it.
func (c *Conntrack) column(name string) *uint64 {
	switch name {
	case "found":
		return &c.Found
	case "invalid":
		return &c.Invalid
	case "insert":
		return &c.Insert
	case "insert_failed":
		return &c.InsertFailed
	case "drop":
		return &c.Drop
	case "early_drop":
		return &c.EarlyDrop
	case "icmp_error":
		return &c.Errors
	case "search_restart":
		return &c.Restarts
	case "clash_resolve", "clashres":
		return &c.ClashResolve
	case "chaintoolong":
		return &c.ChainTooLong
	}
	return nil
}

// parseStats sums /proc/net/stat/nf_conntrack: a header and a line of
// hexadecimal numbers for each processor. The first column is the number of
// entries, the same in each line.
func (c *Conntrack) parseStats(b []byte) {
	header, b := nextLine(b)
	names := bytes.Fields(header)
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		for i, f := range bytes.Fields(line) {
			n, err := strconv.ParseUint(string(f), 16, 64)
			if err != nil || i >= len(names) {
				break
			}
			if p := c.column(string(names[i])); p != nil {
				*p += n
			} else if string(names[i]) == "entries" {
				c.Count = int64(n)
			}
		}
	}
}
