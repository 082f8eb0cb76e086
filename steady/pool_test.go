package steady

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestPool: a protocol of lines, with a server that closes idle connections, loses some
// answers behind the execution, and half-closes. Nothing is executed twice, and nothing
// fails but what was executed.
func TestPool(t *testing.T) {
	// How often a close cannot be told from an execution is a matter of timers
	// of 5 ms and of the machine. A client without evidence meets the same ones, so that
	// the two are compared, over several rounds where one is too little to tell.
	var failed, blind int64
	for round := 0; round == 0 || failed*2 > blind && round < 5; round++ {
		reused, f := poolRun(t)
		if reused == 0 {
			t.Error("no connection is used again")
		}
		failed, blind = failed+f, blind+blindRun(t)
	}
	if failed*2 > blind {
		t.Errorf("%d failed, and %d without evidence", failed, blind)
	}
	t.Logf("%d failed, and %d without evidence", failed, blind)
}

const poolWorkers, poolEach = 4, 60

// poolRun sends lines through a Pool to a server that executes each, closes idle
// connections just when the client comes back, and loses answers. It returns how many
// connections were used again, and how many lines failed that were not executed.
func poolRun(t *testing.T) (_, _ int64) {
	t.Helper()
	addr, executions := poolServer(t)
	pool := &Pool{}
	defer pool.Close()
	var reused, failed atomic.Int64
	talk := func(c *Conn, line string) error {
		c.Begin(Request{Once: true})
		if _, err := io.WriteString(c, line+"\n"); err != nil {
			return err
		}
		got, err := bufio.NewReader(c).ReadString('\n')
		if err == nil && got != "ok "+line+"\n" {
			t.Errorf("%q answers %s", got, line)
		}
		return err
	}
	once := func(line string) {
		for range 20 {
			c, err := pool.Get(context.Background(), "tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			if c.used {
				reused.Add(1)
			}
			if err = talk(c, line); err == nil {
				pool.Put(c)
				return
			}
			re := c.Judge(err, TrustKernel)
			c.Close()
			n := executions(line)
			if re.Verdict.SafeToRetry() && n > 0 {
				t.Errorf("%s: %v: %+v", line, re, re.Evidence)
			}
			if !re.Verdict.SafeToRetry() {
				if n == 0 {
					failed.Add(1)
				}
				return
			}
		}
		t.Errorf("%s: no connection lives", line)
	}
	poolLines(once)
	return reused.Load(), failed.Load()
}

const poolIdle = 5 * time.Millisecond

// poolLines calls each worker's lines in turn, with a pause behind every second.
func poolLines(once func(line string)) {
	var wg sync.WaitGroup
	for w := range poolWorkers {
		wg.Go(func() {
			for i := range poolEach {
				once(strings.Repeat("x", w+1) + time.Duration(i).String() + " " + string(rune('0'+i%10)))
				if i%2 == 0 {
					time.Sleep(poolIdle) // the silence is the matter here
				}
			}
		})
	}
	wg.Wait()
}

// blindRun is poolRun with connections that are used again as they are. It returns how
// many lines failed that were not executed.
func blindRun(t *testing.T) int64 {
	t.Helper()
	addr, executions := poolServer(t)
	var mu sync.Mutex
	var idle []net.Conn
	var failed atomic.Int64
	get := func() (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if n := len(idle) - 1; n >= 0 {
			c := idle[n]
			idle = idle[:n]
			return c, nil
		}
		return net.Dial("tcp", addr)
	}
	poolLines(func(line string) {
		c, err := get()
		if err != nil {
			t.Error(err)
			return
		}
		_, err = io.WriteString(c, line+"\n")
		if err == nil {
			_, err = bufio.NewReader(c).ReadString('\n')
		}
		if err != nil {
			c.Close()
			if executions(line) == 0 {
				failed.Add(1)
			}
			return
		}
		mu.Lock()
		defer mu.Unlock()
		idle = append(idle, c)
	})
	for _, c := range idle {
		c.Close()
	}
	return failed.Load()
}

// poolServer executes lines, closes idle connections just when the client comes back, and
// loses answers. Nothing may be executed twice: the test fails at its end otherwise.
func poolServer(t *testing.T) (addr string, executions func(line string) int) {
	t.Helper()
	var mu sync.Mutex
	executed := map[string]int{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(c *net.TCPConn) {
		defer c.Close()
		br := bufio.NewReader(c)
		for {
			c.SetReadDeadline(time.Now().Add(poolIdle))
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimSpace(line)
			mu.Lock()
			executed[line]++
			mu.Unlock()
			switch {
			case strings.HasSuffix(line, "7"):
				abort(c)
				return
			case strings.HasSuffix(line, "9"):
				c.CloseWrite()
				abort(c)
				return
			}
			io.WriteString(c, "ok "+line+"\n")
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for line, n := range executed {
			if n != 1 {
				t.Errorf("%s: executed %d times", line, n)
			}
		}
	})
	return l.Addr().String(), func(line string) int {
		mu.Lock()
		defer mu.Unlock()
		return executed[line]
	}
}

// TestPoolKeepsFew: what is beyond the limits, or was not answered, is closed.
func TestPoolKeepsFew(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pool := &Pool{MaxIdle: 1}
	var conns []*Conn
	for i := range 3 {
		c, err := pool.Get(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c.Begin(Request{})
		c.Write([]byte("x"))
		if i < 2 {
			io.ReadFull(s, make([]byte, 1))
			s.Write([]byte("y"))
			io.ReadFull(c, make([]byte, 1))
		}
		conns = append(conns, c)
	}
	for i, c := range conns {
		pool.Put(c)
		if kept := c.phase.open(); kept != (i == 0) {
			t.Errorf("connection %d: kept %v", i, kept)
		}
	}
	if c, err := pool.Get(t.Context(), "tcp", l.Addr().String()); err != nil || c != conns[0] {
		t.Errorf("%v, %v", c, err)
	}
	pool.Put(conns[0])
	pool.Close()
	if _, err := conns[0].Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
