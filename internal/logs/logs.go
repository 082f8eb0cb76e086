// Package logs reads what a process wrote to its log around the time of a
// reset: the lines that say why a server closed a connection, in its own
// words. It finds the files (by what the process, its parent and its siblings
// have open, and by well-known places), reads their ends only, and keeps the
// lines whose time is near. It interprets nothing.
//
// It starts no program, so that the systemd journal, whose files are binary,
// is not read. To debug, call [Reader.Files] for the process.
package logs

import (
	"container/list"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// Bounds of what is read and returned.
const (
	maxTail      = 64 << 10        // bytes read of the end of a file
	maxText      = 4 << 10         // bytes returned
	maxLine      = 1 << 10         // bytes of one line
	maxFiles     = 6               // files read for one process
	maxProcesses = 1024            // processes remembered
	believed     = 2 * time.Second // before a living process's files are listed again
)

// Reader finds and reads logs. It remembers the files of processes, so that
// the log of one that has ended is still found, and the size of files without
// times, so that it knows what is new. It is safe for concurrent use.
type Reader struct {
	host *linux.Host

	mu sync.Mutex // guards all below

	byPID  map[int]*list.Element // of *entry
	recent *list.List
	sizes  map[fileKey][]growth
}

// entry is what is remembered of one process.
type entry struct {
	pid   int
	files []File
	read  time.Time
}

type fileKey struct {
	dev, ino uint64
	path     string // the kernel uses numbers again
}

// growth is how large a file was, at which time.
type growth struct {
	size int64
	at   time.Time
}

const maxLooks = 32 // at one file

// File is one log file of a process.
type File struct {
	Path   string
	Shared string // lines of other programs are in it too; those with this word count
	// how to open it: as one of a process's open files, or by path as the
	// process (0: the host) sees it
	written *linux.WrittenFile
	pid     int
}

// NewReader returns a Reader that has seen nothing yet.
func NewReader(h *linux.Host) *Reader {
	return &Reader{host: h, byPID: map[int]*list.Element{}, recent: list.New(), sizes: map[fileKey][]growth{}}
}

// Remember notes the log files of a process while it lives, and how large
// they are now. Costs about a millisecond; repeated calls within two seconds
// cost nothing.
func (r *Reader) Remember(pid int) {
	now := time.Now()
	for _, f := range r.Files(pid) {
		r.noteSize(f, now)
	}
}

// Files returns the log files of a process, the most telling first.
func (r *Reader) Files(pid int) []File {
	r.mu.Lock()
	el := r.byPID[pid]
	if el != nil && time.Since(el.Value.(*entry).read) < believed {
		defer r.mu.Unlock()
		r.recent.MoveToFront(el)
		return el.Value.(*entry).files
	}
	r.mu.Unlock()

	files, alive := find(r.host, pid)

	r.mu.Lock()
	defer r.mu.Unlock()
	if !alive {
		if el := r.byPID[pid]; el != nil {
			return el.Value.(*entry).files
		}
		return nil
	}
	r.lockedKeep(pid, files)
	return files
}

// lockedKeep remembers the files of a process, forgetting the process not
// asked for longest when there are too many.
func (r *Reader) lockedKeep(pid int, files []File) {
	e := &entry{pid: pid, files: files, read: time.Now()}
	if el := r.byPID[pid]; el != nil {
		el.Value = e
		r.recent.MoveToFront(el)
		return
	}
	for r.recent.Len() >= maxProcesses {
		old := r.recent.Back()
		delete(r.byPID, old.Value.(*entry).pid)
		r.recent.Remove(old)
	}
	r.byPID[pid] = r.recent.PushFront(e)
}

// Around returns the lines that the process logged from within before at to
// within after it, at most 4 KiB of them, without control characters, and the
// names of the files they stand in. looked is false when no log of it could
// be read at all; text is empty when it wrote nothing then. Costs a few
// milliseconds.
func (r *Reader) Around(pid int, at time.Time, within time.Duration) (text, file string, looked bool) {
	var chunks, names []string
	for _, f := range r.Files(pid) {
		lines, ok := r.lines(f, at, within)
		looked = looked || ok
		if len(lines) > 0 && !slices.Contains(names, f.Path) {
			chunks, names = append(chunks, strings.Join(clip(lines), "\n")), append(names, f.Path)
		}
	}
	return share(chunks), strings.Join(names, ", "), looked
}

// lines returns the lines of one file that belong to the time.
func (r *Reader) lines(f File, at time.Time, within time.Duration) ([]string, bool) {
	file, err := r.open(f)
	if err != nil {
		return nil, false
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return nil, false
	}
	old := r.grow(f, fi, time.Now(), at.Add(-within))
	if fi.ModTime().Before(at.Add(-within - time.Second)) {
		return nil, true // nothing was written since
	}
	tail, start, err := readTail(file, fi.Size())
	if err != nil {
		return nil, false
	}
	w := window{from: at.Add(-within), to: at.Add(within), written: fi.ModTime(), word: f.Shared}
	if old.at.After(at.Add(-within - believed)) {
		w.known = max(0, old.size-start)
	} else {
		w.known = -1
	}
	return w.pick(tail), true
}

// open opens a file in whichever way it was found.
func (r *Reader) open(f File) (*os.File, error) {
	if f.written != nil {
		return r.host.OpenWritten(*f.written)
	}
	return r.host.OpenIn(f.pid, f.Path)
}

// noteSize remembers how large a file is.
func (r *Reader) noteSize(f File, now time.Time) {
	file, err := r.open(f)
	if err != nil {
		return
	}
	defer file.Close()
	if fi, err := file.Stat(); err == nil {
		r.grow(f, fi, now, now)
	}
}

// grow remembers the size of a file and returns what it was at the latest look
// before from, or at the first look if that was later: several cases may ask
// for the same lines.
func (r *Reader) grow(f File, fi os.FileInfo, now, from time.Time) (old growth) {
	key := keyOf(f, fi)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sizes) > 4*maxProcesses {
		clear(r.sizes)
	}
	looks := r.sizes[key]
	if n := len(looks); n > 0 && looks[n-1].size > fi.Size() {
		looks = nil // truncated since
	}
	for i, l := range looks {
		if i == 0 || !l.at.After(from) {
			old = l
		}
	}
	if n := len(looks); n == 0 || looks[n-1].size != fi.Size() {
		looks = append(looks, growth{fi.Size(), now})
	}
	r.sizes[key] = looks[max(0, len(looks)-maxLooks):]
	return old
}

// readTail reads the end of a file from the start of a line, and says at which
// offset that is.
func readTail(file *os.File, size int64) (b []byte, start int64, err error) {
	start = max(0, size-maxTail)
	b = make([]byte, size-start)
	n, err := file.ReadAt(b, start)
	b = b[:n]
	if err != nil && n == 0 && size > 0 {
		return nil, 0, err
	}
	if start > 0 {
		i := slices.Index(b, '\n') + 1
		b, start = b[i:], start+int64(i)
	}
	return b, start, nil
}

// clip drops lines from the front until the rest fits; the first of a single
// overlong line's bytes stay.
func clip(lines []string) []string {
	total := 0
	for i := len(lines) - 1; i >= 0; i-- {
		total += len(lines[i]) + 1
		if total > maxText {
			return lines[i+1:]
		}
	}
	return lines
}

// share joins what several files say into one text of at most 4 KiB, the
// first files first.
func share(chunks []string) string {
	var b strings.Builder
	for _, c := range chunks {
		if b.Len() > 0 && b.Len()+1+len(c) > maxText {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(c)
	}
	return b.String()
}

// rank orders log files by how telling they are: errors before the rest,
// access logs last.
func rank(f File) int {
	base := strings.ToLower(path.Base(f.Path))
	switch {
	case strings.Contains(base, "err"):
		return 0
	case strings.Contains(base, "access"):
		return 3
	case f.Shared != "":
		return 2
	}
	return 1
}
