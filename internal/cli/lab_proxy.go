package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/steady/framing"
	"github.com/holdfast-project/holdfast/steady/resettest"
)

// proxyFlags are the flags of holdfast lab proxy.
type proxyFlags struct {
	listen, upstream, api, token string
	seed                         uint64
	fault                        resettest.Injection
	public                       bool
}

func (o *options) labProxyCommand() *cobra.Command {
	p := &proxyFlags{}
	c := &cobra.Command{
		Use:   "proxy",
		Short: "Relay TCP connections and reset them on purpose, as an HTTP API says",
		Long: `proxy stands between a client and a server and makes connections fail in named
ways with known truth, without root. The API is that of toxiproxy, whose clients
work with it: the type of a toxic is one of toxiproxy's (latency, bandwidth,
slow_close, timeout, reset_peer, slicer, limit_data), with a stream, or the name of
a fault, which holdfast lab faults lists. The subcommands steer a proxy that runs,
as toxiproxy-cli does.

It listens on loopback only. Beyond it, with --public, every request to the API
needs the token; without --token one is made and printed.`,
		Example: `  holdfast lab proxy --listen 127.0.0.1:8081 --upstream 127.0.0.1:8080 --fault rst-after-commit --rate 0.05
  holdfast lab proxy --api 127.0.0.1:8474
  holdfast lab proxy create web --listen 127.0.0.1:8081 --upstream 127.0.0.1:8080
  holdfast lab proxy toxic add --type rst-mid-response --attribute at=1000 web
  curl 127.0.0.1:8474/proxies/web/streams`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.runProxy(c.Context(), p) },
	}
	fs := c.Flags()
	fs.StringVar(&p.listen, "listen", "127.0.0.1:0", "host:port of the proxy called default")
	fs.StringVar(&p.upstream, "upstream", "", "host:port of the server behind it; without it there is only the API")
	fs.StringVar(&p.api, "api", "", "host:port of the HTTP API; none by default")
	fs.StringVar(&p.token, "token", "", "token that requests to the API must have; better in HOLDFAST_LAB_TOKEN, where ps does not show it")
	fs.BoolVar(&p.public, "public", false, "allow the API and the proxies to listen beyond loopback")
	fs.Uint64Var(&p.seed, "seed", 1, "decides which connections are hit, together with the rate")
	fs.StringVar(&p.fault.Fault, "fault", "", "fault of the default proxy from the start")
	fs.Float64Var(&p.fault.Rate, "rate", 1, "share of the connections that the fault hits")
	fs.Int64Var(&p.fault.At, "at", 0, "octet at which the fault strikes")
	fs.DurationVar(&p.fault.After, "after", 0, "time that the fault waits")
	fs.IntVar(&p.fault.Skip, "skip", 0, "leave the first connections in peace")
	fs.StringVar(&p.fault.Protocol, "protocol", "", "count the messages of "+strings.Join(framing.Protocols(), ", ")+" instead of octets")
	fs.IntVar(&p.fault.Message, "message", 0, "request of each connection that the fault hits, from 1; needs --protocol")
	fs.IntVar(&p.fault.Times, "times", 0, "hit at most so many connections; 0 means no limit")
	c.AddCommand(o.proxyVerbs()...)
	return c
}

// check refuses what would make the proxy useless, or reachable by surprise.
func (p *proxyFlags) check() error {
	switch {
	case p.upstream == "" && p.api == "":
		return usageError("--upstream HOST:PORT, --api 127.0.0.1:8474, or both", "nothing to do")
	case p.upstream == "" && p.fault.Fault != "":
		return usageError("--upstream HOST:PORT", "--fault needs an upstream")
	case p.fault.Fault != "" && p.fault.Rate == 0:
		return usageError("a rate above 0, at most 1", "with a rate of 0 the fault hits nothing")
	}
	for flag, addr := range map[string]string{"--listen": p.listen, "--api": p.api} {
		if addr != "" && !p.public && !isLoopback(addr) {
			return usageError("an address on 127.0.0.1, or --public when others may reach it", "%s %s is not loopback", flag, addr)
		}
	}
	return nil
}

// isLoopback says whether host:port is on loopback for certain; other names than
// localhost can point anywhere.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

func (o *options) runProxy(ctx context.Context, p *proxyFlags) error {
	if err := p.check(); err != nil {
		return err
	}
	if p.token == "" {
		p.token = o.env.getenv("HOLDFAST_LAB_TOKEN")
	}
	if p.token == "" && p.api != "" && !isLoopback(p.api) {
		p.token = rand.Text()
		o.notef("token %s\n", p.token)
	}
	api := &resettest.API{Seed: p.seed, Token: p.token, Public: p.public}
	defer func() { _ = api.Close() }()
	if err := o.defaultProxy(api, p); err != nil {
		return err
	}
	if p.api == "" {
		<-ctx.Done()
		return nil
	}
	return o.serveAPI(ctx, api, p.api)
}

// defaultProxy starts the proxy of the command line.
func (o *options) defaultProxy(api *resettest.API, p *proxyFlags) error {
	if p.upstream == "" {
		return nil
	}
	proxy, err := api.Add("default", p.listen, p.upstream)
	if err != nil {
		return &cliError{codeUsage, fmt.Errorf("start proxy: %w", err), "--listen and --upstream as host:port"}
	}
	if p.fault.Fault != "" {
		if err := proxy.Inject(p.fault.Fault, p.fault); err != nil {
			return &cliError{codeUsage, err, "holdfast lab faults"}
		}
	}
	o.notef("proxy %s -> %s\n", proxy.Addr(), proxy.Upstream())
	return nil
}

func (o *options) serveAPI(ctx context.Context, api *resettest.API, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	o.notef("api http://%s\n", l.Addr())
	srv := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := srv.Shutdown(soon); err != nil {
		_ = srv.Close() // it was told; the process ends
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (o *options) labFaultsCommand() *cobra.Command {
	proxyOnly := false
	c := &cobra.Command{
		Use:   "faults [NAME...]",
		Short: "List the faults that lab proxy and the package resettest make, with their truth",
		RunE: func(_ *cobra.Command, names []string) error {
			list, err := chooseFaults(names, proxyOnly)
			if err != nil {
				return err
			}
			if o.output != "text" {
				return value(o, list)
			}
			o.printFaults(list, len(names) > 0)
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, f := range resettest.Faults() {
				names = append(names, f.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().BoolVar(&proxyOnly, "proxy", false, "only those that lab proxy can make")
	return c
}

func chooseFaults(names []string, proxyOnly bool) ([]resettest.Fault, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(resettest.Faults(), func(f resettest.Fault) bool { return proxyOnly && !f.Stream }), nil
	}
	var list []resettest.Fault
	for _, name := range names {
		f, ok := resettest.Lookup(name)
		if !ok {
			return nil, &cliError{codeNotFound, fmt.Errorf("no fault is called %q", name), "holdfast lab faults"}
		}
		list = append(list, f)
	}
	return list, nil
}

func (o *options) printFaults(list []resettest.Fault, details bool) {
	st := o.style()
	width := 0
	for _, f := range list {
		width = max(width, len(f.Name))
	}
	for _, f := range list {
		done := "not executed"
		if f.Truth.Executed {
			done = "executed"
		}
		o.printf("%s  %s  %s  %s  %s\n", st.Bold(padTo(f.Name, width)), padTo(f.Layer, 8), padTo(done, 12), padTo(strings.Join(f.Truth.Senders, "|"), 24), strings.Join(f.Truth.Sees, "|"))
		if !details {
			continue
		}
		o.printf("  %s\n  on the wire: %s; arrived %s, delivered %s, answered %s\n", f.Doc, f.Truth.Wire, f.Truth.Arrived, f.Truth.Delivered, f.Truth.Answered)
		for _, p := range f.Params {
			o.printf("  %s\n", st.Dim(p))
		}
	}
	o.notef("%s\n", plural(len(list), "faults"))
}
