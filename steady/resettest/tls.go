package resettest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"
)

// certificate is a certificate made for one server, that signs itself.
type certificate struct {
	pair tls.Certificate
	pool *x509.CertPool
}

func newCertificate() (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "resettest"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool}, nil
}

// handshake puts TLS over the connection. It says no when a fault or an error ended it.
func (x *exchange) handshake() bool {
	cfg := &tls.Config{Certificates: []tls.Certificate{x.s.cert.pair}, NextProtos: []string{"http/1.1"}}
	if x.s.cfg.HTTP2 {
		cfg.NextProtos = []string{"h2"}
	}
	if a := x.s.plan.pick(stageHello, x.connKey(), true, 1); a != nil {
		_ = x.strike(a)
		return false
	}
	c := tls.Server(x.tcp, cfg)
	if err := c.Handshake(); err != nil {
		return false
	}
	x.rw = c
	return true
}

// The record types and alerts that are written by hand (RFC 8446 5.1, 6.2).
const (
	recordAlert           = 21
	recordSealed          = 23
	alertFatal            = 2
	alertHandshakeFailure = 40
)

// readRecord reads one TLS record and returns it whole.
func readRecord(r io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	_, err := io.ReadFull(r, body)
	return append(head, body...), err
}

func runAlert(x *exchange) error {
	if _, err := readRecord(x.tcp); err != nil {
		return err
	}
	if _, err := x.tcp.Write([]byte{recordAlert, 3, 3, 0, 2, alertFatal, alertHandshakeFailure}); err != nil {
		return err
	}
	return x.fin()
}

func runAbortHello(x *exchange) error {
	if _, err := readRecord(x.tcp); err != nil {
		return err
	}
	return runAbort(x)
}

func runFinHello(x *exchange) error {
	if _, err := readRecord(x.tcp); err != nil {
		return err
	}
	return x.fin()
}

// runAlertLate demands a client certificate. When the client has none, TLS 1.3 ends
// with an alert only after the client thinks that all is well. When it has one the
// connection just ends: there is nobody here to check it.
func runAlertLate(x *exchange) error {
	tap := &recorder{Conn: x.tcp}
	_ = tls.Server(tap, &tls.Config{
		Certificates: []tls.Certificate{x.s.cert.pair}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
	}).Handshake() // the alert is what we want
	if err := x.tcp.CloseWrite(); err != nil {
		return err
	}
	discard(tap, x.s.cfg.MaxBody)
	// The flight of the client is its certificate, its Finished and the request.
	if tap.sealedRecords() > 2 {
		x.note(func(e *Entry) { e.Arrived = Some })
	}
	return errEnd
}

// recorder keeps the beginning of what a client sends.
type recorder struct {
	net.Conn
	got []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.got = append(r.got, p[:min(n, max(0, 1<<16-len(r.got)))]...)
	return n, err
}

// sealedRecords counts the encrypted records among them (RFC 8446 5.2).
func (r *recorder) sealedRecords() int {
	n := 0
	for rd := bytes.NewReader(r.got); ; {
		rec, err := readRecord(rd)
		if len(rec) > 0 && rec[0] == recordSealed {
			n++
		}
		if err != nil {
			return n
		}
	}
}
