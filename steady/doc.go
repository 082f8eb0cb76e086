// Package steady is a client library that survives connection resets. It never
// repeats what may have been executed unless method or key allow it, and only on
// evidence.
//
// A failed request has one question: did the next hop get it? Most libraries guess
// from the method and the text of the error. This one counts what it handed to the
// kernel, and asks the kernel before a request begins and after it failed. From that,
// package steady gives each failure a [Verdict], wrapped around the standard error in
// a [ResetError], and retries only what the verdict and the method allow.
//
// GET, HEAD, OPTIONS, TRACE, PUT and DELETE, requests with a key that the servers
// honour, and hedges may be executed twice; that is what those methods and keys
// promise. Any other request is repeated only when the next hop cannot have it: by
// default because nothing of it, or its first octet alone, was handed to the kernel.
// [Trust] adds what a tap saw on the wire, and what the next hop says of itself.
//
// The parts work alone: [Explain] judges any TCP connection, [Track] makes the
// judgement sharper, [Transport] is an http.RoundTripper, [Dialer] dials with
// Happy Eyeballs, and [Budget], [Throttle] and [Breaker] bound what retries may
// cost. Other rooms: steady/tap sees resets on the wire, steady/drain and
// steady/handover are for servers, steady/framing counts messages, steady/relay joins
// two connections without hiding a reset, steady/resettest makes connections fail on
// purpose.
//
// What it is not: a load balancer, or a proof about anything but the next hop. If a
// proxy stands between, the verdict is about the proxy; nothing at this end proves
// what an origin behind it did. No counter of the kernel is believed that was not
// seen to move on the same connection: where TCP_INFO is missing or does not live
// (not Linux, gVisor, sockmap, Multipath TCP, an old kernel) only the rules of the
// method remain, and the evidence says so.
//
// To debug a verdict print ResetError.Evidence, or give [Transport] an [Observer].
package steady
