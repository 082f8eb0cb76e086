package steady

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Resolver looks up the addresses of one family; *net.Resolver is one. network
// is "ip4" or "ip6".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Dialer connects by Happy Eyeballs version 2 (RFC 8305): both families are
// looked up at once, addresses are tried in turn with a short delay, the first
// that answers wins. It remembers which addresses failed and tries them last,
// and it sets TCP_USER_TIMEOUT and keep-alive below what was learned of the
// path. Its connections are tracked: Explain can judge them. The zero value is
// ready; fields must not change after the first call.
type Dialer struct {
	// Resolver defaults to net.DefaultResolver.
	Resolver Resolver
	// Timeout bounds the whole dial. Default 30 s.
	Timeout time.Duration
	// AttemptDelay is the head start of each address. Default 250 ms.
	AttemptDelay time.Duration
	// ResolutionDelay is how long IPv4 waits for IPv6 addresses. Default 50 ms.
	ResolutionDelay time.Duration
	// UserTimeout is TCP_USER_TIMEOUT: how long sent data may stay
	// unacknowledged. Default 30 s, negative for the kernel's.
	UserTimeout time.Duration
	// KeepAlive is the silence after which a probe is sent. Default 30 s, or
	// half of what was learned of the path if that is less.
	KeepAlive time.Duration
	// Multipath asks for Multipath TCP (RFC 8684), which survives the loss of
	// one path where both ends have it, and falls back to TCP. Its
	// connections cannot be judged by TCP_INFO.
	Multipath bool
	// Attempts is how often one dial goes through the addresses. Default 1.
	Attempts int
	// Backoff is the wait between attempts.
	Backoff Backoff
	// Budget, when set, bounds reconnects: a dial to a name and port whose last
	// dial failed, and each attempt after the first. What it does not grant
	// returns a *RejectedError, or the error of the attempt before. Addresses of
	// one race are never refused, nor are the dials of a Transport, which pays
	// for its retries itself; the two may share one Budget.
	Budget *Budget
	// Connect connects to one address. Default: a net.Dialer.
	Connect func(ctx context.Context, network, addr string) (net.Conn, error)

	once   sync.Once
	ups    table[upstream]
	memory table[memory]
}

// memory is what is known of one address.
type memory struct {
	mu    sync.Mutex
	fails int   // guarded by mu: in a row
	until int64 // guarded by mu: tried last before this time
}

const (
	blameBase = 10 * time.Second
	blameCap  = 5 * time.Minute
)

func (m *memory) failed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	blame := blameBase << min(m.fails, 5)
	m.fails++
	m.until = now() + int64(min(blame, blameCap))
}

func (m *memory) succeeded() {
	m.mu.Lock()
	m.fails, m.until = 0, 0
	m.mu.Unlock()
}

// blamed returns until when the address is tried last; 0 when it is not.
func (m *memory) blamed() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now() >= m.until {
		return 0
	}
	return m.until
}

func (d *Dialer) init() {
	d.ups.make = func() *upstream { return &upstream{} }
	d.memory.make = func() *memory { return &memory{} }
	if d.Resolver == nil {
		d.Resolver = net.DefaultResolver
	}
	d.Timeout = cmp.Or(d.Timeout, 30*time.Second)
	d.AttemptDelay = cmp.Or(d.AttemptDelay, 250*time.Millisecond)
	d.ResolutionDelay = cmp.Or(d.ResolutionDelay, 50*time.Millisecond)
	d.UserTimeout = cmp.Or(d.UserTimeout, 30*time.Second)
	d.KeepAlive = cmp.Or(d.KeepAlive, 30*time.Second)
}

// Dial connects to addr, as DialContext.
func (d *Dialer) Dial(network, addr string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, addr)
}

// DialContext connects to addr, "host:port". The network is tcp, tcp4 or tcp6.
// The result is a *Conn. The error joins those of all addresses.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	d.once.Do(d.init)
	host, portName, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, portName)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	up := d.ups.get(addr)
	paid := ctx.Value(paidKey{}) != nil
	if !d.admit(up, paid) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: &RejectedError{By: "budget", Upstream: addr, After: time.Second}}
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	for n := 1; ; n++ {
		c, err := d.connect(ctx, network, host, port, up)
		if parent.Err() == nil {
			up.down.Store(err != nil)
		}
		if err == nil {
			return c, nil
		}
		if n >= d.Attempts || !isTransient(err) || !paid && d.Budget != nil && !d.Budget.Take() || sleep(ctx, d.Backoff.Wait(n)) != nil {
			return nil, err
		}
	}
}

// paidKey marks the context of a dial for a request of a Transport.
type paidKey struct{}

// admit asks the budget for a reconnect; any other dial earns.
func (d *Dialer) admit(up *upstream, paid bool) bool {
	switch {
	case d.Budget == nil || paid:
		return true
	case up.down.Load():
		return d.Budget.Take()
	}
	d.Budget.Earn()
	return true
}

// isTransient reports whether another attempt to connect may go better.
func isTransient(err error) bool {
	switch causeOf(err, false, Evidence{}) {
	case CauseRefused, CauseUnreachable, CauseTimeout:
		return true
	case CauseHandshake:
		dns, ok := errors.AsType[*net.DNSError](err)
		return !ok || !dns.IsNotFound
	}
	return false
}

// connect goes through the addresses once.
func (d *Dialer) connect(ctx context.Context, network, host string, port int, up *upstream) (net.Conn, error) {
	r := &race{d: d, network: network, port: port, up: up, results: make(chan dialed)}
	found, err := d.resolve(ctx, network, host)
	if err != nil {
		return nil, err
	}
	c, err := r.run(ctx, found)
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		d.tune(tcp, up)
	}
	return track(c, up), nil
}

// tune sets the timers of a new connection, best effort.
func (d *Dialer) tune(c *net.TCPConn, up *upstream) {
	idle, user := d.KeepAlive, d.UserTimeout
	if p := up.pathLimit(now()); p > 0 {
		idle, user = min(idle, p/2), min(user, p)
	}
	idle = max(idle, time.Second)
	interval := max(idle/3, time.Second)
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: idle, Interval: interval, Count: 4})
	if user > 0 {
		setUserTimeout(c, user)
	}
}

// answer is the result of one lookup.
type answer struct {
	six   bool
	addrs []netip.Addr
	err   error
}

// resolve looks both families up and returns a channel on which answers come;
// it has the buffer for all of them.
func (d *Dialer) resolve(ctx context.Context, network, host string) (chan answer, error) {
	out := make(chan answer, 2)
	if ip, err := netip.ParseAddr(host); err == nil {
		out <- answer{six: ip.Is6() && !ip.Is4In6(), addrs: []netip.Addr{ip.Unmap()}}
		close(out)
		return out, nil
	}
	if host == "" {
		out <- answer{addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}}
		close(out)
		return out, nil
	}
	families := []string{"ip6", "ip4"}
	switch network {
	case "tcp":
	case "tcp4":
		families = families[1:]
	case "tcp6":
		families = families[:1]
	default:
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	var wg sync.WaitGroup
	for _, f := range families {
		wg.Go(func() {
			addrs, err := d.Resolver.LookupNetIP(ctx, f, host)
			for i := range addrs {
				addrs[i] = addrs[i].Unmap()
			}
			out <- answer{six: f == "ip6", addrs: addrs, err: err}
		})
	}
	go func() { wg.Wait(); close(out) }()
	return out, nil
}

// dialed is the result of one attempt.
type dialed struct {
	addr netip.AddrPort
	conn net.Conn
	err  error
}

// race is one DialContext.
type race struct {
	d       *Dialer
	network string
	port    int
	up      *upstream
	results chan dialed
	waiting []netip.Addr
	running int
	last6   bool // the family of the address started last
	errs    []error
}

// run starts addresses as they come and as the delay allows, until one answers
// or all have failed. RFC 8305 3 and 5.
func (r *race) run(ctx context.Context, found <-chan answer) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() { cancel(); r.reap() }()
	next := time.NewTimer(time.Hour)
	next.Stop()
	defer next.Stop()
	first := true
	for {
		if found == nil && len(r.waiting) == 0 && r.running == 0 {
			return nil, r.failure()
		}
		select {
		case a, ok := <-found:
			if !ok {
				found = nil
				if first && len(r.waiting) > 0 {
					next.Reset(0)
				}
				continue
			}
			r.take(a)
			switch {
			case !first || len(r.waiting) == 0:
				if r.running == 0 && len(r.waiting) > 0 {
					next.Reset(0)
				}
			case a.six || len(a.addrs) == 0:
				next.Reset(0)
			default:
				next.Reset(r.d.ResolutionDelay)
			}
		case <-next.C:
			first = false
			if r.start(ctx) {
				next.Reset(r.d.AttemptDelay)
			}
		case res := <-r.results:
			r.running--
			if res.err == nil {
				r.d.memory.get(res.addr.String()).succeeded()
				return res.conn, nil
			}
			r.lost(ctx, res)
			if len(r.waiting) > 0 {
				next.Reset(0)
			}
		case <-ctx.Done():
			r.errs = append(r.errs, ctx.Err())
			return nil, r.failure()
		}
	}
}

// take adds an answer and orders what waits: by family in turn, IPv6 first
// (RFC 8305 4), what failed lately last.
func (r *race) take(a answer) {
	if a.err != nil {
		r.errs = append(r.errs, a.err)
	}
	var six, four []netip.Addr
	for _, ip := range append(r.waiting, a.addrs...) {
		if ip.Is6() {
			six = append(six, ip)
		} else {
			four = append(four, ip)
		}
	}
	if r.running > 0 && r.last6 {
		six, four = four, six
	}
	r.waiting = r.waiting[:0]
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			r.waiting = append(r.waiting, six[i])
		}
		if i < len(four) {
			r.waiting = append(r.waiting, four[i])
		}
	}
	slices.SortStableFunc(r.waiting, func(x, y netip.Addr) int {
		return cmp.Compare(r.blamed(x), r.blamed(y))
	})
}

func (r *race) addrPort(ip netip.Addr) netip.AddrPort { return netip.AddrPortFrom(ip, uint16(r.port)) }

func (r *race) blamed(ip netip.Addr) int64 { return r.d.memory.get(r.addrPort(ip).String()).blamed() }

// start dials the next address; it reports whether there was one.
func (r *race) start(ctx context.Context) bool {
	if len(r.waiting) == 0 {
		return false
	}
	ip := r.waiting[0]
	r.waiting = r.waiting[1:]
	r.running++
	r.last6 = ip.Is6()
	addr := r.addrPort(ip)
	go func() {
		c, err := r.d.dialOne(ctx, r.network, addr.String())
		r.results <- dialed{addr: addr, conn: c, err: err}
	}()
	return true
}

// lost notes a failed address; a cancelled one did not fail.
func (r *race) lost(ctx context.Context, res dialed) {
	if ctx.Err() == nil {
		r.d.memory.get(res.addr.String()).failed()
	}
	r.errs = append(r.errs, res.err)
}

// reap waits, aside, for the attempts that were cancelled and closes what they
// still bring.
func (r *race) reap() {
	n := r.running
	go func() {
		for range n {
			if res := <-r.results; res.conn != nil {
				res.conn.Close()
			}
		}
	}()
}

func (r *race) failure() error {
	switch len(r.errs) {
	case 0:
		return &net.OpError{Op: "dial", Net: r.network, Err: errors.New("no address found")}
	case 1:
		return r.errs[0]
	}
	return &net.OpError{Op: "dial", Net: r.network, Err: fmt.Errorf("port %s: %w", strconv.Itoa(r.port), errors.Join(r.errs...))}
}

func (d *Dialer) dialOne(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.Connect != nil {
		return d.Connect(ctx, network, addr)
	}
	nd := net.Dialer{KeepAlive: -1}
	nd.SetMultipathTCP(d.Multipath)
	return nd.DialContext(ctx, network, addr)
}
