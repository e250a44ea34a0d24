package peers_test

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jose"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// traffic has callers of api until the soak is over, and returns how many calls
// there were and how many of them did not end with 200.
func traffic(t *testing.T, source middleware.TokenSource, api string) (calls, failed int32) {
	t.Helper()
	const callers = 20
	base := &http.Transport{MaxIdleConnsPerHost: callers}
	defer base.CloseIdleConnections()
	client := &http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(source), Base: base}}
	ctx, cancel := context.WithTimeout(t.Context(), *soak)
	defer cancel()
	var done, bad atomic.Int32
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
				}
				done.Add(1)
				res, err := client.Get(api)
				if err != nil {
					bad.Add(1)
					t.Error(err)
					continue
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					bad.Add(1)
					t.Errorf("a caller saw %d", res.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	return done.Load(), bad.Load()
}

// TestAssertionFileThatRotates: a workload without a secret. Its assertion is a
// file that is swapped all the time under traffic, as a projected token is.
func TestAssertionFileThatRotates(t *testing.T) {
	p := start(t, 3*time.Second, signed("ES384", p384))
	key := must(jose.NewKey(p384, "ES384", "kid-ES384"))
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	var swapping sync.Mutex
	swaps := 0
	swap := func() {
		swapping.Lock()
		defer swapping.Unlock()
		swaps++
		now := time.Now()
		// The server wants each assertion to be new, so it lives for one swap.
		assertion := must(key.Sign(map[string]any{"iss": "ES384", "sub": "ES384", "aud": p.issuer + "/token", "jti": rand.Text(),
			"iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "next"), []byte(assertion+"\n"), 0o600))
		require.NoError(t, os.Rename(filepath.Join(dir, "next"), file))
	}
	swap()
	c := p.config("ES384")
	c.AssertionFile, c.AssertionAudience = file, p.issuer+"/token"
	// The server refuses an assertion that it has seen. Whatever the ticks below
	// do on a busy machine, one that was sent is not there any more.
	c.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		defer swap()
		return http.DefaultTransport.RoundTrip(r)
	})}
	source := newCache(t, c).Source(providers.Request{Audience: "urn:api:es256"})
	ctx, cancel := context.WithCancel(t.Context())
	var ticking sync.WaitGroup
	ticking.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				swap()
			}
		}
	})
	calls, failed := traffic(t, source, p.api("urn:api:es256").URL)
	cancel()
	ticking.Wait()
	counts := p.control("counts")
	swapping.Lock()
	defer swapping.Unlock()
	t.Logf("%d calls in %v, %d failed; %d swaps, %d token requests, %d refused", calls, *soak, failed, swaps, counts.Granted, counts.Refused)
	require.Zero(t, failed)
	require.Zero(t, counts.Refused)
	require.Greater(t, counts.Granted, 2)
}

// TestKeyRotationUnderTraffic: the server replaces its signing keys while it is
// called. Tokens of the old keys are renewed on the way.
func TestKeyRotationUnderTraffic(t *testing.T) {
	p := start(t, 10*time.Second, signed("ES384", p384))
	source := newCache(t, p.signedConfig("ES384", p384)).Source(providers.Request{Audience: "urn:api:es256"})
	api := p.api("urn:api:es256")
	ctx, cancel := context.WithCancel(t.Context())
	rotations := 0
	var rotating sync.WaitGroup
	rotating.Go(func() {
		// Resource servers look for an unknown key at most once in ten seconds.
		tick := time.NewTicker(min(*soak/3, 15*time.Second))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if rotations == 0 || *soak >= 30*time.Second {
					p.control("rotate")
					rotations++
				}
			}
		}
	})
	calls, failed := traffic(t, source, api.URL)
	cancel()
	rotating.Wait()
	t.Logf("%d calls in %v over %d rotations, %d failed", calls, *soak, rotations, failed)
	require.Zero(t, failed)
	require.NotZero(t, rotations)
}
