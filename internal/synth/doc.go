// Package synth makes captures of connections whose truth it knows, because it
// played both ends and everybody between them. It has a small TCP of its own, a
// dozen stacks with their habits (initial TTL, IP identification, form of the
// RST, window, options), devices with the habits that papers and makers describe,
// and a place of capture that may come late, lose frames, see copies, or get
// them out of order.
//
// It shares nothing with what explains captures: it imports none of our packages,
// and none imports it but the command line. The truth goes into a table beside
// the captures, one line for each RST that the place of capture saw; endings are
// named as in the table of labels of holdfast accuracy.
//
// The habits are from: Weaver, Sommer, Paxson, Detecting Forged TCP Reset Packets
// (NDSS 2009); Clayton, Murdoch, Watson, Ignoring the Great Firewall of China
// (2006); Sundara Raman et al., Global, Passive Detection of Connection Tampering
// (SIGCOMM 2023); RFC 9293 3.10.7, RFC 5961, RFC 6864; kernel net/ipv4/tcp_ipv4.c
// and tcp_output.c; lwIP tcp_out.c.
package synth
