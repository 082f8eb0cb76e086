package resettest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// call sends a request to an API and decodes the answer.
func call(t *testing.T, method, url, body string, header http.Header, v any) int {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if v != nil {
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatalf("%s %s: %v in %s", method, url, err, b)
		}
	}
	return r.StatusCode
}

// TestAPI goes through the life of a proxy by HTTP.
func TestAPI(t *testing.T) {
	var executed atomic.Int64
	upstream := httptest.NewServer(counting(&executed))
	defer upstream.Close()
	api := &API{}
	defer api.Close()
	srv := httptest.NewServer(api)
	defer srv.Close()
	url := srv.URL + "/proxies"

	var p apiProxy
	if st := call(t, "POST", url, `{"name":"web","upstream":"`+upstream.Listener.Addr().String()+`"}`, nil, &p); st != http.StatusCreated || p.Listen == "" {
		t.Fatalf("create: %d %+v", st, p)
	}
	if saw := try(t, p.Listen, 10, patient); saw != "answer" {
		t.Fatalf("healthy: %s", saw)
	}
	var tox apiToxic
	if st := call(t, "POST", url+"/web/toxics", `{"name":"cut","type":"rst-after-commit","toxicity":1,"attributes":{"times":1}}`, nil, &tox); st != http.StatusOK || !tox.Truth.Executed {
		t.Fatalf("toxic: %d %+v", st, tox)
	}
	if saw := try(t, p.Listen, 10, patient); saw != "reset" {
		t.Fatalf("with a toxic: %s", saw)
	}
	if saw := try(t, p.Listen, 10, patient); saw != "answer" {
		t.Fatalf("after its times: %s", saw)
	}
	if st := call(t, "GET", url+"/web/toxics/cut", "", nil, &tox); st != http.StatusOK || tox.Chosen != 1 {
		t.Errorf("toxic: %d %+v", st, tox)
	}
	if executed.Load() != 3 {
		t.Errorf("executed %d times", executed.Load())
	}
	var streams []Stream
	call(t, "GET", url+"/web/streams", "", nil, &streams)
	if !slices.ContainsFunc(streams, func(s Stream) bool { return s.Fault == "rst-after-commit" && s.Executed() && s.Out == 0 }) {
		t.Errorf("streams %+v", streams)
	}
	if st := call(t, "POST", url+"/web", `{"enabled":false}`, nil, &p); st != http.StatusOK || *p.Enabled {
		t.Errorf("disable: %d %+v", st, p)
	}
	if saw := try(t, p.Listen, 10, patient); saw != "refused" {
		t.Errorf("disabled: %s", saw)
	}
	if st := call(t, "POST", srv.URL+"/reset", "", nil, nil); st != http.StatusNoContent {
		t.Errorf("reset: %d", st)
	}
	var all map[string]apiProxy
	call(t, "GET", url, "", nil, &all)
	if w := all["web"]; len(w.Toxics) != 0 || !*w.Enabled {
		t.Errorf("after reset: %+v", all)
	}
	if saw := try(t, p.Listen, 10, patient); saw != "answer" {
		t.Errorf("enabled again: %s", saw)
	}
	if st := call(t, "DELETE", url+"/web", "", nil, nil); st != http.StatusNoContent {
		t.Errorf("delete: %d", st)
	}
	if st := call(t, "GET", url+"/web", "", nil, nil); st != http.StatusNotFound {
		t.Errorf("deleted: %d", st)
	}
	var faults []Fault
	if call(t, "GET", srv.URL+"/faults", "", nil, &faults); len(faults) != len(Faults()) {
		t.Errorf("%d faults", len(faults))
	}
}

func TestAPIRefuses(t *testing.T) {
	api := &API{}
	defer api.Close()
	srv := httptest.NewServer(api)
	defer srv.Close()
	if _, err := api.Add("p", "", "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path, body string
		header             http.Header
		want               int
	}{
		{"GET", "/proxies", "", http.Header{"Origin": {"https://example.com"}}, http.StatusForbidden},
		{"GET", "/proxies", "", http.Header{"Host": {"example.com"}}, http.StatusForbidden},
		{"GET", "/nothing", "", nil, http.StatusNotFound},
		{"GET", "/proxies/p/nothing", "", nil, http.StatusNotFound},
		{"DELETE", "/proxies/p/toxics/none", "", nil, http.StatusNotFound},
		{"POST", "/proxies", `{"name":"p","upstream":"127.0.0.1:1"}`, nil, http.StatusConflict},
		{"POST", "/proxies", `{"name":"q","upstream":"nowhere"}`, nil, http.StatusBadRequest},
		{"POST", "/proxies", `{"name":"a/b","upstream":"127.0.0.1:1"}`, nil, http.StatusBadRequest},
		{"POST", "/proxies", `{"name":"q","listen":"0.0.0.0:0","upstream":"127.0.0.1:1"}`, nil, http.StatusForbidden},
		{"POST", "/proxies", `{"name":"q","listen":":0","upstream":"127.0.0.1:1"}`, nil, http.StatusForbidden},
		{"POST", "/proxies", `{"title":"q"}`, nil, http.StatusBadRequest},
		{"POST", "/proxies", `{"name":"` + strings.Repeat("x", maxRequest) + `"}`, nil, http.StatusBadRequest},
		{"POST", "/proxies/p/toxics", `{"type":"none"}`, nil, http.StatusBadRequest},
		{"POST", "/proxies/p/toxics", `{"type":"early-413"}`, nil, http.StatusBadRequest},
		{"POST", "/proxies/p/toxics", `{"type":"accept-rst","toxicity":0}`, nil, http.StatusBadRequest},
		{"POST", "/proxies/p/toxics", `{"type":"refused","toxicity":0.5}`, nil, http.StatusBadRequest},
		{"POST", "/proxies/p/toxics", `{"type":"slow-rst","attributes":{"after_ms":-1}}`, nil, http.StatusBadRequest},
	} {
		var e struct{ Error string }
		if st := call(t, c.method, srv.URL+c.path, c.body, c.header, &e); st != c.want || e.Error == "" {
			t.Errorf("%s %s %.60s: %d %q, want %d", c.method, c.path, c.body, st, e.Error, c.want)
		}
	}
}

func TestAPIToken(t *testing.T) {
	api := &API{Token: "secret"}
	defer api.Close()
	srv := httptest.NewServer(api)
	defer srv.Close()
	for token, want := range map[string]int{"": http.StatusUnauthorized, "Bearer wrong": http.StatusUnauthorized, "secret": http.StatusUnauthorized, "Bearer secret": http.StatusOK} {
		if st := call(t, "GET", srv.URL+"/proxies", "", http.Header{"Authorization": {token}}, nil); st != want {
			t.Errorf("token %q: %d, want %d", token, st, want)
		}
	}
	// Without a token, a request from elsewhere is refused whatever host it names.
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://localhost/proxies", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	(&API{}).ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("from elsewhere: %d", w.Code)
	}
}
