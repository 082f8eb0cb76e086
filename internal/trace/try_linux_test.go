package trace

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"testing"
	"time"
)

func TestRootTry(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Logf("%+v", s.Coverage())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- s.Run(ctx, func(o Observed) {
			b, _ := json.MarshalIndent(o.Case, "", " ")
			t.Logf("%s", b)
		})
	}()
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	c, _ := net.Dial("tcp", l.Addr().String())
	sc, _ := l.Accept()
	c.Write(make([]byte, 500))
	time.Sleep(50 * time.Millisecond)
	sc.Close()
	c.Read(make([]byte, 1))
	c.Close()
	net.Dial("tcp", "127.0.0.1:9")
	time.Sleep(200 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", s.Stats())
	t.Logf("%+v", s.Ledgers())
}
