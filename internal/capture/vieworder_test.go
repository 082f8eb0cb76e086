package capture

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-project/holdfast/packet"
)

// TestOrderOfPlaces gives places in any order, some with one direction only: the
// result must not depend on it.
func TestOrderOfPlaces(t *testing.T) {
	t.Parallel()
	const ack, syn, synack = packet.ACK, packet.SYN, packet.SYN | packet.ACK
	lists := [][]sighting{
		{{time: 10, flags: ack, ttl: 63, client: true}, {time: 11, flags: ack, ttl: 61}},
		{{time: 10, flags: ack, ttl: 63, client: true}},
		{{time: 1, flags: syn, ttl: 63, client: true}, {time: 4, flags: synack, ttl: 62}, {time: 10, flags: ack, ttl: 63, client: true}},
		{{time: 1, flags: syn, ttl: 64, client: true}, {time: 9, flags: synack, ttl: 60}},
		{{time: 11, flags: ack, ttl: 64}},
	}
	points := []*Point{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e"}}
	var want string
	chance := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		order := chance.Perm(len(lists))
		g := &group{}
		named := make([]*Point, len(points))
		for i, k := range order {
			named[i] = points[k]
			g.tracks = append(g.tracks, &track{place: place{point: i}, list: slices.Clone(lists[k])})
		}
		g.order(named)
		var got []string
		for _, x := range g.tracks {
			got = append(got, fmt.Sprintf("%s%d", named[x.point].Name, x.rank))
		}
		if s := strings.Join(got, " "); want == "" {
			want = s
		} else if s != want {
			t.Fatalf("given %v the order is %s, before it was %s", order, s, want)
		}
	}
}

// TestPermutedFiles names the same captures in another order: the same cases.
func TestPermutedFiles(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	opening := func(client, server byte) []line {
		return []line{
			{at: 0, client: true, flags: packet.SYN, seq: 100, ttl: client, id: 1},
			{at: 2 * time.Millisecond, flags: packet.SYN | packet.ACK, seq: 500, ack: 101, ttl: server, id: 9},
			{at: 3 * time.Millisecond, client: true, flags: packet.ACK, seq: 101, ack: 501, ttl: client, id: 2},
			{at: 4 * time.Millisecond, client: true, flags: packet.PSH | packet.ACK, seq: 101, ack: 501, data: "GET / HTTP/1.1\r\n\r\n", ttl: client, id: 3},
		}
	}
	rst := line{at: 6 * time.Millisecond, flags: packet.RST | packet.ACK, seq: 501, ack: 119, ttl: 62, id: 77}
	points := []*Point{
		taken(t, files, "client", 0, 5*time.Second, append(opening(64, 61), rst)),
		taken(t, files, "router", 40*time.Second, 45*time.Second, append(opening(63, 62), rst)),
		taken(t, files, "beside", 7*time.Second, 12*time.Second, opening(63, 62)),
		taken(t, files, "server", -9*time.Second, -4*time.Second, opening(61, 64)),
	}
	var want []string
	chance := rand.New(rand.NewPCG(3, 4))
	for range 24 {
		given := make([]*Point, len(points))
		for i, k := range chance.Perm(len(points)) {
			given[i] = points[k]
		}
		list, _, err := Compare(t.Context(), given, reopen(files))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list {
			f := c.Fact()
			got = append(got, fmt.Sprintf("%s %+v %+v %+v", c.Point.Name, f.Wire.NotSent, f.Wire.NotCame, f.Wire))
		}
		slices.Sort(got)
		if want == nil {
			want = got
		} else if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("another order of files, other cases:\n%s", d)
		}
	}
}

// TestManyPlaces bounds the places of one connection.
func TestManyPlaces(t *testing.T) {
	t.Parallel()
	g := &group{}
	s := packet.Segment{Flags: packet.SYN}
	for i := range 3 * maxPlaces {
		g.see(place{iface: uint16(i)}, &s, 1)
	}
	if len(g.tracks) != maxPlaces || !g.crowded {
		t.Errorf("%d places, crowded %v, want %d and true", len(g.tracks), g.crowded, maxPlaces)
	}
	if n := g.see(place{iface: 3}, &s, 1); n != 1 || len(g.tracks[3].list) != 2 {
		t.Errorf("a place that is known took %d, has %d", n, len(g.tracks[3].list))
	}
}

// TestUnknownLink counts frames that are not decoded.
func TestUnknownLink(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w, err := packet.NewWriter(&file, []packet.Interface{{Link: 147}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := w.Write(&packet.Record{Time: int64(i + 1), Length: 60}, make([]byte, 60), ""); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Read(t.Context(), "x", &file, Options{})
	if err != nil || p.Unknown != 5 || p.Packets != 5 || p.Segments != 0 {
		t.Errorf("%d of %d unknown, error %v", p.Unknown, p.Packets, err)
	}
}
