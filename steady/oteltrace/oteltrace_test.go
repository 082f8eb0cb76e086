package oteltrace

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-project/holdfast/steady"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// collect returns the counters: name, attributes in order, value.
func collect(t *testing.T, r *metric.ManualReader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				got[m.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
			}
		}
	}
	return got
}

// TestObserver breaks real connections and reads what the SDK recorded.
func TestObserver(t *testing.T) {
	reader, spans := metric.NewManualReader(), tracetest.NewSpanRecorder()
	observer, err := Observer(Config{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 || r.Method == http.MethodPost {
			panic(http.ErrAbortHandler)
		}
	}))
	defer srv.Close()
	ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test").Start(t.Context(), "request")
	tr := &steady.Transport{Base: &http.Transport{}, Observer: observer, Backoff: steady.Backoff{Base: 1}}
	defer tr.CloseIdleConnections()
	for _, m := range []string{http.MethodPut, http.MethodPost} {
		req, _ := http.NewRequestWithContext(ctx, m, srv.URL, strings.NewReader("x"))
		resp, err := tr.RoundTrip(req)
		if (err == nil) != (m == http.MethodPut) {
			t.Fatalf("%s: %v", m, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	observer(ctx, steady.Event{
		Kind: steady.EventRejected, Upstream: "shop.test", Scheme: "https", Method: "BREW",
		Err: &steady.RejectedError{By: "throttle"}, Verdict: steady.NotSent,
	})
	span.End()
	host, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	got := collect(t, reader)
	want := func(name, method string) {
		t.Helper()
		for key, v := range got {
			if strings.HasPrefix(key, name+" ") && v == 1 && contains(key, "error.type=reset", "http.request.method="+method,
				"network.protocol.version=1.1", "server.address="+host, "server.port="+port, "steady.verdict=") {
				return
			}
		}
		t.Errorf("no %s of %s in %v", name, method, got)
	}
	want("steady.client.failures", "PUT")
	want("steady.client.retries", "PUT")
	want("steady.client.failures", "POST")
	rejected := "steady.client.rejected http.request.method=_OTHER,server.address=shop.test,server.port=443," +
		"steady.rejected_by=throttle,steady.verdict=not sent"
	if got[rejected] != 1 || len(got) != 4 {
		t.Errorf("%v", got)
	}
	var events []string
	for _, e := range spans.Ended()[0].Events() {
		events = append(events, e.Name)
		if len(e.Attributes) < 5 {
			t.Errorf("%s: %v", e.Name, e.Attributes)
		}
	}
	if fmt.Sprint(events) != "[steady.retry steady.give-up steady.rejected]" {
		t.Errorf("span events %v", events)
	}
}

func contains(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

func TestAddress(t *testing.T) {
	for _, c := range []struct {
		upstream, scheme, host string
		port                   int
	}{
		{"a.test", "http", "a.test", 80}, {"a.test:8443", "https", "a.test", 8443}, {"[::1]", "https", "::1", 443},
		{"[::1]:53", "", "::1", 53}, {"a.test", "", "a.test", 0},
	} {
		if host, port := address(steady.Event{Upstream: c.upstream, Scheme: c.scheme}); host != c.host || port != c.port {
			t.Errorf("%+v: %s %d", c, host, port)
		}
	}
}

// The metrics of a client whose server is down.
func ExampleObserver() {
	reader := metric.NewManualReader()
	observer, err := Observer(Config{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	l.Close() // nobody listens
	client := &http.Client{Transport: &steady.Transport{Observer: observer, Attempts: 2}}
	client.Get("http://" + l.Addr().String())

	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		panic(err)
	}
	total := map[string]int64{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
			cause, _ := p.Attributes.Value("error.type")
			total[m.Name+" "+cause.AsString()] += p.Value
		}
	}
	fmt.Println("failures: " + strconv.FormatInt(total["steady.client.failures refused"], 10))
	fmt.Println("retries: " + strconv.FormatInt(total["steady.client.retries refused"], 10))
	// Output:
	// failures: 2
	// retries: 1
}
