package tcp

import "time"

// Tick tells the table that time has passed without a segment, for captures that
// go on: endings that have waited long enough are handed out. The time of the
// next segment may be an earlier one all the same.
func (t *Table) Tick(now int64) {
	if was := t.now; now > was {
		t.clock(now)
		t.now = was
	}
}

// Sweep hands out the connections that have ended without a RST and in which
// nothing has happened for so long. A file needs no sweep: Flush tells them at its
// end. Of a connection that goes on after all nothing is taken back.
func (t *Table) Sweep(now int64, silence time.Duration) {
	was := t.now
	t.now = max(now, was)
	for i := range t.used {
		c := t.at(i)
		if c.alive && c.Bits&(pending|Reported) == 0 && t.now-c.Last >= int64(silence) {
			t.finish(i, c)
		}
	}
	t.now = was
}
