//go:build linux

package lab

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-project/holdfast/packet"
)

// seen is one TCP segment of a capture file.
type seen struct {
	iface string
	dir   packet.Direction
	seg   packet.Segment
}

// readSegments decodes a capture file.
func readSegments(t *testing.T, path string) (list []seen) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := packet.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b packet.Batch
	for {
		err := r.ReadBatch(&b)
		for i := range b.Records {
			rec := &b.Records[i]
			if rec.Captured != rec.Length {
				t.Errorf("%s: %d of %d bytes", path, rec.Captured, rec.Length)
			}
			frame := b.Frame(i)
			if g, ok := parseSegment(frame[14:]); ok {
				x := seen{iface: r.Interfaces()[rec.Interface].Name, dir: rec.Direction}
				x.seg.Seq, x.seg.Flags, x.seg.SrcPort, x.seg.Time = g.Seq, packet.Flags(g.Flags), g.Src.Port(), rec.Time
				list = append(list, x)
			}
		}
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func scenario(t *testing.T, id string) Scenario {
	t.Helper()
	all := All()
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("no scenario %s", id)
	}
	return all[i]
}

// TestRootRecording: each host's capture holds the decisive RST once for each
// interface it passed, with direction and time, and the truth beside it.
func TestRootRecording(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	n, err := NewNet(t.Context(), Options{Pcap: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	res, err := scenario(t, "close-unread").Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ReadRecording(filepath.Join(dir, "close-unread"))
	if err != nil {
		t.Fatal(err)
	}
	if rec.Sender != "server-app" || rec.Cause != "close-with-unread-data" || !slices.Equal(rec.Flows, res.Flows) || !rec.At.Equal(res.At) {
		t.Errorf("truth is %+v, the result %+v", rec, res)
	}
	if rec.SenderHost != "server" || rec.Role("server") != "server" || rec.Role("nobody") != "" {
		t.Errorf("sent by %q, whose role is %q", rec.SenderHost, rec.Role("server"))
	}
	resets := map[string][]packet.Direction{}
	for _, h := range rec.Hosts {
		if h.Lost+h.Refused > 0 {
			t.Errorf("%s lost %d and %d packets", h.Name, h.Lost, h.Refused)
		}
		list := readSegments(t, filepath.Join(dir, rec.Scenario, h.File))
		for _, x := range list {
			if x.seg.Flags&packet.RST != 0 {
				resets[h.Name+" "+x.iface] = append(resets[h.Name+" "+x.iface], x.dir)
				if x.seg.Time < res.At.UnixNano() {
					t.Errorf("%s: RST at %d, provoked at %d", h.Name, x.seg.Time, res.At.UnixNano())
				}
			}
		}
		if (h.Name == "client" || h.Name == "server") && (h.Role != h.Name || !slices.Equal(h.Flows, rec.Flows)) {
			t.Errorf("%+v", h)
		}
	}
	want := map[string]packet.Direction{
		"client eth0": packet.DirIn, "server eth0": packet.DirOut, "router to-server": packet.DirIn, "router to-client": packet.DirOut,
	}
	for where, dir := range want {
		if got := resets[where]; !slices.Equal(got, []packet.Direction{dir}) {
			t.Errorf("%s: RSTs %v, want one %v", where, got, dir)
		}
	}
	if len(resets) != len(want) {
		t.Errorf("RSTs at %v", resets)
	}
}

// TestRootRecordingReboot: a host that lost power has one capture, and lo is
// seen once although every packet passes there twice.
func TestRootRecordingReboot(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	n, err := NewNet(t.Context(), Options{Pcap: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := scenario(t, "peer-reboot").Run(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	list := readSegments(t, filepath.Join(dir, "peer-reboot", "server.pcapng"))
	if len(list) == 0 || list[0].seg.Flags != packet.SYN || list[len(list)-1].seg.Flags&packet.RST == 0 {
		t.Errorf("%d segments; the capture does not begin with the SYN and end with the RST", len(list))
	}
	reject := scenario(t, "nft-reject-output")
	if why := Missing(reject); why != "" {
		t.Skip(why)
	}
	if _, err := reject.Run(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	onLo := 0
	list = readSegments(t, filepath.Join(dir, "nft-reject-output", "client.pcapng"))
	for _, x := range list {
		if x.iface == "lo" {
			onLo++
		}
	}
	if onLo != 1 {
		t.Errorf("%d packets on lo, want the one RST of netfilter", onLo)
	}
}

// TestRootRecordingFails: a scenario that did not happen leaves no capture.
func TestRootRecordingFails(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	n, err := NewNet(t.Context(), Options{Pcap: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	rc := recipe{id: "nothing", truth: Truth{Sender: "none", Receiver: "client", Error: "ECONNRESET"}, play: func(*stage) {}}
	if _, err := rc.run(t.Context(), n, false); err == nil {
		t.Error("it was recorded as if it had happened")
	}
	if list, _ := os.ReadDir(dir); len(list) > 0 || n.deck != nil {
		t.Errorf("%v was left", list)
	}
}
