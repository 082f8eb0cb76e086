package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/capture"
	"github.com/holdfast-project/holdfast/internal/logs"
)

const maxLineRead = 64 << 10 // of a longer line the rest is skipped

// readTexts reads the arguments: texts, files of lines, or - for stdin.
func (o *options) readTexts(t *textReader, args []string) error {
	if len(args) > 1 {
		if _, err := os.Stat(args[0]); err != nil && args[0] != "-" {
			args = unquoted(args)
		}
	}
	for _, a := range args {
		if err := o.readText(t, a); err != nil {
			return err
		}
	}
	return nil
}

// unquoted joins the words of a text whose quotes were forgotten; arguments with
// spaces, and files, are texts of their own.
func unquoted(args []string) []string {
	for _, a := range args {
		if strings.ContainsAny(a, " \n") {
			return args
		}
		if st, err := os.Stat(a); err == nil && st.Mode().IsRegular() {
			return args
		}
	}
	return []string{strings.Join(args, " ")}
}

func (o *options) readText(t *textReader, a string) error {
	if a == "-" {
		return o.readLog(t, "", o.env.in)
	}
	if r := o.pipes[a]; r != nil {
		return o.readLog(t, a, r)
	}
	f, err := os.Open(a)
	switch {
	case errors.Is(err, os.ErrPermission):
		return &cliError{codePermission, err, "sudo, or a copy that you may read"}
	case err != nil && looksLikeFile(a):
		if _, ok := t.r.Read(a); !ok {
			return &cliError{codeNotFound, err, "check the name; a text needs quotes"}
		}
		fallthrough
	case err != nil:
		return t.lines("", strings.NewReader(strings.ReplaceAll(strings.ReplaceAll(a, `\n`, "\n"), `\r`, "")))
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return usageError("name its files: holdfast explain "+filepath.Join(a, "*.log"), "%s is a directory", a)
	}
	return o.readLog(t, a, f)
}

// readLog reads a log: plain or compressed (gzip, zstd, bzip2), text, JSON
// lines, or an export of the systemd journal.
func (o *options) readLog(t *textReader, name string, in io.Reader) error {
	plain, err := capture.Decompress(in)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	defer plain.Close()
	r := bufio.NewReaderSize(plain, maxLineRead)
	head, _ := r.Peek(512)
	switch {
	case len(head) == 0 && name != "":
		return usageError("capture again; tcpdump -U writes each packet at once", "%s is empty", name)
	case bytes.HasPrefix(head, []byte("__CURSOR=")):
		return t.journal(name, r)
	case bytes.Count(head, []byte{0}) > len(head)/8:
		return usageError("captures are pcap or pcapng, plain or compressed; `editcap -F pcapng IN OUT` converts others", "%s is neither a capture nor text", name)
	}
	return t.lines(name, r)
}

// looksLikeFile tells a mistyped file name from an error text.
func looksLikeFile(a string) bool {
	return !strings.ContainsAny(a, " \t\n") && (strings.ContainsRune(a, filepath.Separator) || filepath.Ext(a) != "")
}

// lines reads lines of any length in bounded memory.
func (t *textReader) lines(file string, in io.Reader) error {
	r, ok := in.(*bufio.Reader)
	if !ok {
		r = bufio.NewReaderSize(in, maxLineRead)
	}
	whole := t.fileOf(file)
	var last []byte
	defer func() { whole.last, _ = logs.LineTime(string(last)) }()
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		if len(line) > 1 {
			whole.lines++
			last = append(last[:0], line[:min(len(line), timePart)]...)
			if whole.first.IsZero() && n < fewLines {
				whole.first, _ = logs.LineTime(string(last))
			}
		}
		t.bytes(file, n, bytes.TrimRight(line, "\r\n"))
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n') // the rest of a line too long to mean anything
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read text: %w", err)
		}
	}
}

// timePart is how much of a line is looked at for its time.
const timePart = 160

// fileOf is the span of a file; of files beyond maxStories nothing is kept.
func (t *textReader) fileOf(file string) *span {
	if f := t.files[file]; f != nil {
		return f
	}
	f := &span{}
	if len(t.files) < maxStories {
		t.files[file] = f
	}
	return f
}

// bytes takes a line that may be one of millions: nothing is copied unless it
// may say something.
func (t *textReader) bytes(file string, n int, line []byte) {
	if t.count >= fewLines && !t.r.MaySay(line) {
		t.count++
		return
	}
	t.line(file, n, string(line))
}

// journal reads an export of the systemd journal (systemd.io/JOURNAL_EXPORT_FORMATS):
// fields in lines, entries apart by an empty line, binary fields with their
// length. A message becomes a line as journalctl prints it.
func (t *textReader) journal(file string, r *bufio.Reader) error {
	fields := map[string]string{}
	entry := 0
	flush := func() {
		if m := fields["MESSAGE"]; m != "" {
			entry++
			t.line(file, entry, journalLine(fields)+m)
		}
		clear(fields)
	}
	for {
		line, err := r.ReadSlice('\n')
		text := string(bytes.TrimRight(line, "\n"))
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		key, v, ok := strings.Cut(text, "=")
		switch {
		case text == "":
			flush()
		case ok:
			fields[key] = v
		default:
			v, e := binaryField(r)
			if e != nil {
				flush()
				return fmt.Errorf("read journal export: field %.40q: %w", text, e)
			}
			fields[text] = v
		}
		if errors.Is(err, io.EOF) {
			flush()
			return nil
		}
		if err != nil {
			return fmt.Errorf("read journal export: %w", err)
		}
	}
}

// binaryField reads the length and the bytes of a field with a line break in it.
func binaryField(r *bufio.Reader) (string, error) {
	var size [8]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return "", fmt.Errorf("length: %w", err)
	}
	n := uint64(0)
	for i := range size {
		n |= uint64(size[i]) << (8 * i)
	}
	keep := make([]byte, min(n, maxLineRead))
	if _, err := io.ReadFull(r, keep); err != nil {
		return "", fmt.Errorf("%d bytes: %w", n, err)
	}
	if n > uint64(len(keep)) {
		if n > 1<<40 {
			return "", fmt.Errorf("%d bytes: %w", n, errors.ErrUnsupported)
		}
		if _, err := io.CopyN(io.Discard, r, int64(n)-int64(len(keep))); err != nil {
			return "", fmt.Errorf("%d bytes: %w", n, err)
		}
	}
	_, _ = r.Discard(1) // the line break behind it
	return string(bytes.ReplaceAll(keep, []byte("\n"), []byte(" "))), nil
}

// journalLine is what stands before a message: time, host, program and process.
func journalLine(fields map[string]string) string {
	at := ""
	if us, err := strconv.ParseInt(fields["__REALTIME_TIMESTAMP"], 10, 64); err == nil {
		at = time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z ")
	}
	name := cmp.Or(fields["SYSLOG_IDENTIFIER"], fields["_COMM"], "unknown")
	if pid := cmp.Or(fields["_PID"], fields["SYSLOG_PID"]); pid != "" {
		name += "[" + pid + "]"
	}
	return at + cmp.Or(fields["_HOSTNAME"], "host") + " " + name + ": "
}
