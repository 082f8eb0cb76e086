package steady

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// settle ends a request that failed: it gathers the evidence, waits about a
// round trip when only the confirmation of the FIN-first rule is missing and
// somebody believes it, stops further writes and really closes the connection. When
// another request has the connection by now there is no evidence, and nothing is
// done to it.
func (c *Conn) settle(ctx context.Context, number uint64, err error, trust Trust) Evidence {
	c.mu.Lock()
	if c.lockedOvertaken(number) {
		c.mu.Unlock()
		return Evidence{overtaken: true}
	}
	closing := c.phase == phaseClosing
	c.lockedStep(actFence)
	c.mu.Unlock()
	ev := c.evidence(err, trust)
	if trust > TrustKernel && finFirst(ev) && !ev.Refused && ev.Wrote > 0 {
		ev = c.awaitRST(ctx, ev, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lockedOvertaken(number) {
		return Evidence{overtaken: true}
	}
	c.flight.http, c.doomed = false, true
	if closing || c.phase == phaseClosing {
		c.lockedStep(actClose)
		c.Conn.Close()
	}
	c.lockedLearn(ev)
	return ev
}

// lockedLearn draws what a failed request says about the server's idle timer,
// or about a device on the path that forgot the connection.
func (c *Conn) lockedLearn(ev Evidence) {
	f := &c.flight
	switch {
	case c.up == nil || !f.reused || f.refused:
	case finFirst(ev): // a FIN behind an acknowledged request is an answer that was lost
		c.up.sawIdleClose(f.idle)
	case ev.After.Taken && ev.After.State == stateClose && lives(ev) && ev.After.BytesAcked <= ev.Before.BytesAcked:
		c.up.sawPathLoss(f.idle)
	}
}

// awaitRST polls until the peer refuses the request or acknowledges it.
func (c *Conn) awaitRST(ctx context.Context, ev Evidence, err error) Evidence {
	limit := min(confirmFloor+3*ev.After.RTT, confirmCap)
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for step := 50 * time.Microsecond; ; step = min(2*step, 5*time.Millisecond) {
		t := time.NewTimer(step)
		select {
		case <-t.C:
		case <-deadline.C:
			t.Stop()
			return c.evidence(err, ev.Trusted)
		case <-ctx.Done():
			t.Stop()
			return c.evidence(err, ev.Trusted)
		}
		ev = c.evidence(err, ev.Trusted)
		if ev.Refused || !finFirst(ev) {
			return ev
		}
	}
}

// evidence gathers what is known now of the request in flight.
func (c *Conn) evidence(err error, trust Trust) Evidence {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.flight
	c.lockedKeep(c.snapshot(true))
	ev := Evidence{
		Trusted: trust, stale: f.refused, loose: c.lockedLoose(), withheld: f.withheld, asked: f.asked, probed: f.probed, first: f.start == 0,
		Before: c.lockedBefore(), After: c.last, Read: c.nread.Load(), Tracked: true, Ended: c.ended, FIN: c.fin,
		Wrote: f.wrote, Idle: f.idle, Whole: !f.writeErr && f.writing == 0,
	}
	if f.heard > 0 && ev.Whole {
		ev.Wrote = f.heard
	}
	if f.writing > 0 && ev.Wrote == 0 {
		ev.Wrote = 1 // a write is under way, so something may have gone
	}
	return weigh(ev, err)
}

// writerPatience is how long to wait for a write that is over to be counted: the
// answer may be here before its goroutine ran again.
const writerPatience = 5 * time.Millisecond

// evidenceOf is evidence for a request that was answered; own says that no other
// request has the connection by now.
func (c *Conn) evidenceOf(number uint64, err error) (ev Evidence, own bool) {
	c.mu.Lock()
	c.lockedWait(writerPatience, func() bool { return c.number != number || c.flight.writing == 0 })
	c.mu.Unlock()
	ev = c.evidence(err, TrustKernel)
	c.mu.Lock()
	defer c.mu.Unlock()
	return ev, c.number == number
}

// weigh fills what follows from the rest: Refused.
func weigh(ev Evidence, err error) Evidence {
	ev.Refused = finFirst(ev) && ev.After.State == stateClose &&
		!errors.Is(err, syscall.ETIMEDOUT) && !errors.Is(err, syscall.ECONNABORTED)
	return ev
}

// Explain judges err, the failure of an operation on conn, and returns a
// *ResetError around it; nil when err is nil. It accepts any TCP connection and
// looks through tls.Conn and other wrappers that have a NetConn method. With a
// connection from Track or Dialer, marked when the request began, it can prove
// that a request was not sent. With another it knows only totals since the
// connection began. It believes this host's kernel alone: see Conn.Judge for more.
// Call it before Close.
func Explain(conn net.Conn, err error) error {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*ResetError](err); ok {
		return r
	}
	for conn != nil {
		switch c := conn.(type) {
		case *Conn:
			return newResetError(c.explain(err, TrustKernel), err)
		case *net.TCPConn:
			return newResetError(untracked(c, err), err)
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			conn = nil
		}
	}
	return newResetError(Evidence{}, err)
}

// Judge is Explain for a request on c, believing trust.
func (c *Conn) Judge(err error, trust Trust) *ResetError {
	if err == nil {
		return nil
	}
	return newResetError(c.explain(err, trust), err)
}

// explain is settle for a caller who owns the connection: it does not close,
// but it stops further writes of this request when it may be sent again.
func (c *Conn) explain(err error, trust Trust) Evidence {
	ev := c.evidence(err, trust)
	c.mu.Lock()
	open := c.phase.open()
	c.mu.Unlock()
	if trust > TrustKernel && open && finFirst(ev) && !ev.Refused && ev.Wrote > 0 {
		ev = c.awaitRST(context.Background(), ev, err)
	}
	if !judge(ev, err).verdict.SafeToRetry() {
		return ev
	}
	c.mu.Lock()
	c.lockedStep(actFence)
	c.mu.Unlock()
	return c.evidence(err, trust) // a write may have begun before the fence
}

func untracked(c *net.TCPConn, err error) Evidence {
	ev := Evidence{}
	raw, rerr := c.SyscallConn()
	if rerr != nil {
		return ev
	}
	var info kernelInfo
	read := func(fd uintptr) {
		if isPlainTCP(fd) {
			info.read(fd, &ev.After)
		}
	}
	if raw.Control(read) != nil {
		ev.After = Snapshot{}
	}
	return weigh(ev, err)
}

// Broken reports whether the connection is known to have ended: the peer's FIN
// or RST has come, or a read has met its end. It asks the kernel and does not block.
func (c *Conn) Broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || !c.phase.open() {
		return true
	}
	s := c.snapshot(false)
	return s.Taken && s.State != stateEstablished
}

// sortOut counts the connection once, as judged by evidence or by method, as soon as
// that is known. look says to look at the counters first.
func (c *Conn) sortOut(count *counters, look bool) {
	if c == nil || c.sorted.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if look {
		c.lockedVouch()
	}
	onTrial := c.base.Taken && c.tries < vouchTries && c.phase.open() && !c.doomed
	switch {
	case !c.vouched && onTrial || c.sorted.Swap(true):
	case c.vouched:
		count.byEvidence.Add(1)
	default:
		count.byMethod.Add(1)
	}
}
