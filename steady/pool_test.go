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
	reused, failed, late := poolRun(t)
	if reused == 0 {
		t.Error("no connection is used again")
	}
	// How often the close overtakes the look before the first octet is a matter of
	// timers of 5 ms and of the machine; that most lines get through is not.
	if failed > poolWorkers*poolEach/2 {
		t.Errorf("%d failed, %d sleeps were late", failed, late)
	}
	t.Logf("%d failed, %d sleeps were late", failed, late)
}

const poolWorkers, poolEach = 4, 60

// poolRun sends lines through a Pool to a server that executes each, closes idle
// connections just when the client comes back, and loses answers. It returns how many
// connections were used again, how many lines failed that were not executed, and how many
// sleeps took half as long again.
func poolRun(t *testing.T) (_, _, _ int64) {
	t.Helper()
	const idle = 5 * time.Millisecond
	var mu sync.Mutex
	executed := map[string]int{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	serve := func(c *net.TCPConn) {
		defer c.Close()
		br := bufio.NewReader(c)
		for {
			c.SetReadDeadline(time.Now().Add(idle))
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
	pool := &Pool{}
	defer pool.Close()
	var reused, failed, late atomic.Int64
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
			c, err := pool.Get(context.Background(), "tcp", l.Addr().String())
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
			mu.Lock()
			n := executed[line]
			mu.Unlock()
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
	var wg sync.WaitGroup
	for w := range poolWorkers {
		wg.Go(func() {
			for i := range poolEach {
				once(strings.Repeat("x", w+1) + time.Duration(i).String() + " " + string(rune('0'+i%10)))
				if i%2 == 0 {
					begin := time.Now()
					time.Sleep(idle) // the silence is the matter here
					if time.Since(begin) > idle*3/2 {
						late.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	for line, n := range executed {
		if n != 1 {
			t.Errorf("%s: executed %d times", line, n)
		}
	}
	return reused.Load(), failed.Load(), late.Load()
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
