package storm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const actorEnv = "HOLDFAST_STORM_ACTOR"

// order is one thing that an actor does.
type order struct {
	Op     string
	Addr   netip.AddrPort `json:",omitzero"`
	FD     int            `json:",omitempty"`
	N      int            `json:",omitempty"`
	Proto  int            `json:",omitempty"`
	Flags  []string       `json:",omitempty"`
	Thread bool           `json:",omitempty"` // do it in a thread of its own, with another name
	Path   string         `json:",omitempty"`
	To     netip.AddrPort `json:",omitzero"`
	Seq    uint32         `json:",omitempty"`
	Ack    uint32         `json:",omitempty"`
}

// answer is what came of it.
type answer struct {
	FD    int            `json:",omitempty"`
	N     int            `json:",omitempty"`
	Addr  netip.AddrPort `json:",omitzero"`
	Peer  netip.AddrPort `json:",omitzero"`
	Errno int            `json:",omitempty"`
	Err   string         `json:",omitempty"`
	Seq   uint32         `json:",omitempty"`
	Ack   uint32         `json:",omitempty"`
}

// Main turns the process into an actor when it was started as one; then it does
// not return. It returns false in every other process.
func Main() (handled bool) {
	switch os.Getenv(actorEnv) {
	case "":
		return false
	case "busy":
		for os.Getppid() > 1 {
			for range 1 << 24 {
				runtime.KeepAlive(nil)
			}
		}
		os.Exit(0)
	}
	runtime.GOMAXPROCS(1)
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0) // whatever the parent has
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	var plain [4]uint64 // struct sigaction: the default, which the runtime has replaced
	for _, sig := range []unix.Signal{unix.SIGSEGV, unix.SIGTERM} {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&plain)), 0, 8, 0, 0)
	}
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			os.Exit(3)
		}
		a, err := act(&o)
		var errno syscall.Errno
		if errors.As(err, &errno) {
			a.Errno = int(errno)
		}
		if err != nil {
			a.Err = err.Error()
		}
		if out.Encode(a) != nil {
			os.Exit(3)
		}
	}
	os.Exit(0)
	return true
}

// act does an order, in a thread of its own when it says so.
func act(o *order) (a answer, err error) {
	if !o.Thread {
		return ops[o.Op](o)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		name := []byte("storm-thread\x00")
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
		a, err = ops[o.Op](o)
	}()
	<-done
	return a, err
}

var ops map[string]func(*order) (answer, error)

func init() {
	ops = map[string]func(*order) (answer, error){
		"listen": listen, "accept": accept, "connect": connect, "send": send, "recv": recv, "wait-bytes": waitBytes, "wait-error": waitError,
		"wait-fin": waitFIN,
		"close":    func(o *order) (answer, error) { return answer{}, unix.Close(o.FD) },
		"close-range": func(o *order) (answer, error) {
			return answer{}, unix.CloseRange(uint(o.FD), uint(o.FD), 0)
		},
		"shutdown": func(o *order) (answer, error) { return answer{}, unix.Shutdown(o.FD, o.N) },
		"linger": func(o *order) (answer, error) {
			return answer{}, unix.SetsockoptLinger(o.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		},
		"unspec": disconnect,
		"dup2": func(o *order) (answer, error) {
			null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return answer{}, err
			}
			defer unix.Close(null)
			return answer{}, unix.Dup3(null, o.FD, unix.O_CLOEXEC)
		},
		"exit":  func(o *order) (answer, error) { unix.Exit(o.N); return answer{}, nil },
		"exec":  func(o *order) (answer, error) { return answer{}, unix.Exec("/bin/cat", []string{"cat"}, nil) },
		"spawn": spawn, "give": give, "take": take, "repair-close": repairClose, "numbers": numbers, "forge": forge, "uring": uring,
		"destroy": destroy, "cgroup": func(o *order) (answer, error) {
			return answer{}, os.WriteFile(o.Path+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0o644)
		},
	}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func addrPort(s unix.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), uint16(s.Port))
	}
	return netip.AddrPort{}
}

func has(o *order, flag string) bool { return strings.Contains(strings.Join(o.Flags, " "), flag) }

func open(o *order) (int, error) {
	family := unix.AF_INET6
	if o.Addr.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, o.Proto)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if has(o, "reuseport") {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	return fd, nil
}

func listen(o *order) (a answer, err error) {
	fd, err := open(o)
	if err != nil {
		return a, err
	}
	if has(o, "fastopen") {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16)
	}
	if err := unix.Bind(fd, sockaddr(o.Addr)); err != nil {
		return a, fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		return a, fmt.Errorf("listen: %w", err)
	}
	local, err := unix.Getsockname(fd)
	return answer{FD: fd, Addr: addrPort(local)}, err
}

func accept(o *order) (a answer, err error) {
	fd, peer, err := unix.Accept4(o.FD, unix.SOCK_CLOEXEC)
	if err != nil {
		return a, fmt.Errorf("accept: %w", err)
	}
	return answer{FD: fd, Peer: addrPort(peer)}, nil
}

func connect(o *order) (a answer, err error) {
	fd, err := open(o)
	if err != nil {
		return a, err
	}
	if o.To.IsValid() { // from there
		if err := unix.Bind(fd, sockaddr(o.To)); err != nil {
			return a, fmt.Errorf("bind: %w", err)
		}
	}
	if has(o, "fastopen") {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
	}
	if err = unix.Connect(fd, sockaddr(o.Addr)); err != nil {
		_ = unix.Close(fd)
		return a, fmt.Errorf("connect: %w", err)
	}
	if has(o, "fastopen") {
		if _, err := unix.Write(fd, []byte("fastopen")); err != nil {
			return a, fmt.Errorf("write: %w", err)
		}
	}
	local, err := unix.Getsockname(fd)
	return answer{FD: fd, Addr: addrPort(local)}, err
}

func send(o *order) (a answer, err error) {
	n, err := unix.SendmsgN(o.FD, make([]byte, o.N), nil, nil, unix.MSG_NOSIGNAL)
	return answer{N: n}, err
}

func recv(o *order) (a answer, err error) {
	b := make([]byte, o.N)
	for a.N < o.N {
		n, err := unix.Read(o.FD, b[a.N:])
		if err != nil || n == 0 {
			return a, err
		}
		a.N += n
	}
	return a, nil
}

// until waits on a condition that the kernel gives no event for.
func until(f func() (bool, error)) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Microsecond) {
		if ok, err := f(); ok || err != nil {
			return err
		}
	}
	return errors.New("waited too long")
}

func waitBytes(o *order) (a answer, err error) {
	err = until(func() (bool, error) {
		n, err := unix.IoctlGetInt(o.FD, unix.SIOCINQ)
		return n >= o.N, err
	})
	return a, err
}

// waitError waits until the socket has an error, and returns it.
func waitError(o *order) (a answer, err error) {
	p := []unix.PollFd{{Fd: int32(o.FD)}}
	for {
		n, err := unix.Poll(p, 10_000)
		if err == unix.EINTR {
			continue
		}
		if n == 0 || err != nil {
			return a, errors.New("no error came")
		}
		break
	}
	e, err := unix.GetsockoptInt(o.FD, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && e != 0 {
		err = syscall.Errno(e)
	}
	return a, err
}

func waitFIN(o *order) (a answer, err error) {
	p := []unix.PollFd{{Fd: int32(o.FD), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 10_000)
	if n == 0 && err == nil {
		err = errors.New("no end came")
	}
	return a, err
}

func disconnect(o *order) (a answer, err error) {
	var sa unix.RawSockaddrAny // family AF_UNSPEC
	if _, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(o.FD), uintptr(unsafe.Pointer(&sa)), 16); e != 0 {
		return a, e
	}
	return a, nil
}

// spawn starts a helper that inherits the descriptor and does as N says: it
// sleeps until it is killed, or exits with N after a line from its parent.
func spawn(o *order) (a answer, err error) {
	c := exec.Command("/bin/sh", "-c", fmt.Sprintf("read x; exit %d", o.N))
	c.ExtraFiles = []*os.File{os.NewFile(uintptr(o.FD), "socket")}
	w, err := c.StdinPipe()
	if err != nil {
		return a, err
	}
	if err := c.Start(); err != nil {
		return a, err
	}
	for _, f := range c.ExtraFiles {
		_ = f.Close() // the child has it now
	}
	helpers[c.Process.Pid] = helper{c, w}
	return answer{N: c.Process.Pid}, nil
}

type helper struct {
	*exec.Cmd
	in io.WriteCloser
}

var helpers = map[int]helper{}

// give passes a descriptor on through a socket that take made; with N it ends
// the helper N instead.
func give(o *order) (a answer, err error) {
	if o.N != 0 {
		h := helpers[o.N]
		_, err = io.WriteString(h.in, "\n")
		_ = h.Wait() // its status is as ordered
		return a, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return a, err
	}
	defer unix.Close(fd)
	err = unix.Sendmsg(fd, []byte{1}, unix.UnixRights(o.FD), &unix.SockaddrUnix{Name: o.Path}, 0)
	if err == nil {
		err = unix.Close(o.FD)
	}
	return a, err
}

// take first opens the way, when FD is 0, and then takes a descriptor from it.
func take(o *order) (a answer, err error) {
	if o.FD == 0 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return a, err
		}
		return answer{FD: fd}, unix.Bind(fd, &unix.SockaddrUnix{Name: o.Path})
	}
	defer unix.Close(o.FD)
	b := make([]byte, 128)
	_, n, _, _, err := unix.Recvmsg(o.FD, make([]byte, 1), b, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return a, err
	}
	m, err := unix.ParseSocketControlMessage(b[:n])
	if err != nil || len(m) == 0 {
		return a, errors.New("no descriptor came")
	}
	fds, err := unix.ParseUnixRights(&m[0])
	if err != nil {
		return a, err
	}
	return answer{FD: fds[0]}, nil
}
