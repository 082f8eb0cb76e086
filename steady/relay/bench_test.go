//go:build linux

package relay

import (
	"context"
	"io"
	"net"
	"testing"
)

// BenchmarkShort relays connections of one byte each way.
func BenchmarkShort(b *testing.B) {
	backend := listen(b)
	front, err := Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			c, err := backend.Accept()
			if err != nil {
				return
			}
			go func() {
				var x [1]byte
				_, _ = io.ReadFull(c, x[:])
				_, _ = c.Write(x[:])
				_, _ = c.Read(x[:])
				c.Close()
			}()
		}
	}()
	s := &Server{Backends: []string{backend.Addr().String()}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = s.Serve(ctx, context.Background(), front) }()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			c, err := net.Dial("tcp", front.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			var x [1]byte
			_, _ = c.Write(x[:])
			_, _ = io.ReadFull(c, x[:])
			c.Close()
		}
	})
}
