package chain

import (
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/internal/hostdoc"
	"github.com/holdfast-project/holdfast/internal/servers"
)

func timer(meaning, key string, s float64) servers.Timer {
	return servers.Timer{Meaning: meaning, Key: key, Seconds: s, Never: s < 0, Origin: servers.Default}
}

// host is nginx in front of node in front of PostgreSQL, with connections.
func host() *hostdoc.Host {
	nginx := &servers.Config{Product: "nginx", Fronts: []servers.Front{{Listen: []string{":80"}, Mode: "http", Timers: []servers.Timer{timer(servers.Close, "keepalive_timeout", 65)}}},
		Backs: []servers.Back{{Name: "shop", Peers: []string{"127.0.0.1:9000"}, Mode: "http", Reuses: true, Timers: []servers.Timer{timer(servers.Reuse, "keepalive_timeout", 60), timer(servers.Deadline, "proxy_read_timeout", 60)}}}}
	node := &servers.Config{Product: "node", Fronts: []servers.Front{{Mode: "http", Timers: []servers.Timer{timer(servers.Close, "server.keepAliveTimeout", 5)}}}}
	pg := &servers.Config{Product: "postgresql", Fronts: []servers.Front{{Listen: []string{"127.0.0.1:5432"}, Mode: "postgres", Timers: []servers.Timer{timer(servers.Close, "idle_session_timeout", -1)}}}}
	return &hostdoc.Host{
		Services: []hostdoc.Service{{ID: "nginx.service", Product: "nginx", Config: nginx}, {ID: "app.service", Product: "node", Config: node}, {ID: "postgresql.service", Product: "postgresql", Config: pg}},
		Namespaces: []hostdoc.Namespace{{ID: "host", Host: true, Sysctls: map[string]string{"net.netfilter.nf_conntrack_tcp_timeout_established": "600"},
			Live: &hostdoc.NamespaceLive{Conntrack: &hostdoc.Conntrack{Count: 9}},
			Listeners: []hostdoc.Listener{
				{Addr: "0.0.0.0", Port: 80, Service: "nginx.service", Live: &hostdoc.ListenerLive{}},
				{Addr: "127.0.0.1", Port: 9000, Service: "app.service", Live: &hostdoc.ListenerLive{ClosedFirst: 40}},
				{Addr: "127.0.0.1", Port: 5432, Service: "postgresql.service", Live: &hostdoc.ListenerLive{}},
			},
			Hops: []hostdoc.Hop{
				{From: "nginx.service", To: "127.0.0.1:9000", Service: "app.service", Live: &hostdoc.HopLive{Connections: 8, Idle: 8, LongestIdle: 3, ServerClosed: 40}},
				{From: "app.service", To: "127.0.0.1:5432", Service: "postgresql.service", Live: &hostdoc.HopLive{Connections: 2, Idle: 2, LongestIdle: 400}},
			}}},
	}
}

func find(t *testing.T, links []Link, from, to string) *Link {
	t.Helper()
	for i := range links {
		if links[i].From.Service == from && links[i].To.Service == to {
			return &links[i]
		}
	}
	t.Fatalf("no link from %q to %q in %+v", from, to, links)
	return nil
}

func TestOf(t *testing.T) {
	links := Of(host())
	if len(links) != 3 {
		t.Errorf("%d links, want 3: %+v", len(links), links)
	}
	race := find(t, links, "nginx.service", "app.service").Race()
	if race == nil || !race.Observed || len(race.Changes) < 1 || race.Changes[0].String() != "nginx.service: keepalive_timeout from 60 s to 4 s" {
		t.Errorf("nginx to node: %+v", race)
	}
	db := find(t, links, "app.service", "postgresql.service")
	if db.Race() != nil {
		t.Error("a server without a limit does not race")
	}
	if d := db.SilentDrop(); d == nil || d.Path.Seconds != 600 {
		t.Errorf("nobody speaks before the path forgets: %+v", d)
	}
	if c := find(t, links, "", "nginx.service"); c.Close().Seconds != 65 || c.From.Name() != "clients" {
		t.Errorf("clients to nginx: %+v", c)
	}
}

// TestWithoutConnections finds the same link from configurations alone.
func TestWithoutConnections(t *testing.T) {
	h := host()
	h.Namespaces[0].Hops = nil
	l := find(t, Of(h), "nginx.service", "app.service")
	if r := l.Race(); r == nil || !r.Observed {
		t.Errorf("%+v", r)
	}
	h.Namespaces = nil // an image
	for i := range h.Services {
		if h.Services[i].Product == "node" {
			h.Services[i].Config.Fronts[0].Listen = []string{":9000"}
		}
	}
	if l := find(t, Of(h), "nginx.service", "app.service"); l.Race() == nil || l.Live != nil {
		t.Errorf("of an image: %+v", l)
	}
}

// TestRaces: sender and receiver in seconds, below zero without a limit; whether
// they race, and what would end it.
func TestRaces(t *testing.T) {
	for _, c := range []struct {
		reuse, closes float64
		want          string // of the changes; empty: no race
	}{
		{60, 5, "from 60 s to 4 s"},
		{4, 5, ""},
		{4.5, 5, "from 4500 ms to 4 s"},
		{60, -1, ""},
		{-1, 2, "from 2 s to 75 s"},
		{-1, -1, ""},
		{60, 1, "from 60 s to 500 ms"},
		{60, 60, "from 60 s to 59 s"},
		{60, 0, ""}, // closes after each answer, and says so
	} {
		l := Link{Reuses: true, From: End{Service: "a", Timers: []servers.Timer{timer(servers.Reuse, "r", c.reuse)}}, To: End{Service: "b", Timers: []servers.Timer{timer(servers.Close, "c", c.closes)}}}
		got := ""
		if r := l.Race(); r != nil && len(r.Changes) > 0 {
			got = r.Changes[0].String()
		}
		if (c.want == "") != (got == "") || !strings.HasSuffix(got, c.want) {
			t.Errorf("%g before %g: %q, want %q", c.reuse, c.closes, got, c.want)
		}
	}
	slow := Link{Reuses: true, Live: &hostdoc.HopLive{RTT: 3000}, From: End{Timers: []servers.Timer{timer(servers.Reuse, "r", 60)}}, To: End{Timers: []servers.Timer{timer(servers.Close, "c", 63)}}}
	if slow.Race() == nil {
		t.Error("the margin is two round trips when those are long")
	}
}

func TestPictures(t *testing.T) {
	links := Of(host())
	text := find(t, links, "nginx.service", "app.service").Text()
	for _, want := range []string{"nginx.service ── RACE ── app.service 127.0.0.1:9000", "8 connections, 8 idle, the longest for 3 s", "40 closed by the server first", "nginx.service keeps", "┤ 60 s (default)", "┤ 5 s (default)", "change"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	svg := SVG(links)
	if strings.Count(svg, "<text") < 8 || !strings.Contains(svg, "<title>") || strings.Contains(svg, "<script") {
		t.Error(svg)
	}
}
