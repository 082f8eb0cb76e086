package resettest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// The functions of this file are what a Server does at the stage of each fault. The
// table in fault.go says in words what they do; a test compares both.

func runClose(x *exchange) error {
	x.arrivedIf()
	_ = x.tcp.Close()
	return errEnd
}

func runAbort(x *exchange) error {
	x.arrivedIf()
	_ = abort(x.tcp)
	return errEnd
}

// arrivedIf notes that something is in the socket when that was waited for.
func (x *exchange) arrivedIf() {
	if x.fault.fault.stage == stageArrival {
		x.note(func(e *Entry) { e.Arrived = Some })
	}
}

func runIgnore(x *exchange) error {
	if err := x.arrival(); err != nil {
		return err
	}
	x.note(func(e *Entry) { e.Arrived = Some })
	return x.neglect()
}

// neglect keeps the connection without reading, and then aborts it.
func (x *exchange) neglect() error {
	x.pause(30 * time.Second)
	return runAbort(x)
}

func runUnread(x *exchange) error {
	if err := x.arrival(); err != nil {
		return err
	}
	_ = x.tcp.Close()
	return errEnd
}

// bodyPart is how much of the body a fault reads.
func (x *exchange) bodyPart() int64 {
	n := or(x.fault.At, max(x.req.ContentLength/2, 1))
	if x.req.ContentLength > 0 {
		n = min(n, x.req.ContentLength-1)
	}
	return n
}

func (x *exchange) readPart() error {
	if err := x.goAhead(); err != nil {
		return err
	}
	if n := x.bodyPart(); n > 0 {
		return x.readSome(n)
	}
	return nil
}

func runMidBody(x *exchange) error {
	if err := x.readPart(); err != nil {
		return err
	}
	return runAbort(x)
}

func runAfterContinue(x *exchange) error {
	if _, err := io.WriteString(x.rw, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
		return err
	}
	flushed(x.tcp)
	return runAbort(x)
}

func runStopReading(x *exchange) error {
	if err := x.readPart(); err != nil {
		return err
	}
	return x.neglect()
}

const tooLarge = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

func runEarly413(x *exchange) error {
	if err := x.answer([]byte(tooLarge)); err != nil {
		return err
	}
	if x.w != nil {
		x.w.left = 0
	}
	_ = finish(x.tcp, x.s.cfg.MaxBody)
	return errEnd
}

func runEarly413Reset(x *exchange) error {
	if err := x.arrival(); err != nil {
		return err
	}
	if err := x.answer([]byte(tooLarge)); err != nil {
		return err
	}
	_ = x.tcp.Close()
	return errEnd
}

func runAfterRead(x *exchange) error {
	if err := x.readBody(); err != nil {
		return err
	}
	return runAbort(x)
}

func runFinAfterRead(x *exchange) error {
	if err := x.readBody(); err != nil {
		return err
	}
	return x.fin()
}

// fin closes in good order, without an alert over TLS.
func (x *exchange) fin() error {
	_ = finish(x.tcp, x.s.cfg.MaxBody)
	return errEnd
}

func runStall(x *exchange) error {
	if err := x.readBody(); err != nil {
		return err
	}
	return x.parkReading()
}

// commit reads the request, executes it and returns the answer that is not sent.
func (x *exchange) commit() ([]byte, error) {
	if err := x.readBody(); err != nil {
		return nil, err
	}
	return x.message(x.execute(), false), nil
}

func runAfterCommit(x *exchange) error {
	if _, err := x.commit(); err != nil {
		return err
	}
	return runAbort(x)
}

func runFinAfterCommit(x *exchange) error {
	if _, err := x.commit(); err != nil {
		return err
	}
	return x.fin()
}

func runFinThenRST(x *exchange) error {
	if _, err := x.commit(); err != nil {
		return err
	}
	if err := x.tcp.CloseWrite(); err != nil {
		return err
	}
	if x.fault.After > 0 {
		x.pause(0)
	}
	return runAbort(x)
}

func runHalfClose(x *exchange) error {
	if err := x.readBody(); err != nil {
		return err
	}
	if err := x.tcp.CloseWrite(); err != nil {
		return err
	}
	flushed(x.tcp) // the FIN is with the client before the effect
	x.execute()
	discard(x.tcp, x.s.cfg.MaxBody)
	return errEnd
}

func runHalfCloseRST(x *exchange) error {
	if err := x.readBody(); err != nil {
		return err
	}
	if err := x.tcp.CloseWrite(); err != nil {
		return err
	}
	x.execute()
	return runAbort(x)
}

func runUrgentRST(x *exchange) error {
	if err := x.readBody(); err != nil {
		return err
	}
	if err := urgent(x.tcp); err != nil {
		return err
	}
	x.execute()
	return runAbort(x)
}

func runSlowRST(x *exchange) error {
	if _, err := x.commit(); err != nil {
		return err
	}
	x.pause(50 * time.Millisecond)
	return runAbort(x)
}

func runStallAfterCommit(x *exchange) error {
	if _, err := x.commit(); err != nil {
		return err
	}
	return x.parkReading()
}

// sendPart executes the request and sends the beginning of the answer.
func (x *exchange) sendPart(each func([]byte) error) error {
	msg, err := x.commit()
	if err != nil {
		return err
	}
	n := min(or(x.fault.At, int64(len(msg)/2)), int64(len(msg)-1))
	if err := each(msg[:n]); err != nil {
		return err
	}
	flushed(x.tcp)
	return nil
}

func runMidResponse(x *exchange) error {
	if err := x.sendPart(x.send); err != nil {
		return err
	}
	if x.fault.After > 0 {
		x.pause(0)
	}
	return runAbort(x)
}

func runFinMidResponse(x *exchange) error {
	if err := x.sendPart(x.send); err != nil {
		return err
	}
	return x.fin()
}

func runTrickle(x *exchange) error {
	err := x.sendPart(func(p []byte) error {
		for i := range p {
			if err := x.send(p[i : i+1]); err != nil {
				return err
			}
			x.pause(time.Millisecond)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return runAbort(x)
}

func runFinMidChunk(x *exchange) error {
	if err := x.readBody(); err != nil {
		return err
	}
	body := x.execute()
	msg := fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(body)+1, body)
	if err := x.send([]byte(msg)); err != nil {
		return err
	}
	return x.fin()
}

func runAfterResponse(x *exchange) error {
	msg, err := x.commit()
	if err != nil {
		return err
	}
	if err := x.answer(msg); err != nil {
		return err
	}
	flushed(x.tcp)
	return runAbort(x)
}

// idle waits for the time of the fault and then opens the entry. It returns false
// when a request came first, and an error when the client left.
func (x *exchange) idle() (bool, error) {
	if x.fault.After > 0 {
		if err := x.tcp.SetReadDeadline(time.Now().Add(x.fault.After)); err != nil {
			return false, err
		}
		err := x.arrival()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			_ = x.tcp.SetReadDeadline(time.Time{})
			return false, err
		}
	}
	flushed(x.tcp)
	x.openUnread()
	return true, nil
}

func runIdleFin(x *exchange) error {
	if idle, err := x.idle(); !idle {
		return err
	}
	return runClose(x)
}

func runIdleRST(x *exchange) error {
	if idle, err := x.idle(); !idle {
		return err
	}
	return runAbort(x)
}

func runIdleRace(x *exchange) error {
	if err := x.arrival(); err != nil {
		return err
	}
	x.openUnread()
	x.note(func(e *Entry) { e.Arrived = Some })
	_ = x.tcp.Close()
	return errEnd
}
