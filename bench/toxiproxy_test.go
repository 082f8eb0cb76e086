package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2/client"

	"github.com/holdfast-project/holdfast/steady/resettest"
)

// echo serves lines.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}

// say sends a line and returns what comes back, and how long it took.
func say(addr, line string) (string, time.Duration, error) {
	begin := time.Now()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return "", 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", 0, err
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(got), time.Since(begin), err
}

// TestToxiproxyClient drives lab proxy's API by toxiproxy's own Go client.
func TestToxiproxyClient(t *testing.T) {
	api := &resettest.API{}
	defer api.Close()
	srv := httptest.NewServer(api)
	defer srv.Close()
	client := toxiproxy.NewClient(srv.Listener.Addr().String())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	upstream := echo(t)
	p, err := client.CreateProxy("db", "127.0.0.1:0", upstream)
	must(err)
	if got, _, err := say(p.Listen, "hello"); got != "hello" || err != nil {
		t.Fatal(got, err)
	}
	tox, err := p.AddToxic("", "latency", "downstream", 1, toxiproxy.Attributes{"latency": 200, "jitter": 10})
	must(err)
	if tox.Name != "latency_downstream" || tox.Stream != "downstream" || tox.Toxicity != 1 {
		t.Errorf("%+v", tox)
	}
	if _, took, err := say(p.Listen, "slow"); took < 180*time.Millisecond || err != nil {
		t.Errorf("latency: %s, %v", took, err)
	}
	if tox, err = p.UpdateToxic("latency_downstream", 0, toxiproxy.Attributes{"latency": 100}); err != nil || tox.Toxicity != 0 {
		t.Errorf("%+v, %v", tox, err)
	}
	if _, took, err := say(p.Listen, "quick"); took > 150*time.Millisecond || err != nil {
		t.Errorf("toxicity 0: %s, %v", took, err)
	}
	must(p.RemoveToxic("latency_downstream"))
	_, err = client.AddToxic(&toxiproxy.ToxicOptions{ProxyName: "db", ToxicName: "cut", ToxicType: "reset_peer", Stream: "upstream", Toxicity: 1, Attributes: toxiproxy.Attributes{"timeout": 0}})
	must(err)
	if got, _, err := say(p.Listen, "lost"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("reset_peer: %q, %v", got, err)
	}
	if _, err := p.AddToxic("cut", "latency", "", 1, nil); err == nil {
		t.Error("two toxics of one name")
	}
	toxics, err := p.Toxics()
	must(err)
	if len(toxics) != 1 || toxics[0].Name != "cut" {
		t.Errorf("%+v", toxics)
	}
	must(client.ResetState())
	must(p.Disable())
	if _, _, err := say(p.Listen, "off"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("disabled: %v", err)
	}
	must(p.Enable())
	if got, _, err := say(p.Listen, "on"); got != "on" || err != nil {
		t.Error(got, err)
	}
	second := echo(t)
	p.Upstream = second
	must(p.Save())
	list, err := client.Populate([]toxiproxy.Proxy{{Name: "db", Listen: p.Listen, Upstream: upstream, Enabled: true}, {Name: "cache", Listen: "127.0.0.1:0", Upstream: upstream, Enabled: true}})
	must(err)
	all, err := client.Proxies()
	must(err)
	if len(list) != 2 || len(all) != 2 || all["db"].Upstream != upstream || all["db"].Listen != p.Listen {
		t.Errorf("%+v, %+v", list, all)
	}
	if _, err := client.AddToxic(&toxiproxy.ToxicOptions{ProxyName: "cache", ToxicName: "f", ToxicType: "rst-after-commit", Toxicity: 1, Attributes: toxiproxy.Attributes{"times": 1}}); err != nil {
		t.Error(err)
	}
	// The n-th message of a connection is a number, too, because clients know no other attributes.
	third, err := client.AddToxic(&toxiproxy.ToxicOptions{ProxyName: "cache", ToxicName: "third", ToxicType: "rst-after-commit", Toxicity: 1, Attributes: toxiproxy.Attributes{"redis": 3}})
	must(err)
	if third.Attributes["redis"] != 3.0 {
		t.Errorf("%+v", third)
	}
	must(p.Delete())
	if _, err := client.Proxy("db"); err == nil {
		t.Error("deleted and there")
	}
}
