//go:build linux

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// callTimeout bounds an order beyond the time the actor itself may wait.
const callTimeout = 10 * time.Second

// starter is a thread that starts processes. It is one thread for the whole
// life of a Net, because the kernel kills children when the *thread* that made
// them ends (PR_SET_PDEATHSIG), and because it changes namespaces.
type starter struct {
	jobs chan func()
	done chan struct{}
	home int    // descriptor of our own namespace
	ino  uint64 // its inode
	host uint64 // inode of the namespace of process 1
}

func newStarter() (*starter, error) {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open own network namespace: %w", err)
	}
	s := &starter{jobs: make(chan func()), done: make(chan struct{}), home: home}
	if s.ino, err = nsInode("/proc/self/ns/net"); err == nil {
		s.host, err = hostInode()
	}
	if err != nil {
		unix.Close(home)
		return nil, err
	}
	go s.loop()
	return s, nil
}

// loop never unlocks its thread: the runtime ends the thread with it.
func (s *starter) loop() {
	runtime.LockOSThread()
	for f := range s.jobs {
		f()
	}
	unix.Close(s.home)
	close(s.done)
}

func (s *starter) close() {
	close(s.jobs)
	<-s.done
}

// start starts an actor in the namespace at path, or in a new namespace when
// path is empty.
func (s *starter) start(path, name string, logf func(string, ...any)) (p *proc, err error) {
	done := make(chan struct{})
	s.jobs <- func() {
		defer close(done)
		p, err = s.startHere(path, name)
	}
	<-done
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.logf = logf
	return p, nil
}

func (s *starter) startHere(path, name string) (p *proc, err error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if path == "" {
		attr.Cloneflags = unix.CLONE_NEWNET
		return s.exec(attr, name)
	}
	err = s.inside(path, func() error {
		p, err = s.exec(attr, name)
		return err
	})
	return p, err
}

// within runs f on the thread of the starter, in the namespace at path.
func (s *starter) within(path string, f func() error) (err error) {
	done := make(chan struct{})
	s.jobs <- func() {
		defer close(done)
		err = s.inside(path, f)
	}
	<-done
	return err
}

// inside runs f on this thread, in the namespace at path.
func (s *starter) inside(path string, f func() error) error {
	if err := s.enter(path); err != nil {
		return err
	}
	defer func() {
		if err := unix.Setns(s.home, unix.CLONE_NEWNET); err != nil {
			panic("lab: cannot return to own namespace: " + err.Error())
		}
	}()
	return f()
}

// enter moves this thread to the namespace at path, unless it is ours or the
// host's.
func (s *starter) enter(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("identify namespace %s: %w", path, err)
	}
	if st.Ino == s.ino || st.Ino == s.host {
		return errors.New("refuse to start an actor in the host's network namespace")
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", path, err)
	}
	return nil
}

func (s *starter) exec(attr *syscall.SysProcAttr, name string) (*proc, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		inR.Close()
		inW.Close()
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer inR.Close()
	defer outW.Close()
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{name},
		Env:         append(os.Environ(), actorEnv+"="+name, homeEnv+"="+strconv.FormatUint(s.ino, 10), "GOMAXPROCS=1"),
		Stderr:      os.Stderr,
		ExtraFiles:  []*os.File{inR, outW},
		SysProcAttr: attr,
	}
	if err := cmd.Start(); err != nil {
		inW.Close()
		outR.Close()
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("%w: network namespaces need root (CAP_SYS_ADMIN)", err)
		}
		return nil, err
	}
	p := &proc{name: name, cmd: cmd, pid: cmd.Process.Pid, in: inW, out: outR, ended: make(chan struct{})}
	p.enc = json.NewEncoder(inW)
	go p.reap()
	return p, nil
}

// proc is an actor process, seen from the parent.
type proc struct {
	name    string
	space   string // namespace it runs in
	pid     int
	cmd     *exec.Cmd
	in, out *os.File
	enc     *json.Encoder
	rest    []byte        // read, and not yet a whole line
	id      int           // of the last order
	ended   chan struct{} // closed when it has been waited for; then cmd.ProcessState is set
	logf    func(string, ...any)
	busy    bool // an order is under way whose answer nobody will read
	once    sync.Once
}

func (p *proc) reap() {
	p.cmd.Wait() //nolint:errcheck // ProcessState says how it ended
	close(p.ended)
}

// pending is an order that was given and not answered yet.
type pending struct {
	p *proc
	q request
}

// begin gives an order without waiting for the answer. Answers come in the
// order of the requests.
func (p *proc) begin(q request) (*pending, error) {
	p.id++
	q.ID = p.id
	if err := p.enc.Encode(q); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", p.name, q.Op, err)
	}
	return &pending{p, q}, nil
}

// wait reads the answer.
func (w *pending) wait(ctx context.Context) (response, error) {
	p, q := w.p, w.q
	limit := time.Now().Add(q.Wait + callTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(limit) {
		limit = d
	}
	stop := context.AfterFunc(ctx, func() { p.out.SetReadDeadline(time.Unix(1, 0)) }) //nolint:errcheck // the read then ends late
	defer stop()
	p.out.SetReadDeadline(limit) //nolint:errcheck // pipes have deadlines
	r, err := p.answer(q.ID)
	if d, ok := ctx.Deadline(); ok && errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(d) {
		err = context.DeadlineExceeded // the pipe's clock was ahead of the context's
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if p.logf != nil {
		p.logf("%s: %s", p.name, describe(q, r, err))
	}
	if err != nil {
		return r, fmt.Errorf("%s: %s: %w", p.name, q.Op, err)
	}
	if r.Err != "" {
		return r, fmt.Errorf("%s: %s: %s", p.name, q.Op, r.Err)
	}
	return r, nil
}

// answer reads the answer to an order. It skips answers to earlier orders whose
// callers gave up.
func (p *proc) answer(id int) (r response, err error) {
	buf := make([]byte, 1<<16)
	for {
		if line, rest, ok := bytes.Cut(p.rest, []byte{'\n'}); ok {
			r = response{}
			err := json.Unmarshal(line, &r)
			p.rest = append([]byte{}, rest...)
			if err != nil || r.ID == id {
				return r, err
			}
			continue
		}
		n, err := p.out.Read(buf)
		p.rest = append(p.rest, buf[:n]...)
		if n == 0 && err != nil {
			return r, err
		}
	}
}

// call gives an order and waits for the answer.
func (p *proc) call(ctx context.Context, q request) (response, error) {
	w, err := p.begin(q)
	if err != nil {
		return response{}, err
	}
	return w.wait(ctx)
}

// waitEnd waits until the process has ended.
func (p *proc) waitEnd(ctx context.Context) (syscall.WaitStatus, error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.Sys().(syscall.WaitStatus), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(callTimeout):
		return 0, fmt.Errorf("%s: did not end", p.name)
	}
}

// kill ends the process and waits for it.
func (p *proc) kill() {
	p.once.Do(func() {
		select {
		case <-p.ended: // the pid may belong to somebody else by now
		default:
			p.cmd.Process.Kill() //nolint:errcheck // it may just have ended
		}
		<-p.ended
		p.in.Close()
		p.out.Close()
	})
}

func describe(q request, r response, err error) string {
	qs, _ := json.Marshal(q)
	rs, _ := json.Marshal(r)
	if len(rs) > 300 {
		rs = append(rs[:300], "..."...)
	}
	s := string(qs) + " -> " + string(rs)
	if err != nil {
		s += ": " + err.Error()
	}
	return s
}
