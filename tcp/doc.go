// Package tcp follows TCP connections through captured segments and says how
// each of them ended. Segments go in, in the order of the capture, and an
// [Termination] comes out for every RST, for every attempt to connect that nobody
// answered or that ICMP refused, and for every connection that died in
// silence. It does no I/O, knows no clock but that of the segments, and starts
// no goroutine.
//
// What a connection may be asked is bounded: a [Conn] has a fixed size, the
// [Table] has a fixed number of them, and whoever was not heard of longest
// makes room. What was thrown out is counted in [Stats].
//
// The oracle is RFC 9293: a stack that obeys it answers a segment of no
// connection with a RST whose sequence number is that segment's
// acknowledgement number (3.5.2), and sends an abort from its next sequence
// number (3.9.1.5). [Termination.Trigger] is the segment that a RST answers.
package tcp
