package packet

import "fmt"

var linkNames = map[LinkType]string{
	LinkNull: "BSD loopback", LinkEthernet: "Ethernet", LinkPPP: "PPP", LinkRawBSD: "raw IP", LinkRawOpenBSD: "raw IP",
	LinkPPPHDLC: "PPP in HDLC", LinkPPPEther: "PPPoE", LinkATM: "ATM (RFC 2684)", LinkRaw: "raw IP", LinkCiscoHDLC: "Cisco HDLC",
	LinkWiFi: "IEEE 802.11", LinkLoop: "OpenBSD loopback", LinkEnc: "OpenBSD enc", LinkSLL: "Linux cooked v1", LinkPrism: "IEEE 802.11 with Prism header",
	LinkRadiotap: "IEEE 802.11 with radiotap", LinkAVS: "IEEE 802.11 with AVS header", LinkPPPD: "PPP with direction", LinkPPI: "PPI",
	LinkPPPDir: "PPP with direction", LinkHDLCDir: "Cisco HDLC with direction", LinkIPv4: "raw IPv4", LinkIPv6: "raw IPv6",
	LinkNFLOG: "netfilter log", LinkPKTAP: "Apple PKTAP", LinkSLL2: "Linux cooked v2", linkPKTAPLegacy: "Apple PKTAP",
}

// Known reports whether frames of the link type are decoded.
func (t LinkType) Known() bool {
	_, ok := linkNames[t]
	return ok && t != linkPKTAPLegacy
}

// String names the link type for people.
func (t LinkType) String() string {
	if s, ok := linkNames[t]; ok {
		return s
	}
	return fmt.Sprintf("LINKTYPE %d", uint16(t))
}
