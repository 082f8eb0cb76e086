package steady

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// outage is a host of two addresses that refuses while down is not zero, which
// counts attempts to connect.
type outage struct{ down, tried atomic.Int64 }

func (o *outage) connect(context.Context, string, string) (net.Conn, error) {
	o.tried.Add(1)
	if o.down.Load() > 0 {
		o.down.Add(-1)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	c, s := net.Pipe()
	s.Close()
	return c, nil
}

func (o *outage) dialer(b *Budget, attempts int) *Dialer {
	return &Dialer{
		Resolver: &names{four: []string{"192.0.2.1", "192.0.2.2"}}, Connect: o.connect, Budget: b, Attempts: attempts,
		Backoff: Backoff{Base: 1},
	}
}

func byBudget(err error) bool {
	r, ok := errors.AsType[*RejectedError](err)
	return ok && r.By == "budget"
}

// TestReconnectBudget: the budget bounds dials behind a failed one, by whole
// races, and no other; it lets one through each second.
func TestReconnectBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{}
		b := &Budget{}
		d := o.dialer(b, 0)
		for range 100 { // no reconnects: the last dial went well
			c, err := d.Dial("tcp", "db.test:5432")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if b.Refused() != 0 || b.balance.Load() < 10_000 {
			t.Errorf("refused %d, balance %d", b.Refused(), b.balance.Load())
		}
		b.balance.Store(3000)
		o.tried.Store(0)
		o.down.Store(1 << 30)
		refused := 0
		for i := range 50 {
			switch _, err := d.Dial("tcp", "db.test:5432"); {
			case err == nil:
				t.Fatal("connected")
			case byBudget(err):
				refused++
			case !errors.Is(err, syscall.ECONNREFUSED) || i > 3:
				t.Errorf("dial %d: %v", i, err)
			}
		}
		// The first, three from the budget: each goes to both addresses.
		if n := o.tried.Load(); n != 8 || refused != 46 {
			t.Errorf("%d attempts to connect, %d refused", n, refused)
		}
		time.Sleep(time.Second)
		o.down.Store(0)
		for range 50 { // the first finds it up, so the rest are no reconnects
			c, err := d.Dial("tcp", "db.test:5432")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if _, err := d.Dial("tcp", "other.test:5432"); err != nil {
			t.Error(err)
		}
	})
}

// TestDialAttempts: one dial goes through the addresses again, if the budget allows.
func TestDialAttempts(t *testing.T) {
	for _, c := range []struct {
		attempts, min, down int
		tried               int64
		ok                  bool
	}{{1, 3, 2, 2, false}, {2, 3, 2, 3, true}, {3, 3, 4, 5, true}, {3, 3, 6, 6, false}, {9, 3, 100, 8, false}} {
		synctest.Test(t, func(t *testing.T) {
			o := &outage{}
			o.down.Store(int64(c.down))
			conn, err := o.dialer(&Budget{Min: c.min}, c.attempts).Dial("tcp", "db.test:5432")
			if err == nil {
				conn.Close()
			}
			if (err == nil) != c.ok || o.tried.Load() != c.tried {
				t.Errorf("%+v: tried %d, %v", c, o.tried.Load(), err)
			}
		})
	}
	o := &outage{}
	d := o.dialer(nil, 5)
	d.Resolver = &names{}
	if _, err := d.Dial("tcp", "nowhere.test:1"); err == nil || o.tried.Load() != 0 {
		t.Error(err)
	}
}

// TestSharedBudget: a Transport pays for retries, and the dials for its requests
// are not paid for again.
func TestSharedBudget(t *testing.T) {
	o := &outage{}
	o.down.Store(1 << 30)
	b := &Budget{}
	d := o.dialer(b, 0)
	tr := &Transport{Base: &http.Transport{}, Dial: d.DialContext, Budget: b, NoBreaker: true, NoThrottle: true, Backoff: Backoff{Base: 1}}
	const requests = 100
	for range requests {
		req, _ := http.NewRequest(http.MethodPost, "http://db.test/", nil)
		if _, err := tr.RoundTrip(req); err == nil || byBudget(err) || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	st := tr.Stats()
	if most := uint64(requests/5 + 3 + 2); st.Retries == 0 || st.Retries > most || o.tried.Load() != int64(2*st.Attempts) {
		t.Errorf("%+v, %d attempts to connect", st, o.tried.Load())
	}
	if _, err := d.Dial("tcp", "db.test:80"); !byBudget(err) && b.Refused() == 0 {
		t.Error(err)
	}
}
