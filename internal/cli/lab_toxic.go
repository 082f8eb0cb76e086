package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/internal/report"
)

// The verbs of lab proxy steer a running proxy, or a toxiproxy, over its API. Their
// names and flags are those of toxiproxy-cli.

// proxyClient speaks to the API.
type proxyClient struct {
	host, token string
}

// labProxy and labToxic are what the API says, as far as it is shown.
type labProxy struct {
	Name     string     `json:"name"`
	Listen   string     `json:"listen"`
	Upstream string     `json:"upstream"`
	Enabled  bool       `json:"enabled"`
	Toxics   []labToxic `json:"toxics"`
}

type labToxic struct {
	Name       string             `json:"name"`
	Type       string             `json:"type"`
	Stream     string             `json:"stream,omitempty"`
	Toxicity   *float64           `json:"toxicity,omitempty"`
	Attributes map[string]float64 `json:"attributes"`
}

// maxAPIAnswer bounds what is read of an answer, in octets.
const maxAPIAnswer = 4 << 20

// call sends one request. in and out may be nil.
func (p *proxyClient) call(ctx context.Context, method, path string, in, out any) error {
	host := p.host
	if !strings.Contains(host, "://") {
		host = "http://" + host
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(host, "/")+path, body)
	if err != nil {
		return usageError("--host http://127.0.0.1:8474", "address of the API: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &cliError{codeUnreachable, fmt.Errorf("ask the API: %w", err), "holdfast lab proxy --api 127.0.0.1:8474, or --host"}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAPIAnswer))
	if err != nil {
		return fmt.Errorf("read answer of the API: %w", err)
	}
	if resp.StatusCode >= 300 {
		return apiFailure(resp.StatusCode, b)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read answer of the API: %w", err)
	}
	return nil
}

// apiFailure is what the API says that went wrong.
func apiFailure(status int, b []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(b, &said) != nil || said.Error == "" {
		said.Error = http.StatusText(status)
	}
	code, hint := codeUsage, "holdfast lab proxy list"
	switch status {
	case http.StatusNotFound:
		code = codeNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		code, hint = codePermission, "the token of the proxy in HOLDFAST_LAB_TOKEN"
	}
	return &cliError{code, errors.New(report.Clean(said.Error)), hint}
}

// verb builds a verb: its flags and the API it speaks to.
func (o *options) verb(use, short string, args int, run func(context.Context, *proxyClient, []string) error) *cobra.Command {
	p := &proxyClient{}
	c := &cobra.Command{
		Use: use, Short: short, Args: usage(cobra.ExactArgs(args)),
		RunE: func(c *cobra.Command, args []string) error {
			p.host = cmp.Or(p.host, o.env.getenv("TOXIPROXY_URL"), "http://localhost:8474")
			p.token = cmp.Or(p.token, o.env.getenv("HOLDFAST_LAB_TOKEN"))
			return run(c.Context(), p, args)
		},
	}
	c.Flags().StringVar(&p.host, "host", "", "address of the API; TOXIPROXY_URL, or http://localhost:8474")
	c.Flags().StringVar(&p.token, "token", "", "token of the API; better in HOLDFAST_LAB_TOKEN")
	return c
}

// proxyPath is the path of a proxy, or of what it has.
func proxyPath(name string, more ...string) string {
	path := "/proxies/" + url.PathEscape(name)
	for _, m := range more {
		path += "/" + url.PathEscape(m)
	}
	return path
}

func (o *options) proxyVerbs() []*cobra.Command {
	list := o.verb("list", "List the proxies of the API", 0, func(ctx context.Context, p *proxyClient, _ []string) error {
		all := map[string]labProxy{}
		if err := p.call(ctx, http.MethodGet, "/proxies", nil, &all); err != nil {
			return err
		}
		list := make([]labProxy, 0, len(all))
		for _, name := range slices.Sorted(maps.Keys(all)) {
			list = append(list, all[name])
		}
		return o.showProxies(list)
	})
	inspect := o.verb("inspect NAME", "Show a proxy with its toxics", 1, func(ctx context.Context, p *proxyClient, args []string) error {
		var one labProxy
		if err := p.call(ctx, http.MethodGet, proxyPath(args[0]), nil, &one); err != nil {
			return err
		}
		return o.showProxies([]labProxy{one})
	})
	remove := o.verb("delete NAME", "Remove a proxy; its connections are aborted", 1, func(ctx context.Context, p *proxyClient, args []string) error {
		if err := p.call(ctx, http.MethodDelete, proxyPath(args[0]), nil, nil); err != nil {
			return err
		}
		o.notef("deleted proxy %s\n", report.Clean(args[0]))
		return nil
	})
	toggle := o.verb("toggle NAME", "Switch a proxy off, or on again", 1, func(ctx context.Context, p *proxyClient, args []string) error {
		var one labProxy
		if err := p.call(ctx, http.MethodGet, proxyPath(args[0]), nil, &one); err != nil {
			return err
		}
		one.Enabled = !one.Enabled
		if err := p.call(ctx, http.MethodPost, proxyPath(args[0]), one, &one); err != nil {
			return err
		}
		o.notef("proxy %s is now %s\n", report.Clean(one.Name), onOff(one.Enabled))
		return nil
	})
	return []*cobra.Command{list, inspect, o.createVerb(), toggle, remove, o.toxicCommand()}
}

func onOff(on bool) string {
	if on {
		return "enabled"
	}
	return "disabled"
}

func (o *options) createVerb() *cobra.Command {
	var listen, upstream string
	c := o.verb("create NAME", "Make a proxy", 1, func(ctx context.Context, p *proxyClient, args []string) error {
		if upstream == "" {
			return usageError("--upstream HOST:PORT", "a proxy needs an upstream")
		}
		in := map[string]any{"name": args[0], "listen": listen, "upstream": upstream, "enabled": true}
		var one labProxy
		if err := p.call(ctx, http.MethodPost, "/proxies", in, &one); err != nil {
			return err
		}
		o.notef("proxy %s: %s -> %s\n", report.Clean(one.Name), report.Clean(one.Listen), report.Clean(one.Upstream))
		return nil
	})
	c.Flags().StringVarP(&listen, "listen", "l", "127.0.0.1:0", "host:port of the proxy; port 0 chooses one")
	c.Flags().StringVarP(&upstream, "upstream", "u", "", "host:port of the server behind it")
	return c
}

// toxicFlags are the flags of the verbs of toxics.
type toxicFlags struct {
	name, kind   string
	toxicity     float64
	attributes   []string
	up, down     bool
	withToxicity bool
}

func (o *options) toxicCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "toxic",
		Short: "Add, change or remove a toxic, or a fault, of a proxy",
		Example: `  holdfast lab proxy toxic add --type latency -a latency=100 -a jitter=50 --upstream db
  holdfast lab proxy toxic add --type rst-after-commit -a postgres=3 db
  holdfast lab proxy toxic remove --toxicName rst-after-commit db`,
	}
	f := &toxicFlags{}
	add := o.verb("add NAME", "Add a toxic of toxiproxy, or a fault (holdfast lab faults)", 1, func(ctx context.Context, p *proxyClient, args []string) error {
		return o.addToxic(ctx, p, args[0], f)
	})
	add.Flags().StringVarP(&f.kind, "type", "t", "", "type of the toxic, or name of the fault")
	add.Flags().BoolVarP(&f.up, "upstream", "u", false, "towards the server")
	add.Flags().BoolVarP(&f.down, "downstream", "d", false, "towards the client, the default")
	update := o.verb("update NAME", "Change toxicity and attributes of a toxic", 1, func(ctx context.Context, p *proxyClient, args []string) error {
		return o.updateToxic(ctx, p, args[0], f)
	})
	for _, v := range []*cobra.Command{add, update} {
		v.Flags().Float64Var(&f.toxicity, "toxicity", 1, "share of the connections, 0 to 1")
		v.Flags().StringArrayVarP(&f.attributes, "attribute", "a", nil, "KEY=NUMBER; can be repeated")
		v.PreRun = func(c *cobra.Command, _ []string) { f.withToxicity = c.Flags().Changed("toxicity") }
	}
	remove := o.verb("remove NAME", "Take a toxic back", 1, func(ctx context.Context, p *proxyClient, args []string) error {
		if f.name == "" {
			return usageError("--toxicName NAME; holdfast lab proxy inspect "+args[0], "which toxic?")
		}
		if err := p.call(ctx, http.MethodDelete, proxyPath(args[0], "toxics", f.name), nil, nil); err != nil {
			return err
		}
		o.notef("removed toxic %s of proxy %s\n", report.Clean(f.name), report.Clean(args[0]))
		return nil
	})
	remove.Aliases = []string{"delete"}
	for _, v := range []*cobra.Command{add, update, remove} {
		v.Flags().StringVarP(&f.name, "toxicName", "n", "", "name of the toxic")
		c.AddCommand(v)
	}
	return c
}

func (o *options) addToxic(ctx context.Context, p *proxyClient, proxy string, f *toxicFlags) error {
	switch {
	case f.kind == "":
		return usageError("--type latency; holdfast lab faults", "which toxic?")
	case f.up && f.down:
		return usageError("--upstream or --downstream", "a toxic has one direction")
	}
	at, err := attributes(f.attributes)
	if err != nil {
		return err
	}
	stream := "downstream"
	if f.up {
		stream = "upstream"
	}
	in := labToxic{Name: f.name, Type: f.kind, Stream: stream, Toxicity: &f.toxicity, Attributes: at}
	var one labToxic
	if err := p.call(ctx, http.MethodPost, proxyPath(proxy, "toxics"), in, &one); err != nil {
		return err
	}
	o.notef("added %s %s as %s to proxy %s\n", report.Clean(one.Stream), report.Clean(one.Type), report.Clean(one.Name), report.Clean(proxy))
	return nil
}

func (o *options) updateToxic(ctx context.Context, p *proxyClient, proxy string, f *toxicFlags) error {
	if f.name == "" {
		return usageError("--toxicName NAME; holdfast lab proxy inspect "+proxy, "which toxic?")
	}
	at, err := attributes(f.attributes)
	if err != nil {
		return err
	}
	in := map[string]any{"attributes": at}
	if f.withToxicity { // without it the toxicity stays
		in["toxicity"] = f.toxicity
	}
	var one labToxic
	if err := p.call(ctx, http.MethodPost, proxyPath(proxy, "toxics", f.name), in, &one); err != nil {
		return err
	}
	o.notef("updated toxic %s of proxy %s\n", report.Clean(one.Name), report.Clean(proxy))
	return nil
}

// attributes reads KEY=NUMBER.
func attributes(list []string) (map[string]float64, error) {
	out := map[string]float64{}
	for _, kv := range list {
		key, v, ok := strings.Cut(kv, "=")
		n, err := strconv.ParseFloat(v, 64)
		if !ok || key == "" || err != nil {
			return nil, usageError("--attribute latency=100", "attribute %q is not KEY=NUMBER", kv)
		}
		out[key] = n
	}
	return out, nil
}

// showProxies prints proxies with their toxics.
func (o *options) showProxies(list []labProxy) error {
	if o.output != "text" {
		return value(o, list)
	}
	st := o.style()
	for _, p := range list {
		o.printf("%s  %s -> %s  %s\n", st.Bold(report.Clean(p.Name)), report.Clean(p.Listen), report.Clean(p.Upstream), onOff(p.Enabled))
		for _, t := range p.Toxics {
			share := ""
			if t.Toxicity != nil && *t.Toxicity != 1 {
				share = fmt.Sprintf("  of %g of the connections", *t.Toxicity)
			}
			o.printf("  %s  %s %s%s", report.Clean(t.Name), report.Clean(t.Stream), report.Clean(t.Type), share)
			for _, key := range slices.Sorted(maps.Keys(t.Attributes)) {
				o.printf("  %s=%g", report.Clean(key), t.Attributes[key])
			}
			o.printf("\n")
		}
	}
	if len(list) == 1 {
		o.notef("1 proxy\n")
	} else {
		o.notef("%d proxies\n", len(list))
	}
	return nil
}
