package fact

import "fmt"

// Merge adds to dst what src tells of the same connection and nobody had looked at for
// dst. What dst has stays, also an answer that there is none. The facts are from then on
// seen by as; with ByDefault each keeps the witness that it has in src. Addresses, time and identity of
// dst do not change. It returns how many facts came.
//
// Two sources of one host merge with ByDefault, what another host saw of the same
// connection with ByPeer, an experiment with ByProbe.
func Merge(dst, src *Case, as Witness) (n int) {
	list, _ := defs()
	for i := range list {
		d := &list[i]
		if d.Of(dst).State != NotLooked {
			continue
		}
		v := d.Of(src)
		if v.State == NotLooked {
			continue
		}
		if as != ByDefault {
			v.By = as
		}
		d.Set(dst, v)
		n++
	}
	return n
}

// Connection returns a key of the connection that is the same at both of its ends, also
// behind address translation: the two initial sequence numbers, in hexadecimal, the
// client's first. It is "" unless both are known. Devices that replace sequence
// numbers, and proxies, which end the connection, change it.
func (c *Case) Connection() string {
	client, one := c.Flow.ClientISN.Get()
	server, two := c.Flow.ServerISN.Get()
	if !one || !two {
		return ""
	}
	return fmt.Sprintf("%08x-%08x", uint32(client), uint32(server))
}
