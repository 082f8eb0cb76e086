package probe

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Target is what is probed: an exchange with a service.
type Target struct {
	Protocol string // tcp, tls, http, https, postgres, redis, mysql, smtp, ssh
	Host     string // name or address
	Port     uint16
	Path     string // of HTTP, with its query
	secret   bool   // the URL had a user or a password, which are not used and never shown
}

// ports are the protocols that are spoken, with the port that each has by default; 0
// wants one.
var ports = map[string]uint16{
	"tcp": 0, "tls": 0, "http": 80, "https": 443, "postgres": 5432, "redis": 6379, "mysql": 3306, "smtp": 25, "ssh": 22,
}

var aliases = map[string]string{"postgresql": "postgres", "mariadb": "mysql", "rediss": "", "wss": "", "ws": ""}

// Protocols lists what a URL may begin with.
func Protocols() []string {
	list := make([]string, 0, len(ports))
	for p := range ports {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// ParseTarget reads a URL, host:port, or a host, which means https. A range of
// addresses or ports is refused: one service is probed, networks are not searched.
func ParseTarget(s string) (Target, error) {
	if s == "" || len(s) > 2048 {
		return Target{}, fmt.Errorf("a target of %d characters is none", len(s))
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return Target{}, fmt.Errorf("%s is a range of addresses, and ranges are not probed", s)
	}
	if !strings.Contains(s, "://") {
		return parseHostPort(s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return Target{}, fmt.Errorf("the URL cannot be read") // the error would show its password
	}
	t := Target{Protocol: strings.ToLower(u.Scheme), Host: u.Hostname(), Path: u.RequestURI(), secret: u.User != nil}
	if a := aliases[t.Protocol]; a != "" {
		t.Protocol = a
	}
	port, known := ports[t.Protocol]
	if !known {
		return Target{}, fmt.Errorf("protocol %q is not spoken; %s are", t.Protocol, strings.Join(Protocols(), ", "))
	}
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || n == 0 {
			return Target{}, fmt.Errorf("port %q is not between 1 and 65535", u.Port())
		}
		port = uint16(n)
	}
	if port == 0 {
		return Target{}, fmt.Errorf("%s needs a port: %s://HOST:PORT", t.Protocol, t.Protocol)
	}
	t.Port = port
	return t.valid()
}

func parseHostPort(s string) (Target, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return Target{Protocol: "https", Host: a.String(), Port: 443, Path: "/"}.valid()
	}
	if !strings.Contains(s, ":") {
		return Target{Protocol: "https", Host: s, Port: 443, Path: "/"}.valid()
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Target{}, fmt.Errorf("%q is neither host:port nor a URL", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Target{}, fmt.Errorf("port %q is not between 1 and 65535", port)
	}
	t := Target{Protocol: "tcp", Host: host, Port: uint16(n)}
	for p, usual := range ports {
		if usual == t.Port {
			t.Protocol, t.Path = p, "/"
		}
	}
	return t.valid()
}

// valid refuses hosts that no resolver would take.
func (t Target) valid() (Target, error) {
	if t.Host == "" || len(t.Host) > 253 {
		return Target{}, fmt.Errorf("the target has no host")
	}
	name := t.Host
	if a, err := netip.ParseAddr(t.Host); err == nil {
		name = a.Zone()
	}
	for _, c := range name {
		if c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return Target{}, fmt.Errorf("%q cannot be the name of a host (write other alphabets as xn--...)", t.Host)
		}
	}
	return t, nil
}

// String is the target without user, password and query.
func (t Target) String() string {
	s := t.Protocol + "://" + net.JoinHostPort(strings.ReplaceAll(t.Host, "%", "%25"), strconv.Itoa(int(t.Port)))
	if t.overHTTP() {
		path, _, _ := strings.Cut(t.Path, "?")
		s += path
	}
	return s
}

func (t Target) overTLS() bool  { return t.Protocol == "https" || t.Protocol == "tls" }
func (t Target) overHTTP() bool { return t.Protocol == "https" || t.Protocol == "http" }
