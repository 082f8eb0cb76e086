//go:build unix

package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The words of the hand-over, each one line. The offering side sends the
// descriptors with one octet; the taking side answers readyWord when it accepts
// connections; the offering side frees the path and answers doneWord.
const (
	readyWord = "ready\n"
	doneWord  = "yours\n"
)

// handoverPatience bounds how long one side waits for the other's octets.
const handoverPatience = 30 * time.Second

// handoverHello is sent with the descriptors.
type handoverHello struct {
	Version int      `json:"version"`
	Addrs   []string `json:"addrs"` // of the listeners, in order
}

// Offer waits at a Unix socket for a successor, gives it the listeners and
// returns nil when the successor says that it serves. Until then nothing changes
// here: a successor that dies before that costs nothing, the offer stands.
//
// The socket is made with mode 0600, and on Linux only processes of this user or of
// root are served. Whoever can write to the directory of the socket can put another
// one there, so the directory must be private, such as one below /run that systemd makes
// (RuntimeDirectory=). A socket that is already at path is replaced when nobody
// listens on it.
func Offer(ctx context.Context, path string, list ...net.Listener) error {
	o, err := newOffering(path, list...)
	if err != nil {
		return err
	}
	return o.serve(ctx)
}

// offering is an offer that a successor can connect to.
type offering struct {
	path  string
	list  []net.Listener
	files []*os.File
	ul    *net.UnixListener
	once  sync.Once
}

func newOffering(path string, list ...net.Listener) (*offering, error) {
	o := &offering{path: path, list: list}
	if len(list) == 0 || len(list) > maxInherited {
		return nil, fmt.Errorf("handover: offer %d listeners: between 1 and %d are possible", len(list), maxInherited)
	}
	for _, l := range list {
		f, err := listenerFile(l)
		if err != nil {
			closeFiles(o.files)
			return nil, err
		}
		o.files = append(o.files, f)
	}
	var err error
	if o.ul, err = offerSocket(path); err != nil {
		closeFiles(o.files)
		return nil, err
	}
	return o, nil
}

// free withdraws the offer: the path first, because nobody may connect to a
// socket that is going.
func (o *offering) free() {
	o.once.Do(func() {
		_ = os.Remove(o.path)
		_ = o.ul.Close()
	})
}

// serve is the rest of Offer.
func (o *offering) serve(ctx context.Context) error {
	defer closeFiles(o.files)
	defer o.free()
	stop := context.AfterFunc(ctx, o.free)
	defer stop()
	for {
		c, err := o.ul.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("handover: offer listeners: %w", err)
		}
		err = offer(ctx, c, o.free, o.list, o.files)
		_ = c.Close()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// offerSocket listens at path. It is bound under another name and then renamed, so
// that nobody connects before the mode is right.
func offerSocket(path string) (*net.UnixListener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("handover: %s: another process offers its listeners there", path)
	}
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	_ = os.Remove(temp)
	ul, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("handover: offer listeners: %w", err)
	}
	ul.SetUnlinkOnClose(false)
	if err = os.Chmod(temp, 0o600); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = ul.Close()
		_ = os.Remove(temp)
		return nil, fmt.Errorf("handover: offer listeners: %w", err)
	}
	return ul, nil
}

// offer serves one successor.
func offer(ctx context.Context, c *net.UnixConn, free func(), list []net.Listener, files []*os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := samePeer(c); err != nil {
		return err
	}
	hello := handoverHello{Version: 1}
	fds := make([]int, 0, len(files))
	for i, f := range files {
		hello.Addrs = append(hello.Addrs, list[i].Addr().String())
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return err
		}
	}
	b, err := json.Marshal(hello)
	if err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(handoverPatience)); err != nil {
		return err
	}
	if _, _, err := c.WriteMsgUnix(b, unix.UnixRights(fds...), nil); err != nil {
		return fmt.Errorf("send listeners: %w", err)
	}
	if err := expect(c, readyWord); err != nil {
		return err
	}
	free()
	_, _ = io.WriteString(c, doneWord) // it serves; whether it hears this changes nothing here
	return nil
}

// expect reads one word.
func expect(c net.Conn, word string) error {
	b := make([]byte, len(word))
	if _, err := io.ReadFull(c, b); err != nil {
		return fmt.Errorf("wait for the other process: %w", err)
	}
	if string(b) != word {
		return fmt.Errorf("the other process says %q, not %q", b, word)
	}
	return nil
}

// Takeover is what a successor gets.
type Takeover struct {
	Listeners []net.Listener // in the order of the offer

	conn net.Conn
}

// Take asks the process that offers its listeners at path for them. The
// error is os.ErrNotExist or ECONNREFUSED when nobody does. Call Ready when the
// listeners are served.
func Take(ctx context.Context, path string) (*Takeover, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("handover: take listeners: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	list, err := take(c.(*net.UnixConn))
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("handover: take listeners: %w", err)
	}
	return &Takeover{Listeners: list, conn: c}, nil
}

func take(c *net.UnixConn) ([]net.Listener, error) {
	if err := samePeer(c); err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(handoverPatience)); err != nil {
		return nil, err
	}
	b, oob := make([]byte, 1<<16), make([]byte, unix.CmsgSpace(4*maxInherited))
	n, oobn, flags, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	fds, err := descriptors(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if flags&unix.MSG_CTRUNC != 0 {
		closeDescriptors(fds)
		return nil, errors.New("too many listeners")
	}
	var hello handoverHello
	if err := json.Unmarshal(b[:n], &hello); err != nil || hello.Version != 1 || len(hello.Addrs) != len(fds) || len(fds) == 0 {
		closeDescriptors(fds)
		return nil, fmt.Errorf("the other process speaks another version of the hand-over: %.100q", b[:n])
	}
	return fileListeners(fds, hello.Addrs)
}

// descriptors reads the descriptors of a message. The runtime receives them with
// close-on-exec where the system can; it is set again for where it cannot.
func descriptors(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var fds []int
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // another kind of message
		}
		for _, fd := range got {
			unix.CloseOnExec(fd)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

func closeDescriptors(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

func fileListeners(fds []int, names []string) ([]net.Listener, error) {
	var list []net.Listener
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), names[i])
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			closeListeners(list)
			closeDescriptors(fds[i+1:])
			return nil, fmt.Errorf("listener %s: %w", names[i], err)
		}
		list = append(list, l)
	}
	return list, nil
}

// Ready tells the offering process to drain, and waits until the path is free for
// this process's own offer.
func (t *Takeover) Ready() error {
	defer func() { _ = t.conn.Close() }()
	if err := t.conn.SetDeadline(time.Now().Add(handoverPatience)); err != nil {
		return err
	}
	if _, err := io.WriteString(t.conn, readyWord); err != nil {
		return fmt.Errorf("handover: take over: %w", err)
	}
	err := expect(t.conn, doneWord)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil // it has gone already; the listeners are ours alone
	}
	return err
}

// Cancel gives up without taking over: the offer stands for another successor.
func (t *Takeover) Cancel() {
	closeListeners(t.Listeners)
	_ = t.conn.Close()
}
