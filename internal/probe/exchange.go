package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/proto"
)

// exchanges are the first words of each protocol, none of which leaves a failed login in
// the log of a server. MySQL and MariaDB count even a connection that ends politely
// before the login, so that there is one in each run.
var exchanges = map[string]func(ctx context.Context, r *run, f *flow) (string, error){
	"http": overHTTP, "https": overHTTP, "postgres": postgres, "redis": redis, "mysql": greeting, "smtp": smtp, "ssh": ssh, "tcp": greeting,
}

// polite says the same in words.
var polite = map[string]string{
	"http": "GET of the path, without redirects", "https": "GET of the path, without redirects", "postgres": "SSLRequest (8 bytes), and close",
	"redis": "PING, then QUIT", "mysql": "read the greeting, and close; never twice in a run", "smtp": "read the greeting, EHLO, QUIT",
	"ssh": "read the banner, send one, and close", "tcp": "wait a second for a greeting, send nothing",
}

// userAgent says who asks.
const userAgent = "holdfast-probe"

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// overHTTP asks once, by HTTP/1.1, or HTTP/2 when TLS has agreed on it.
func overHTTP(ctx context.Context, r *run, f *flow) (string, error) {
	given, begin := false, &opening{Conn: f.conn}
	hand := func(context.Context, string, string) (net.Conn, error) {
		if given {
			return nil, errors.New("one request needs one connection")
		}
		given = true
		if r.t.overTLS() {
			return f.conn, nil // as it is: it says which protocol was agreed on
		}
		return begin, nil
	}
	tr := &http.Transport{DialContext: hand, DialTLSContext: hand, ForceAttemptHTTP2: true, DisableCompression: true}
	defer tr.CloseIdleConnections()
	url := r.t.Protocol + "://" + net.JoinHostPort(r.t.Host, fmt.Sprint(r.t.Port)) + r.t.Path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", notHTTP(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("after %d bytes of the answer: %w", n, err)
	}
	if m := proto.Identify(begin.bytes(), false); strings.Contains(m.Kind, "wants TLS") {
		return "", &errOther{"the port wants TLS and got plain HTTP"}
	}
	if why := gateway[resp.StatusCode]; why != "" {
		return "", &errOther{fmt.Sprintf("HTTP %d: %s", resp.StatusCode, why)}
	}
	return fmt.Sprintf("%s %d", resp.Proto, resp.StatusCode), nil
}

// gateway are answers that a proxy gives for a server behind it (RFC 9110 15.6), or a
// server that takes no work.
var gateway = map[int]string{
	http.StatusBadGateway:         "a proxy answers that the server behind it gave no valid answer, or reset the connection",
	http.StatusServiceUnavailable: "the server, or a proxy that has no server, takes no requests now",
	http.StatusTooManyRequests:    "the server limits how often this client may ask",
	http.StatusGatewayTimeout:     "a proxy answers that the server behind it did not answer in time",
}

// notHTTP tells an answer that is no HTTP from none.
func notHTTP(err error) error {
	if text := err.Error(); strings.Contains(text, "malformed HTTP") {
		_, after, _ := strings.Cut(text, "malformed HTTP")
		return &errOther{"the port does not speak HTTP: malformed" + after}
	}
	return err
}

// ask writes and reads what comes at first.
func ask(ctx context.Context, f *flow, text string) ([]byte, error) {
	f.until(ctx)
	if text != "" {
		if _, err := io.WriteString(f.conn, text); err != nil {
			return nil, err
		}
	}
	b := make([]byte, 1024)
	n, err := f.conn.Read(b)
	if n > 0 {
		return b[:n], nil
	}
	return nil, err
}

// other is the error for an answer that is not of the protocol.
func other(protocol string, b []byte) error {
	if m := proto.Identify(b, false); m.Protocol != "" {
		return &errOther{fmt.Sprintf("the port does not speak %s but answers %s", protocol, m)}
	}
	return &errOther{fmt.Sprintf("the port does not speak %s: it answers %.40q", protocol, b)}
}

func postgres(ctx context.Context, _ *run, f *flow) (string, error) {
	b, err := ask(ctx, f, "\x00\x00\x00\x08\x04\xd2\x16\x2f") // SSLRequest, PostgreSQL 17, 53.2.10
	switch {
	case err != nil:
		return "", err
	case len(b) == 1 && b[0] == 'S':
		return "PostgreSQL, offers TLS", nil
	case len(b) == 1 && b[0] == 'N':
		return "PostgreSQL, without TLS", nil
	case b[0] == 'E' && len(b) > 5:
		return "", &errOther{fmt.Sprintf("PostgreSQL answers with an error: %.200q", bytes.ReplaceAll(b[5:], []byte{0}, []byte{' '}))}
	}
	return "", other("PostgreSQL", b)
}

func redis(ctx context.Context, _ *run, f *flow) (string, error) {
	b, err := ask(ctx, f, "PING\r\n")
	if err != nil {
		return "", err
	}
	says := ""
	switch text := string(b); {
	case strings.HasPrefix(text, "+PONG"):
		says = "Redis"
	case strings.HasPrefix(text, "-NOAUTH"), strings.HasPrefix(text, "-NOPERM"):
		says = "Redis, wants a password"
	case strings.HasPrefix(text, "-"):
		return "", &errOther{fmt.Sprintf("Redis answers with an error: %.200q", strings.TrimSpace(text))}
	default:
		return "", other("Redis", b)
	}
	_, _ = io.WriteString(f.conn, "QUIT\r\n")
	return says, nil
}

func smtp(ctx context.Context, _ *run, f *flow) (string, error) {
	b, err := ask(ctx, f, "")
	if err != nil {
		return "", err
	}
	if !bytes.HasPrefix(b, []byte("220")) {
		return "", other("SMTP, as a server that is ready does,", b)
	}
	name, err := os.Hostname()
	if err != nil || name == "" || strings.ContainsAny(name, "\r\n ") {
		name = "localhost"
	}
	r := bufio.NewReader(io.LimitReader(f.conn, maxAnswer))
	if _, err := io.WriteString(f.conn, "EHLO "+name+"\r\n"); err != nil {
		return "", err
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if len(line) < 4 || line[3] != '-' {
			break
		}
	}
	_, _ = io.WriteString(f.conn, "QUIT\r\n")
	return fmt.Sprintf("%.60q", strings.TrimSpace(string(b))), nil
}

func ssh(ctx context.Context, _ *run, f *flow) (string, error) {
	b, err := ask(ctx, f, "")
	if err != nil {
		return "", err
	}
	banner, _, _ := strings.Cut(string(b), "\n")
	if !strings.HasPrefix(banner, "SSH-") {
		return "", other("SSH", b)
	}
	_, _ = io.WriteString(f.conn, "SSH-2.0-Holdfast_probe\r\n")
	return fmt.Sprintf("%.60q", strings.TrimSpace(banner)), nil
}

// greeting reads what the server says unasked. Silence is an answer too: most protocols
// let the client begin.
func greeting(ctx context.Context, r *run, f *flow) (string, error) {
	if r.t.Protocol == "tcp" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	b, err := ask(ctx, f, "")
	var timeout net.Error
	switch {
	case r.t.Protocol == "tcp" && errors.As(err, &timeout) && timeout.Timeout():
		return "waits for the client to begin", nil
	case err != nil:
		return "", err
	}
	if m := proto.Identify(b, false); m.Protocol != "" || r.t.Protocol == "tcp" {
		switch {
		case r.t.Protocol == "mysql" && m.Protocol != "mysql":
			return "", other("MySQL", b)
		case r.t.Protocol == "mysql" && m.Kind == "ERR":
			return "", &errOther{"the server answers with an error: " + m.String()}
		}
		if m.Protocol == "" {
			return fmt.Sprintf("greets with %.40q", b), nil
		}
		return m.String(), nil
	}
	return "", other("MySQL", b)
}
