package drain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// drainPatience is how long a test waits for what must happen.
const drainPatience = 30 * time.Second

// drainServer starts a server with a drain.
func drainServer(t *testing.T, d *Drain, h http.Handler) (addr string, served chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	d.Attach(srv)
	served = make(chan error, 1)
	wrapped := d.Listener(l)
	go func() { served <- srv.Serve(wrapped) }()
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String(), served
}

func answerOK(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "ok")
}

func drainDial(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(drainPatience)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func ask(t *testing.T, c net.Conn, br *bufio.Reader) *http.Response {
	t.Helper()
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Fatal(err)
	}
	return r
}

type drainResult struct {
	r   Report
	err error
}

func beginDrain(d *Drain, ctx context.Context) chan drainResult { //nolint:revive // the drain is the subject
	out := make(chan drainResult, 1)
	go func() {
		r, err := d.Shutdown(ctx)
		out <- drainResult{r, err}
	}()
	for !d.Draining() {
		time.Sleep(time.Millisecond)
	}
	return out
}

// TestDrainTells wants a client to be told during the lame duck, an idle one to be
// closed after it, and the accept loop to end as Shutdown makes it.
func TestDrainTells(t *testing.T) {
	d := &Drain{LameDuck: 500 * time.Millisecond}
	addr, served := drainServer(t, d, http.HandlerFunc(answerOK))
	busy, busyRead := drainDial(t, addr)
	idle, idleRead := drainDial(t, addr)
	for _, c := range []struct {
		net.Conn
		*bufio.Reader
	}{{busy, busyRead}, {idle, idleRead}} {
		if r := ask(t, c.Conn, c.Reader); r.Close {
			t.Fatal("told to leave before the drain")
		}
	}
	out := beginDrain(d, context.Background())
	if r := ask(t, busy, busyRead); !r.Close {
		t.Error("not told to leave during the drain")
	}
	for _, br := range []*bufio.Reader{busyRead, idleRead} {
		if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the connection ends with %v", err)
		}
	}
	busy.Close()
	idle.Close()
	got := <-out
	if got.err != nil || got.r.Told != 1 || got.r.Late != 1 || got.r.Idle != 1 || got.r.Cut != 0 || got.r.Conns != 2 {
		t.Errorf("%+v, %v", got.r, got.err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returns %v", err)
	}
}

// TestDrainWaits wants a running request to be finished, told, and one that does
// not end to be cut and counted.
func TestDrainWaits(t *testing.T) {
	for _, end := range []bool{true, false} {
		t.Run(fmt.Sprintf("ends=%v", end), func(t *testing.T) {
			t.Parallel()
			entered, leave := make(chan bool), make(chan bool)
			d := &Drain{LameDuck: time.Millisecond}
			addr, _ := drainServer(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				select {
				case <-leave:
				case <-r.Context().Done():
				}
				answerOK(w, r)
			}))
			c, br := drainDial(t, addr)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			<-entered
			ctx, cancel := context.WithCancel(context.Background())
			out := beginDrain(d, ctx)
			if end {
				close(leave)
				r, err := http.ReadResponse(br, nil)
				if err != nil || !r.Close {
					t.Fatalf("%+v, %v", r, err)
				}
				c.Close()
			} else {
				cancel()
			}
			got := <-out
			cancel()
			if end && (got.err != nil || got.r.Failed() != 0) || !end && (got.r.Failed() != 1 || !errors.Is(got.err, context.Canceled)) {
				t.Errorf("%+v, %v", got.r, got.err)
			}
		})
	}
}

// TestLingeringClose sends more than the server reads and wants the answer, not a
// reset: the server shuts down its side and reads on.
func TestLingeringClose(t *testing.T) {
	d := &Drain{}
	addr, _ := drainServer(t, d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	c, br := drainDial(t, addr)
	const size = 8 << 20
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(c, strings.NewReader(strings.Repeat("x", size))); err != nil {
		t.Fatalf("upload: %v", err)
	}
	r, err := http.ReadResponse(br, nil)
	if err != nil || r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection ends with %v", err)
	}
}

// TestBodyFirst wants the answer of a handler that does not read the body, and the
// connection to live on.
func TestBodyFirst(t *testing.T) {
	early := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quiet" {
			return
		}
		http.Error(w, "no", http.StatusForbidden)
	})
	d := &Drain{}
	addr, _ := drainServer(t, d, BodyFirst(early, 0, 0))
	c, br := drainDial(t, addr)
	const size = 4 << 20 // net/http alone gives up after 256 KiB
	for _, path := range []string{"/", "/quiet", "/"} {
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", path, size)
		if _, err := io.Copy(c, strings.NewReader(strings.Repeat("x", size))); err != nil {
			t.Fatalf("upload: %v", err)
		}
		r, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Close {
			t.Errorf("%s: the connection ends", path)
		}
	}
}

// TestBodyFirstLimit wants a body above the limit not to be read, and the client to
// be told that the connection ends.
func TestBodyFirstLimit(t *testing.T) {
	d := &Drain{}
	addr, _ := drainServer(t, d, BodyFirst(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	}), 1<<20, 0))
	c, br := drainDial(t, addr)
	_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 1<<30)
	_, _ = io.Copy(c, strings.NewReader(strings.Repeat("x", 2<<20)))
	r, err := http.ReadResponse(br, nil)
	if err != nil || r.StatusCode != http.StatusForbidden || !r.Close {
		t.Fatalf("%+v, %v", r, err)
	}
}

// TestBodyFirstHeld wants a body that the client holds back not to be asked for.
func TestBodyFirstHeld(t *testing.T) {
	addr, _ := drainServer(t, &Drain{}, BodyFirst(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	}), 0, 0))
	c, br := drainDial(t, addr)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
	r, err := http.ReadResponse(br, nil)
	if err != nil || r.StatusCode != http.StatusForbidden {
		t.Fatalf("%+v, %v", r, err)
	}
}

// TestIdleCloseProves wants a request that crosses the close of an idle connection
// to meet a reset, which proves that it was not delivered.
func TestIdleCloseProves(t *testing.T) {
	d := &Drain{LameDuck: time.Millisecond}
	addr, _ := drainServer(t, d, http.HandlerFunc(answerOK))
	c, br := drainDial(t, addr)
	ask(t, c, br)
	if got := <-beginDrain(d, context.Background()); got.err != nil || got.r.Idle != 1 {
		t.Fatalf("%+v, %v", got.r, got.err)
	}
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\n\r\n")
	_, err := io.Copy(io.Discard, br)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the request meets %v", err)
	}
}

// TestDrainHTTP2 wants a client of HTTP/2 to lose nothing.
func TestDrainHTTP2(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(answerOK), Protocols: new(http.Protocols)}
	srv.Protocols.SetUnencryptedHTTP2(true)
	d := &Drain{LameDuck: 100 * time.Millisecond}
	d.Attach(srv)
	wrapped := d.Listener(l)
	go func() { _ = srv.Serve(wrapped) }()
	tr := &http.Transport{Protocols: srv.Protocols}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: drainPatience}
	if err := postOnce(c, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	out := beginDrain(d, context.Background())
	if err := postOnce(c, l.Addr().String()); err != nil {
		t.Errorf("during the drain: %v", err)
	}
	if got := <-out; got.err != nil || got.r.Late != 1 || got.r.Failed() != 0 {
		t.Errorf("%+v, %v", got.r, got.err)
	}
}

func TestDrainMisuse(t *testing.T) {
	d := &Drain{}
	if _, err := d.Shutdown(context.Background()); err == nil {
		t.Error("a drain without a server")
	}
	drainServer(t, d, http.HandlerFunc(answerOK))
	if _, err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := d.Shutdown(context.Background()); err == nil {
		t.Error("a drain was used twice")
	}
}

// TestDrainTellsWithEmptyAnswer: a handler that writes nothing still tells its
// client to leave; else a busy client would never let the drain end.
func TestDrainTellsWithEmptyAnswer(t *testing.T) {
	d := &Drain{LameDuck: 10 * time.Second}
	addr, _ := drainServer(t, d, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	c, br := drainDial(t, addr)
	if r := ask(t, c, br); r.Close {
		t.Fatal("told to leave before the drain")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := beginDrain(d, ctx)
	for deadline := time.Now().Add(drainPatience); !d.Draining(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the drain does not begin")
		}
	}
	if r := ask(t, c, br); !r.Close {
		t.Error("the answer does not say Connection: close")
	}
	cancel()
	if r := (<-done).r; r.Told != 1 || r.Late != 1 {
		t.Errorf("%+v", r)
	}
}

// TestDrainObeysContext: what lingers is not waited for when the time is over.
func TestDrainObeysContext(t *testing.T) {
	d := &Drain{LameDuck: time.Millisecond, Linger: time.Hour}
	addr, _ := drainServer(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close") }))
	c, br := drainDial(t, addr)
	ask(t, c, br) // the server closes, and reads until this end does, too
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := d.Shutdown(ctx); time.Since(begin) > drainPatience {
		t.Errorf("it took %s (%v)", time.Since(begin), err)
	}
}

// TestDrainHijacked: the program is told of hijacked connections, which are waited for.
func TestDrainHijacked(t *testing.T) {
	for _, closes := range []bool{true, false} {
		told := make(chan net.Conn, 1)
		d := &Drain{LameDuck: time.Millisecond, Linger: time.Millisecond}
		d.OnHijacked = func(c net.Conn) {
			told <- c
			if closes {
				_, _ = io.WriteString(c, "bye")
				_ = c.Close()
			}
		}
		addr, _ := drainServer(t, d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: test\r\nConnection: Upgrade\r\n\r\n")
		}))
		c, br := drainDial(t, addr)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: test\r\nConnection: Upgrade\r\n\r\n")
		if _, err := http.ReadResponse(br, nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if closes {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), drainPatience)
		}
		got := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(br)
			got <- string(b)
			c.Close()
		}()
		r, err := d.Shutdown(ctx)
		cancel()
		if len(told) != 1 || r.Hijacked != 1 || (err == nil) != closes || (r.Cut == 0) != closes {
			t.Errorf("closes %v: told %d, %+v, %v", closes, len(told), r, err)
		}
		if want := map[bool]string{true: "bye"}[closes]; <-got != want {
			t.Errorf("closes %v: no goodbye", closes)
		}
	}
}

// TestDrainKeepsSendfile: the handler's writer is an io.ReaderFrom.
func TestDrainKeepsSendfile(t *testing.T) {
	d := &Drain{}
	addr, _ := drainServer(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rf, ok := w.(io.ReaderFrom); !ok {
			t.Errorf("%T", w)
		} else if n, err := rf.ReadFrom(strings.NewReader("a file")); n != 6 || err != nil {
			t.Error(n, err)
		}
	}))
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "a file" {
		t.Errorf("%q", b)
	}
}

func postOnce(c *http.Client, addr string) error {
	r, err := c.Post("http://"+addr+"/", "text/plain", strings.NewReader("x"))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", r.StatusCode)
	}
	return nil
}
