package resettest

import (
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/steady/framing"
)

// API is an http.Handler that makes and controls proxies, as toxiproxy does: proxies
// have toxics.
//
//	GET    /faults                        every fault with its truth
//	GET    /proxies                       the proxies
//	POST   /proxies                       {"name","listen","upstream"}
//	GET    /proxies/{name}
//	POST   /populate                      an array of proxies
//	POST   /proxies/{name}                {"enabled","listen","upstream"}; PATCH does the same
//	DELETE /proxies/{name}
//	GET    /proxies/{name}/toxics
//	POST   /proxies/{name}/toxics         {"name","type","stream","toxicity","attributes"}
//	GET    /proxies/{name}/toxics/{toxic}
//	POST   /proxies/{name}/toxics/{toxic} {"toxicity","attributes"}; PATCH does the same
//	DELETE /proxies/{name}/toxics/{toxic}
//	GET    /proxies/{name}/streams        what happened to each connection
//	POST   /proxies/{name}/reset          abort the connections that are open now
//	POST   /reset                         enable every proxy, remove every toxic
//	GET    /version
//
// The clients of toxiproxy work with it. The type of a toxic is one of toxiproxy's
// (ToxicTypes), which has a stream and takes effect at once, or the name of a fault,
// whose attributes are at, after_ms, skip, times, and a protocol with the number of its
// message (postgres: 3), and which strikes connections that are accepted later. Unknown fields are ignored.
//
// Whoever reaches the API can make this process listen and connect. So it answers
// only requests with the token, or, when there is none, from this machine, for a
// loopback host, and without an Origin, which keeps web pages out; and proxies
// listen on loopback unless Public is set.
type API struct {
	Seed   uint64 // of every proxy
	Token  string // wanted as Authorization: Bearer; empty: none
	Public bool   // proxies may listen beyond loopback

	mu      sync.Mutex
	proxies map[string]*Proxy // guarded by mu
	closed  bool              // guarded by mu
}

// The limits of an API.
const (
	maxProxies = 64
	maxRequest = 64 << 10
)

// apiVersion is the version of toxiproxy whose API this is.
const apiVersion = "2.5.0"

// apiProxy, apiToxic and apiAttributes are the JSON of the API.
type apiProxy struct {
	Name     string     `json:"name"`
	Listen   string     `json:"listen"`
	Upstream string     `json:"upstream"`
	Enabled  *bool      `json:"enabled,omitempty"`
	Toxics   []apiToxic `json:"toxics"`
	Refused  int        `json:"refused,omitempty"`
}

type apiToxic struct {
	Name       string             `json:"name"`
	Type       string             `json:"type"`
	Stream     string             `json:"stream,omitempty"`
	Toxicity   *float64           `json:"toxicity,omitempty"` // 1 by default
	Attributes map[string]float64 `json:"attributes"`
	Chosen     int                `json:"chosen"`
	Truth      *Truth             `json:"truth,omitempty"` // of a fault
}

// apiError is an error with its HTTP status.
type apiError struct {
	status int
	err    error
}

func (e *apiError) Error() string { return e.err.Error() }

func apiErrorf(status int, format string, args ...any) error {
	return &apiError{status, fmt.Errorf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := a.handle(w, r)
	status := http.StatusOK
	switch {
	case err != nil:
		status = http.StatusInternalServerError
		if e := (*apiError)(nil); errors.As(err, &e) {
			status = e.status
		}
		out = map[string]any{"error": err.Error(), "status": status}
	case out == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	case r.Method == http.MethodPost:
		if _, ok := out.(created); ok {
			status = http.StatusCreated
		}
	}
	if c, ok := out.(created); ok {
		out = c.value
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // the client is gone: nothing to tell it
}

// created marks an answer of status 201.
type created struct{ value any }

func (a *API) handle(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := a.allow(r); err != nil {
		return nil, err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	route := r.Method + " " + parts[0]
	switch {
	case len(parts) == 1 && route == "GET faults":
		return Faults(), nil
	case len(parts) == 1 && route == "GET proxies":
		return a.list(), nil
	case len(parts) == 1 && route == "POST proxies":
		return a.create(r.Body)
	case len(parts) == 1 && route == "GET version":
		return map[string]string{"version": apiVersion}, nil
	case len(parts) == 1 && route == "POST populate":
		return a.populate(r.Body)
	case len(parts) == 1 && route == "POST reset":
		return nil, a.resetAll()
	case len(parts) >= 2 && parts[0] == "proxies":
		return a.proxyRoute(r, parts[1], parts[2:])
	}
	return nil, apiErrorf(http.StatusNotFound, "no such resource: %s %s", r.Method, r.URL.Path)
}

// allow refuses what a web page could send, and strangers.
func (a *API) allow(r *http.Request) error {
	if a.Token != "" {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(given), []byte(a.Token)) != 1 {
			return apiErrorf(http.StatusUnauthorized, "wrong or no token; send Authorization: Bearer TOKEN")
		}
		return nil
	}
	if !loopbackHost(r.RemoteAddr) {
		return apiErrorf(http.StatusForbidden, "without a token the API answers this machine only")
	}
	if r.Header.Get("Origin") != "" {
		return apiErrorf(http.StatusForbidden, "requests of web pages are refused")
	}
	if !loopbackHost(r.Host) {
		return apiErrorf(http.StatusForbidden, "host %q is not loopback", r.Host)
	}
	return nil
}

// loopbackHost says whether host, with or without a port, is this machine for
// certain: an address or localhost, no other name (they can point anywhere).
func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

func (a *API) proxyRoute(r *http.Request, name string, rest []string) (any, error) {
	p := a.Proxy(name)
	if p == nil {
		return nil, apiErrorf(http.StatusNotFound, "no proxy is called %q", name)
	}
	route := r.Method + " " + strings.Join(rest, "/")
	switch {
	case route == "GET ":
		return show(name, p), nil
	case route == "POST ", route == "PATCH ":
		return a.change(name, p, r.Body)
	case route == "DELETE ":
		a.forget(name)
		return nil, p.Close()
	case route == "GET toxics":
		return show(name, p).Toxics, nil
	case route == "POST toxics":
		return addToxic(name, p, r.Body)
	case route == "GET streams":
		return p.Streams(), nil
	case route == "POST reset":
		return map[string]int{"reset": p.Abort()}, nil
	case len(rest) == 2 && rest[0] == "toxics" && r.Method == http.MethodGet:
		return findToxic(name, p, rest[1])
	case len(rest) == 2 && rest[0] == "toxics" && (r.Method == http.MethodPost || r.Method == http.MethodPatch):
		return updateToxic(name, p, rest[1], r.Body)
	case len(rest) == 2 && rest[0] == "toxics" && r.Method == http.MethodDelete:
		ok, err := p.Remove(rest[1])
		if ok = ok || p.RemoveToxic(rest[1]); !ok {
			return nil, apiErrorf(http.StatusNotFound, "proxy %s has no toxic %q", name, rest[1])
		}
		return nil, err
	}
	return nil, apiErrorf(http.StatusNotFound, "no such resource: %s %s", r.Method, r.URL.Path)
}

// Proxy returns the proxy of that name, or nil.
func (a *API) Proxy(name string) *Proxy {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.proxies[name]
}

func (a *API) forget(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.proxies, name)
}

func (a *API) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var names []string
	for name := range a.proxies {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (a *API) list() map[string]apiProxy {
	out := map[string]apiProxy{}
	for _, name := range a.all() {
		if p := a.Proxy(name); p != nil {
			out[name] = show(name, p)
		}
	}
	return out
}

func decode(r io.Reader, v any) error {
	if err := json.NewDecoder(r).Decode(v); err != nil {
		return apiErrorf(http.StatusBadRequest, "read JSON: %w", err)
	}
	return nil
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

func (a *API) create(body io.Reader) (any, error) {
	var in apiProxy
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	return a.add(in)
}

// populate makes the proxies of a list, and moves those that are there already.
func (a *API) populate(body io.Reader) (any, error) {
	var list []apiProxy
	if err := decode(body, &list); err != nil {
		return nil, err
	}
	out := make([]any, 0, len(list))
	for _, in := range list {
		p := a.Proxy(in.Name)
		if p == nil {
			one, err := a.add(in)
			if err != nil {
				return nil, err
			}
			out = append(out, one.(created).value)
			continue
		}
		if err := a.move(p, in); err != nil {
			return nil, err
		}
		out = append(out, show(in.Name, p))
	}
	return created{map[string]any{"proxies": out}}, nil
}

// move gives a proxy the addresses of in, as far as they are set, and switches it.
func (a *API) move(p *Proxy, in apiProxy) error {
	listen, to := in.Listen, in.Upstream
	if listen == "" {
		listen = p.Addr()
	}
	if to == "" {
		to = p.Upstream()
	}
	if !a.Public && !loopbackHost(listen) {
		return apiErrorf(http.StatusForbidden, "listen on %q: only loopback is allowed here", listen)
	}
	if in.Enabled != nil && !*in.Enabled { // first, so that nothing is opened in vain
		if err := p.Enable(false); err != nil {
			return err
		}
	}
	if err := p.Move(listen, to); err != nil {
		return &apiError{http.StatusBadRequest, err}
	}
	if in.Enabled != nil {
		return p.Enable(*in.Enabled)
	}
	return nil
}

func (a *API) add(in apiProxy) (any, error) {
	p, err := a.Add(in.Name, in.Listen, in.Upstream)
	if err != nil {
		return nil, err
	}
	if in.Enabled != nil && !*in.Enabled {
		if err := p.Enable(false); err != nil {
			return nil, err
		}
	}
	return created{show(in.Name, p)}, nil
}

// Add makes a proxy. An empty listen is a port of its own on loopback.
func (a *API) Add(name, listen, upstream string) (*Proxy, error) {
	if !plainName.MatchString(name) {
		return nil, apiErrorf(http.StatusBadRequest, "name %q: use up to 64 letters, digits and _.-", name)
	}
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	if !a.Public && !loopbackHost(listen) {
		return nil, apiErrorf(http.StatusForbidden, "listen on %q: only loopback is allowed here", listen)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return nil, apiErrorf(http.StatusServiceUnavailable, "the API is closed")
	case a.proxies[name] != nil:
		return nil, apiErrorf(http.StatusConflict, "a proxy is called %q already", name)
	case len(a.proxies) >= maxProxies:
		return nil, apiErrorf(http.StatusConflict, "there are %d proxies, the limit", maxProxies)
	}
	p, err := NewProxy(listen, upstream, a.Seed)
	if err != nil {
		return nil, &apiError{http.StatusBadRequest, err}
	}
	if a.proxies == nil {
		a.proxies = map[string]*Proxy{}
	}
	a.proxies[name] = p
	return p, nil
}

func show(name string, p *Proxy) apiProxy {
	on := p.Enabled()
	out := apiProxy{Name: name, Listen: p.Addr(), Upstream: p.Upstream(), Enabled: &on, Refused: p.Refused(), Toxics: []apiToxic{}}
	for _, n := range p.Injections() {
		out.Toxics = append(out.Toxics, showFault(n))
	}
	for _, t := range p.Toxics() {
		out.Toxics = append(out.Toxics, showToxic(t))
	}
	return out
}

func showFault(n Named) apiToxic {
	rate := n.Rate
	if rate == 0 {
		rate = 1
	}
	f, _ := Lookup(n.Fault)
	at := map[string]float64{}
	for name, v := range map[string]int64{"at": n.At, "after_ms": n.After.Milliseconds(), "skip": int64(n.Skip), "times": int64(n.Times)} {
		if v != 0 {
			at[name] = float64(v)
		}
	}
	if n.Protocol != "" { // a number, as all attributes are: toxiproxy's clients know no others
		at[n.Protocol] = float64(max(n.Message, 1))
	}
	return apiToxic{Name: n.Name, Type: n.Fault, Stream: downstream, Toxicity: &rate, Attributes: at, Chosen: n.Chosen, Truth: &f.Truth}
}

func showToxic(t Toxic) apiToxic {
	if t.Attributes == nil {
		t.Attributes = map[string]float64{}
	}
	return apiToxic{Name: t.Name, Type: t.Type, Stream: t.Stream, Toxicity: &t.Toxicity, Attributes: t.Attributes}
}

func (a *API) change(name string, p *Proxy, body io.Reader) (any, error) {
	var in apiProxy
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	if err := a.move(p, in); err != nil {
		return nil, err
	}
	return show(name, p), nil
}

func addToxic(name string, p *Proxy, body io.Reader) (any, error) {
	var in apiToxic
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	_, known := lookupToxic(in.Type)
	if in.Name == "" {
		in.Name = in.Type
		if known {
			in.Name += "_" + cmp.Or(in.Stream, downstream)
		}
	}
	if !plainName.MatchString(in.Name) {
		return nil, apiErrorf(http.StatusBadRequest, "name %q: use up to 64 letters, digits and _.-", in.Name)
	}
	add := addFault
	if known {
		add = func(p *Proxy, in apiToxic) error {
			t := Toxic{Name: in.Name, Type: in.Type, Stream: in.Stream, Toxicity: 1, Attributes: in.Attributes}
			if in.Toxicity != nil {
				t.Toxicity = *in.Toxicity
			}
			return p.AddToxic(t)
		}
	}
	switch err := add(p, in); {
	case errors.Is(err, errThere):
		return nil, &apiError{http.StatusConflict, err}
	case err != nil:
		return nil, &apiError{http.StatusBadRequest, err}
	}
	return findToxic(name, p, in.Name)
}

// addFault adds a toxic whose type is the name of a fault.
func addFault(p *Proxy, in apiToxic) error {
	const hour = float64(time.Hour / time.Millisecond)
	at := in.Attributes
	for _, name := range append(framing.Protocols(), "at", "after_ms", "skip", "times") {
		if v := at[name]; !(v >= 0 && v < toxicLimit) || name == "after_ms" && v > hour {
			return fmt.Errorf("%s %v is not between 0 and its limit", name, v)
		}
	}
	inj := Injection{
		Fault: in.Type, At: int64(at["at"]), Skip: int(at["skip"]), Times: int(at["times"]),
		After: time.Duration(at["after_ms"] * float64(time.Millisecond)),
	}
	for _, name := range framing.Protocols() {
		switch {
		case at[name] == 0:
		case inj.Protocol != "":
			return fmt.Errorf("messages of %s and of %s: a connection has one protocol", inj.Protocol, name)
		default:
			inj.Protocol, inj.Message = name, int(at[name])
		}
	}
	if in.Toxicity != nil {
		if *in.Toxicity == 0 { // 0 of an Injection is the default, 1
			return errors.New("a fault of toxicity 0 does nothing")
		}
		inj.Rate = *in.Toxicity
	}
	return p.Inject(in.Name, inj)
}

// updateToxic changes toxicity and attributes. A fault is taken back and added anew.
func updateToxic(name string, p *Proxy, toxic string, body io.Reader) (any, error) {
	var in apiToxic
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	ok, err := p.UpdateToxic(toxic, func(t *Toxic) {
		if in.Toxicity != nil {
			t.Toxicity = *in.Toxicity
		}
		attributes := maps.Clone(t.Attributes)
		if attributes == nil {
			attributes = map[string]float64{}
		}
		maps.Copy(attributes, in.Attributes)
		t.Attributes = attributes
	})
	if !ok {
		old, err := findToxic(name, p, toxic)
		if err != nil {
			return nil, err
		}
		was := old.(apiToxic)
		will := was
		will.Attributes = maps.Clone(was.Attributes)
		maps.Copy(will.Attributes, in.Attributes)
		if in.Toxicity != nil {
			will.Toxicity = in.Toxicity
		}
		if _, err := p.Remove(toxic); err != nil {
			return nil, err
		}
		if err := addFault(p, will); err != nil {
			return nil, &apiError{http.StatusBadRequest, errors.Join(err, addFault(p, was))}
		}
	}
	if err != nil {
		return nil, &apiError{http.StatusBadRequest, err}
	}
	return findToxic(name, p, toxic)
}

func findToxic(name string, p *Proxy, toxic string) (any, error) {
	for _, t := range show(name, p).Toxics {
		if t.Name == toxic {
			return t, nil
		}
	}
	return nil, apiErrorf(http.StatusNotFound, "proxy %s has no toxic %q", name, toxic)
}

func (a *API) resetAll() error {
	var errs []error
	for _, name := range a.all() {
		p := a.Proxy(name)
		if p == nil {
			continue
		}
		for _, n := range p.Injections() {
			_, err := p.Remove(n.Name)
			errs = append(errs, err)
		}
		for _, t := range p.Toxics() {
			p.RemoveToxic(t.Name)
		}
		errs = append(errs, p.Enable(true))
	}
	return errors.Join(errs...)
}

// Close closes every proxy.
func (a *API) Close() error {
	a.mu.Lock()
	a.closed = true
	list := a.proxies
	a.proxies = nil
	a.mu.Unlock()
	var errs []error
	for _, p := range list {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
