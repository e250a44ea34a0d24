package otelmiddleware_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	otelmiddleware "github.com/bearerkit/bearerkit/middleware/otel"
	"github.com/bearerkit/bearerkit/providers"
)

// telemetry is the SDK in memory.
type telemetry struct {
	*otelmiddleware.Observer
	reader *sdkmetric.ManualReader
	spans  *tracetest.InMemoryExporter
	tracer *sdktrace.TracerProvider
}

func newTelemetry(t *testing.T) *telemetry {
	t.Helper()
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	o, err := otelmiddleware.New(otelmiddleware.Config{
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), TracerProvider: tracer,
		Attributes: []attribute.KeyValue{attribute.String("vendor", "redacto")},
	})
	require.NoError(t, err)
	return &telemetry{o, reader, spans, tracer}
}

// points returns every number as "name attributes", with counts of histograms.
func (s *telemetry) points(t *testing.T) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, s.reader.Collect(t.Context(), &all))
	out := map[string]float64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			key := func(set attribute.Set) string {
				return strings.TrimPrefix(m.Name, "bearerkit.") + " " + set.Encoded(attribute.DefaultEncoder())
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
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					out[key(p.Attributes)] = p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					out[key(p.Attributes)] = float64(p.Count)
				}
			default:
				t.Fatalf("%s is a %T", m.Name, d)
			}
		}
	}
	return out
}

// tokens is a TokenSource whose n-th token is "secret-token-n".
type tokens struct {
	n   int
	err error
}

func (s *tokens) Token(context.Context) (providers.Token, error) {
	return providers.Token{AccessToken: fmt.Sprintf("secret-token-%d", s.n)}, nil
}

func (s *tokens) Renew(ctx context.Context, _ providers.Token) (providers.Token, error) {
	if s.err != nil {
		return providers.Token{}, s.err
	}
	s.n++
	return s.Token(ctx)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// api refuses every token but want.
func api(want string) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		status := 401
		if r.Header.Get("Authorization") == "Bearer "+want {
			status = 200
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	})
}

func TestTransportIsMeasuredAndTraced(t *testing.T) {
	s := newTelemetry(t)
	transport := &middleware.Transport{Source: middleware.Fixed(&tokens{}), Base: api("secret-token-1"), Observer: s.Observe}
	ctx, parent := s.tracer.Tracer("test").Start(t.Context(), "request")
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://api.test/secret-path", nil)
	res, err := transport.RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	parent.End()
	require.Equal(t, map[string]float64{
		"transport.request.duration bearerkit.op=first,http.response.status_code=401,vendor=redacto":  1,
		"transport.request.duration bearerkit.op=replay,http.response.status_code=200,vendor=redacto": 1,
		"transport.refused error.type=rejected,http.response.status_code=401,vendor=redacto":          1,
		"transport.renewal.duration vendor=redacto":                                                   1,
	}, s.points(t))
	spans := s.spans.GetSpans()
	require.Len(t, spans, 3)
	for i, name := range []string{"bearerkit renew refused token", "bearerkit replay"} {
		require.Equal(t, name, spans[i].Name)
		require.Equal(t, parent.SpanContext().SpanID(), spans[i].Parent.SpanID(), "a child of the request's span")
		require.Equal(t, codes.Unset, spans[i].Status.Code)
		require.False(t, spans[i].EndTime.Before(spans[i].StartTime))
	}
}

func TestTransportFailuresHaveTheirType(t *testing.T) {
	s := newTelemetry(t)
	dead := &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Err: errors.New("secret-cause")}
	transport := &middleware.Transport{Source: middleware.Fixed(&tokens{err: dead}), Base: api(""), Observer: s.Observe}
	req, _ := http.NewRequest("GET", "https://api.test/", nil)
	_, err := transport.RoundTrip(req)
	require.NoError(t, err)
	require.EqualValues(t, 1, s.points(t)["transport.renewal.duration error.type=grant_dead,vendor=redacto"])
	spans := s.spans.GetSpans()
	require.Len(t, spans, 1)
	require.Equal(t, codes.Error, spans[0].Status.Code)
	require.Equal(t, "grant_dead", spans[0].Status.Description)
}

func authenticator(t *testing.T, s *telemetry) (*authtest.Issuer, *middleware.Authenticator) {
	t.Helper()
	idp, err := authtest.New("ES256")
	require.NoError(t, err)
	a, err := middleware.New(middleware.Config{Observer: s.Observe, Logger: slog.New(slog.DiscardHandler), Issuers: []middleware.Issuer{{
		Issuer: idp.URL, Audiences: []string{idp.Audience}, Algorithms: []string{"ES256"}, Discover: true, HTTPClient: idp.Client(),
	}}})
	require.NoError(t, err)
	return idp, a
}

func TestAuthenticatorIsMeasuredAndTraced(t *testing.T) {
	s := newTelemetry(t)
	idp, auth := authenticator(t, s)
	stop, err := s.Watch(auth)
	require.NoError(t, err)
	require.EqualValues(t, 1, s.points(t)["authenticator.key_sets.missing vendor=redacto"])
	token, err := idp.Token(map[string]any{"sub": "secret-subject"})
	require.NoError(t, err)
	ctx, parent := s.tracer.Tracer("test").Start(t.Context(), "request")
	for range 3 {
		_, err := auth.Verify(ctx, token)
		require.NoError(t, err)
	}
	_, err = auth.Verify(ctx, "secret.secret.secret")
	require.Error(t, err)
	points := s.points(t)
	age := points["authenticator.key_sets.age vendor=redacto"]
	require.Greater(t, age, 0.0)
	delete(points, "authenticator.key_sets.age vendor=redacto")
	require.Equal(t, map[string]float64{
		"authenticator.keys.fetch.duration bearerkit.op=first,vendor=redacto":                    1,
		"authenticator.tokens bearerkit.op=verified,vendor=redacto":                              1,
		"authenticator.tokens bearerkit.op=remembered,vendor=redacto":                            2,
		"authenticator.tokens error.type=malformed,http.response.status_code=401,vendor=redacto": 1,
		"authenticator.entries vendor=redacto":                                                   1,
		"authenticator.key_sets.missing vendor=redacto":                                          0,
		"authenticator.key_sets.stale vendor=redacto":                                            0,
	}, points)
	spans := s.spans.GetSpans()
	require.Len(t, spans, 1)
	require.Equal(t, "bearerkit fetch key set", spans[0].Name)
	require.Equal(t, parent.SpanContext().TraceID(), spans[0].SpanContext.TraceID())
	require.NoError(t, stop())
	require.NotContains(t, s.points(t), "authenticator.entries vendor=redacto")
	_, err = s.Watch(nil)
	require.Error(t, err)
}

func TestProxyIsMeasured(t *testing.T) {
	s := newTelemetry(t)
	proxy, err := handlers.Proxy(handlers.ProxyConfig{
		Target: "https://api.test", Allow: []string{"/ok"}, Authorize: handlers.DangerouslyAllowAnyCaller, Observer: s.Observe, Logger: slog.New(slog.DiscardHandler),
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		}),
	})
	require.NoError(t, err)
	for _, path := range []string{"/ok", "/secret"} {
		proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	require.Equal(t, map[string]float64{
		"proxy.request.duration http.response.status_code=503,vendor=redacto":                      1,
		"proxy.request.duration error.type=not_found,http.response.status_code=404,vendor=redacto": 1,
	}, s.points(t))
}

// Nothing that a request, a token or an error brought is in a metric or a span.
func TestTelemetryHoldsNoSecret(t *testing.T) {
	s := newTelemetry(t)
	idp, auth := authenticator(t, s)
	good, err := idp.Token(map[string]any{"sub": "secret-subject", "jti": "secret-id"})
	require.NoError(t, err)
	for _, token := range []string{good, "secret", "secret.secret.secret"} {
		_, _ = auth.Verify(t.Context(), token)
	}
	idp.Down(true)
	transport := &middleware.Transport{
		Source: middleware.Fixed(&tokens{err: errors.New("secret-error")}), Observer: s.Observe,
		Base: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Bearer realm="secret", error="secret"`}}, Body: io.NopCloser(strings.NewReader("secret"))}, nil
		}),
	}
	req, _ := http.NewRequest("GET", "https://secret.test/secret?secret=secret", nil)
	_, err = transport.RoundTrip(req)
	require.NoError(t, err)
	dump := fmt.Sprintf("%v", s.points(t))
	for _, span := range s.spans.GetSpans() {
		dump += fmt.Sprintf("%s %v %v %v %v", span.Name, span.Attributes, span.Events, span.Status, span.Links)
	}
	require.NotContains(t, dump, "secret")
	require.NotContains(t, dump, good)
	require.NotContains(t, dump, idp.URL)
	require.Contains(t, dump, "malformed", "the search would find something")
}

// Without providers of its own an Observer takes OpenTelemetry's global ones,
// and unknown events are ignored.
func TestObserverNeedsNoConfig(t *testing.T) {
	o, err := otelmiddleware.New(otelmiddleware.Config{})
	require.NoError(t, err)
	o.Observe(t.Context(), providers.Event{})
	o.Observe(t.Context(), providers.Event{Source: "transport", Kind: "new", Duration: time.Second})
}

func ExampleNew() {
	reader := sdkmetric.NewManualReader() // in a program: an exporter's
	observer, err := otelmiddleware.New(otelmiddleware.Config{
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: &middleware.Transport{
		Source: middleware.Fixed(&tokens{}), Base: api("secret-token-1"), Observer: observer.Observe,
	}}
	res, err := client.Get("https://api.example.com/")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = res.Body.Close()
	var all metricdata.ResourceMetrics
	_ = reader.Collect(context.Background(), &all)
	for _, m := range all.ScopeMetrics[0].Metrics {
		fmt.Println(m.Name)
	}
	// Unordered output:
	// bearerkit.transport.request.duration
	// bearerkit.transport.refused
	// bearerkit.transport.renewal.duration
}
