package bench

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// BenchmarkObserver is what an Observer costs where most requests pass: a
// remembered inbound token, a send of the Transport with no network below it,
// and a bound hit of the cache, which tells nobody anything.
func BenchmarkObserver(b *testing.B) {
	var seen atomic.Uint64
	for _, o := range []struct {
		name    string
		observe func(context.Context, providers.Event)
	}{
		{"without", nil},
		{"with", func(context.Context, providers.Event) { seen.Add(1) }},
	} {
		b.Run("remembered/"+o.name, func(b *testing.B) {
			auth, token := remembered(b, o.observe)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := auth.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("remembered-parallel/"+o.name, func(b *testing.B) {
			auth, token := remembered(b, o.observe)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := auth.Verify(context.Background(), token); err != nil {
						b.Error(err)
					}
				}
			})
		})
		b.Run("transport/"+o.name, func(b *testing.B) {
			base := roundTripper(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
			})
			rt := bearerkitTransport(b, &mint{}, base).(*middleware.Transport)
			rt.Observer = o.observe
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rt.RoundTrip(request(b, "http://127.0.0.1:1/", nil, false)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("bound-hit/"+o.name, func(b *testing.B) {
			cache, err := tokencache.New(&mint{}, tokencache.Options{Observer: o.observe})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = cache.Close(context.Background()) })
			source := cache.Source(providers.Request{})
			for b.Loop() {
				if _, err := source.Token(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// remembered is an Authenticator that has verified token already.
func remembered(b *testing.B, observe func(context.Context, providers.Event)) (*middleware.Authenticator, string) {
	idp, err := authtest.New("ES256")
	if err != nil {
		b.Fatal(err)
	}
	auth, err := middleware.New(middleware.Config{Observer: observe, Issuers: []middleware.Issuer{{
		Issuer: idp.URL, Audiences: []string{idp.Audience}, Algorithms: []string{"ES256"}, Keys: idp.PublicKeys(),
	}}})
	if err != nil {
		b.Fatal(err)
	}
	token, err := idp.Token(nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := auth.Verify(b.Context(), token); err != nil {
		b.Fatal(err)
	}
	return auth, token
}
