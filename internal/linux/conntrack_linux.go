package linux

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/holdfast-project/holdfast/internal/netlink"
	"golang.org/x/sys/unix"
)

// ctnetlink messages (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctSubsystem = 1 << 8
	ctGet       = 1

	ctGetStatCPU = 4
)

// Conntrack reads the state of connection tracking in a namespace. It costs
// about 50 microseconds. ok is false when the kernel has none.
func (h *Host) Conntrack(ns Netns) (ct Conntrack, ok bool, err error) {
	ct.Max = -1
	err = h.Do(ns, func() error {
		max, err := h.Sysctl("net.netfilter.nf_conntrack_max")
		if err != nil {
			return err
		}
		if len(max) > 0 {
			ct.Max = max[0]
		}
		if count, err := h.Sysctl("net.netfilter.nf_conntrack_count"); err == nil && len(count) > 0 {
			ct.Count = count[0]
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return ct, false, nil
	}
	if err != nil {
		return ct, false, fmt.Errorf("read conntrack settings: %w", err)
	}
	if err := h.conntrackStats(ns, &ct); err != nil {
		return ct, false, fmt.Errorf("read conntrack counters: %w", err)
	}
	return ct, true, nil
}

// conntrackStats sums the counters: from ctnetlink, or from the file where
// that is not allowed.
func (h *Host) conntrackStats(ns Netns, ct *Conntrack) error {
	conn, err := h.Netlink(ns, unix.NETLINK_NETFILTER)
	if err == nil {
		defer conn.Close()
		sum := *ct
		err = conn.Dump(ctSubsystem|ctGetStatCPU, netlink.NetfilterHeader(0), func(b []byte) error {
			if len(b) >= 4 {
				sum.addCPU(b[4:])
			}
			return nil
		})
		if err == nil {
			*ct = sum
			return nil
		}
	}
	return h.inProcNet(ns, func(dir string) error {
		return read(dir+"/stat/nf_conntrack", 1<<20, func(b []byte) error {
			ct.parseStats(b)
			return nil
		})
	})
}

// addCPU adds the counters of one processor (enum ctattr_stats_cpu).
func (c *Conntrack) addCPU(b []byte) {
	for typ, v := range netlink.Attributes(b) {
		n := uint64(netlink.Uint32(v))
		switch typ {
		case ctStatFound:
			c.Found += n
		case ctStatInvalid:
			c.Invalid += n
		case ctStatInsert:
			c.Insert += n
		case ctStatInsFailed:
			c.InsertFailed += n
		case ctStatDrop:
			c.Drop += n
		case ctStatEarlyDrop:
			c.EarlyDrop += n
		case 12:
			c.Errors += n
		case 13:
			c.Restarts += n
		case 14:
			c.ClashResolve += n
		case 15:
			c.ChainTooLong += n
		}
	}
}

// ConntrackEntry looks a TCP connection up by the addresses of either
// direction. Either may be the original or the reply. It is false when
// conntrack does not know it. Costs about 20 microseconds.
func (h *Host) ConntrackEntry(ns Netns, t CTTuple) (e CTEntry, ok bool, err error) {
	conn, err := h.Netlink(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return e, false, err
	}
	defer conn.Close()
	family := byte(unix.AF_INET)
	if t.Src.Addr().Unmap().Is6() {
		family = unix.AF_INET6
	}
	for _, try := range []CTTuple{t, {t.Dst, t.Src}} {
		req := append(netlink.NetfilterHeader(family), try.tuple(1)...)
		err = conn.Request(ctSubsystem|ctGet, 0, req, func(_ uint16, b []byte) error {
			e, ok = parseCTEntry(b)
			return nil
		})
		if ok {
			return e, true, nil
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return e, false, fmt.Errorf("look up connection (needs CAP_NET_ADMIN): %w", err)
		}
	}
	return e, false, nil
}
