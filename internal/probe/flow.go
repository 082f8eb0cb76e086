package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/proto"
)

// flow is a connection. The zero value is none; close may be called on nil.
type flow struct {
	remote netip.AddrPort
	used   time.Time // when a step ended on it
	tcp    net.Conn
	conn   net.Conn // tcp, or TLS over it
}

func (f *flow) close() {
	if f != nil && f.tcp != nil {
		f.tcp.Close()
	}
}

// local is the address of this end; it is not valid before there is a connection.
func (f *flow) local() netip.AddrPort {
	if f.tcp == nil {
		return netip.AddrPort{}
	}
	return f.tcp.LocalAddr().(*net.TCPAddr).AddrPort()
}

// until gives the connection the deadline of ctx.
func (f *flow) until(ctx context.Context) {
	if at, ok := ctx.Deadline(); ok {
		_ = f.conn.SetDeadline(at)
	}
}

func connect(ctx context.Context, _ *run, f *flow) (string, error) {
	d := net.Dialer{}
	d.SetMultipathTCP(false) // an option in the SYN that few clients send
	c, err := d.DialContext(ctx, "tcp", f.remote.String())
	if err != nil {
		return "", err
	}
	f.tcp, f.conn = c, c
	return "", nil
}

func shakeHands(ctx context.Context, r *run, f *flow) (string, error) {
	begin := &opening{Conn: f.tcp}
	c := tls.Client(begin, r.tlsConfig())
	err := c.HandshakeContext(ctx)
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) {
		if m := proto.Identify(begin.bytes(), false); m.Protocol != "" {
			return "", &errOther{"the port does not speak TLS but answers " + m.String()}
		}
		return "", &errOther{fmt.Sprintf("the port does not speak TLS: it answers %.40q", begin.bytes())}
	}
	var alert tls.AlertError
	if errors.As(err, &alert) {
		return "", &errOther{"the server ended the handshake with an alert: " + alert.Error()}
	}
	var remote *net.OpError
	if errors.As(err, &remote) && remote.Op == "remote error" { // how crypto/tls tells of an alert
		return "", &errOther{"the server ended the handshake with an alert: " + remote.Err.Error()}
	}
	if says := certificate(err); says != "" {
		return "", &errOther{says}
	}
	if err != nil {
		return "", err
	}
	f.conn = c
	s := c.ConnectionState()
	says := tls.VersionName(s.Version)
	if s.NegotiatedProtocol != "" {
		says += ", " + s.NegotiatedProtocol
	}
	days := int(time.Until(s.PeerCertificates[0].NotAfter).Hours() / 24)
	return fmt.Sprintf("%s, certificate for %d more days", says, days), nil
}

// opening keeps the first bytes that a connection gave.
type opening struct {
	net.Conn
	mu    sync.Mutex // guards what follows: net/http reads on
	first [1024]byte
	n     int
}

// Read keeps what there is room for.
func (s *opening) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += copy(s.first[s.n:], b[:max(n, 0)])
	return n, err
}

func (s *opening) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.first[:s.n])
}

// certificate says what is wrong with a certificate, "" when that is not the fault.
func certificate(err error) string {
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate is not valid now: from %s to %s", invalid.Cert.NotBefore.Format(time.DateOnly), invalid.Cert.NotAfter.Format(time.DateOnly))
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is not for %s", name.Host)
	case errors.As(err, &authority):
		return "the certificate is of an authority that this host does not trust"
	case errors.As(err, &invalid):
		return "the certificate is not valid: " + invalid.Error()
	}
	return ""
}
