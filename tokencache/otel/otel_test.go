package oteltokencache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	oteltokencache "github.com/bearerkit/bearerkit/tokencache/otel"
)

// vendor issues "secret-token-n" after a time, or fails.
type vendor struct {
	n     atomic.Int64
	takes time.Duration
	err   error
}

func (v *vendor) Generate(context.Context, providers.Request) (providers.Token, error) {
	now := time.Now()
	time.Sleep(v.takes)
	if v.err != nil {
		return providers.Token{}, v.err
	}
	return providers.Token{AccessToken: fmt.Sprintf("secret-token-%d", v.n.Add(1)), IssuedAt: now, Expiry: now.Add(time.Hour)}, nil
}

type telemetry struct {
	*oteltokencache.Observer
	reader *sdkmetric.ManualReader
	spans  *tracetest.InMemoryExporter
	tracer *sdktrace.TracerProvider
}

func newTelemetry(t *testing.T) *telemetry {
	t.Helper()
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	o, err := oteltokencache.New(oteltokencache.Config{
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), TracerProvider: tracer,
		Attributes: []attribute.KeyValue{attribute.String("vendor", "kudo")},
	})
	require.NoError(t, err)
	return &telemetry{o, reader, spans, tracer}
}

// points returns every number as "name attributes", with sums of histograms.
func (s *telemetry) points(t *testing.T) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, s.reader.Collect(t.Context(), &all))
	out := map[string]float64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			key := func(set attribute.Set) string {
				return strings.TrimPrefix(m.Name, "bearerkit.tokencache.") + " " + set.Encoded(attribute.DefaultEncoder())
			}
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					out[key(p.Attributes)] = float64(p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					out[key(p.Attributes)] = float64(p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					out[key(p.Attributes)] = p.Sum
				}
			default:
				t.Fatalf("%s is a %T", m.Name, d)
			}
		}
	}
	return out
}

func newCache(t *testing.T, s *telemetry, v *vendor) *tokencache.Cache {
	t.Helper()
	cache, err := tokencache.New(v, tokencache.Options{Observer: s.Observe, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return cache
}

// Forty callers of one cold grant: one flight, one span, under the span of the
// caller that came first.
func TestAFlightThatServesFortyCallersIsOneSpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTelemetry(t)
		cache := newCache(t, s, &vendor{takes: time.Second})
		defer func() { _ = cache.Close(context.Background()) }()
		stop, err := s.Watch(cache)
		require.NoError(t, err)
		source := cache.Source(providers.Request{Subject: "secret-subject"})
		ctx, parent := s.tracer.Tracer("test").Start(t.Context(), "request")
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = source.Token(ctx) })
		synctest.Wait()
		for range 39 {
			wg.Go(func() { _, _ = source.Token(t.Context()) })
		}
		wg.Wait()
		for range 10 {
			_, err := source.Token(t.Context())
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, map[string]float64{
			"flight.duration bearerkit.op=generate,vendor=kudo": 1,
			"flight.callers bearerkit.op=generate,vendor=kudo":  39,
			"hits vendor=kudo":      10,
			"entries vendor=kudo":   1,
			"in_flight vendor=kudo": 0,
			"overdue vendor=kudo":   0,
			"in_doubt vendor=kudo":  0,
			"unsaved vendor=kudo":   0,
		}, s.points(t))
		spans := s.spans.GetSpans()
		require.Len(t, spans, 1)
		require.Equal(t, "bearerkit token generate", spans[0].Name)
		require.Equal(t, parent.SpanContext().SpanID(), spans[0].Parent.SpanID())
		require.Equal(t, time.Second, spans[0].EndTime.Sub(spans[0].StartTime))
		require.Contains(t, spans[0].Attributes, attribute.Int("bearerkit.callers", 39))
		require.NoError(t, stop())
		require.NotContains(t, s.points(t), "hits vendor=kudo")
	})
}

// Nobody waits for a renewal ahead of an expiry: it is a trace by itself, and
// linked.
func TestARenewalAheadIsATraceWithALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTelemetry(t)
		cache := newCache(t, s, &vendor{takes: time.Second})
		defer func() { _ = cache.Close(context.Background()) }()
		source := cache.Source(providers.Request{})
		_, err := source.Token(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		s.spans.Reset()
		ctx, parent := s.tracer.Tracer("test").Start(t.Context(), "request")
		for range 60 {
			time.Sleep(time.Minute)
			_, err := source.Token(ctx)
			require.NoError(t, err)
			if len(s.spans.GetSpans()) > 0 {
				break
			}
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		spans := s.spans.GetSpans()
		require.Len(t, spans, 1)
		require.Equal(t, "bearerkit token ahead-generate", spans[0].Name)
		require.NotEqual(t, parent.SpanContext().TraceID(), spans[0].SpanContext.TraceID())
		require.Len(t, spans[0].Links, 1)
		require.Equal(t, parent.SpanContext().SpanID(), spans[0].Links[0].SpanContext.SpanID())
	})
}

// A failure has its class, in the metric and in the span, and nothing of what
// the vendor said.
func TestFailuresHaveTheirClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTelemetry(t)
		v := &vendor{takes: time.Second, err: &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Description: "secret", Op: "secret", Err: errors.New("secret")}}
		cache := newCache(t, s, v)
		defer func() { _ = cache.Close(context.Background()) }()
		source := cache.Source(providers.Request{Subject: "secret", Tenant: "secret", Params: map[string]any{"secret": "secret"}})
		for range 3 {
			_, err := source.Token(t.Context())
			require.Error(t, err)
		}
		synctest.Wait()
		points := s.points(t)
		require.EqualValues(t, 1, points["flight.duration bearerkit.op=generate,error.type=transient,vendor=kudo"])
		require.EqualValues(t, 2, points["events bearerkit.event=fail_fast,error.type=transient,vendor=kudo"])
		spans := s.spans.GetSpans()
		require.Len(t, spans, 1)
		require.Equal(t, codes.Error, spans[0].Status.Code)
		dump := fmt.Sprintf("%v", points)
		for _, span := range spans {
			dump += fmt.Sprintf("%s %v %v %v %v", span.Name, span.Attributes, span.Events, span.Status, span.Links)
		}
		require.NotContains(t, dump, "secret")
	})
}

func TestObserverNeedsNoConfig(t *testing.T) {
	o, err := oteltokencache.New(oteltokencache.Config{})
	require.NoError(t, err)
	o.Observe(t.Context(), providers.Event{})
	_, err = o.Watch(nil)
	require.Error(t, err)
}

func ExampleNew() {
	reader := sdkmetric.NewManualReader() // in a program: an exporter's
	observer, err := oteltokencache.New(oteltokencache.Config{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	if err != nil {
		fmt.Println(err)
		return
	}
	cache, err := tokencache.New(&vendor{}, tokencache.Options{Observer: observer.Observe})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = cache.Generate(context.Background(), providers.Request{})
	fmt.Println(err, cache.Close(context.Background()))
	var all metricdata.ResourceMetrics
	_ = reader.Collect(context.Background(), &all)
	for _, m := range all.ScopeMetrics[0].Metrics {
		fmt.Println(m.Name)
	}
	// Output:
	// <nil> <nil>
	// bearerkit.tokencache.flight.duration
}
