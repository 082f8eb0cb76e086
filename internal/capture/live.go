package capture

// LiveOptions are for OpenLive; the zero value is good.
type LiveOptions struct {
	SnapLen     int  // bytes kept of each frame; 0 stands for 65535
	RingBytes   int  // memory of the ring that the kernel fills; 0 stands for 16 MiB
	Promiscuous bool // also take frames for other stations; needs an interface
}

// The values that LiveOptions has by default, and its limits.
const (
	liveSnapLen   = 65535
	liveRingBytes = 16 << 20
	liveBlock     = 1 << 20 // the ring is made of blocks, and the kernel hands over one at a time
	liveMaxRing   = 1 << 30
)
