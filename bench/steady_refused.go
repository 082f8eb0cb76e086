package main

import (
	_ "embed"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/steady"
)

//go:embed peers/ledger-haproxy-h2.cfg
var haproxyH2Config string

// steadyRefused lets clients send POSTs over HTTP/2 to HAProxy, whose server executes
// them and closes some connections without an answer. HAProxy says then that the stream
// was refused, which stands for not processed.
func (b *bench) steadyRefused(dir string) (string, error) {
	r := &realServer{name: "HAProxy, HTTP/2", program: "haproxy", script: haproxyH2Config, args: func(_ *realServer, p serverPlace) []string {
		return []string{"-db", "-f", p.file}
	}}
	if _, err := exec.LookPath(r.program); err != nil {
		return "not measured: install haproxy\n", nil
	}
	p := serverPlace{dir: dir, ledger: filepath.Join(dir, "ledger-refused"), file: filepath.Join(dir, "haproxy-h2")}
	srv, url, err := b.startSteady("-fin", "0.05", "-ledger", p.ledger)
	if err != nil {
		return "", err
	}
	defer srv.stop()
	p.backend = strings.TrimPrefix(url, "http://")
	front, err := b.startReal(r, &p)
	if err != nil {
		return "", err
	}
	defer front.stop()
	clients := []*postClient{overHTTP2("net/http"), overHTTP2("steady")}
	clients = slices.DeleteFunc(clients, func(c *postClient) bool { return b.client != "" && c.name != b.client })
	tallies, names, err := b.takeTurns(clients, fmt.Sprintf("http://127.0.0.1:%d", p.port), p.ledger, b.posts, pacing{workers: postWorkers})
	if err != nil {
		return "", err
	}
	return table(tallyHead, tallyRows(r.name, names, tallies)), checkSteady(r.name, names, tallies)
}

// overHTTP2 is a client of that name that speaks HTTP/2 without TLS.
func overHTTP2(name string) *postClient {
	c, tr := newClient(name)
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	c.do = tr.RoundTrip
	if name == "steady" {
		s := &steady.Transport{Base: tr, Observer: observeTrail}
		c.do, c.close, c.stats = s.RoundTrip, s.CloseIdleConnections, s.Stats
	}
	return c
}
