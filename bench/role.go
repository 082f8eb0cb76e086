package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// load is what a load generator prints when it is done.
type load struct {
	Units   uint64  // connections, round trips, segments or resets
	Seconds float64 // that they took
	CPU     float64 // seconds that the load's own processes spent on a CPU, with their softirqs
	Resets  uint64  // increase of OutRsts, for the flood
}

func (l load) rate() float64 { return float64(l.Units) / l.Seconds }

// role is what a child process of this program does inside a namespace.
func role(args []string) error {
	if len(args) == 0 {
		return errors.New("no role")
	}
	if args[0] == "copy-relay" && len(args) == 3 {
		return copyRelay(args[1], args[2])
	}
	seconds, n := 1.0, 0
	if len(args) > 1 {
		seconds, _ = strconv.ParseFloat(args[1], 64)
	}
	if len(args) > 2 {
		n, _ = strconv.Atoi(args[2])
	}
	var l load
	var err error
	switch args[0] {
	case "hold":
		return hold()
	case "traffic":
		return writeTraffic(args[1:], os.Stdout)
	case "steady-server":
		return runSteadyServer(args[1:])
	case "hop":
		return hop(args[1])
	case "bpftrace":
		runtime.LockOSThread() // the thread that makes the mount namespace is the one that runs it
		return execBpftrace(args[1])
	case "connections":
		l, err = connections(seconds)
	case "pingpong":
		l, err = pingpong(seconds)
	case "flood":
		l, err = flood(seconds)
	case "knock":
		l, err = knock()
	case "resets":
		return resets(n, time.Duration(seconds*float64(time.Second)))
	default:
		return fmt.Errorf("no role %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l)
}

// The loads use raw system calls on blocking sockets from threads of their
// own: the Go scheduler and its poller would cost more than the connections.

const (
	threads  = 2 // clients, and as many servers
	basePort = 19000
)

// timed lets the workers run and measures them. Each worker counts in its own
// cache line. When the time is over those that look at stop end what they are
// doing and return; timed waits for the last n of them, so that no connection
// is torn and no reset is made. The others end with the process.
func timed(seconds float64, workers, n int, work func(id int, stop *atomic.Bool, count *atomic.Uint64)) (load, error) {
	debug.SetGCPercent(-1) // a stop of the world would wait for a blocked thread
	runtime.GOMAXPROCS(4*threads + 4)
	counts := make([]struct {
		atomic.Uint64
		_ [120]byte
	}, workers)
	var stop atomic.Bool
	var ending sync.WaitGroup
	ending.Add(n)
	for id := range workers {
		go func() {
			runtime.LockOSThread()
			pin(id % threads)
			work(id, &stop, &counts[id].Uint64)
			if id >= workers-n {
				ending.Done()
			}
		}()
	}
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return load{}, err
	}
	begin := time.Now()
	time.Sleep(time.Duration(seconds * float64(time.Second))) // the length of the measurement
	l := load{Seconds: time.Since(begin).Seconds()}
	for i := range counts {
		l.Units += counts[i].Load()
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		return load{}, err
	}
	l.CPU = busy(&after) - busy(&before)
	stop.Store(true)
	ending.Wait()
	if l.Units == 0 {
		return l, errors.New("no unit of work was done")
	}
	return l, nil
}

// pin keeps the calling thread on one CPU. A client and its server share one,
// which is then always busy: the rate is what a connection costs, and does not
// depend on how the scheduler spreads four threads.
func pin(n int) {
	var set unix.CPUSet
	set.Set(n % runtime.NumCPU())
	_ = unix.SchedSetaffinity(0, &set) // without it, the numbers are noisier
}

func busy(r *unix.Rusage) float64 {
	return float64(unix.TimevalToNsec(r.Utime)+unix.TimevalToNsec(r.Stime)) / 1e9
}

func loopback(host byte, port uint16) *unix.RawSockaddrInet4 {
	return &unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port<<8 | port>>8, Addr: [4]byte{127, 0, 0, host}}
}

func call(nr, a, b, c uintptr) int {
	r, _, errno := unix.RawSyscall(nr, a, b, c)
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}

func address(fd int, nr uintptr, to *unix.RawSockaddrInet4) int {
	return call(nr, uintptr(fd), uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to))
}

func transfer(nr uintptr, fd int, b *byte) int {
	return call(nr, uintptr(fd), uintptr(unsafe.Pointer(b)), 1)
}

// listener returns a socket that listens on the port of that number.
func listener(id int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: basePort + id, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	return fd, unix.Listen(fd, 1024)
}

// connections is a server that does only short connections: connect, one byte
// each way, the server closes first.
func connections(seconds float64) (load, error) {
	var listeners [threads]int
	for i := range listeners {
		fd, err := listener(i)
		if err != nil {
			return load{}, fmt.Errorf("listen: %w", err)
		}
		listeners[i] = fd
	}
	return timed(seconds, 2*threads, threads, func(id int, stop *atomic.Bool, count *atomic.Uint64) {
		var b byte
		if id < threads {
			for {
				fd := call(unix.SYS_ACCEPT, uintptr(listeners[id]), 0, 0)
				if fd < 0 {
					panic(unix.Errno(-fd))
				}
				transfer(unix.SYS_READ, fd, &b)
				transfer(unix.SYS_WRITE, fd, &b)
				call(unix.SYS_CLOSE, uintptr(fd), 0, 0)
			}
		}
		server := loopback(1, uint16(basePort+id-threads))
		for !stop.Load() {
			fd := call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
			if address(fd, unix.SYS_CONNECT, server) == 0 {
				transfer(unix.SYS_WRITE, fd, &b)
				transfer(unix.SYS_READ, fd, &b)
				if transfer(unix.SYS_READ, fd, &b) == 0 { // the server's FIN
					count.Add(1)
				}
			}
			call(unix.SYS_CLOSE, uintptr(fd), 0, 0)
		}
	})
}

// pingpong is established traffic: one byte there and back, over and over.
func pingpong(seconds float64) (load, error) {
	var pairs [threads][2]int
	for i := range pairs {
		l, err := listener(i)
		if err != nil {
			return load{}, fmt.Errorf("listen: %w", err)
		}
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return load{}, err
		}
		if err := unix.Connect(client, &unix.SockaddrInet4{Port: basePort + i, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return load{}, err
		}
		server, _, err := unix.Accept(l)
		if err != nil {
			return load{}, err
		}
		for _, fd := range []int{client, server} {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
				return load{}, err
			}
		}
		pairs[i] = [2]int{client, server}
	}
	return timed(seconds, 2*threads, threads, func(id int, stop *atomic.Bool, count *atomic.Uint64) {
		var b byte
		if id < threads {
			for transfer(unix.SYS_READ, pairs[id][1], &b) == 1 {
				transfer(unix.SYS_WRITE, pairs[id][1], &b)
			}
			return
		}
		for fd := pairs[id-threads][0]; !stop.Load() && transfer(unix.SYS_WRITE, fd, &b) == 1 && transfer(unix.SYS_READ, fd, &b) == 1; {
			count.Add(1)
		}
	})
}

// reset is one reset that the role resets made.
type reset struct {
	Client int   // port
	At     int64 // Unix time in ns, just before the close that caused it
}

// resets makes n resets, one after the other: it closes an accepted connection
// with data unread.
func resets(n int, pause time.Duration) error {
	l, err := listener(0)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	out := json.NewEncoder(os.Stdout)
	for range n {
		time.Sleep(pause) // resets come one at a time
		r, err := resetOnce(l)
		if err != nil {
			return err
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	time.Sleep(time.Second) // the namespace stays until the verdicts are printed
	return nil
}

func resetOnce(l int) (reset, error) {
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return reset{}, err
	}
	defer unix.Close(c)
	if err := unix.Connect(c, &unix.SockaddrInet4{Port: basePort, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return reset{}, err
	}
	s, from, err := unix.Accept(l)
	if err != nil {
		return reset{}, err
	}
	if _, err := unix.Write(c, []byte("unread")); err != nil {
		return reset{}, err
	}
	r := reset{Client: from.(*unix.SockaddrInet4).Port, At: time.Now().UnixNano()}
	return r, unix.Close(s)
}

// knock succeeds when something listens.
func knock() (load, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return load{}, err
	}
	defer unix.Close(fd)
	return load{}, unix.Connect(fd, &unix.SockaddrInet4{Port: basePort, Addr: [4]byte{127, 0, 0, 1}})
}
