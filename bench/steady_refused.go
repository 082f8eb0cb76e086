package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/steady"
)

// steadyRefused lets clients send POSTs over HTTP/2 to HAProxy, whose server executes
// them and closes some connections without an answer. HAProxy says then that the stream
// was refused, which stands for not processed.
func (b *bench) steadyRefused(dir string) (string, error) {
	r := &realServer{name: "HAProxy, HTTP/2", program: "haproxy", files: "ledger-haproxy-h2.cfg", command: "-db -f FILE BACKEND"}
	if _, err := r.path(); err != nil {
		return "not measured: install haproxy\n", nil
	}
	if err := os.Mkdir(filepath.Join(dir, "refused"), 0o755); err != nil {
		return "", err
	}
	p := serverPlace{dir: filepath.Join(dir, "refused"), ledger: filepath.Join(dir, "refused", "ledger")}
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
