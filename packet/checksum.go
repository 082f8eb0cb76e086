package packet

import "math/bits"

// sum adds b to a ones' complement sum in 64 bits (RFC 1071). An odd last byte
// counts as the high one of a pair, so only the last piece may be odd.
func sum(acc uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 32 {
		acc, carry = bits.Add64(acc, be.Uint64(b), carry)
		acc, carry = bits.Add64(acc, be.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, be.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, be.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, be.Uint64(b), carry)
		b = b[8:]
	}
	var last [8]byte
	copy(last[:], b)
	acc, carry = bits.Add64(acc, be.Uint64(last[:]), carry)
	acc, carry = bits.Add64(acc, 0, carry)
	return acc + carry
}

// fold reduces a sum to 16 bits.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc)
}

// tcpSum verifies the checksum of a TCP segment b that is all there. The prefix
// of an IPv4 address in its IPv6 form is ffff, which adds nothing.
func tcpSum(s *Segment, b []byte) Sum {
	pseudo := sum(sum(protoTCP, s.Src[:]), s.Dst[:])
	whole, carry := bits.Add64(pseudo, uint64(len(b)), 0)
	whole += carry
	if fold(sum(whole, b)) == 0xffff {
		return SumGood
	}
	// Linux writes the sum of the pseudo header, Windows that without the length.
	if field := be.Uint16(b[16:]); field == fold(whole) || field == fold(pseudo) {
		return SumPartial
	}
	return SumBad
}
