package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestProxy relays one session that ends in order and one that is reset, and wants
// both records.
func TestProxy(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	go func() {
		for i := 0; ; i++ {
			c, err := backend.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(c, make([]byte, 1))
			_, _ = c.Write([]byte("hello"))
			_, _ = c.Read(make([]byte, 1)) // the client has the answer
			if i == 1 {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out bytes.Buffer
	notes, write := io.Pipe()
	e := &env{out: &out, err: write, in: strings.NewReader(""), getenv: func(string) string { return "" }, width: func() int { return 0 }}
	over := make(chan int, 1)
	go func() {
		over <- e.run(ctx, []string{"proxy", "-o", "ndjson", "--all", "--grace", "5s", ":0", backend.Addr().String()})
	}()
	lines := bufio.NewScanner(notes)
	if !lines.Scan() {
		t.Fatal("it does not say where it listens")
	}
	addr := strings.Fields(lines.Text())[1]
	for range 2 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("y"))
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
	cancel()
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "2 sessions, 1 ended badly, 0 found no backend, 0 resets hidden") {
		t.Errorf("summary: %q", lines.Text())
	}
	if code := <-over; code != codeOK {
		t.Errorf("exit code %d", code)
	}
	var how []string
	for line := range strings.Lines(out.String()) {
		var r proxyRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		how = append(how, r.How+" by "+r.EndedBy+" "+r.HAProxy)
		if r.Client.Sent != 5 || r.Server.Sent != 2 || r.Schema != proxySchema {
			t.Errorf("%+v", r)
		}
	}
	if got := strings.Join(how, ", "); got != "fin by server --, reset by server SD" {
		t.Errorf("records: %s\n%s", got, out.String())
	}
}
