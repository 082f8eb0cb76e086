// Package handover replaces a running server by its successor without losing a request
// or a connection.
//
// There are two ways to hand a listening socket to the next process, so that its accept
// queue never loses a connection:
//
//   - LISTEN_FDS, the protocol of systemd: the process inherits the sockets from
//     number 3 on. [Pass] is the giving side, [Inherited] the
//     taking one.
//   - SCM_RIGHTS over a Unix socket: any two processes of one user.
//     [Offer] gives, [Take] takes.
//
// [Handover] uses both and is all that most servers need. SO_REUSEPORT is no
// hand-over: closing one of its sockets resets what is in that socket's queue
// (net.ipv4.tcp_migrate_req=0 is the default).
//
// It moves listening sockets, not connections: those that are open are drained by the
// old process (package drain). To debug it, print what [Handover.Serve] returns.
package handover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-project/holdfast/steady/drain"
)

// firstInherited is the number of the first inherited socket (sd_listen_fds(3)).
const firstInherited = 3

// maxInherited bounds LISTEN_FDS, which comes from outside.
const maxInherited = 64

// parentVariable names the giving process when LISTEN_PID cannot be known before
// the taking one exists. Our own; systemd does not know it.
const parentVariable = "LISTEN_PPID"

var inheritVariables = []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", parentVariable}

// Inherited returns the listeners that this process was started with, in
// their order, or none. It removes the variables, so that children do not take them
// for their own: call it once, early.
func Inherited() ([]net.Listener, error) {
	n, err := inheritedCount(os.Getenv, os.Getpid(), os.Getppid())
	for _, name := range inheritVariables {
		_ = os.Unsetenv(name)
	}
	if err != nil {
		return nil, err
	}
	var list []net.Listener
	for i := range n {
		f := os.NewFile(uintptr(firstInherited+i), "inherited listener "+strconv.Itoa(i))
		l, err := net.FileListener(f) // a duplicate that is not inherited further
		f.Close()
		if err != nil {
			closeListeners(list)
			return nil, fmt.Errorf("handover: inherit descriptor %d: %w", firstInherited+i, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// inheritedCount reads how many sockets are meant for this process.
func inheritedCount(getenv func(string) string, pid, ppid int) (int, error) {
	text := getenv("LISTEN_FDS")
	if text == "" {
		return 0, nil
	}
	ours := getenv("LISTEN_PID") == strconv.Itoa(pid) ||
		getenv("LISTEN_PID") == "" && getenv(parentVariable) == strconv.Itoa(ppid)
	if !ours {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxInherited {
		return 0, fmt.Errorf("handover: LISTEN_FDS=%q is not a number up to %d", text, maxInherited)
	}
	return n, nil
}

// Pass prepares listeners for a child process. Append the files, in this
// order and before any others, to the ones that the child gets after standard
// error (exec.Cmd.ExtraFiles), and use env as its environment; nil stands for
// os.Environ. Close the files when the child was started. The listeners stay open
// here, too.
func Pass(env []string, list ...net.Listener) (files []*os.File, childEnv []string, err error) {
	if len(list) == 0 || len(list) > maxInherited {
		return nil, nil, fmt.Errorf("handover: pass %d listeners: between 1 and %d are possible", len(list), maxInherited)
	}
	for _, l := range list {
		f, err := listenerFile(l)
		if err != nil {
			closeFiles(files)
			return nil, nil, err
		}
		files = append(files, f)
	}
	if env == nil {
		env = os.Environ()
	}
	for _, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); !slices.Contains(inheritVariables, name) {
			childEnv = append(childEnv, kv)
		}
	}
	childEnv = append(childEnv, "LISTEN_FDS="+strconv.Itoa(len(list)), parentVariable+"="+strconv.Itoa(os.Getpid()))
	return files, childEnv, nil
}

// listenerFile returns a duplicate of the listening socket.
func listenerFile(l net.Listener) (*os.File, error) {
	f, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("handover: hand over %T: it has no socket; wrap it (TLS, Drain) after the hand-over", l)
	}
	file, err := f.File()
	if err != nil {
		return nil, fmt.Errorf("handover: duplicate listener %s: %w", l.Addr(), err)
	}
	return file, nil
}

func closeFiles(list []*os.File) {
	for _, f := range list {
		f.Close()
	}
}

func closeListeners(list []net.Listener) {
	for _, l := range list {
		_ = l.Close()
	}
}

// Handover is a server that can be replaced by its successor without losing a
// request. Start the new process with the same Handover while the old one runs:
// it takes the listener over Path, serves, and the old one drains and returns.
type Handover struct {
	Network string       // tcp by default
	Addr    string       // host:port, when there is no predecessor
	Path    string       // Unix socket for the hand-over; empty: only LISTEN_FDS. Its directory must belong to this user alone
	Drain   *drain.Drain // nil is the default Drain

	// Timeout bounds the drain; 30s by default.
	Timeout time.Duration

	// Serving is called, if set, when the server accepts and a successor may be
	// started: the offer at Path stands.
	Serving func(l net.Listener, from Origin)
}

// Origin says where a listener came from.
type Origin string

// The origins of a listener.
const (
	OriginNew         Origin = "new"         // nobody had it: it was bound
	OriginEnvironment Origin = "environment" // LISTEN_FDS
	OriginPredecessor Origin = "predecessor" // SCM_RIGHTS over Path
)

// Serve runs the server until a successor has taken over or ctx is done, then
// drains it and returns the report.
func (h *Handover) Serve(ctx context.Context, srv *http.Server) (drain.Report, error) {
	l, from, ready, err := h.listener(ctx)
	if err != nil {
		return drain.Report{}, err
	}
	d := h.Drain
	if d == nil {
		d = &drain.Drain{}
	}
	d.Attach(srv)
	wrapped := d.Listener(l)
	served := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil {
			served <- srv.ServeTLS(wrapped, "", "")
			return
		}
		served <- srv.Serve(wrapped)
	}()
	if err := ready(); err != nil {
		_ = wrapped.Close()
		return drain.Report{}, errors.Join(err, srv.Close())
	}
	ended, err := h.offered(ctx, l, from, served)
	if ended {
		return drain.Report{}, err
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(h.Timeout, 30*time.Second))
	defer cancel()
	report, derr := d.Shutdown(limit)
	if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return report, errors.Join(err, derr)
}

// offered offers the listener, says that it is served, and returns when it is time
// to drain. ended says that the server ended by itself.
func (h *Handover) offered(ctx context.Context, l net.Listener, from Origin, served <-chan error) (ended bool, err error) {
	taken := make(chan error, 1)
	offer, stop := context.WithCancel(ctx)
	defer stop()
	if h.Path != "" {
		o, err := newOffering(h.Path, l)
		if err != nil {
			return false, err
		}
		go func() { taken <- o.serve(offer) }()
	}
	if h.Serving != nil {
		h.Serving(l, from)
	}
	select {
	case err = <-served:
		ended = true
	case err := <-taken:
		return false, unlessCanceled(err)
	case <-ctx.Done():
	}
	stop()
	if h.Path != "" {
		err = errors.Join(err, unlessCanceled(<-taken))
	}
	return ended, err
}

// unlessCanceled is the error of an offer that may have been stopped.
func unlessCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// listener finds the listener: inherited, from a predecessor, or new. ready tells
// the predecessor to drain.
func (h *Handover) listener(ctx context.Context) (l net.Listener, from Origin, ready func() error, err error) {
	nothing := func() error { return nil }
	list, err := Inherited()
	if err != nil {
		return nil, "", nil, err
	}
	if len(list) > 0 {
		closeListeners(list[1:])
		return list[0], OriginEnvironment, nothing, nil
	}
	if h.Path != "" {
		t, err := Take(ctx, h.Path)
		switch {
		case err == nil:
			closeListeners(t.Listeners[1:])
			return t.Listeners[0], OriginPredecessor, t.Ready, nil
		case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED):
			return nil, "", nil, err
		}
	}
	network := h.Network
	if network == "" {
		network = "tcp"
	}
	l, err = net.Listen(network, h.Addr)
	return l, OriginNew, nothing, err
}
