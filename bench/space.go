package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// space is a private network namespace with loopback only. A child process
// holds it and dies with this one, so that nothing is left behind after a crash.
type space struct {
	holder *exec.Cmd
	stdin  io.Closer
	ns     *os.File
	here   *os.File
	cookie string // as the kernel and holdfast number the namespace
}

func newSpace() (*space, error) {
	s := &space{holder: exec.Command("/proc/self/exe", "role", "hold")}
	s.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	s.holder.Stderr = os.Stderr
	stdin, err := s.holder.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := s.holder.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.stdin = stdin
	if err := s.holder.Start(); err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	var ready bool
	if s.cookie, ready = strings.CutPrefix(strings.TrimSpace(line), "ready "); err != nil || !ready {
		s.close()
		return nil, errors.New("make a network namespace: its holder did not come up")
	}
	if s.ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", s.holder.Process.Pid)); err == nil {
		s.here, err = os.Open("/proc/thread-self/ns/net")
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return s, nil
}

func (s *space) close() {
	s.stdin.Close()
	_ = s.holder.Wait() // it ends when its input does
	s.ns.Close()
	s.here.Close()
}

// startOn starts cmd inside the namespace, on one CPU.
func (s *space) startOn(cpu int, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("read the CPUs of this thread: %w", err)
	}
	pin(cpu) // a child inherits it
	defer func() { _ = unix.SchedSetaffinity(0, &all) }()
	return s.start(cmd)
}

// start starts cmd inside the namespace.
func (s *space) start(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	err := cmd.Start()
	if back := unix.Setns(int(s.here.Fd()), unix.CLONE_NEWNET); back != nil {
		panic("bench: cannot leave the namespace: " + back.Error()) // the thread is of no use any more
	}
	runtime.UnlockOSThread()
	return err
}

// run runs this program in the namespace in another role and decodes what it prints.
func (s *space) run(result any, args ...string) error {
	cmd := exec.Command("/proc/self/exe", append([]string{"role"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1") // no signals into blocking system calls
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := s.start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	if err := json.Unmarshal([]byte(out.String()), result); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return nil
}

// outRsts reads the namespace's own count of resets that its TCP stack sent.
func (s *space) outRsts() (uint64, error) { return outRsts(s.holder.Process.Pid) }

func outRsts(pid int) (uint64, error) {
	var names []string
	for line := range strings.Lines(readFile(fmt.Sprintf("/proc/%d/net/snmp", pid))) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if name == "OutRsts" && i < len(f) {
				return strconv.ParseUint(f[i], 10, 64)
			}
		}
	}
	return 0, errors.New("no OutRsts in /proc/net/snmp")
}

// hold keeps a fresh namespace until its input ends.
func hold() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return fmt.Errorf("read the namespace's cookie: %w", err)
	}
	unix.Close(fd)
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1024 65000"), 0); err != nil {
		return err
	}
	fmt.Println("ready", cookie)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
