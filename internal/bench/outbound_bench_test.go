package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"golang.org/x/oauth2"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// mint issues numbered tokens after a round trip's time and counts them.
type mint struct {
	n     atomic.Int64
	delay time.Duration
}

func (m *mint) next() string {
	n := m.n.Add(1)
	time.Sleep(m.delay) // stands for the network, which is what is being modelled
	return fmt.Sprintf("token-%d", n)
}

func (m *mint) Generate(context.Context, providers.Request) (providers.Token, error) {
	now := time.Now()
	return providers.Token{AccessToken: m.next(), TokenType: "Bearer", IssuedAt: now, Expiry: now.Add(time.Hour)}, nil
}

func (m *mint) Token() (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: m.next(), Expiry: time.Now().Add(time.Hour)}, nil
}

func (m *mint) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: m.next(), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func bearerkitTransport(tb testing.TB, m *mint, base http.RoundTripper) http.RoundTripper {
	cache, err := tokencache.New(m, tokencache.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cache.Close(context.Background()) })
	return &middleware.Transport{Source: middleware.Fixed(cache.Source(providers.Request{})), Base: base}
}

// BenchmarkTransport is what a request costs through each transport, over
// loopback to a server that discards the body. "one-shot" bodies have no GetBody.
func BenchmarkTransport(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer server.Close()
	for _, size := range []int{0, 1 << 10, 64 << 10, 1 << 20} {
		for _, oneShot := range []bool{false, true} {
			if size == 0 && oneShot {
				continue
			}
			for _, c := range []struct {
				name string
				wrap func(http.RoundTripper) http.RoundTripper
			}{
				{"bare", func(base http.RoundTripper) http.RoundTripper { return base }},
				{"bearerkit", func(base http.RoundTripper) http.RoundTripper { return bearerkitTransport(b, &mint{}, base) }},
				{"xoauth2", func(base http.RoundTripper) http.RoundTripper {
					return &oauth2.Transport{Source: oauth2.ReuseTokenSource(nil, &mint{}), Base: base}
				}},
			} {
				b.Run(fmt.Sprintf("%dB/oneshot=%v/%s", size, oneShot, c.name), func(b *testing.B) {
					base := http.DefaultTransport.(*http.Transport).Clone()
					defer base.CloseIdleConnections()
					client := &http.Client{Transport: c.wrap(base)}
					payload := make([]byte, size)
					b.ReportAllocs()
					for b.Loop() {
						res, err := client.Do(request(b, server.URL, payload, oneShot))
						if err != nil {
							b.Fatal(err)
						}
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
					}
				})
			}
		}
	}
}

func request(tb testing.TB, url string, payload []byte, oneShot bool) *http.Request {
	var body io.Reader = bytes.NewReader(payload)
	if len(payload) == 0 {
		body = nil
	}
	if oneShot {
		body = struct{ io.Reader }{body}
	}
	req, err := http.NewRequest("POST", url, body)
	if err != nil {
		tb.Fatal(err)
	}
	req.ContentLength = int64(len(payload))
	return req
}

// BenchmarkTransportAlone is a request's way through each transport with no
// network below, which shows what is lost in the noise of a real one.
func BenchmarkTransportAlone(b *testing.B) {
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	})
	m := &mint{}
	for _, c := range []struct {
		name string
		rt   http.RoundTripper
	}{
		{"bare", base},
		{"bearerkit", bearerkitTransport(b, m, base)},
		{"xoauth2", &oauth2.Transport{Source: oauth2.ReuseTokenSource(nil, m), Base: base}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				res, err := c.rt.RoundTrip(request(b, "http://127.0.0.1:1/", nil, false))
				if err != nil {
					b.Fatal(err)
				}
				_ = res.Body.Close()
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// BenchmarkEarlyRevocation sends 1,000 requests at once, or staggered over a
// round trip, when the token in use has just been revoked. Reported per round:
// requests that succeeded, refreshes, and requests that reached the server.
func BenchmarkEarlyRevocation(b *testing.B) {
	const callers = 1000
	const roundTrip = 20 * time.Millisecond
	type doer func(*http.Request) (*http.Response, error)
	for _, oneShot := range []bool{false, true} {
		for _, staggered := range []bool{false, true} {
			for _, c := range []struct {
				name string
				make func(b *testing.B, m *mint, base http.RoundTripper) doer
			}{
				{"bearerkit", func(b *testing.B, m *mint, base http.RoundTripper) doer {
					return (&http.Client{Transport: bearerkitTransport(b, m, base)}).Do
				}},
				{"xoauth2", func(_ *testing.B, m *mint, base http.RoundTripper) doer {
					return (&http.Client{Transport: &oauth2.Transport{Source: oauth2.ReuseTokenSource(nil, m), Base: base}}).Do
				}},
				{"azcore", func(_ *testing.B, m *mint, base http.RoundTripper) doer { return azcoreDoer(m, base) }},
			} {
				b.Run(fmt.Sprintf("oneshot=%v/staggered=%v/%s", oneShot, staggered, c.name), func(b *testing.B) {
					var ok, renewed, sends int64
					for b.Loop() {
						m := &mint{delay: roundTrip}
						s := newRevokingServer(roundTrip)
						base := http.DefaultTransport.(*http.Transport).Clone()
						// Over MaxIdleConns net/http may close the connection of an
						// answer without a body that it has not delivered yet.
						base.MaxIdleConns, base.MaxIdleConnsPerHost = 0, callers
						do := c.make(b, m, base)
						warm(b, do, s.url())
						s.revoke()
						s.sends.Store(0)
						before := m.n.Load()
						ok += storm(b, do, s.url(), callers, oneShot, staggered, roundTrip)
						renewed += m.n.Load() - before
						sends += s.sends.Load()
						base.CloseIdleConnections()
						s.close()
					}
					n := float64(b.N)
					b.ReportMetric(float64(ok)/n, "ok/round")
					b.ReportMetric(float64(renewed)/n, "refreshes/round")
					b.ReportMetric(float64(sends)/n, "sends/round")
				})
			}
		}
	}
}

// azcoreDoer is azcore's pipeline with its retries off: what its bearer policy
// does by itself. It wants https, which a loopback server in clear stands for.
func azcoreDoer(m *mint, base http.RoundTripper) func(*http.Request) (*http.Response, error) {
	auth := azruntime.NewBearerTokenPolicy(m, []string{"scope"}, &policy.BearerTokenOptions{InsecureAllowCredentialWithHTTP: true})
	pipeline := azruntime.NewPipeline("bench", "1", azruntime.PipelineOptions{PerRetry: []policy.Policy{auth}},
		&policy.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}, Transport: &http.Client{Transport: base}})
	return func(r *http.Request) (*http.Response, error) {
		req, err := azruntime.NewRequestFromRequest(r)
		if err != nil {
			return nil, err
		}
		return pipeline.Do(req)
	}
}

// revokingServer refuses the token it saw first once revoke was called.
type revokingServer struct {
	server  *httptest.Server
	sends   atomic.Int64
	revoked atomic.Pointer[string]
	first   atomic.Pointer[string]
}

func newRevokingServer(roundTrip time.Duration) *revokingServer {
	s := &revokingServer{}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.sends.Add(1)
		got := r.Header.Get("Authorization")
		s.first.CompareAndSwap(nil, &got)
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(roundTrip)
		if dead := s.revoked.Load(); dead != nil && *dead == got {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	return s
}

func (s *revokingServer) url() string { return s.server.URL }
func (s *revokingServer) revoke()     { s.revoked.Store(s.first.Load()) }
func (s *revokingServer) close()      { s.server.Close() }

func warm(tb testing.TB, do func(*http.Request) (*http.Response, error), url string) {
	res, err := do(request(tb, url, nil, false))
	if err != nil {
		tb.Fatal(err)
	}
	_ = res.Body.Close()
}

func storm(tb testing.TB, do func(*http.Request) (*http.Response, error), url string, callers int, oneShot, staggered bool, roundTrip time.Duration) int64 {
	payload := make([]byte, 1<<10)
	var ok atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			if staggered {
				time.Sleep(3 * roundTrip * time.Duration(i) / time.Duration(callers))
			}
			res, err := do(request(tb, url, payload, oneShot))
			if err != nil {
				return
			}
			if res.StatusCode == http.StatusOK {
				ok.Add(1)
			}
			_ = res.Body.Close()
		})
	}
	wg.Wait()
	return ok.Load()
}
