package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// name finds the addresses of the target as programs of this host do, and asks each
// resolver apart besides, since a program takes the first that answers.
func (r *run) name(ctx context.Context) (goOn bool) {
	if a, err := netip.ParseAddr(r.t.Host); err == nil {
		r.addrs = []netip.AddrPort{netip.AddrPortFrom(a, r.t.Port)}
		return true
	}
	st := Stage{Stage: "name"}
	begin := time.Now()
	look, cancel := context.WithTimeout(ctx, 3*r.o.Timeout)
	defer cancel()
	network := "ip" + r.o.Family
	found, err := net.DefaultResolver.LookupNetIP(look, network, r.t.Host)
	bad := r.askResolvers(ctx, &st)
	st.TookMS = ms(time.Since(begin))
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		st.Verdict, st.Result = "failed", r.t.Host+" does not exist, or has no address"
	case errors.As(err, &dns):
		st.Verdict, st.Result = "failed", "the resolver fails: "+dns.Err
	case err != nil:
		st.Verdict, st.Result = "failed", err.Error()
	case len(bad) > 0:
		st.Verdict, st.Result = "warning", fmt.Sprintf("%d addresses; %s", len(found), strings.Join(bad, "; "))
	default:
		st.Verdict, st.Result = "ok", counted(found)
	}
	for _, a := range found {
		if p := netip.AddrPortFrom(a.Unmap(), r.t.Port); !slices.Contains(r.addrs, p) {
			r.addrs = append(r.addrs, p)
		}
	}
	if r.left = len(r.addrs) - maxAddresses; r.left > 0 {
		r.addrs = r.addrs[:maxAddresses]
		st.Result += fmt.Sprintf(", of which %d are tried", maxAddresses)
	}
	r.end(st)
	return st.Verdict != "failed" && len(r.addrs) > 0
}

func counted(found []netip.Addr) string {
	v4 := 0
	for _, a := range found {
		if a.Unmap().Is4() {
			v4++
		}
	}
	return fmt.Sprintf("%d A, %d AAAA", v4, len(found)-v4)
}

// askResolvers asks every resolver of this host, and returns what is wrong with those
// that do not answer. It asks nobody for names that only files of this host know.
func (r *run) askResolvers(ctx context.Context, st *Stage) (bad []string) {
	list := r.o.Resolvers
	if list == nil {
		list = resolvers("/etc/resolv.conf")
	}
	if !strings.Contains(r.t.Host, ".") { // a name of the search list
		return nil
	}
	for _, at := range list {
		t := Trial{At: r.o.Now(), Remote: at, Ended: "ok"}
		begin := time.Now()
		code, err := question(ctx, at, r.t.Host, r.o.Timeout)
		t.TookMS = ms(time.Since(begin))
		switch {
		case err != nil:
			t.Ended, t.Error = classify(err)
			bad = append(bad, fmt.Sprintf("resolver %s: %s", at.Addr(), describe(t)))
		case code != dnsmessage.RCodeSuccess && code != dnsmessage.RCodeNameError:
			t.Ended, t.Error = "answered", code.String()
			bad = append(bad, fmt.Sprintf("resolver %s: %s", at.Addr(), code))
		}
		st.Trials = append(st.Trials, t)
	}
	return bad
}

// resolvers reads the first three name servers of resolv.conf(5), as resolvers do.
func resolvers(path string) (list []netip.AddrPort) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" || len(list) == 3 {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, 53))
		}
	}
	return list
}

// tries is how often a question is sent within its timeout, as resolv.conf(5) does.
const tries = 3

// question asks for A over UDP, until there is an answer.
func question(ctx context.Context, at netip.AddrPort, host string, timeout time.Duration) (dnsmessage.RCode, error) {
	name, err := dnsmessage.NewName(strings.TrimSuffix(host, ".") + ".")
	if err != nil {
		return 0, err
	}
	var id [2]byte
	_, _ = rand.Read(id[:])
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: binary.BigEndian.Uint16(id[:]), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	b, err := q.Pack()
	if err != nil {
		return 0, err
	}
	d := net.Dialer{Timeout: timeout}
	c, err := d.DialContext(ctx, "udp", at.String())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	answer := make([]byte, 4096)
	for try, end := 1, time.Now().Add(timeout); ; {
		if try <= tries { // a datagram that is lost is no fault of the resolver
			if _, err := c.Write(b); err != nil {
				return 0, err
			}
			try++
		}
		_ = c.SetReadDeadline(time.Now().Add(timeout / tries))
		n, err := c.Read(answer)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() && time.Now().Before(end) {
			continue
		}
		if err != nil {
			return 0, err
		}
		var p dnsmessage.Parser
		h, err := p.Start(answer[:n])
		if err == nil && h.ID == q.ID && h.Response {
			return h.RCode, nil
		}
	}
}
