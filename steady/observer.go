package steady

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Event is one thing that a Transport, Dialer or adapter did about a failure.
// A request that simply succeeds makes none.
type Event struct {
	Kind     EventKind
	Upstream string // the authority: "host" or "host:port"
	Scheme   string // "http" or "https"; empty when unknown
	Protocol string // of the failed attempt: "1.1" or "2"; empty when there was no connection
	Method   string
	Attempt  int     // counted from 1
	Verdict  Verdict // of the failed attempt
	Cause    Cause
	Err      error         // nil when a status was retried
	Delay    time.Duration // before the next attempt
	Reason   string        // why there is no other attempt
}

// EventKind names an Event.
type EventKind string

// Kinds of events.
const (
	EventStale    EventKind = "stale"    // a pooled connection was left before anything was sent
	EventRetry    EventKind = "retry"    // an attempt failed and another follows
	EventGiveUp   EventKind = "give-up"  // an attempt failed and none follows
	EventRejected EventKind = "rejected" // breaker or throttle kept the request back
	EventHedge    EventKind = "hedge"    // a second copy of a slow request was sent
	EventCut      EventKind = "cut"      // the body of an answer broke off
	EventFallback EventKind = "fallback" // another protocol of a ladder is tried
)

// Observer receives events, at the moment they happen, on the goroutine of the
// request: it must be quick and safe for concurrent use.
type Observer func(context.Context, Event)

// LogTo returns an Observer that writes events to l: retries and hedges as debug, the rest
// as warnings.
func LogTo(l *slog.Logger) Observer {
	return func(ctx context.Context, e Event) {
		level := slog.LevelWarn
		if e.Kind == EventStale || e.Kind == EventRetry || e.Kind == EventHedge {
			level = slog.LevelDebug
		}
		if !l.Enabled(ctx, level) {
			return
		}
		attrs := []slog.Attr{
			slog.String("kind", string(e.Kind)), slog.String("upstream", e.Upstream), slog.String("method", e.Method),
			slog.Int("attempt", e.Attempt), slog.String("verdict", e.Verdict.String()), slog.String("cause", string(e.Cause)),
		}
		if e.Delay > 0 {
			attrs = append(attrs, slog.Duration("delay", e.Delay))
		}
		if e.Reason != "" {
			attrs = append(attrs, slog.String("reason", e.Reason))
		}
		if e.Err != nil {
			attrs = append(attrs, slog.String("error", e.Err.Error()))
		}
		text := "connection failed"
		if e.Kind == EventHedge {
			text = "request is slow"
		}
		l.LogAttrs(ctx, level, text, attrs...)
	}
}

// Observers returns an Observer that passes each event to all of list.
func Observers(list ...Observer) Observer {
	return func(ctx context.Context, e Event) {
		for _, o := range list {
			if o != nil {
				o(ctx, e)
			}
		}
	}
}

// Stats are counts since the start.
type Stats struct {
	Requests uint64    // RoundTrip calls that have returned
	Attempts uint64    // attempts that may have reached a server: those kept back by staleness, breaker or throttle are not counted
	Retries  uint64    // attempts after the first, among Attempts
	Stale    uint64    // connections left before anything was sent
	Rejected uint64    // requests kept back by breaker or throttle
	Failures uint64    // requests that returned an error
	Hedges   uint64    // second copies of slow requests, among Attempts
	Wins     uint64    // hedges whose answer came first
	Cut      uint64    // answers whose body broke off, not among Failures
	Verdicts [5]uint64 // failed attempts, by Verdict
	// ByEvidence counts connections on which the kernel's counters were seen to move
	// with what was written, so that their failures can be judged by evidence.
	// ByMethod counts those on which they were not (not Linux, gVisor, sockmap,
	// Multipath TCP, a connection that failed at its first request): beyond what
	// was never handed to the kernel, the rules of the method decide there.
	ByEvidence, ByMethod uint64
}

type counters struct {
	clean                                                                     atomic.Uint64 // requests that were answered at the first attempt; not among the others
	requests, attempts, retries, stale, rejected, failures, hedges, wins, cut atomic.Uint64
	verdicts                                                                  [5]atomic.Uint64
	byEvidence, byMethod                                                      atomic.Uint64
}

func (c *counters) stats() Stats {
	s := Stats{
		Requests: c.clean.Load() + c.requests.Load(), Attempts: c.clean.Load() + c.attempts.Load(), Retries: c.retries.Load(),
		Stale: c.stale.Load(), Rejected: c.rejected.Load(), Failures: c.failures.Load(), Cut: c.cut.Load(),
		Hedges: c.hedges.Load(), Wins: c.wins.Load(),
		ByEvidence: c.byEvidence.Load(), ByMethod: c.byMethod.Load(),
	}
	for i := range c.verdicts {
		s.Verdicts[i] = c.verdicts[i].Load()
	}
	return s
}
