//go:build !linux

package resettest

import (
	"errors"
	"net"
	"time"
)

// flushed gives the peer's kernel a moment: there is no portable way to ask how
// much of the send queue was acknowledged.
func flushed(*net.TCPConn) { time.Sleep(20 * time.Millisecond) }

// blackHole needs to know when the accept queue is full.
func blackHole(*net.TCPAddr) (*net.TCPAddr, func(), error) { return nil, nil, errors.ErrUnsupported }

// acknowledge gives the kernel the time for which it may delay an acknowledgement.
func acknowledge(*net.TCPConn) { time.Sleep(200 * time.Millisecond) }

func vanish(*net.TCPConn) error { return errors.ErrUnsupported }

func canVanish() bool { return false }
