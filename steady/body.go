package steady

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// bodies hands out the body of each attempt.
type bodies struct {
	req *http.Request
	tee *tee
}

// newBodies prepares the body of req for more than one attempt: by GetBody, by
// rewinding what can be rewound, such as a file, or by keeping up to limit bytes of
// what is read.
func newBodies(req *http.Request, limit int64) bodies {
	b := bodies{req: req}
	if !hasBody(req) || req.GetBody != nil || limit <= 0 {
		return b
	}
	b.tee = &tee{src: req.Body, limit: limit}
	if s, ok := req.Body.(io.Seeker); ok {
		if start, err := s.Seek(0, io.SeekCurrent); err == nil {
			b.tee.seeker, b.tee.start = s, start
		}
	}
	return b
}

// kept reports whether the body is in the hands of a tee, which closes it.
func (b *bodies) kept() bool { return b.tee != nil }

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// next returns the body of attempt n, counted from 1.
func (b *bodies) next(n int) (io.ReadCloser, error) {
	switch {
	case b.tee != nil:
		return b.tee.reader(), nil
	case n == 1 || !hasBody(b.req):
		return b.req.Body, nil
	case b.req.GetBody != nil:
		return b.req.GetBody()
	}
	return nil, errors.New("body cannot be read again: set GetBody, or raise MaxReplay")
}

// replayable reports whether next will work again.
func (b *bodies) replayable() bool {
	if !hasBody(b.req) || b.req.GetBody != nil {
		return true
	}
	return b.tee != nil && !b.tee.over.Load()
}

// done says that no attempt follows.
func (b *bodies) done() {
	if b.tee != nil {
		b.tee.done()
	}
}

// tee keeps what was read of a body. Each attempt reads from the start; an
// earlier attempt that still reads gets an error.
type tee struct {
	src   io.ReadCloser
	limit int64
	over  atomic.Bool // buf would have passed limit and is gone

	seeker io.Seeker // when not nil, the source is rewound and nothing kept
	start  int64     // of the body in it

	reading sync.Mutex
	buf     []byte // guarded by reading, as err
	err     error
	at      int64 // guarded by reading: of seeker, behind start

	mu       sync.Mutex
	current  *teeReader // guarded by mu, as all below
	finished bool
	srcGone  bool
}

type teeReader struct {
	t      *tee
	pos    int
	closed bool
}

var errOldAttempt = errors.New("steady: this attempt is over")

func (t *tee) reader() *teeReader {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current = &teeReader{t: t}
	return t.current
}

// done lets the source be closed as soon as the last attempt closes its body.
func (t *tee) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.finished = true
	if t.current == nil || t.current.closed {
		t.lockedClose()
	}
}

func (t *tee) lockedClose() {
	if !t.srcGone {
		t.srcGone = true
		t.src.Close()
	}
}

func (t *tee) serves(r *teeReader) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current == r && !r.closed
}

// Read replays what is kept, then reads on.
func (r *teeReader) Read(p []byte) (int, error) {
	t := r.t
	t.reading.Lock()
	defer t.reading.Unlock()
	if !t.serves(r) {
		return 0, errOldAttempt
	}
	if t.seeker != nil {
		return r.readSeeker(p)
	}
	if r.pos < len(t.buf) {
		n := copy(p, t.buf[r.pos:])
		r.pos += n
		return n, nil
	}
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.src.Read(p)
	t.err = err
	if int64(len(t.buf)+n) > t.limit {
		t.over.Store(true)
		t.buf, r.pos = nil, 0
	}
	if !t.over.Load() {
		t.buf = append(t.buf, p[:n]...)
		r.pos += n
	}
	return n, err
}

// readSeeker reads from the source at this attempt's own place.
func (r *teeReader) readSeeker(p []byte) (int, error) {
	t := r.t
	if t.at != int64(r.pos) {
		if _, err := t.seeker.Seek(t.start+int64(r.pos), io.SeekStart); err != nil {
			return 0, err
		}
	}
	n, err := t.src.Read(p)
	r.pos += n
	t.at = int64(r.pos)
	return n, err
}

// Close ends this attempt's reading. It does not wait for a Read.
func (r *teeReader) Close() error {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	r.closed = true
	if r.t.finished && r.t.current == r {
		r.t.lockedClose()
	}
	return nil
}
