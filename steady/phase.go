package steady

// phase is where the request on a Conn stands. It changes in step alone, and
// what a connection may still do follows from it and nothing else.
type phase uint8

const (
	phaseIdle    phase = iota // no request: what is written belongs to none
	phaseArmed                // a request is announced, and nothing of it was written
	phaseProbing              // its first octet alone was written, to see whether the peer still takes it
	phaseSending              // its first write was let through
	phaseRefused              // its first write was refused: the connection has ended, or is about to
	phaseVetoed               // it may not be sent again here: its writes are refused
	phaseFenced               // it failed and was judged: nothing may be written any more
	phaseClosing              // Close was called while http.Transport waits for the judgement
	phaseWatched              // closed for its user, open to see when the peer ends it
	phaseClosed
	phases // how many there are
)

var phaseNames = [...]string{"idle", "armed", "probing", "sending", "refused", "vetoed", "fenced", "closing", "watched", "closed"}

// String returns the name of the phase.
func (p phase) String() string { return phaseNames[p] }

// act is what happens to a Conn.
type act uint8

const (
	actArm    act = iota // a request begins
	actVeto              // net/http means to send a failed request again here
	actProbe             // the first octet goes out alone
	actSend              // a write of the request may pass
	actRefuse            // the connection is left
	actAnswer            // the request was answered
	actFence             // the request failed, and was judged
	actClose             // the socket is closed
	actHold              // Close was called, and a judgement is to come
	actWatch             // closed for the user, kept to see when the peer ends it
	acts
)

var actNames = [...]string{"arm", "veto", "probe", "send", "refuse", "answer", "fence", "close", "hold", "watch"}

// String returns the name of the act.
func (a act) String() string { return actNames[a] }

// transitions is the state machine. What is not here is illegal and changes
// nothing. No way leads back from where nothing may be written to where
// something may: a request that was judged cannot reach the kernel later.
var transitions = [phases]map[act]phase{
	phaseIdle:    {actArm: phaseArmed, actVeto: phaseVetoed, actFence: phaseFenced, actClose: phaseClosed},
	phaseArmed:   {actArm: phaseArmed, actVeto: phaseVetoed, actProbe: phaseProbing, actSend: phaseSending, actRefuse: phaseRefused, actAnswer: phaseIdle, actFence: phaseFenced, actClose: phaseClosed, actHold: phaseClosing},
	phaseProbing: {actSend: phaseSending, actRefuse: phaseRefused, actFence: phaseFenced, actClose: phaseClosed, actHold: phaseClosing},
	phaseSending: {actArm: phaseArmed, actVeto: phaseVetoed, actAnswer: phaseIdle, actFence: phaseFenced, actClose: phaseClosed, actHold: phaseClosing},
	phaseRefused: {actFence: phaseFenced, actClose: phaseClosed, actHold: phaseClosing, actWatch: phaseWatched},
	phaseVetoed:  {actFence: phaseFenced, actClose: phaseClosed, actHold: phaseClosing},
	phaseFenced:  {actClose: phaseClosed, actWatch: phaseWatched},
	phaseClosing: {actClose: phaseClosed},
	phaseWatched: {actClose: phaseClosed},
	phaseClosed:  {},
}

// step is the only place where a phase changes. It reports whether a is legal
// in p.
func (p phase) step(a act) (phase, bool) {
	next, ok := transitions[p][a]
	if !ok {
		return p, false
	}
	return next, true
}

// open reports whether the user's Close is still to come.
func (p phase) open() bool { return p < phaseClosing }

// busy reports whether a request is on the connection that was neither answered
// nor judged.
func (p phase) busy() bool { return p > phaseIdle && p < phaseFenced || p == phaseClosing }

// lockedStep takes a on the connection, and reports whether it was legal. From
// phaseProbing only phaseSending leads on to the rest of the request.
func (c *Conn) lockedStep(a act) bool {
	next, ok := c.phase.step(a)
	if c.phase == phaseProbing && ok && next != phaseSending {
		c.flight.withheld = true
	}
	c.phase = next
	return ok
}
