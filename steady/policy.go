package steady

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Attempt is what Transport.Decide is asked about: an attempt that failed, or an
// answer 429 or of 500 and more.
type Attempt struct {
	Request  *http.Request
	N        int            // counted from 1
	Response *http.Response // nil when it failed; its body must not be read
	Err      error          // nil when it was answered
	Verdict  Verdict        // of the failed attempt
	Cause    Cause
	Again    bool // what the Transport would do, budget and deadline left aside
}

// Decision is what Transport.Decide answers.
type Decision uint8

// Decisions.
const (
	AsUsual Decision = iota
	// GiveUp ends the request with this attempt.
	GiveUp
	// RiskTwice sends the request again although it may be executed twice by that. All
	// other bounds hold: attempts, body, deadline, budget.
	RiskTwice
)

type optionsKey struct{}

// options are those of one request.
type options struct {
	told       bool // idempotent is set
	idempotent bool
	attempts   int // 0: Transport.Attempts
}

func optionsOf(ctx context.Context) options {
	o, _ := ctx.Value(optionsKey{}).(options)
	return o
}

// WithIdempotent says of the requests with this context whether they may be executed
// twice, whatever their method and headers.
func WithIdempotent(ctx context.Context, may bool) context.Context {
	o := optionsOf(ctx)
	o.told, o.idempotent = true, may
	return context.WithValue(ctx, optionsKey{}, o)
}

// WithAttempts sets the most attempts that each request with this context gets,
// instead of Transport.Attempts; 1 for none but the first.
func WithAttempts(ctx context.Context, n int) context.Context {
	o := optionsOf(ctx)
	o.attempts = n
	return context.WithValue(ctx, optionsKey{}, o)
}

func (r *run) attempts() int {
	if r.opts.attempts > 0 {
		return r.opts.attempts
	}
	return r.t.Attempts
}

// repeatable reports whether executing the request twice is allowed.
func (r *run) repeatable() bool {
	if r.opts.told {
		return r.opts.idempotent
	}
	if isIdempotent(r.req.Method) {
		return true
	}
	for _, k := range r.t.KeyHeaders {
		if r.req.Header.Get(k) != "" {
			return true
		}
	}
	return false
}

// throttle returns that of the request's group; nil while the group had no failure
// and make is false.
func (r *run) throttle(make bool) *Throttle {
	if r.t.NoThrottle || !make && !r.t.troubled.Load() {
		return nil
	}
	var name string
	if r.t.Group != nil {
		name = r.t.Group(r.req)
	} else {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.req.URL.Path, "/"), "/")
		name = r.req.URL.Host + "/" + first
	}
	if !make {
		return r.t.groups.find(name)
	}
	r.t.troubled.Store(true)
	return r.t.groups.get(name)
}

// admit asks breaker and throttle, once for each attempt.
func (r *run) admit() error {
	if r.stale > 0 {
		return nil
	}
	var rej *RejectedError
	if cause, after, ok := r.host.breaker.Allow(); !ok {
		rej = &RejectedError{By: "breaker", Upstream: r.req.URL.Host, Cause: cause, After: after}
	} else if th := r.throttle(false); th != nil && !th.Allow() {
		rej = &RejectedError{By: "throttle", Upstream: r.req.URL.Host}
	} else {
		return nil
	}
	rej.sent = r.n > 1
	r.t.count.rejected.Add(1)
	if hasBody(r.req) && r.n == 1 && !r.bodies.kept() {
		r.req.Body.Close()
	}
	r.tell(Event{Kind: EventRejected, Verdict: NotSent, Cause: rej.Cause, Err: rej})
	return rej
}

// answered decides on a response; again means that another attempt follows.
func (r *run) answered(resp *http.Response) (again bool, err error) {
	r.proto = protocol(resp.ProtoMajor == 2)
	r.host.breaker.Succeeded()
	code := resp.StatusCode
	ok := code != http.StatusServiceUnavailable && code != http.StatusTooManyRequests
	if r.clean = ok && r.n == 1; !r.clean {
		r.t.count.attempts.Add(1)
	}
	if r.n > 1 {
		r.t.count.retries.Add(1)
	}
	if code != http.StatusServiceUnavailable {
		if th := r.throttle(false); th != nil {
			th.accepted(r.at)
		}
	} else if th := r.throttle(true); th != nil {
		th.Failed()
	}
	if code < 500 && ok {
		return false, nil
	}
	wait, again := r.againAfter(resp)
	if !again {
		return false, nil
	}
	r.clean = false
	io.CopyN(io.Discard, resp.Body, 4<<10)
	resp.Body.Close()
	r.tell(Event{Kind: EventRetry, Cause: CauseUnavailable, Delay: wait})
	r.n, r.stale = r.n+1, 0
	return true, sleep(r.req.Context(), wait)
}

// againAfter decides on an answer 429 or of 500 and more.
func (r *run) againAfter(resp *http.Response) (wait time.Duration, again bool) {
	wait, told := time.Duration(0), false
	if c := resp.StatusCode; c == http.StatusServiceUnavailable || c == http.StatusTooManyRequests {
		wait, told = retryAfter(resp.Header, time.Now())
		told = told && wait <= r.t.MaxRetryAfter
	}
	listed := slices.Contains(r.t.RetryStatus, resp.StatusCode)
	if listed && !told {
		wait = 0
	}
	again = (told || listed) && r.repeatable()
	if r.t.Decide != nil {
		switch r.t.Decide(Attempt{Request: r.req, N: r.n, Response: resp, Cause: CauseUnavailable, Again: again}) {
		case GiveUp:
			again = false
		case RiskTwice:
			again = true
		}
	}
	if !again || r.n >= r.attempts() || !r.bodies.replayable() || !r.timeFor(wait) || !r.t.Budget.Take() {
		return 0, false
	}
	r.risky = r.risky || resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusTooManyRequests
	if r.clean { // a status that is listed
		r.t.count.attempts.Add(1)
	}
	return wait + r.t.Backoff.Wait(r.n), true
}

// failed decides on a failed attempt.
func (r *run) failed(f *failure) (again bool) {
	r.proto, r.last = f.proto, f.err
	if f.stale && r.stale < staleLimit && r.bodies.replayable() {
		r.t.count.stale.Add(1)
		if r.stale++; r.stale == staleLimit/2 {
			r.t.closeIdle()
		}
		r.tell(Event{Kind: EventStale, Verdict: f.verdict, Cause: f.cause, Err: f.err})
		return r.req.Context().Err() == nil
	}
	r.t.count.attempts.Add(1)
	if r.n > 1 {
		r.t.count.retries.Add(1)
	}
	r.t.count.verdicts[f.verdict].Add(1)
	if f.cause != CauseLocal && f.cause != CauseOther && f.cause != CauseIdleClose {
		if th := r.throttle(true); th != nil {
			th.Failed()
		}
	}
	r.host.breaker.Failed(f.cause)
	delay, reason := r.decide(f)
	if reason != "" {
		r.tell(Event{Kind: EventGiveUp, Verdict: f.verdict, Cause: f.cause, Err: f.err, Reason: reason})
		return false
	}
	r.risky = r.risky || !f.verdict.SafeToRetry()
	r.tell(Event{Kind: EventRetry, Verdict: f.verdict, Cause: f.cause, Err: f.err, Delay: delay})
	r.n, r.stale = r.n+1, 0
	return sleep(r.req.Context(), delay) == nil
}

// final is the error of the request: that of its last attempt, whose verdict must not
// hide that an earlier one may have been executed.
func (r *run) final(f *failure) error {
	re, ok := f.err.(*ResetError) //nolint:errorlint // made by failed, never wrapped
	if !ok || !r.risky || !re.Verdict.SafeToRetry() {
		return f.err
	}
	all := *re
	all.Verdict, all.Level, all.Evidence.Claim = Unknown, TrustKernel, Unknown
	all.Hint = "an earlier attempt may have been executed: " + hints[Unknown]
	return &all
}

// decide returns the wait before the next attempt, or why there is none.
func (r *run) decide(f *failure) (delay time.Duration, reason string) {
	if f.cause == CauseLocal || f.cause == CauseOther || r.req.Context().Err() != nil {
		return 0, "not a failure that another attempt mends"
	}
	safe := f.verdict.SafeToRetry()
	switch {
	case safe:
	case f.cause == CauseTimeout:
		reason = "no answer in time, the server may be at it"
	case !r.repeatable():
		reason = "it may have been executed, and " + r.req.Method + " has no key"
	}
	if r.t.Decide != nil {
		switch r.t.Decide(Attempt{Request: r.req, N: r.n, Err: f.err, Verdict: f.verdict, Cause: f.cause, Again: reason == ""}) {
		case GiveUp:
			reason = "Decide gave up"
		case RiskTwice:
			reason = ""
		}
	}
	switch {
	case reason != "":
		return 0, reason
	case r.n >= r.attempts():
		return 0, "attempts are used up"
	case !r.bodies.replayable():
		return 0, "the body cannot be read again: set GetBody, or raise MaxReplay"
	}
	// A dead pooled connection says nothing about the server's load, and there
	// are only as many as the pool held: the first step away from one is free.
	if safe && f.reused && !r.free {
		r.free = true
		return 0, ""
	}
	delay = r.t.Backoff.Wait(r.n)
	if !r.timeFor(delay) {
		return 0, "the deadline comes first"
	}
	if !r.t.Budget.Take() {
		return 0, "the retry budget is used up"
	}
	return delay, ""
}

// retryAfter reads Retry-After, RFC 9110 10.2.3: seconds or a date.
func retryAfter(h http.Header, at time.Time) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < 1<<20 {
		return time.Duration(n) * time.Second, true
	}
	if d, err := http.ParseTime(v); err == nil {
		return max(0, d.Sub(at)), true
	}
	return 0, false
}
