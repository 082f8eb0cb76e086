package steady

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Budget bounds what retries, hedges and reconnects may add together: a share
// of the requests, plus a small minimum. Share one Budget between all that talk
// to the same servers. The zero value is ready.
type Budget struct {
	// Ratio is how many extra attempts each request earns. Default 0.2.
	Ratio float64
	// Min is how many extra attempts are there before any was earned; spent
	// ones come back at one for each second. Default 3.
	Min int

	once    sync.Once
	balance atomic.Int64 // in thousandths of an attempt
	trickle atomic.Int64 // when the last one came back
	refused atomic.Uint64
}

// budgetStore is how many earned attempts are kept for later.
const budgetStore = 10

func (b *Budget) init() {
	b.once.Do(func() {
		if b.Ratio == 0 {
			b.Ratio = 0.2
		}
		if b.Min == 0 {
			b.Min = 3
		}
		b.balance.Store(int64(b.Min) * 1000)
		b.trickle.Store(now())
	})
}

// Earn notes a request, a first attempt.
func (b *Budget) Earn() {
	b.init()
	if limit := int64(b.Min+budgetStore) * 1000; b.balance.Load() < limit {
		b.balance.Add(int64(b.Ratio * 1000))
	}
}

// Take spends one extra attempt, or reports false.
func (b *Budget) Take() bool {
	b.init()
	for {
		v := b.balance.Load()
		if v < 1000 {
			break
		}
		if b.balance.CompareAndSwap(v, v-1000) {
			return true
		}
	}
	last := b.trickle.Load()
	if now()-last >= int64(time.Second) && b.trickle.CompareAndSwap(last, now()) {
		return true
	}
	b.refused.Add(1)
	return false
}

// Refused returns how many extra attempts were not granted.
func (b *Budget) Refused() uint64 { return b.refused.Load() }

// Backoff is full jitter: a random wait of at most Base doubled with each
// attempt, and at most Cap. The zero value is 25 ms and 1 s.
type Backoff struct {
	Base, Cap time.Duration
}

// Wait returns how long to wait before attempt n, the first retry being 1.
func (b Backoff) Wait(n int) time.Duration {
	base, most := b.Base, b.Cap
	if base <= 0 {
		base = 25 * time.Millisecond
	}
	if most <= 0 {
		most = time.Second
	}
	d := base
	for ; n > 1 && d < most; n-- {
		d *= 2
	}
	return rand.N(min(d, most) + 1)
}
