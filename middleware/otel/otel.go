// Package otelmiddleware makes OpenTelemetry metrics and spans from the events
// of package middleware and of handlers.Proxy.
//
//	o, err := otelmiddleware.New(otelmiddleware.Config{})
//	auth, err := middleware.New(middleware.Config{Observer: o.Observe, …})
//	client := &http.Client{Transport: &middleware.Transport{Observer: o.Observe, …}}
//	stop, err := o.Watch(auth)
//
// # Metrics
//
// These are the instruments. Their attributes are those of the semantic
// conventions (http.response.status_code, error.type) and bearerkit.op:
//
//	bearerkit.authenticator.tokens    counter: tokens and requests decided on
//	bearerkit.authenticator.renewal.duration    histogram, s
//	bearerkit.authenticator.keys.fetch.duration histogram, s
//	bearerkit.authenticator.verdict.duration    histogram, s: calls of a Verifier
//	bearerkit.transport.request.duration        histogram, s: each send
//	bearerkit.transport.refused       counter: answers that refused the token
//	bearerkit.transport.renewal.duration        histogram, s
//	bearerkit.transport.not_replayable          counter
//	bearerkit.transport.no_token                counter
//	bearerkit.proxy.request.duration            histogram, s
//
// [Observer.Watch] adds gauges of an Authenticator's Stats:
// bearerkit.authenticator.entries, .key_sets.missing, .key_sets.stale and
// .key_sets.age.
//
// # Spans
//
// Renewals, replays, fetches of key sets and calls of a Verifier become spans.
// Each is a child of the span of the request that caused it. A call that serves
// several requests is one span.
package otelmiddleware

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

const scope = "github.com/bearerkit/bearerkit/middleware/otel"

// Config says where metrics and spans are sent.
type Config struct {
	// MeterProvider and TracerProvider receive them; nil means OpenTelemetry's
	// global ones.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
	// Attributes are added to every metric and span, such as the name of the
	// vendor behind a Transport. Each must have few values.
	Attributes []attribute.KeyValue
}

// Observer turns events into metrics and spans. It is safe for concurrent use.
type Observer struct {
	meter      metric.Meter
	tracer     trace.Tracer
	common     attribute.Set
	attributes []attribute.KeyValue
	counters   map[string]metric.Int64Counter     // by source and kind
	histograms map[string]metric.Float64Histogram // by source and kind
}

// instruments are the metrics by the events that feed them.
var instruments = [...]struct{ event, name, unit, description string }{
	{"authenticator accepted", "bearerkit.authenticator.tokens", "{token}", "Tokens and requests that were decided on."},
	{"authenticator refused", "bearerkit.authenticator.tokens", "{token}", "Tokens and requests that were decided on."},
	{"authenticator renewed", "bearerkit.authenticator.renewal.duration", "s", "Duration of renewals of expired tokens."},
	{"authenticator renewal_failed", "bearerkit.authenticator.renewal.duration", "s", "Duration of renewals of expired tokens."},
	{"authenticator keys_fetched", "bearerkit.authenticator.keys.fetch.duration", "s", "Duration of fetches of key sets."},
	{"authenticator keys_failed", "bearerkit.authenticator.keys.fetch.duration", "s", "Duration of fetches of key sets."},
	{"authenticator verdict", "bearerkit.authenticator.verdict.duration", "s", "Duration of questions about opaque tokens."},
	{"transport sent", "bearerkit.transport.request.duration", "s", "Duration of sends until the answer's headers."},
	{"transport replayed", "bearerkit.transport.request.duration", "s", "Duration of sends until the answer's headers."},
	{"transport refused", "bearerkit.transport.refused", "{request}", "Answers that refused the token."},
	{"transport renewed", "bearerkit.transport.renewal.duration", "s", "Duration of renewals of refused tokens."},
	{"transport renewal_failed", "bearerkit.transport.renewal.duration", "s", "Duration of renewals of refused tokens."},
	{"transport not_replayable", "bearerkit.transport.not_replayable", "{request}", "Requests whose body could not be sent again."},
	{"transport no_token", "bearerkit.transport.no_token", "{request}", "Requests that were not sent for want of a token."},
	{"proxy forwarded", "bearerkit.proxy.request.duration", "s", "Duration of calls through the proxy until the answer's headers."},
	{"proxy refused", "bearerkit.proxy.request.duration", "s", "Duration of calls through the proxy until the answer's headers."},
	{"proxy failed", "bearerkit.proxy.request.duration", "s", "Duration of calls through the proxy until the answer's headers."},
	{"proxy token_rejected", "bearerkit.proxy.request.duration", "s", "Duration of calls through the proxy until the answer's headers."},
}

// New returns an Observer. The error joins those of the MeterProvider.
func New(c Config) (*Observer, error) {
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	o := &Observer{
		meter: c.MeterProvider.Meter(scope), tracer: c.TracerProvider.Tracer(scope),
		common: attribute.NewSet(c.Attributes...), attributes: append([]attribute.KeyValue(nil), c.Attributes...),
		counters: map[string]metric.Int64Counter{}, histograms: map[string]metric.Float64Histogram{},
	}
	var errs []error
	for _, i := range instruments {
		var err error
		if i.unit == "s" {
			o.histograms[i.event], err = o.meter.Float64Histogram(i.name, metric.WithUnit("s"), metric.WithDescription(i.description),
				metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10))
		} else {
			o.counters[i.event], err = o.meter.Int64Counter(i.name, metric.WithUnit(i.unit), metric.WithDescription(i.description))
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return o, nil
}

// Observe is an Observer for middleware.Config, middleware.Transport and
// handlers.ProxyConfig. Events that it does not know are ignored.
func (o *Observer) Observe(ctx context.Context, e providers.Event) {
	key := e.Source + " " + e.Kind
	attrs := o.labels(e)
	if counter, ok := o.counters[key]; ok {
		counter.Add(ctx, 1, metric.WithAttributes(attrs...))
	}
	if histogram, ok := o.histograms[key]; ok {
		histogram.Record(ctx, e.Duration.Seconds(), metric.WithAttributes(attrs...))
	}
	if name := spanName(key); name != "" {
		o.span(ctx, name, e, attrs)
	}
}

// labels are the event's bounded attributes.
func (o *Observer) labels(e providers.Event) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, len(o.attributes), len(o.attributes)+3)
	copy(attrs, o.attributes)
	if e.Op != "" {
		attrs = append(attrs, attribute.String("bearerkit.op", e.Op))
	}
	if e.N >= 100 && e.N <= 599 && hasStatus(e) {
		attrs = append(attrs, attribute.Int("http.response.status_code", e.N))
	}
	if e.Outcome != "" && e.Outcome != "ok" {
		attrs = append(attrs, attribute.String("error.type", e.Outcome))
	}
	return attrs
}

// hasStatus reports an event whose N is an HTTP status.
func hasStatus(e providers.Event) bool {
	switch e.Kind {
	case "sent", "replayed", "refused", "forwarded", "failed", "token_rejected":
		return true
	}
	return false
}

func spanName(key string) string {
	switch key {
	case "authenticator renewed", "authenticator renewal_failed":
		return "bearerkit renew expired token"
	case "authenticator keys_fetched", "authenticator keys_failed":
		return "bearerkit fetch key set"
	case "authenticator verdict":
		return "bearerkit ask verifier"
	case "transport renewed", "transport renewal_failed":
		return "bearerkit renew refused token"
	case "transport replayed":
		return "bearerkit replay"
	}
	return ""
}

// span is what took e.Duration until now.
func (o *Observer) span(ctx context.Context, name string, e providers.Event, attrs []attribute.KeyValue) {
	end := time.Now()
	_, span := o.tracer.Start(ctx, name, trace.WithTimestamp(end.Add(-e.Duration)), trace.WithAttributes(attrs...))
	if failed(e) {
		span.SetStatus(codes.Error, e.Outcome)
	}
	span.End(trace.WithTimestamp(end))
}

func failed(e providers.Event) bool {
	return e.Outcome != "" && e.Outcome != "ok" && e.Outcome != "not_valid" || strings.HasSuffix(e.Kind, "_failed")
}

// Watch reports the gauges of a's Stats whenever metrics are collected, until
// stop is called.
func (o *Observer) Watch(a *middleware.Authenticator) (stop func() error, err error) {
	if a == nil {
		return nil, errors.New("otelmiddleware: no Authenticator")
	}
	entries, err1 := o.meter.Int64ObservableGauge("bearerkit.authenticator.entries", metric.WithUnit("{token}"), metric.WithDescription("Verified tokens in memory."))
	missing, err2 := o.meter.Int64ObservableGauge("bearerkit.authenticator.key_sets.missing", metric.WithUnit("{key_set}"), metric.WithDescription("Issuers without a key set that may be used."))
	stale, err3 := o.meter.Int64ObservableGauge("bearerkit.authenticator.key_sets.stale", metric.WithUnit("{key_set}"), metric.WithDescription("Key sets whose last refresh failed."))
	age, err4 := o.meter.Float64ObservableGauge("bearerkit.authenticator.key_sets.age", metric.WithUnit("s"), metric.WithDescription("Age of the oldest key set."))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	common := metric.WithAttributeSet(o.common)
	registration, err := o.meter.RegisterCallback(func(_ context.Context, r metric.Observer) error {
		s := a.Stats()
		r.ObserveInt64(entries, int64(s.Entries), common)
		r.ObserveInt64(missing, int64(s.KeySetsMissing), common)
		r.ObserveInt64(stale, int64(s.KeySetsStale), common)
		r.ObserveFloat64(age, s.OldestKeySet.Seconds(), common)
		return nil
	}, entries, missing, stale, age)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}
