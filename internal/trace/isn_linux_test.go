package trace

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/fact"
)

// TestRootISN: the initial sequence numbers that are worked out from a socket are those
// of the SYN and the SYN-ACK that lo carried.
func TestRootISN(t *testing.T) {
	for name, server := range map[string]bool{"reset by the server": true, "reset by the client": false} {
		t.Run(name, func(t *testing.T) {
			var client, other uint32
			list := watching(t, Config{}, func() netip.AddrPort {
				l, at := listening(t)
				defer l.Close()
				lo := sniffer(t)
				d, err := net.Dial("tcp4", at.String())
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				c := d.(*net.TCPConn)
				s, err := l.AcceptTCP()
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				client, other = handshakeOn(t, lo, at.Port())
				for range 3 {
					exchange(t, c, s, 1000)
					exchange(t, s, c, 700)
				}
				from := c
				if server {
					from = s
				}
				from.SetLinger(0)
				from.Close()
				return at
			})
			o := list[0]
			if got := o.Flow.ClientISN; got != fact.Some(int64(client)) {
				t.Errorf("client's: %v, the SYN had %d", got, client)
			}
			if got := o.Flow.ServerISN; got != fact.Some(int64(other)) {
				t.Errorf("server's: %v, the SYN-ACK had %d", got, other)
			}
			want := uint32(3*1000) + client + 1
			if server {
				want = 3*700 + other + 1
			}
			if got := o.RST.Seq; got.Or(-1) != int64(want) {
				t.Errorf("the RST has %v, want %d", got, want)
			}
		})
	}
}

// sniffer opens a packet socket on lo.
func sniffer(t *testing.T) (fd int) {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	ip := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_IP))
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(ip))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: lo.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// handshakeOn reads the sequence numbers of the SYN to a port and of its SYN-ACK.
func handshakeOn(t *testing.T, fd int, port uint16) (syn, synack uint32) {
	t.Helper()
	b := make([]byte, 2048)
	for {
		n, err := unix.Read(fd, b)
		if err != nil {
			t.Fatal(err)
		}
		head := int(b[0]&15) * 4
		if n < head+20 || b[9] != unix.IPPROTO_TCP {
			continue
		}
		switch h := b[head:]; {
		case h[13] == flagSYN && binary.BigEndian.Uint16(h[2:]) == port:
			syn = binary.BigEndian.Uint32(h[4:])
		case h[13] == flagSYN|flagACK && binary.BigEndian.Uint16(h) == port:
			return syn, binary.BigEndian.Uint32(h[4:])
		}
	}
}

func exchange(t *testing.T, from, to net.Conn, n int) {
	t.Helper()
	if _, err := from.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	for n > 0 {
		m, err := to.Read(make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		n -= m
	}
}
