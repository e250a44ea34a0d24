package tokencache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// exchange is a provider that gives for each assertion a token that names it.
func exchange(ttl time.Duration) *fake {
	p := &fake{}
	p.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return providers.Token{}, err
		}
		now := time.Now()
		return providers.Token{
			AccessToken: fmt.Sprintf("%d for %q %q acting %q", p.calls.Load(), req.Assertion.Token, req.Assertion.Type, req.Actor.Token),
			IssuedAt:    now, Expiry: now.Add(ttl), RefreshToken: "to be dropped",
		}, nil
	}
	return p
}

func asserting(token string, life time.Duration) providers.Request {
	return providers.Request{Subject: "u", Assertion: providers.Assertion{Token: token, Expiry: time.Now().Add(life)}}
}

// No token of one caller's assertion reaches a caller with another: of another
// length, with the same subject, with the same prefix, or with parts that run
// into each other.
func TestATokenForAnAssertionReachesItsBearerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := []string{"", "a", "b", "aa", "a\x00", "\x00", "a\x00\x00\x00\x01a", strings.Repeat("a", 600), strings.Repeat("a", 601)}
		var all []providers.Request
		for _, token := range parts {
			for _, kind := range parts[:5] {
				for _, actor := range parts[:5] {
					req := asserting(token, time.Hour)
					req.Assertion.Type, req.Actor.Token = kind, actor
					if token == "" {
						req.Assertion = providers.Assertion{}
						if kind != "" {
							continue
						}
					}
					all = append(all, req)
				}
			}
		}
		p := exchange(time.Hour)
		for _, c := range append(cluster(t, 2, p, tokencache.Options{}), open(t, p, tokencache.Options{})) {
			rng := rand.New(rand.NewPCG(15, 1))
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			together(4*len(all), func(i int) {
				req := all[i%len(all)]
				tok, err := c.Generate(t.Context(), req)
				if assert.NoError(t, err) {
					assert.Contains(t, tok.AccessToken, fmt.Sprintf("for %q %q acting %q", req.Assertion.Token, req.Assertion.Type, req.Actor.Token))
				}
			})
		}
		assert.EqualValues(t, 2*len(all), p.calls.Load(), "one exchange each, by the replicas and by the other cache")
	})
}

func TestATokenForAnAssertionEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := exchange(24 * time.Hour)
		c := open(t, p, tokencache.Options{})
		req := asserting("a", time.Hour)
		tok := must(t)(c.Generate(t.Context(), req))
		assert.Equal(t, req.Assertion.Expiry, tok.Expiry)
		assert.Empty(t, tok.RefreshToken)
		time.Sleep(59 * time.Minute) // past every renewal ahead
		must(t)(c.Generate(t.Context(), req))
		synctest.Wait()
		assert.EqualValues(t, 1, p.calls.Load(), "not renewed ahead")

		req = providers.Request{Assertion: providers.Assertion{Token: "of unknown end"}}
		tok = must(t)(c.Generate(t.Context(), req))
		assert.Equal(t, 5*time.Minute, time.Until(tok.Expiry).Round(time.Second))

		req = asserting("within the leeway", -10*time.Second)
		for range 3 {
			must(t)(c.Generate(t.Context(), req))
		}
		assert.EqualValues(t, 5, p.calls.Load(), "kept for nobody")
	})
}

// The actor's credential bounds the token as the subject's does.
func TestATokenForAnActorEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := exchange(24 * time.Hour)
		c := open(t, p, tokencache.Options{})
		req := asserting("a", time.Hour)
		req.Actor = asserting("actor", time.Minute).Assertion
		tok := must(t)(c.Generate(t.Context(), req))
		assert.Equal(t, req.Actor.Expiry, tok.Expiry)

		req.Assertion = providers.Assertion{}
		tok = must(t)(c.Generate(t.Context(), req))
		assert.Equal(t, req.Actor.Expiry, tok.Expiry, "also without a subject's")
		assert.Empty(t, tok.RefreshToken)

		req = asserting("b", time.Hour)
		req.Actor = asserting("within the leeway", -10*time.Second).Assertion
		for range 3 {
			must(t)(c.Generate(t.Context(), req))
		}
		assert.EqualValues(t, 5, p.calls.Load(), "kept for nobody")
	})
}

// An exchange whose outcome is unknown is not tried again behind its caller's
// back.
func TestAnExchangeInDoubtWaitsForItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{}
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			return providers.Token{}, &providers.Error{Code: providers.CodeTimeout, Class: providers.InDoubt}
		}
		c := open(t, p, tokencache.Options{})
		_, err := c.Generate(t.Context(), asserting("a", time.Hour))
		assert.Equal(t, providers.CodeTimeout, code(err))
		time.Sleep(10 * time.Minute)
		assert.EqualValues(t, 1, p.calls.Load())
	})
}

func TestARefusedExchangedTokenIsExchangedOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := exchange(time.Hour)
		c := open(t, p, tokencache.Options{})
		var mu sync.Mutex
		seen := map[string]bool{}
		together(400, func(i int) {
			s := c.Source(asserting([]string{"a", "b"}[i%2], time.Hour))
			tok := must(t)(s.Token(t.Context()))
			tok = must(t)(s.Renew(t.Context(), tok))
			mu.Lock()
			defer mu.Unlock()
			seen[tok.AccessToken] = true
		})
		assert.EqualValues(t, 4, p.calls.Load())
		assert.Len(t, seen, 2)
	})
}

// A failure for one caller opens no window for another.
func TestAFailedExchangeIsOneCallersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := exchange(time.Hour)
		good := p.generate
		p.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
			if req.Assertion.Token == "bad" {
				return providers.Token{}, &providers.Error{Code: providers.CodeInvalidToken, Class: providers.Permanent}
			}
			return good(ctx, req)
		}
		c := open(t, p, tokencache.Options{})
		_, err := c.Generate(t.Context(), asserting("bad", time.Hour))
		assert.Equal(t, providers.CodeInvalidToken, code(err))
		must(t)(c.Generate(t.Context(), asserting("good", time.Hour)))
	})
}

// A hundred thousand exchanges push out no grant, and take a bounded memory.
func TestExchangesPushOutNoGrant(t *testing.T) {
	exchanges := 100_000
	if testing.Short() {
		exchanges = 3_000
	}
	synctest.Test(t, func(t *testing.T) {
		p := &fake{ttl: time.Hour}
		c := open(t, p, tokencache.Options{MaxEntries: 1000})
		const grants = 1000
		for i := range grants {
			must(t)(c.Generate(t.Context(), providers.Request{Subject: fmt.Sprint(i)}))
			synctest.Wait() // busy entries stay
		}
		before := p.calls.Load()
		for i := range exchanges {
			must(t)(c.Generate(t.Context(), asserting(fmt.Sprint("assertion ", i), 2*time.Hour)))
		}
		assert.Equal(t, grants+1000, c.Stats().Entries)
		require.EqualValues(t, exchanges, p.calls.Load()-before, "one exchange for each assertion")
		before = p.calls.Load()
		for i := range grants {
			must(t)(c.Generate(t.Context(), providers.Request{Subject: fmt.Sprint(i)}))
		}
		assert.Equal(t, before, p.calls.Load(), "a grant was pushed out")
	})
}

// Nothing of an assertion is in the Store but digests.
func TestNoAssertionIsInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newHistory()
		p := &fake{ttl: time.Hour}
		c := cluster(t, 1, p, tokencache.Options{Store: store})[0]
		must(t)(c.Generate(t.Context(), asserting("SECRET", time.Hour)))
		for key, v := range store.remember("") {
			assert.NotContains(t, key+string(v.val), "SECRET")
		}
	})
}
