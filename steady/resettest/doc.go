// Package resettest makes connections fail on purpose, in more than forty named
// ways, and knows the truth of each: did the request reach the server, was it
// executed, was it answered, who sent the reset.
//
// It needs no root, no network namespace and nothing but the standard library,
// golang.org/x/sys and, for HTTP/2, golang.org/x/net, so that any project can use
// it from go test.
//
//   - A [Server] speaks HTTP/1.1 or HTTP/2, plain or over TLS, with full control
//     of its sockets, and keeps a [Ledger]: what really happened to each request.
//   - A [Listener] puts faults in front of a server of your own.
//   - A [Proxy] puts them between two programs; [API] controls proxies over HTTP,
//     that of toxiproxy, and holdfast lab proxy runs both.
//
// A [Fault] is data: a name, a text, parameters and its [Truth]. Which requests
// are hit depends only on the seed and on the identity of the request (see
// [Injection]), never on the scheduler, so a run can be repeated.
//
// What it does not do: it forges no segment and needs no packet filter, so there
// are no resets from devices in between here, and none with a wrong sequence
// number. The laboratory of Holdfast (holdfast lab run) has those, as root.
//
// Everything here listens on loopback unless told otherwise.
package resettest
