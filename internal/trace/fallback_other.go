//go:build !linux

package trace

// PacketSource is the packet source, which exists on Linux only.
type PacketSource struct{ Source }

// OpenPacket returns an error that says so.
func OpenPacket(Config) (*PacketSource, error) {
	return nil, &AccessError{Op: "watch packets", Err: ErrUnsupported, Hint: "run holdfast watch on a Linux host, or explain a capture here"}
}

// Refuse does nothing.
func (*PacketSource) Refuse(error) {}

// CountersSource is the source without privilege, which exists on Linux only.
type CountersSource struct{ Source }

// OpenCounters returns an error that says so.
func OpenCounters(Config) (*CountersSource, error) {
	return nil, &AccessError{Op: "list sockets", Err: ErrUnsupported, Hint: "run holdfast watch on a Linux host, or explain a capture here"}
}

// Refuse does nothing.
func (*CountersSource) Refuse(error) {}
