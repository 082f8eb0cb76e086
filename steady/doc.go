// Package steady is a client library that survives connection resets and never
// executes a request twice.
//
// A failed request has one question: did the server get it? Most libraries
// guess from the method and the text of the error. This one asks the kernel.
// On Linux TCP_INFO is still readable after ECONNRESET and EPIPE, and says what
// the peer acknowledged and whether its FIN came first. From that, package
// steady gives each failure a [Verdict], wrapped around the standard error in a
// [ResetError], and retries only what the verdict and the method allow.
//
// The parts work alone: [Explain] judges any TCP connection, [Track] makes the
// judgement sharper, [Transport] is an http.RoundTripper, [Dialer] dials with
// Happy Eyeballs, and [Budget], [Throttle] and [Breaker] bound what retries may
// cost. A server's side is here too: drain and handover.
//
// What it is not: a load balancer, or a proof about anything but the next TCP
// hop. If a proxy stands between, the verdict is about the proxy. The rule for
// [NotDelivered] assumes that a peer that has sent FIN and then answers with RST
// no longer executes requests, which is true of every HTTP server known to us.
// Where TCP_INFO is missing (not Linux, MPTCP, an old kernel) only the rules of
// the method remain, and the evidence says so.
//
// To debug a verdict print ResetError.Evidence, or give [Transport] an [Observer].
package steady
