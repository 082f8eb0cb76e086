package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/holdfast-project/holdfast/internal/capture"
)

// How much of a capture that cannot be read twice is kept, uncompressed: by
// default for pictures on the terminal, and when a file was asked for.
const (
	spoolDefault = 256 << 20
	spoolAsked   = 16 << 30
)

// spool keeps captures that can be read only once (standard input, pipes) in
// files without a name, so that their packets can be shown. The zero value keeps
// nothing.
type spool struct {
	limit int64 // bytes for each; 0 keeps nothing
	kept  map[string]*spooled
}

// spooled is one capture in a file.
type spooled struct {
	file *os.File // nil when keeping it failed
	name string   // of the file, where an open file cannot lose it (Windows)
	w    *bufio.Writer
	size int64
	err  error // why it is not kept
}

// errNotKept is why a capture from a pipe is not there a second time.
var errNotKept = errors.New("it can be read only once")

func notKept(err error) error {
	return fmt.Errorf("%w, and there was no room to keep it: %w; save it to a file", errNotKept, err)
}

// newSpool keeps as much as the flags need.
func newSpool(o *options, cf *captureFlags) *spool {
	switch {
	case cf.report != "" || cf.extract != "" || cf.svg != "" || o.output == "text" && cf.details:
		return &spool{limit: spoolAsked}
	case o.output == "text":
		return &spool{limit: spoolDefault}
	}
	return &spool{}
}

// keep returns a reader of the same bytes, which it keeps when the capture can
// be read only once.
func (s *spool) keep(path string, r io.Reader) io.Reader {
	if s == nil || s.limit == 0 || !once(path) {
		return r
	}
	k := &spooled{}
	if s.kept == nil {
		s.kept = map[string]*spooled{}
	}
	s.kept[path] = k
	f, err := os.CreateTemp("", "holdfast-*.pcap")
	if err != nil {
		k.err = notKept(err)
		return r
	}
	if os.Remove(f.Name()) != nil {
		k.name = f.Name()
	}
	k.file, k.w = f, bufio.NewWriterSize(f, 1<<20)
	return &spoolReader{r, k, s.limit}
}

// once reports whether a capture can be read only once: standard input, a pipe.
func once(path string) bool {
	st, err := os.Stat(path)
	return path == "-" || err == nil && !st.Mode().IsRegular()
}

// spoolReader copies what is read.
type spoolReader struct {
	r     io.Reader
	k     *spooled
	limit int64
}

func (r *spoolReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 && r.k.err == nil {
		r.k.write(p[:n], r.limit)
	}
	return n, err
}

func (k *spooled) write(b []byte, limit int64) {
	k.size += int64(len(b))
	if k.size > limit {
		k.drop(fmt.Errorf("%w, and it has more than %d MiB; save it to a file", errNotKept, limit>>20))
		return
	}
	if _, err := k.w.Write(b); err != nil {
		k.drop(notKept(err))
	}
}

// drop gives the room on the disk back.
func (k *spooled) drop(why error) {
	k.err = why
	if k.file != nil {
		k.file.Close()
		k.file = nil
	}
	if k.name != "" {
		_ = os.Remove(k.name) // in the directory for such files; nobody is helped by an error
		k.name = ""
	}
}

// open opens a capture a second time, whether it was kept or can be read again.
func (s *spool) open(name string) (io.ReadCloser, error) {
	var k *spooled
	if s != nil {
		k = s.kept[name]
	}
	switch {
	case k != nil && k.err == nil:
		if err := k.w.Flush(); err != nil {
			k.drop(notKept(err))
			return nil, k.err
		}
		return io.NopCloser(io.NewSectionReader(k.file, 0, k.size)), nil
	case k != nil:
		return nil, k.err
	case once(name):
		return nil, errNotKept
	}
	return capture.Open(name, nil)
}

// close removes what was kept.
func (s *spool) close() {
	for _, k := range s.kept {
		k.drop(errNotKept)
	}
}
