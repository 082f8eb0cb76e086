package linux

import (
	"bytes"
	"fmt"
	"math/bits"
	"path"
	"strconv"
	"sync"
	"time"
)

// Counter names one value of /proc/net/{snmp,netstat,snmp6,sockstat,sockstat6}.
type Counter uint8

// The counters that are read; [Counter.String] is the kernel's name.
const (
	TCPActiveOpens Counter = iota
	TCPPassiveOpens
	TCPAttemptFails
	TCPEstabResets
	TCPCurrEstab // gauge
	TCPInSegs
	TCPOutSegs
	TCPRetransSegs
	TCPInErrs
	TCPOutRsts
	TCPInCsumErrors
	IPInDiscards
	IPInAddrErrors
	IPInNoRoutes
	IPOutNoRoutes
	IPForwDatagrams
	ICMPInDestUnreachs
	ICMPOutDestUnreachs
	SyncookiesSent
	SyncookiesRecv
	SyncookiesFailed
	EmbryonicRsts
	PruneCalled
	RcvPruned
	OfoPruned
	OutOfWindowIcmps
	TW
	TWRecycled
	TWKilled
	PAWSActive
	PAWSEstab
	PAWSOldAck
	PAWSTimewait
	TSEcrRejected
	BeyondWindow
	ListenOverflows
	ListenDrops
	TCPTimeouts
	TCPLossProbes
	TCPAbortOnData
	TCPAbortOnClose
	TCPAbortOnMemory
	TCPAbortOnTimeout
	TCPAbortOnLinger
	TCPAbortFailed
	TCPMemoryPressures
	TCPMemoryPressuresChrono
	TCPMD5NotFound
	TCPMD5Unexpected
	TCPMD5Failure
	TCPAOBad
	TCPAOKeyNotFound
	TCPAORequired
	TCPAODroppedIcmps
	TCPBacklogDrop
	TCPMinTTLDrop
	TCPDeferAcceptDrop
	IPReversePathFilter
	TCPTimeWaitOverflow
	TCPReqQFullDoCookies
	TCPReqQFullDrop
	TCPRetransFail
	TCPRcvQDrop
	TCPZeroWindowDrop
	TCPSynRetrans
	TCPSpuriousRtxHostQueues
	TCPChallengeACK
	TCPSYNChallenge
	TCPACKSkippedSynRecv
	TCPACKSkippedTimeWait
	TCPFastOpenPassiveFail
	TCPFastOpenListenOverflow
	TCPKeepAlive
	TCPMigrateReqFailure
	MPTCPRstTx
	MPTCPRstRx
	MPFailTx
	MPFailRx
	MPFastcloseTx
	MPFastcloseRx
	IP6InNoRoutes
	IP6InDiscards
	ICMP6InDestUnreachs
	ICMP6OutDestUnreachs
	SockTCPInUse  // gauge
	SockTCPOrphan // gauge, of the whole host
	SockTCPTw     // gauge
	SockTCPAlloc  // gauge, of the whole host
	SockTCPMem    // gauge, pages of the whole host
	SockTCP6InUse // gauge
	NumCounters   // how many there are
)

// counterNames are the names in the files: protocol, dot, name.
var counterNames = [NumCounters]string{
	TCPActiveOpens:            "Tcp.ActiveOpens",
	TCPPassiveOpens:           "Tcp.PassiveOpens",
	TCPAttemptFails:           "Tcp.AttemptFails",
	TCPEstabResets:            "Tcp.EstabResets",
	TCPCurrEstab:              "Tcp.CurrEstab",
	TCPInSegs:                 "Tcp.InSegs",
	TCPOutSegs:                "Tcp.OutSegs",
	TCPRetransSegs:            "Tcp.RetransSegs",
	TCPInErrs:                 "Tcp.InErrs",
	TCPOutRsts:                "Tcp.OutRsts",
	TCPInCsumErrors:           "Tcp.InCsumErrors",
	IPInDiscards:              "Ip.InDiscards",
	IPInAddrErrors:            "Ip.InAddrErrors",
	IPInNoRoutes:              "IpExt.InNoRoutes",
	IPOutNoRoutes:             "Ip.OutNoRoutes",
	IPForwDatagrams:           "Ip.ForwDatagrams",
	ICMPInDestUnreachs:        "Icmp.InDestUnreachs",
	ICMPOutDestUnreachs:       "Icmp.OutDestUnreachs",
	SyncookiesSent:            "TcpExt.SyncookiesSent",
	SyncookiesRecv:            "TcpExt.SyncookiesRecv",
	SyncookiesFailed:          "TcpExt.SyncookiesFailed",
	EmbryonicRsts:             "TcpExt.EmbryonicRsts",
	PruneCalled:               "TcpExt.PruneCalled",
	RcvPruned:                 "TcpExt.RcvPruned",
	OfoPruned:                 "TcpExt.OfoPruned",
	OutOfWindowIcmps:          "TcpExt.OutOfWindowIcmps",
	TW:                        "TcpExt.TW",
	TWRecycled:                "TcpExt.TWRecycled",
	TWKilled:                  "TcpExt.TWKilled",
	PAWSActive:                "TcpExt.PAWSActive",
	PAWSEstab:                 "TcpExt.PAWSEstab",
	PAWSTimewait:              "TcpExt.PAWSTimewait",
	TSEcrRejected:             "TcpExt.TSEcrRejected",
	BeyondWindow:              "TcpExt.BeyondWindow",
	PAWSOldAck:                "TcpExt.PAWSOldAck",
	ListenOverflows:           "TcpExt.ListenOverflows",
	ListenDrops:               "TcpExt.ListenDrops",
	TCPTimeouts:               "TcpExt.TCPTimeouts",
	TCPLossProbes:             "TcpExt.TCPLossProbes",
	TCPAbortOnData:            "TcpExt.TCPAbortOnData",
	TCPAbortOnClose:           "TcpExt.TCPAbortOnClose",
	TCPAbortOnMemory:          "TcpExt.TCPAbortOnMemory",
	TCPAbortOnTimeout:         "TcpExt.TCPAbortOnTimeout",
	TCPAbortOnLinger:          "TcpExt.TCPAbortOnLinger",
	TCPAbortFailed:            "TcpExt.TCPAbortFailed",
	TCPMemoryPressures:        "TcpExt.TCPMemoryPressures",
	TCPMemoryPressuresChrono:  "TcpExt.TCPMemoryPressuresChrono",
	TCPMD5NotFound:            "TcpExt.TCPMD5NotFound",
	TCPMD5Unexpected:          "TcpExt.TCPMD5Unexpected",
	TCPMD5Failure:             "TcpExt.TCPMD5Failure",
	TCPAOBad:                  "TcpExt.TCPAOBad",
	TCPAOKeyNotFound:          "TcpExt.TCPAOKeyNotFound",
	TCPAORequired:             "TcpExt.TCPAORequired",
	TCPAODroppedIcmps:         "TcpExt.TCPAODroppedIcmps",
	TCPBacklogDrop:            "TcpExt.TCPBacklogDrop",
	TCPMinTTLDrop:             "TcpExt.TCPMinTTLDrop",
	TCPDeferAcceptDrop:        "TcpExt.TCPDeferAcceptDrop",
	IPReversePathFilter:       "TcpExt.IPReversePathFilter",
	TCPTimeWaitOverflow:       "TcpExt.TCPTimeWaitOverflow",
	TCPReqQFullDoCookies:      "TcpExt.TCPReqQFullDoCookies",
	TCPReqQFullDrop:           "TcpExt.TCPReqQFullDrop",
	TCPRetransFail:            "TcpExt.TCPRetransFail",
	TCPRcvQDrop:               "TcpExt.TCPRcvQDrop",
	TCPZeroWindowDrop:         "TcpExt.TCPZeroWindowDrop",
	TCPSynRetrans:             "TcpExt.TCPSynRetrans",
	TCPSpuriousRtxHostQueues:  "TcpExt.TCPSpuriousRtxHostQueues",
	TCPChallengeACK:           "TcpExt.TCPChallengeACK",
	TCPSYNChallenge:           "TcpExt.TCPSYNChallenge",
	TCPACKSkippedSynRecv:      "TcpExt.TCPACKSkippedSynRecv",
	TCPACKSkippedTimeWait:     "TcpExt.TCPACKSkippedTimeWait",
	TCPFastOpenPassiveFail:    "TcpExt.TCPFastOpenPassiveFail",
	TCPFastOpenListenOverflow: "TcpExt.TCPFastOpenListenOverflow",
	TCPKeepAlive:              "TcpExt.TCPKeepAlive",
	TCPMigrateReqFailure:      "TcpExt.TCPMigrateReqFailure",
	MPTCPRstTx:                "MPTcpExt.MPRstTx",
	MPTCPRstRx:                "MPTcpExt.MPRstRx",
	MPFailTx:                  "MPTcpExt.MPFailTx",
	MPFailRx:                  "MPTcpExt.MPFailRx",
	MPFastcloseTx:             "MPTcpExt.MPFastcloseTx",
	MPFastcloseRx:             "MPTcpExt.MPFastcloseRx",
	IP6InNoRoutes:             "snmp6.Ip6InNoRoutes",
	IP6InDiscards:             "snmp6.Ip6InDiscards",
	ICMP6InDestUnreachs:       "snmp6.Icmp6InDestUnreachs",
	ICMP6OutDestUnreachs:      "snmp6.Icmp6OutDestUnreachs",
	SockTCPInUse:              "TCP.inuse",
	SockTCPOrphan:             "TCP.orphan",
	SockTCPTw:                 "TCP.tw",
	SockTCPAlloc:              "TCP.alloc",
	SockTCPMem:                "TCP.mem",
	SockTCP6InUse:             "TCP6.inuse",
}

// gauges are values that go up and down; a difference of them means nothing.
var gauges = counterSet(TCPCurrEstab, SockTCPInUse, SockTCPOrphan, SockTCPTw, SockTCPAlloc, SockTCPMem, SockTCP6InUse)

// counterBits is a set of counters.
type counterBits [(int(NumCounters) + 63) / 64]uint64

func counterSet(cs ...Counter) (s counterBits) {
	for _, c := range cs {
		s.add(c)
	}
	return s
}

func (s *counterBits) add(c Counter)      { s[c/64] |= 1 << (c % 64) }
func (s *counterBits) has(c Counter) bool { return c < NumCounters && s[c/64]&(1<<(c%64)) != 0 }

// String returns the kernel's name, such as "TcpExt.ListenOverflows".
func (c Counter) String() string {
	if c < NumCounters {
		return counterNames[c]
	}
	return "Counter(" + strconv.Itoa(int(c)) + ")"
}

// Counters are the values of one namespace at one time, or what they rose by
// between two times.
type Counters struct {
	At     time.Time     // when they were read; of a difference, the later time
	Window time.Duration // of a difference, the time between the two; 0 otherwise

	values [NumCounters]int64
	known  counterBits
}

// Get returns a value; false when this kernel does not have it.
func (c *Counters) Get(n Counter) (int64, bool) {
	if !c.known.has(n) {
		return 0, false
	}
	return c.values[n], true
}

// Sum adds those of the counters that the kernel has; false when it has none.
func (c *Counters) Sum(ns ...Counter) (sum int64, ok bool) {
	for _, n := range ns {
		v, has := c.Get(n)
		sum, ok = sum+v, ok || has
	}
	return sum, ok
}

// Sub returns what the counters rose by since before. Gauges keep their
// present value. A counter that fell (another namespace got the number) is
// unknown in the result.
func (c *Counters) Sub(before *Counters) Counters {
	d := Counters{At: c.At, Window: c.At.Sub(before.At)}
	for n := range NumCounters {
		switch {
		case !c.known.has(n):
		case gauges.has(n):
			d.set(n, c.values[n])
		case before.known.has(n) && c.values[n] >= before.values[n]:
			d.set(n, c.values[n]-before.values[n])
		}
	}
	return d
}

// Changed calls f for every counter, gauges apart, that is not 0.
func (c *Counters) Changed(f func(Counter, int64)) {
	for i, word := range c.known {
		for word &^= gauges[i]; word != 0; word &= word - 1 {
			n := Counter(i*64 + bits.TrailingZeros64(word))
			if c.values[n] != 0 {
				f(n, c.values[n])
			}
		}
	}
}

func (c *Counters) set(n Counter, v int64) {
	c.values[n] = v
	c.known.add(n)
}

// counterFiles are read below /proc/PID/net; those of IPv6 may be missing.
var counterFiles = []struct {
	name     string
	parse    func(*Counters, []byte)
	optional bool
}{
	{"snmp", (*Counters).parsePairs, false},
	{"netstat", (*Counters).parsePairs, false},
	{"sockstat", (*Counters).parseSockstat, false},
	{"sockstat6", (*Counters).parseSockstat, true},
	{"snmp6", (*Counters).parseSnmp6, true},
}

// Counters reads the counters of a namespace. The error wraps ErrGone when it
// no longer exists.
func (h *Host) Counters(ns Netns) (c Counters, err error) {
	err = h.inProcNet(ns, func(dir string) error {
		for _, f := range counterFiles {
			err := read(path.Join(dir, f.name), 256<<10, func(b []byte) error {
				f.parse(&c, b)
				return nil
			})
			if err != nil && !f.optional {
				return err
			}
		}
		return nil
	})
	c.At = time.Now()
	if err != nil {
		return Counters{}, fmt.Errorf("read counters: %w", err)
	}
	return c, nil
}

// inProcNet calls f with the net directory of a namespace: that of a process
// in it when there is one, which needs no privilege, or else from inside.
func (h *Host) inProcNet(ns Netns, f func(dir string) error) error {
	if ns.PID == 0 {
		return h.Do(ns, func() error { return f(h.path("proc/thread-self/net")) })
	}
	if err := f(h.proc(ns.PID, "net")); err != nil {
		return err
	}
	if inode := h.netnsInode(ns.PID); ns.Inode != 0 && inode != 0 && inode != ns.Inode {
		return fmt.Errorf("namespace of process %d: %w", ns.PID, ErrGone)
	}
	return nil
}

// counterIndex finds a counter by its name in the files.
var counterIndex = func() map[string]Counter {
	m := make(map[string]Counter, NumCounters)
	for n, name := range counterNames {
		m[name] = Counter(n)
	}
	return m
}()

// ProcNet reads a small file of a namespace's /proc/net, without its final newline.
func (h *Host) ProcNet(ns Netns, name string) (s string, err error) {
	err = h.inProcNet(ns, func(dir string) error {
		s, err = readString(dir+"/"+name, 4096)
		return err
	})
	return s, err
}

// layouts remembers which column of a header line is which counter: headers
// never change while the kernel runs.
var layouts = struct {
	sync.RWMutex
	m map[string][]Counter
}{m: map[string][]Counter{}}

// layout returns the counters of a header line such as "Tcp: RtoAlgorithm
// ..."; columns that nobody wants are NumCounters.
func layout(header []byte) []Counter {
	layouts.RLock()
	l, ok := layouts.m[string(header)]
	layouts.RUnlock()
	if ok {
		return l
	}
	f := bytes.Fields(header)
	l = make([]Counter, 0, len(f))
	for _, name := range f[min(1, len(f)):] {
		n, ok := counterIndex[string(bytes.TrimSuffix(f[0], []byte(":")))+"."+string(name)]
		if !ok {
			n = NumCounters
		}
		l = append(l, n)
	}
	layouts.Lock()
	if len(layouts.m) < 64 {
		layouts.m[string(header)] = l
	}
	layouts.Unlock()
	return l
}

// parsePairs parses snmp and netstat: pairs of a header and a value line.
func (c *Counters) parsePairs(b []byte) {
	for len(b) > 0 {
		var header, values []byte
		header, b = nextLine(b)
		values, b = nextLine(b)
		proto := bytes.IndexByte(header, ':')
		if proto < 0 || len(values) <= proto || !bytes.Equal(header[:proto+1], values[:proto+1]) {
			continue
		}
		values = values[proto+1:]
		for _, n := range layout(header) {
			var v int64
			var ok bool
			if v, values, ok = nextInt(values); !ok {
				break
			}
			if n < NumCounters {
				c.set(n, v)
			}
		}
	}
}

// nextInt splits a number off; anything else ends the line.
func nextInt(b []byte) (v int64, rest []byte, ok bool) {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	i := 0
	for i < len(b) && (b[i] >= '0' && b[i] <= '9' || i == 0 && b[i] == '-') {
		i++
	}
	u, err := strconv.ParseUint(string(b[:i]), 10, 64)
	if err == nil {
		return int64(u), b[i:], true
	}
	v, err = strconv.ParseInt(string(b[:i]), 10, 64)
	return v, b[i:], err == nil
}

// parseSockstat parses sockstat and sockstat6: "TCP: inuse 1 orphan 0 ...".
func (c *Counters) parseSockstat(b []byte) {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		f := bytes.Fields(line)
		for i := 1; i+1 < len(f); i += 2 {
			n, ok := counterIndex[string(bytes.TrimSuffix(f[0], []byte(":")))+"."+string(f[i])]
			if v, err := strconv.ParseInt(string(f[i+1]), 10, 64); ok && err == nil {
				c.set(n, v)
			}
		}
	}
}

// parseSnmp6 parses snmp6: one name and value in each line.
func (c *Counters) parseSnmp6(b []byte) {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		name, value, ok := bytes.Cut(line, []byte("\t"))
		if !ok {
			continue
		}
		n, ok := snmp6Index[string(bytes.TrimSpace(name))]
		if v, _, isInt := nextInt(bytes.TrimSpace(value)); ok && isInt {
			c.set(n, v)
		}
	}
}

// snmp6Index finds the counters of snmp6 by their bare name.
var snmp6Index = map[string]Counter{
	"Ip6InNoRoutes": IP6InNoRoutes, "Ip6InDiscards": IP6InDiscards,
	"Icmp6InDestUnreachs": ICMP6InDestUnreachs, "Icmp6OutDestUnreachs": ICMP6OutDestUnreachs,
}
