package steady

import "fmt"

// Trust is how much must be believed for a verdict that allows another attempt.
// A Transport acts on its own level and those before it. None of them says
// anything about what lies behind the next hop: no evidence of a client proves
// what an origin behind a proxy did.
type Trust uint8

const (
	// TrustKernel believes this host: what was handed to its kernel, and what its
	// kernel held when it was handed over. It proves that the next hop has not
	// got the whole request.
	TrustKernel Trust = iota
	// TrustTap also believes what a Tap saw on the wire: a RST from a host that has
	// no such connection. It proves that the next hop's kernel did not take the
	// request, if no device on the path forges RSTs. Setting Transport.Tap is
	// enough.
	TrustTap
	// TrustPeer also believes what the next hop says of itself: a FIN sent before
	// the request came, with a RST for it; HTTP/2's REFUSED_STREAM, and GOAWAY.
	// A server that says so has not executed the request. An intermediary may say
	// so after the origin executed it (HAProxy does), and a peer that closed only
	// its sending half may have read and executed the request.
	TrustPeer
)

var trustNames = [...]string{"this host's kernel", "the tap", "the peer's word"}

// String returns "this host's kernel", "the tap" or "the peer's word".
func (t Trust) String() string {
	if int(t) < len(trustNames) {
		return trustNames[t]
	}
	return fmt.Sprintf("trust %d", uint8(t))
}
