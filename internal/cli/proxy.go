package cli

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/steady/relay"
)

// proxyRecord is a session as holdfast proxy writes it.
type proxyRecord struct {
	Schema string `json:"schema"`
	relay.Record
	HAProxy string `json:"haproxy"` // the nearest termination state
}

const proxySchema = "holdfast-proxy/1"

func (o *options) proxyCommand() *cobra.Command {
	var opt relay.Options
	var s relay.Server
	var all bool
	var grace time.Duration
	c := &cobra.Command{
		Use:   "proxy LISTEN BACKEND...",
		Short: "Relay TCP connections without hiding a reset, and record each that ends badly",
		Long: `proxy accepts connections on LISTEN and relays each to the next BACKEND. A reset on
one side reaches the other as a reset, after the data that had arrived was delivered;
an orderly end stays orderly, half-closes included; an early answer arrives. A backend
that cannot be reached is passed over. Each session that ends badly is a line: whose
end came first, how, how many bytes each way, and the nearest code of HAProxy.

LISTEN without a host is on 127.0.0.1; name another address, as 0.0.0.0:5432, to be
reached from outside. BACKEND is tcp://HOST:PORT, or HOST:PORT. HTTP is relayed as
bytes too: balancing and repeating requests are not built yet.

Ctrl-C stops accepting, waits for the sessions, and then resets what is left.`,
		Example: "  holdfast proxy :5433 10.0.0.1:5432\n  holdfast proxy --idle 300s :6380 tcp://10.0.0.1:6379 tcp://10.0.0.2:6379\n  holdfast proxy -o ndjson --all :8080 10.0.0.1:80",
		Args:    usage(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			addr, err := listenAddress(args[0])
			if err != nil {
				return err
			}
			for _, a := range args[1:] {
				b, err := backendAddress(a)
				if err != nil {
					return err
				}
				s.Backends = append(s.Backends, b)
			}
			if opt.Idle < 0 || opt.Drain < 0 || s.Connect < 0 || grace < 0 || s.Sessions < 0 {
				return usageError("holdfast proxy --help", "a limit is negative")
			}
			s.Options = opt
			return o.proxy(c.Context(), addr, &s, all, grace)
		},
	}
	f := c.Flags()
	f.DurationVar(&opt.Idle, "idle", 0, "end a session in which nothing moved for so long; 0 never does")
	f.DurationVar(&opt.Drain, "drain", 5*time.Second, "wait so long for data under way before a reset is passed on")
	f.DurationVar(&opt.KeepAlive, "keepalive", time.Minute, "time before the first keep-alive probe on both sides")
	f.DurationVar(&s.Connect, "connect", 3*time.Second, "limit of the connect to one backend")
	f.DurationVar(&grace, "grace", 30*time.Second, "after Ctrl-C, wait so long for sessions to end")
	f.IntVar(&s.Sessions, "sessions", 1<<16, "sessions at once; more wait in the accept queue")
	f.BoolVar(&all, "all", false, "a line for sessions that end in order too")
	return c
}

// listenAddress is on loopback unless it names another host.
func listenAddress(arg string) (string, error) {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(arg, "tcp://"))
	if err != nil {
		return "", usageError("holdfast proxy :5433 10.0.0.1:5432", "LISTEN: %w", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

func backendAddress(arg string) (string, error) {
	scheme, rest, ok := strings.Cut(arg, "://")
	if !ok {
		scheme, rest = "tcp", arg
	}
	if scheme != "tcp" {
		return "", usageError("tcp://HOST:PORT relays the bytes of any protocol", "BACKEND %s: %s is not built yet", arg, scheme)
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil || host == "" || port == "" {
		return "", usageError("tcp://10.0.0.1:5432", "BACKEND %s has no host and port", arg)
	}
	return rest, nil
}

// linesPerSecond bounds what is told one by one; the rest is counted.
const linesPerSecond = 200

func (o *options) proxy(ctx context.Context, addr string, s *relay.Server, all bool, grace time.Duration) error {
	l, err := relay.Listen(ctx, addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	var mu sync.Mutex // guards the output and what follows
	var second int64
	var told, untold int
	s.Record = func(r relay.Record) {
		if !all && !r.Bad() {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now().Unix(); now != second {
			second, told = now, 0
		}
		if told++; told > linesPerSecond {
			untold++
			return
		}
		o.proxyLine(&r)
	}
	o.notef("relaying %s to %s\n", l.Addr(), report.Clean(strings.Join(slices.Clone(s.Backends), ", ")))
	sessions, reset := context.WithCancel(context.WithoutCancel(ctx))
	defer reset()
	if err := s.Serve(ctx, sessions, l); err != nil {
		return err
	}
	stop := time.AfterFunc(grace, reset)
	defer stop.Stop()
	s.Wait()
	st := s.Stats()
	mu.Lock()
	defer mu.Unlock()
	o.notef("%s, %d ended badly, %d found no backend, %d resets hidden; %d lines were too many to be written\n", plural(int(st.Sessions), "sessions"), st.Bad, st.Unreachable, st.Hidden, untold)
	return nil
}

func (o *options) proxyLine(r *relay.Record) {
	if o.output != "text" {
		_ = value(o, []proxyRecord{{proxySchema, *r, r.HAProxy()}})
		return
	}
	text := r.String()
	if r.How == "unreachable" {
		text = r.Client.Addr + ": no backend could be reached: " + r.Server.Error
	}
	o.printf("%s  %s  %s\n", r.Began.Local().Format("15:04:05.000"), r.HAProxy(), report.Clean(strings.ReplaceAll(text, "\n", "; ")))
}
