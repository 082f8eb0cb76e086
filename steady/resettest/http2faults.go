package resettest

import (
	"net/url"

	"golang.org/x/net/http2"
)

func h2Faults() []Fault {
	return []Fault{
		{
			Name: "goaway-unprocessed", Layer: "h2", stage: stageStream, run: runGoAwayUnprocessed, Doc: "The server says GOAWAY with a last stream below this request, and closes: the request was not processed, and the protocol says so.",
			Truth: truth(Yes, Yes, notDone, No, Nobody, "goaway then fin", "goaway retried"),
		},
		{
			Name: "goaway-race", Layer: "h2", stage: stageNext, run: runGoAwayUnprocessed, Doc: "GOAWAY crosses a new request on a connection that has worked: the last stream is the one before.",
			Truth: truth(Yes, Yes, notDone, No, Nobody, "goaway then fin", "goaway retried"),
		},
		{
			Name: "goaway-then-rst", Layer: "h2", stage: stageStream, run: runGoAwayRST, Doc: "As goaway-unprocessed, with an abort behind the GOAWAY: a client that reads the error first never sees the GOAWAY.",
			Truth: truth(Yes, Yes, notDone, No, ServerApp, "goaway then rst-ack", "goaway retried reset unexpected-eof"),
		},
		{
			Name: "goaway-after-commit", Layer: "h2", stage: stageStream, run: runGoAwayCommitted, Doc: "The server executes the request, says GOAWAY with a last stream that covers it, and closes without an answer.",
			Truth: truth(Yes, Yes, done, No, Nobody, "goaway then fin", "goaway eof unexpected-eof"),
		},
		{
			Name: "goaway-graceful", Layer: "h2", stage: stageStream, run: runGoAwayGraceful, Doc: "The server says GOAWAY, still answers this request, and closes: nothing is lost. A client that fails here is wrong.",
			Truth: truth(Yes, Yes, done, Yes, Nobody, "goaway then fin", "answer"),
		},
		{
			Name: "refused-stream", Layer: "h2", stage: stageStream, run: runRefusedStream, Doc: "The server resets the stream with REFUSED_STREAM: not processed, the connection lives on.",
			Truth: truth(Yes, Yes, notDone, No, Nobody, "rst_stream", "stream-reset retried"),
		},
		{
			Name: "refused-stream-after-commit", Layer: "h2", stage: stageStream, run: runRefusedAfterCommit, Doc: "The server executes the request and resets the stream with REFUSED_STREAM, which stands for not processed: so do intermediaries whose connection to the server behind them ended.",
			Truth: truth(Yes, Yes, done, No, Nobody, "rst_stream", "stream-reset retried"),
		},
		{
			Name: "goaway-lying", Layer: "h2", stage: stageStream, run: runGoAwayLying, Doc: "The server executes the request and says GOAWAY with a last stream below it, which stands for not processed.",
			Truth: truth(Yes, Yes, done, No, Nobody, "goaway then fin", "goaway retried"),
		},
		{
			Name: "rst-stream-after-commit", Layer: "h2", stage: stageStream, run: runStreamAfterCommit, Doc: "The server executes the request and resets the stream with INTERNAL_ERROR.",
			Truth: truth(Yes, Yes, done, No, Nobody, "rst_stream", "stream-reset"),
		},
		{
			Name: "h2-rst-after-commit", Layer: "h2", stage: stageStream, run: runH2AfterCommit, Doc: "The server executes the request and aborts the connection under all its streams. The client of net/http calls it an unexpected EOF.",
			Truth: truth(Yes, Yes, done, No, ServerApp, "rst-ack", "reset unexpected-eof"),
		},
	}
}

func runGoAwayUnprocessed(x *exchange) error {
	if err := x.h2.goAway(x.h2.last); err != nil {
		return err
	}
	return x.fin()
}

func runGoAwayRST(x *exchange) error {
	if err := x.h2.goAway(x.h2.last); err != nil {
		return err
	}
	flushed(x.tcp)
	return runAbort(x)
}

func runGoAwayCommitted(x *exchange) error {
	x.execute()
	if err := x.h2.goAway(x.stream.id); err != nil {
		return err
	}
	return x.fin()
}

func runGoAwayGraceful(x *exchange) error {
	if err := x.h2.goAway(x.stream.id); err != nil {
		return err
	}
	if err := x.h2.answer(); err != nil {
		return err
	}
	return x.fin()
}

func runRefusedStream(x *exchange) error { return x.h2.reset(x.stream.id, http2.ErrCodeRefusedStream) }

func runRefusedAfterCommit(x *exchange) error {
	x.h2.last = max(x.h2.last, x.stream.id)
	x.execute()
	return x.h2.reset(x.stream.id, http2.ErrCodeRefusedStream)
}

func runGoAwayLying(x *exchange) error {
	x.execute()
	return runGoAwayUnprocessed(x)
}

func runStreamAfterCommit(x *exchange) error {
	x.h2.last = max(x.h2.last, x.stream.id)
	x.execute()
	return x.h2.reset(x.stream.id, http2.ErrCodeInternal)
}

func runH2AfterCommit(x *exchange) error {
	x.execute()
	return runAbort(x)
}

// pathURL parses the path of a request; one that is no URL becomes a plain path.
func pathURL(path string) *url.URL {
	if u, err := url.ParseRequestURI(path); err == nil {
		return u
	}
	return &url.URL{Path: path}
}
