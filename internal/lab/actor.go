//go:build linux

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	actorEnv = "HOLDFAST_LAB_ACTOR" // comm of the actor; its presence makes this process an actor
	homeEnv  = "HOLDFAST_LAB_HOME"  // inode of the namespace the lab was started in
	fdIn     = 3                    // requests
	fdOut    = 4                    // responses
)

// actor is the state of an actor process.
type actor struct {
	name     string
	sockets  map[int]bool // every TCP socket opened and not closed
	sniffers map[int]*sniffer
	children map[int]io.Closer
	raw      map[bool]int // IPv6? -> raw socket
}

// ActorMain turns the process into a lab actor when it was started as one;
// then it does not return. Call it first thing in main. It returns false in
// every other process.
func ActorMain() (handled bool) {
	name := os.Getenv(actorEnv)
	if name == "" {
		return false
	}
	runtime.LockOSThread()
	err := runActor(name)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
	return true
}

func runActor(name string) error {
	setName(name)
	home := os.Getenv(homeEnv)
	os.Unsetenv(actorEnv)
	os.Unsetenv(homeEnv)
	if name == childName {
		_, err := io.Copy(io.Discard, os.Stdin) // lives until its parent lets go
		return err
	}
	if err := refuseHost(home); err != nil {
		return err
	}
	unix.CloseOnExec(fdIn)
	unix.CloseOnExec(fdOut)
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("disable core dumps: %w", err)
	}
	a := &actor{
		name:     name,
		sockets:  map[int]bool{},
		sniffers: map[int]*sniffer{},
		children: map[int]io.Closer{},
		raw:      map[bool]int{},
	}
	return a.serve(json.NewDecoder(os.NewFile(fdIn, "requests")), json.NewEncoder(os.NewFile(fdOut, "responses")))
}

// serve obeys until the parent closes the pipe.
func (a *actor) serve(in *json.Decoder, out *json.Encoder) error {
	for {
		var q request
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		r := response{ID: q.ID}
		op := ops[q.Op]
		if op == nil {
			r.Err = "unknown operation " + q.Op
		} else if err := op(a, q, &r); err != nil {
			r.fail(err)
		}
		if err := out.Encode(r); err != nil {
			return fmt.Errorf("write response: %w", err)
		}
	}
}

// sawError marks an error as something the application saw, which is a
// result, rather than a defect of the lab.
type sawError struct{ error }

func (e sawError) Unwrap() error { return e.error }

// saw wraps the error of a system call whose failure is a result.
func saw(err error) error {
	if err == nil {
		return nil
	}
	return sawError{err}
}

func (r *response) fail(err error) {
	var s sawError
	var no syscall.Errno
	switch {
	case errors.As(err, &s) && errors.Is(err, io.EOF):
		r.Errno = "EOF"
	case errors.As(err, &s) && errors.As(err, &no):
		r.Errno = unix.ErrnoName(no)
	default:
		r.Err = err.Error()
	}
}

// setName sets the comm of every thread: an event may carry the name of any
// of them. Threads made later inherit it.
func setName(name string) {
	tasks, _ := filepath.Glob("/proc/self/task/*/comm")
	for _, t := range tasks {
		os.WriteFile(t, []byte(name), 0) //nolint:errcheck // cosmetic
	}
}

// refuseHost fails unless this process is in a namespace of the lab.
func refuseHost(home string) error {
	own, err := nsInode("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	host, err := hostInode()
	if err != nil {
		return err
	}
	if own == host || home == "" || strconv.FormatUint(own, 10) == home {
		return errors.New("refuse to work outside a private network namespace")
	}
	return nil
}

// hostInode identifies the namespace of process 1. It is 0 when we may not know
// it (process 1 has capabilities that we lack); the namespace that the lab was
// started in is then the one to stay out of.
func hostInode() (uint64, error) {
	ino, err := nsInode("/proc/1/ns/net")
	if errors.Is(err, fs.ErrPermission) {
		return 0, nil
	}
	return ino, err
}

func nsInode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("identify namespace %s: %w", path, err)
	}
	return st.Ino, nil
}
