package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// errOther is an answer that is none of the protocol: what it was.
type errOther struct{ says string }

func (e *errOther) Error() string { return e.says }

// ended are the errnos that end a connection, or an attempt.
var ended = map[syscall.Errno]struct{ how, name string }{
	syscall.ECONNREFUSED: {"refused", "ECONNREFUSED"}, syscall.ECONNRESET: {"reset", "ECONNRESET"}, syscall.EPIPE: {"reset", "EPIPE"},
	syscall.ETIMEDOUT: {"timeout", "ETIMEDOUT"}, syscall.EHOSTUNREACH: {"unreachable", "EHOSTUNREACH"}, syscall.ENETUNREACH: {"unreachable", "ENETUNREACH"},
	syscall.EACCES: {"unreachable", "EACCES"}, syscall.EPERM: {"unreachable", "EPERM"},
}

// classify says how a trial ended, and the name of its error.
func classify(err error) (how, name string) {
	var errno syscall.Errno
	var other *errOther
	var timeout net.Error
	switch {
	case err == nil:
		return "ok", ""
	case errors.As(err, &other):
		return "answered", other.says
	case errors.As(err, &errno) && ended[errno].how != "":
		return ended[errno].how, ended[errno].name
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout", "no answer"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed", "closed before it answered"
	}
	return "failed", err.Error()
}

func describe(t Trial) string {
	switch t.Ended {
	case "answered", "failed":
		return t.Error
	case "timeout":
		return "no answer"
	case "closed":
		return "closed by the peer without an answer"
	}
	return t.Ended + " (" + t.Error + ")"
}

// wordy names kinds of failures, the most frequent first.
func wordy(kinds map[string]int) string {
	list := make([]string, 0, len(kinds))
	for k := range kinds {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b string) int {
		if kinds[a] != kinds[b] {
			return kinds[b] - kinds[a]
		}
		return strings.Compare(a, b)
	})
	return strings.Join(list[:min(len(list), 3)], ", ")
}

// says is what the peers said, when all said the same.
func says(trials []Trial) string {
	what := ""
	for _, t := range trials {
		if what != "" && t.Says != what {
			return ""
		}
		what = t.Says
	}
	if what == "" {
		return ""
	}
	return ", " + what
}

// badOnes lists the addresses at which nothing came about.
func badOnes(trials []Trial, fails, total map[netip.AddrPort]int) string {
	var list []string
	seen := map[netip.AddrPort]bool{}
	for _, t := range trials {
		if a := t.Remote; fails[a] == total[a] && !seen[a] && t.Ended != "ok" {
			seen[a] = true
			list = append(list, fmt.Sprintf("%s %s, %d of %d times", a, describe(t), fails[a], total[a]))
		}
	}
	return strings.Join(list, "; ")
}
