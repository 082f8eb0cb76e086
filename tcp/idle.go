package tcp

import "time"

// Tick tells the table that time has passed without a segment, for captures that
// go on: endings that have waited long enough are handed out.
func (t *Table) Tick(now int64) {
	if now > t.now {
		t.clock(now)
	}
}

// Sweep hands out the connections that have ended without a RST and in which
// nothing has happened for so long. A file needs no sweep: Flush tells them at its
// end. Of a connection that goes on after all nothing is taken back.
func (t *Table) Sweep(silence time.Duration) {
	for i := range t.used {
		c := t.at(i)
		if c.alive && c.Bits&(pending|Reported) == 0 && t.now-c.Last >= int64(silence) {
			t.finish(i, c)
		}
	}
}
