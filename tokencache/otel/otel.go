// Package oteltokencache makes OpenTelemetry metrics and spans from the token
// cache's events and Stats.
//
//	o, err := oteltokencache.New(oteltokencache.Config{})
//	cache, err := tokencache.New(provider, tokencache.Options{Observer: o.Observe})
//	stop, err := o.Watch(cache)
//
// # Metrics
//
//	bearerkit.tokencache.flight.duration  histogram, s: work on a record, with
//	                                      bearerkit.op, and error.type if it failed
//	bearerkit.tokencache.flight.callers   counter: callers that joined work
//	bearerkit.tokencache.events           counter of everything else, with
//	                                      bearerkit.event and error.type
//
// [Observer.Watch] adds the values that only Stats has: the counter
// bearerkit.tokencache.hits and the gauges bearerkit.tokencache.entries,
// .in_flight, .overdue, .in_doubt and .unsaved.
//
// # Spans
//
// Work on a record is one span, however many callers it serves. It is a child
// of the span of the caller that started it. If the work is ahead of an expiry,
// that caller does not wait for it. The span is then the root of a new trace
// with a link to the caller's span.
package oteltokencache

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

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

const scope = "github.com/bearerkit/bearerkit/tokencache/otel"

// Config says where metrics and spans are sent.
type Config struct {
	// MeterProvider and TracerProvider receive them; nil means OpenTelemetry's
	// global ones.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
	// Attributes are added to every metric and span, such as the name of the
	// vendor. Each must have few values.
	Attributes []attribute.KeyValue
}

// Observer turns events into metrics and spans. It is safe for concurrent use.
type Observer struct {
	meter      metric.Meter
	tracer     trace.Tracer
	common     attribute.Set
	attributes []attribute.KeyValue
	flights    metric.Float64Histogram
	callers    metric.Int64Counter
	events     metric.Int64Counter
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
	}
	var err1, err2, err3 error
	o.flights, err1 = o.meter.Float64Histogram("bearerkit.tokencache.flight.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of work on a record."),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10))
	o.callers, err2 = o.meter.Int64Counter("bearerkit.tokencache.flight.callers", metric.WithUnit("{caller}"),
		metric.WithDescription("Callers that joined work under way."))
	o.events, err3 = o.meter.Int64Counter("bearerkit.tokencache.events", metric.WithUnit("{event}"),
		metric.WithDescription("Events of the token cache, other than work on a record."))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return o, nil
}

// Observe is an Observer for tokencache.Options.
func (o *Observer) Observe(ctx context.Context, e providers.Event) {
	attrs := make([]attribute.KeyValue, len(o.attributes), len(o.attributes)+2)
	copy(attrs, o.attributes)
	if e.Outcome != "" && e.Outcome != "ok" {
		attrs = append(attrs, attribute.String("error.type", e.Outcome))
	}
	switch e.Kind {
	case "flight_started": // the event of its end tells more
	case "flight":
		attrs = append(attrs, attribute.String("bearerkit.op", e.Op))
		o.flights.Record(ctx, e.Duration.Seconds(), metric.WithAttributes(attrs...))
		if e.N > 0 {
			o.callers.Add(ctx, int64(e.N), metric.WithAttributes(attrs...))
		}
		o.span(ctx, e, attrs)
	default:
		o.events.Add(ctx, 1, metric.WithAttributes(append(attrs, attribute.String("bearerkit.event", e.Kind))...))
	}
}

// span is work that took e.Duration until now.
func (o *Observer) span(ctx context.Context, e providers.Event, attrs []attribute.KeyValue) {
	end := time.Now()
	options := []trace.SpanStartOption{
		trace.WithTimestamp(end.Add(-e.Duration)), trace.WithAttributes(append(attrs, attribute.Int("bearerkit.callers", e.N))...),
	}
	if strings.HasPrefix(e.Op, "ahead-") {
		options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.LinkFromContext(ctx)))
	}
	_, span := o.tracer.Start(ctx, "bearerkit token "+e.Op, options...)
	if e.Outcome != "ok" {
		span.SetStatus(codes.Error, e.Outcome)
	}
	span.End(trace.WithTimestamp(end))
}

// Watch reports c's Stats whenever metrics are collected, until stop is called.
func (o *Observer) Watch(c *tokencache.Cache) (stop func() error, err error) {
	if c == nil {
		return nil, errors.New("oteltokencache: no Cache")
	}
	hits, err := o.meter.Int64ObservableCounter("bearerkit.tokencache.hits", metric.WithUnit("{token}"), metric.WithDescription("Tokens served from memory."))
	errs := []error{err}
	observables := []metric.Observable{hits}
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		g, err := o.meter.Int64ObservableGauge("bearerkit.tokencache."+name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		observables = append(observables, g)
		return g
	}
	entries := gauge("entries", "{record}", "Records in memory.")
	inFlight := gauge("in_flight", "{record}", "Records that are worked on.")
	overdue := gauge("overdue", "{record}", "Records whose provider has not returned in time.")
	inDoubt := gauge("in_doubt", "{grant}", "Grants of whose last call the outcome is unknown.")
	unsaved := gauge("unsaved", "{grant}", "Grants whose token the Store does not have yet.")
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	common := metric.WithAttributeSet(o.common)
	registration, err := o.meter.RegisterCallback(func(_ context.Context, r metric.Observer) error {
		s := c.Stats()
		r.ObserveInt64(hits, int64(s.Hits), common)
		r.ObserveInt64(entries, int64(s.Entries), common)
		r.ObserveInt64(inFlight, int64(s.InFlight), common)
		r.ObserveInt64(overdue, int64(s.Overdue), common)
		r.ObserveInt64(inDoubt, int64(s.InDoubt), common)
		r.ObserveInt64(unsaved, int64(s.Unsaved), common)
		return nil
	}, observables...)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}
