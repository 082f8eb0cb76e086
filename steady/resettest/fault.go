package resettest

import (
	"slices"
	"strings"
)

// Extent says how much of something happened.
type Extent string

// The extents.
const (
	No   Extent = "no"
	Some Extent = "some" // a part; how much depends on the parameters and on sizes
	Yes  Extent = "yes"  // the whole
	Any  Extent = "any"  // no or some: it depends on who is faster
)

// Who can send a reset, in the words of Holdfast.
const (
	ServerApp    = "server-app"    // a program closed or aborted its socket
	ServerKernel = "server-kernel" // no program did: there is no such socket any more
	Nobody       = "none"          // there is no reset
)

// Truth is what is known about a request that meets a fault, because the fault
// made it so.
type Truth struct {
	Arrived   Extent   `json:"arrived"`   // in a socket of the server's kernel; Some: at least its first octet
	Delivered Extent   `json:"delivered"` // read by the server's program
	Executed  bool     `json:"executed"`  // its effect took place
	Answered  Extent   `json:"answered"`  // given by the server to its socket
	Senders   []string `json:"senders"`   // who sends the RST, or may
	Wire      string   `json:"wire"`      // what ends it on the wire
	Sees      []string `json:"sees"`      // what the client may see, in the words of Classify
}

// SafeToRepeat says whether repeating the request cannot execute it twice.
func (t Truth) SafeToRepeat() bool { return !t.Executed }

// Fault is one way in which a connection or a request fails.
type Fault struct {
	Name   string   `json:"name"`             // lower-kebab, stable for ever
	Doc    string   `json:"doc"`              // what happens, in one or two sentences
	Layer  string   `json:"layer"`            // tcp, http/1.1, tls or h2
	Truth  Truth    `json:"truth"`            // of the request that meets it
	Params []string `json:"params,omitempty"` // which of at and after it reads, with their meaning
	Body   bool     `json:"body,omitempty"`   // hits only requests that have a body
	Stream bool     `json:"stream,omitempty"` // Listener and Proxy know it too
	Only   string   `json:"only,omitempty"`   // the system it needs, if not all: linux, or unix for any of the kind
	Root   bool     `json:"root,omitempty"`   // it needs CAP_NET_ADMIN

	stage stage
	run   func(*exchange) error // what the HTTP server does at that stage
}

// stage is the moment at which a fault strikes.
type stage int

const (
	stagePort    stage = iota // instead of a listening server
	stageAccept               // as soon as a connection is accepted
	stageHello                // as soon as a TLS client says hello
	stageArrival              // when a request is in the socket, unread
	stageRequest              // when the head of a request was read
	stageIdle                 // after an answer
	stageStream               // HTTP/2, when a request was read
	stageNext                 // HTTP/2, when a request after the first was read
)

// Faults returns every fault, in a fixed order: as a request passes through its
// life. The slice is the caller's.
func Faults() []Fault { return slices.Clone(faults()) }

// Lookup returns the fault of that name.
func Lookup(name string) (Fault, bool) {
	for _, f := range faults() {
		if f.Name == name {
			return f, true
		}
	}
	return Fault{}, false
}

func faults() []Fault {
	return slices.Concat(portFaults(), connFaults(), requestFaults(), answerFaults(), idleFaults(), tlsFaults(), h2Faults())
}

// truth is short for the table below. The lists are separated by blanks.
func truth(arrived, delivered Extent, executed bool, answered Extent, senders, wire, sees string) Truth {
	return Truth{arrived, delivered, executed, answered, strings.Fields(senders), wire, strings.Fields(sees)}
}

// executed, for the table.
const (
	done    = true
	notDone = false
)

const (
	atBody   = "at: octets of the body that are read first, half of them by default"
	atAnswer = "at: octets of the answer that are sent first, half of them by default"
	afterRST = "after: wait this long before the reset"
)

func portFaults() []Fault {
	return []Fault{
		{
			Name: "refused", Layer: "tcp", Stream: true, stage: stagePort, Only: "unix", Doc: "The port is bound and nobody listens on it, so nobody else can take it either.",
			Truth: truth(No, No, notDone, No, ServerKernel, "rst-ack to the SYN", "refused"),
		},
		{
			Name: "black-hole", Layer: "tcp", Stream: true, stage: stagePort, Only: "linux", Doc: "The accept queue is full and stays full: the kernel drops every SYN without a word. It looks like a firewall that drops, and needs none.",
			Truth: truth(No, No, notDone, No, Nobody, "nothing", "timeout"),
		},
	}
}

func connFaults() []Fault {
	return []Fault{
		{
			Name: "accept-close", Layer: "tcp", Stream: true, stage: stageAccept, run: runClose, Doc: "The server accepts the connection and closes it at once, in good order. A request that is already there makes it a reset; a later one meets a socket that is gone; and a client that looks first sends none.",
			Truth: truth(Any, No, notDone, No, ServerApp+" "+ServerKernel+" "+Nobody, "fin, fin then rst, or rst-ack", "reset eof epipe"),
		},
		{
			Name: "accept-rst", Layer: "tcp", Stream: true, stage: stageAccept, run: runAbort, Doc: "The server accepts the connection and aborts it at once with SO_LINGER 0.",
			Truth: truth(Any, No, notDone, No, ServerApp, "rst-ack", "reset eof epipe"),
		},
		{
			Name: "ignored", Layer: "tcp", Stream: true, stage: stageAccept, run: runIgnore, Params: []string{"after: reset after this long, 30s by default"}, Doc: "The server accepts and never reads: its kernel acknowledges until the buffer is full.",
			Truth: truth(Some, No, notDone, No, Nobody, "nothing", "timeout"),
		},
		{
			Name: "rst-before-read", Layer: "tcp", Stream: true, stage: stageArrival, Only: "unix", run: runAbort, Doc: "The request is in the socket and nobody has read any of it when the server aborts with SO_LINGER 0.",
			Truth: truth(Some, No, notDone, No, ServerApp, "rst-ack", "reset epipe"),
		},
		{
			Name: "close-before-read", Layer: "tcp", Stream: true, stage: stageArrival, Only: "unix", run: runClose, Doc: "The request is in the socket and nobody has read any of it when the server closes in good order: unread data makes the kernel send a reset.",
			Truth: truth(Some, No, notDone, No, ServerApp, "rst-ack", "reset epipe"),
		},
	}
}

func requestFaults() []Fault {
	return []Fault{
		{
			Name: "unread-data", Layer: "http/1.1", Body: true, Stream: true, stage: stageRequest, Only: "unix", run: runUnread, Doc: "The server reads the head of the request, leaves the body unread and closes.",
			Truth: truth(Some, Some, notDone, No, ServerApp, "rst-ack", "reset epipe"),
		},
		{
			Name: "rst-mid-body", Layer: "http/1.1", Body: true, Stream: true, stage: stageRequest, run: runMidBody, Params: []string{atBody}, Doc: "The server aborts after reading so much of the body.",
			Truth: truth(Some, Some, notDone, No, ServerApp, "rst-ack", "reset epipe"),
		},
		{
			Name: "rst-after-continue", Layer: "http/1.1", Body: true, stage: stageRequest, run: runAfterContinue, Doc: "The server answers 100 Continue and aborts before reading the body.",
			Truth: truth(Some, Some, notDone, No, ServerApp, "rst-ack", "reset epipe eof"),
		},
		{
			Name: "stop-reading", Layer: "http/1.1", Body: true, Stream: true, stage: stageRequest, run: runStopReading, Params: []string{atBody, "after: reset after this long, 30s by default"}, Doc: "The server reads so much of the body and then nothing: a big upload stands still behind a closed window.",
			Truth: truth(Some, Some, notDone, No, Nobody, "nothing", "timeout"),
		},
		{
			Name: "early-413", Layer: "http/1.1", Body: true, stage: stageRequest, run: runEarly413, Doc: "The server answers 413 before reading the body, shuts down its sending side and reads the body to its end before it closes: the right way.",
			Truth: truth(Yes, Some, notDone, Yes, Nobody, "fin", "http-413"),
		},
		{
			Name: "early-413-reset", Layer: "http/1.1", Body: true, stage: stageRequest, Only: "unix", run: runEarly413Reset, Doc: "The server answers 413 before reading the body and closes at once: the unread body makes the kernel send a reset, which can overtake the answer.",
			Truth: truth(Some, Some, notDone, Yes, ServerApp, "rst-ack", "http-413 reset epipe"),
		},
		{
			Name: "rst-after-read", Layer: "http/1.1", stage: stageRequest, run: runAfterRead, Doc: "The server reads the whole request and aborts without executing it.",
			Truth: truth(Yes, Yes, notDone, No, ServerApp, "rst-ack", "reset"),
		},
		{
			Name: "rst-unforwarded", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runUnforwarded, Doc: "A relay takes the request, its kernel acknowledges it, and it aborts before it passes anything on: an acknowledgement proves nothing about the server behind. A listener or proxy that is not aimed takes what comes first.",
			Truth: truth(Yes, No, notDone, No, ServerApp, "rst-ack", "reset epipe"),
		},
		{
			Name: "fin-after-read", Layer: "http/1.1", stage: stageRequest, run: runFinAfterRead, Doc: "The server reads the whole request and closes in good order without executing it.",
			Truth: truth(Yes, Yes, notDone, No, Nobody, "fin", "eof"),
		},
		{
			Name: "stall", Layer: "http/1.1", stage: stageRequest, run: runStall, Doc: "The server reads the whole request, does not execute it and never answers.",
			Truth: truth(Yes, Yes, notDone, No, Nobody, "nothing", "timeout"),
		},
	}
}

func answerFaults() []Fault {
	return []Fault{
		{
			Name: "rst-after-commit", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runAfterCommit, Doc: "The server executes the request and aborts before the first octet of the answer: the case that makes retry libraries execute twice.",
			Truth: truth(Yes, Yes, done, No, ServerApp, "rst-ack", "reset"),
		},
		{
			Name: "fin-after-commit", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runFinAfterCommit, Doc: "The server executes the request and closes in good order without an answer.",
			Truth: truth(Yes, Yes, done, No, Nobody, "fin", "eof"),
		},
		{
			Name: "fin-then-rst", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runFinThenRST, Params: []string{"after: between the FIN and the reset; a client that closes in that time gets none"}, Doc: "The server executes the request, shuts down its sending side, and aborts right behind it. A client that is fast enough to close at the FIN gets no reset.",
			Truth: truth(Yes, Yes, done, No, ServerApp+" "+Nobody, "fin then rst-ack, or fin", "eof reset"),
		},
		{
			Name: "half-close", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runHalfClose, Doc: "The server shuts down its sending side first, then executes the request, and goes on reading: a FIN proves nothing about execution.",
			Truth: truth(Yes, Yes, done, No, Nobody, "fin", "eof"),
		},
		{
			Name: "half-close-rst", Layer: "http/1.1", stage: stageRequest, run: runHalfCloseRST, Doc: "The server shuts down its sending side, executes the request, and aborts: to a client's kernel it looks like a request that met a closed socket.",
			Truth: truth(Yes, Yes, done, No, ServerApp+" "+Nobody, "fin then rst-ack, or fin", "eof reset"),
		},
		{
			Name: "urgent-rst", Layer: "http/1.1", stage: stageRequest, Only: "unix", run: runUrgentRST, Doc: "The server sends an octet of urgent data, executes the request, and aborts. The octet counts as received and is not read, as a FIN.",
			Truth: truth(Yes, Yes, done, No, ServerApp, "rst-ack", "reset"),
		},
		{
			Name: "slow-rst", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runSlowRST, Params: []string{"after: how long the server takes before it aborts, 50ms by default"}, Doc: "The server executes the request, takes its time, and aborts instead of answering.",
			Truth: truth(Yes, Yes, done, No, ServerApp, "rst-ack", "reset"),
		},
		{
			Name: "lost-rst", Layer: "http/1.1", Body: true, Stream: true, stage: stageRequest, Only: "linux", Root: true, run: runLostRST, Params: []string{atBody}, Doc: "The server reads so much of the body, executes the request, and its connection goes without a word, as when the reset of an abort is lost. What the client still sends is answered by a reset of the kernel, which looks like that of a socket that never had the request. A listener or proxy does it in the place of the answer.",
			Truth: truth(Some, Some, done, No, ServerKernel+" "+Nobody, "nothing, or rst without ACK", "reset epipe timeout"),
		},
		{
			Name: "stall-after-commit", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runStallAfterCommit, Doc: "The server executes the request and never answers.",
			Truth: truth(Yes, Yes, done, No, Nobody, "nothing", "timeout"),
		},
		{
			Name: "rst-mid-response", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runMidResponse, Params: []string{atAnswer, afterRST}, Doc: "The server executes the request, sends so much of the answer, and aborts when the client's kernel has it.",
			Truth: truth(Yes, Yes, done, Some, ServerApp, "rst-ack", "reset unexpected-eof"),
		},
		{
			Name: "fin-mid-response", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runFinMidResponse, Params: []string{atAnswer}, Doc: "The server executes the request, sends so much of the answer, and closes in good order: the answer is cut short without a reset.",
			Truth: truth(Yes, Yes, done, Some, Nobody, "fin", "unexpected-eof"),
		},
		{
			Name: "fin-mid-chunk", Layer: "http/1.1", stage: stageRequest, run: runFinMidChunk, Doc: "As fin-mid-response, inside a chunk of a chunked answer.",
			Truth: truth(Yes, Yes, done, Some, Nobody, "fin", "unexpected-eof"),
		},
		{
			Name: "trickle-rst", Layer: "http/1.1", Stream: true, stage: stageRequest, run: runTrickle, Params: []string{atAnswer, "after: between two octets, 1ms by default"}, Doc: "The server executes the request, sends the answer octet by octet, and aborts in the middle.",
			Truth: truth(Yes, Yes, done, Some, ServerApp, "rst-ack", "reset unexpected-eof"),
		},
		{
			Name: "rst-after-response", Layer: "http/1.1", stage: stageRequest, run: runAfterResponse, Doc: "The server sends the whole answer and then aborts. On Linux the answer stays readable; elsewhere the reset can destroy it.",
			Truth: truth(Yes, Yes, done, Yes, ServerApp, "rst-ack", "answer reset"),
		},
	}
}

func idleFaults() []Fault {
	return []Fault{
		{
			Name: "idle-fin", Layer: "http/1.1", Stream: true, stage: stageIdle, run: runIdleFin, Params: []string{"after: idle time"}, Doc: "The server answers one request, promises to keep the connection, and closes it when it is idle. The next request meets a socket that is gone.",
			Truth: truth(No, No, notDone, No, ServerKernel, "fin then rst without ACK", "eof reset epipe"),
		},
		{
			Name: "idle-rst", Layer: "http/1.1", Stream: true, stage: stageIdle, run: runIdleRST, Params: []string{"after: idle time"}, Doc: "As idle-fin, with an abort: the reset comes before the next request.",
			Truth: truth(No, No, notDone, No, ServerApp, "rst-ack", "reset epipe eof"),
		},
		{
			Name: "idle-race", Layer: "http/1.1", stage: stageIdle, Only: "unix", run: runIdleRace, Doc: "The server answers one request and closes the idle connection at the very moment at which the next one arrives: unread data makes it a reset.",
			Truth: truth(Some, No, notDone, No, ServerApp, "rst-ack", "reset epipe"),
		},
	}
}
