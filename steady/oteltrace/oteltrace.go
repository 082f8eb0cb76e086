// Package oteltrace reports what package steady does about failures to
// OpenTelemetry: metrics, and events on the span of the request.
//
//	observer, err := oteltrace.Observer(oteltrace.Config{})
//	client := &http.Client{Transport: &steady.Transport{Observer: observer}}
//
// The metrics are counters: steady.client.failures (failed attempts by verdict),
// .retries, .hedges, .rejected (kept back by breaker, throttle or budget), .stale,
// .cut and .fallbacks. Attributes have the names of the semantic conventions 1.43.0
// where there is one; the others begin with "steady.".
//
// It makes no spans and does not measure requests that succeed: wrap the client in
// otelhttp for that. To debug it use steady.LogTo beside it, by steady.Observers.
package oteltrace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/steady"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name of the instrumentation scope.
const Scope = "github.com/holdfast-project/holdfast/steady/oteltrace"

// Names of attributes without a semantic convention.
const (
	VerdictKey    = attribute.Key("steady.verdict")     // steady.Verdict in words
	ReasonKey     = attribute.Key("steady.reason")      // of a span event: why no attempt follows
	DelayKey      = attribute.Key("steady.delay")       // of a span event: seconds before the next attempt
	AttemptKey    = attribute.Key("steady.attempt")     // of a span event: counted from 1
	RejectedByKey = attribute.Key("steady.rejected_by") // "breaker", "throttle" or "budget"
)

// Config says where to report. The zero value reports to the global provider.
type Config struct {
	// MeterProvider defaults to otel.GetMeterProvider.
	MeterProvider metric.MeterProvider
}

// counters has a counter for each kind of event, and one for failed attempts.
type counters struct {
	failures metric.Int64Counter
	kinds    map[steady.EventKind]metric.Int64Counter
}

var kinds = map[steady.EventKind]struct{ name, unit, text string }{
	steady.EventRetry:    {"steady.client.retries", "{retry}", "Attempts that follow a failed one."},
	steady.EventHedge:    {"steady.client.hedges", "{hedge}", "Second copies of slow requests."},
	steady.EventRejected: {"steady.client.rejected", "{request}", "Requests kept back by breaker or throttle; nothing was sent."},
	steady.EventStale:    {"steady.client.stale", "{connection}", "Pooled connections left before anything was sent."},
	steady.EventCut:      {"steady.client.cut", "{response}", "Answers whose body broke off."},
	steady.EventFallback: {"steady.client.fallbacks", "{fallback}", "Steps of a ladder to the next protocol."},
}

// Observer returns an observer for a Transport, Dialer or Ladder.
func Observer(c Config) (steady.Observer, error) {
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	meter := c.MeterProvider.Meter(Scope)
	n := counters{kinds: map[steady.EventKind]metric.Int64Counter{}}
	var err error
	n.failures, err = meter.Int64Counter("steady.client.failures", metric.WithUnit("{attempt}"),
		metric.WithDescription("Failed attempts, by what is known of their delivery."))
	if err != nil {
		return nil, fmt.Errorf("make counter: %w", err)
	}
	for kind, k := range kinds {
		if n.kinds[kind], err = meter.Int64Counter(k.name, metric.WithUnit(k.unit), metric.WithDescription(k.text)); err != nil {
			return nil, fmt.Errorf("make counter: %w", err)
		}
	}
	return n.observe, nil
}

func (n *counters) observe(ctx context.Context, e steady.Event) {
	attrs := attributes(e)
	set := metric.WithAttributeSet(attribute.NewSet(attrs...))
	if failedAttempt(e) {
		n.failures.Add(ctx, 1, set)
	}
	if c := n.kinds[e.Kind]; c != nil {
		c.Add(ctx, 1, set)
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.AddEvent("steady."+string(e.Kind), trace.WithAttributes(append(attrs, details(e)...)...))
	}
}

// failedAttempt reports whether e tells of an attempt that got no answer.
func failedAttempt(e steady.Event) bool {
	return e.Kind == steady.EventGiveUp || e.Kind == steady.EventRetry && e.Err != nil
}

// attributes are those of metrics and span events: few values each.
func attributes(e steady.Event) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, 12)
	host, port := address(e)
	list = append(list, semconv.ServerAddress(host))
	if port > 0 {
		list = append(list, semconv.ServerPort(port))
	}
	if e.Method != "" {
		list = append(list, semconv.HTTPRequestMethodKey.String(method(e.Method)))
	}
	if e.Protocol != "" {
		list = append(list, semconv.NetworkProtocolVersion(e.Protocol))
	}
	if e.Cause != "" {
		list = append(list, semconv.ErrorTypeKey.String(string(e.Cause)))
	}
	if e.Err != nil {
		list = append(list, VerdictKey.String(e.Verdict.String()))
	}
	if r, ok := errors.AsType[*steady.RejectedError](e.Err); ok {
		list = append(list, RejectedByKey.String(r.By))
	}
	return list
}

// details are only in span events.
func details(e steady.Event) []attribute.KeyValue {
	var list []attribute.KeyValue
	if e.Attempt > 0 {
		list = append(list, AttemptKey.Int(e.Attempt))
	}
	if e.Delay > 0 {
		list = append(list, DelayKey.Float64(e.Delay.Seconds()))
	}
	if e.Reason != "" {
		list = append(list, ReasonKey.String(e.Reason))
	}
	if e.Err != nil {
		list = append(list, semconv.ExceptionMessage(e.Err.Error()))
	}
	return list
}

// address splits the authority; the port may be the scheme's.
func address(e steady.Event) (host string, port int) {
	host, text, err := net.SplitHostPort(e.Upstream)
	if err != nil {
		host, text = strings.Trim(e.Upstream, "[]"), map[string]string{"http": "80", "https": "443"}[e.Scheme]
	}
	port, err = strconv.Atoi(text)
	if err != nil {
		return host, 0
	}
	return host, port
}

// method is "_OTHER" for what the conventions do not know, since a caller's word
// must not become a time series.
func method(m string) string {
	if slices.Contains(methods, m) {
		return m
	}
	return "_OTHER"
}

var methods = []string{
	http.MethodConnect, http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions,
	http.MethodPatch, http.MethodPost, http.MethodPut, "QUERY", http.MethodTrace,
}
