package steady

import "net/netip"

// Tap sees the resets of this host on the wire. Package steady/tap has one; a program
// that already watches packets can offer its own.
type Tap interface {
	// RST returns what was seen of the flow whose local and remote ends are
	// given; false when no RST was.
	RST(local, remote netip.AddrPort) (RST, bool)
}

// RST sums up the resets that came in for one flow.
type RST struct {
	Bare    int   // without the ACK flag: from a kernel that has no such socket
	Acking  int   // with the ACK flag
	TTL     uint8 // of the last one
	SameTTL bool  // every one came from as far as the flow's SYN-ACK; false also when that was not seen
}
