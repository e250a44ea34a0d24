package tokencache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// vendor issues pairs as Redacto does: by user, one pair alive, and a refresh
// token works once. A refresh need not name anybody but the tenant.
type vendor struct {
	fake
	mu    sync.Mutex
	alive map[string]string // refresh token to user
	n     int
	seen  []string // refresh tokens presented
	now   func() time.Time
}

func newVendor() *vendor {
	v := &vendor{alive: map[string]string{}, now: time.Now}
	v.mode, v.ttl = providers.Exclusive, time.Hour
	v.generate = func(ctx context.Context, req providers.Request) (providers.Token, error) {
		return v.issue(req.Tenant + "/" + req.Subject), nil
	}
	v.refresh = func(ctx context.Context, _ providers.Request, rt string) (providers.Token, error) {
		v.mu.Lock()
		who, ok := v.alive[rt]
		v.seen = append(v.seen, rt)
		v.mu.Unlock()
		if err := pause(ctx, time.Second); err != nil {
			return providers.Token{}, err
		}
		if !ok {
			return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Status: 401}
		}
		return v.issue(who), nil
	}
	return v
}

func (v *vendor) issue(who string) providers.Token {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n++
	rt := fmt.Sprint("rt-", v.n)
	for old, w := range v.alive {
		if w == who {
			delete(v.alive, old)
		}
	}
	v.alive[rt] = who
	now := v.now()
	return providers.Token{AccessToken: fmt.Sprintf("at-%d of %s", v.n, who), RefreshToken: rt, IssuedAt: now, Expiry: now.Add(v.ttl)}
}

// presented is how many refresh tokens the vendor has seen.
func (v *vendor) presented() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.seen)
}

func (v *vendor) Key(req providers.Request) (string, error) {
	if req.Tenant == "" {
		return "", &providers.Error{Code: providers.CodeTenantRequired, Class: providers.Permanent}
	}
	if req.Subject == "" {
		return "", &providers.Error{Code: providers.CodeIdentityRequired, Class: providers.Permanent}
	}
	return req.Tenant + "\x00" + req.Subject, nil
}

// bothWays runs a test with and without a Store. With one, each call of next
// is another replica.
func bothWays(t *testing.T, run func(t *testing.T, v *vendor, next func() *tokencache.Cache)) {
	for _, stored := range []bool{false, true} {
		t.Run(map[bool]string{false: "alone", true: "replicas"}[stored], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVendor()
				var all []*tokencache.Cache
				if stored {
					all = cluster(t, 3, v, tokencache.Options{SealKeys: [][]byte{make([]byte, 32)}, NameKey: bytes.Repeat([]byte("n"), 32)})
				} else {
					all = append(all, open(t, v, tokencache.Options{}))
				}
				var i atomic.Int64
				run(t, v, func() *tokencache.Cache { return all[int(i.Add(1))%len(all)] })
			})
		})
	}
}

var (
	alice  = providers.Request{Tenant: "t1", Subject: "alice"}
	bob    = providers.Request{Tenant: "t1", Subject: "bob"}
	nobody = providers.Request{Tenant: "t1"}
	other  = providers.Request{Tenant: "t2"}
)

// The vendor's word on the end of a refresh token counts, and not RefreshLifetime.
func TestARefreshTokenFindsItsGrantUntilItEnds(t *testing.T) {
	for _, stored := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			v.generate = func(_ context.Context, req providers.Request) (providers.Token, error) {
				tok := v.issue(req.Tenant + "/" + req.Subject)
				tok.RefreshExpiry = time.Now().Add(3 * time.Hour)
				return tok, nil
			}
			o := tokencache.Options{RefreshLifetime: time.Minute, Namespace: "test"}
			if stored {
				o.Store = tokencache.NewMemory()
			}
			c := open(t, v, o)
			pair := must(t)(c.Generate(t.Context(), alice))
			time.Sleep(2 * time.Hour)
			next := must(t)(c.Refresh(t.Context(), nobody, pair.RefreshToken))
			cur := must(t)(c.Generate(t.Context(), alice))
			assert.Equal(t, next.AccessToken, cur.AccessToken, "it was found, and not taken for one never seen")
		})
	}
}

func TestRefreshTokenFindsItsGrant(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		a := must(t)(next().Generate(t.Context(), alice))
		b := must(t)(next().Refresh(t.Context(), nobody, a.RefreshToken))
		if cur := must(t)(next().Renew(t.Context(), alice, a)); cur.AccessToken != b.AccessToken {
			t.Error("generate after refresh:", cur, "want", b)
		}
		if again := must(t)(next().Refresh(t.Context(), nobody, a.RefreshToken)); again.AccessToken != b.AccessToken {
			t.Error("a spent token within the grace:", again)
		}
		time.Sleep(2 * time.Minute)
		if _, err := next().Refresh(t.Context(), nobody, a.RefreshToken); code(err) != providers.CodeRefreshRejected {
			t.Error("a spent token after the grace:", err)
		}
		if len(v.seen) != 1 || v.n != 2 {
			t.Error("presented", v.seen, "issued", v.n)
		}
	})
}

func TestRefreshStaysWithinTenantAndSubject(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		a := must(t)(next().Generate(t.Context(), alice))
		for _, req := range []providers.Request{other, {Tenant: "t2", Subject: "alice"}, bob} {
			if _, err := next().Refresh(t.Context(), req, a.RefreshToken); code(err) != providers.CodeRefreshRejected {
				t.Errorf("%+v used alice's refresh token of t1: %v", req, err)
			}
		}
		if _, err := next().Refresh(t.Context(), providers.Request{}, a.RefreshToken); code(err) != providers.CodeTenantRequired {
			t.Error(err)
		}
		if len(v.seen) != 0 {
			t.Error("presented", v.seen)
		}
		must(t)(next().Refresh(t.Context(), alice, a.RefreshToken))
	})
}

func TestRefreshTokenNeverSeen(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		old := v.issue("t1/alice") // before the kit was there
		together(30, func(int) {
			if tok, err := next().Refresh(t.Context(), nobody, old.RefreshToken); err != nil || tok.AccessToken != "at-2 of t1/alice" {
				t.Error(tok, err)
			}
		})
		tok := must(t)(next().Refresh(t.Context(), nobody, "rt-2"))
		if tok.AccessToken != "at-3 of t1/alice" || len(v.seen) != 2 {
			t.Error(tok.AccessToken, "presented", v.seen)
		}
		if _, err := next().Refresh(t.Context(), other, "rt-3"); code(err) != providers.CodeRefreshRejected {
			t.Error("crossed tenants:", err)
		}
		// With a name, it is adopted into that user's record.
		old = v.issue("t1/bob")
		b := must(t)(next().Refresh(t.Context(), bob, old.RefreshToken))
		if cur := must(t)(next().Generate(t.Context(), bob)); cur.AccessToken != b.AccessToken {
			t.Error("generate after refresh:", cur.AccessToken)
		}
	})
}

func TestOneRefreshTokenForTwoUsersIsPresentedOnce(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		old := v.issue("t1/alice")
		var mu sync.Mutex
		won := map[string]int{}
		together(20, func(i int) {
			req := []providers.Request{alice, bob}[i%2]
			if _, err := next().Refresh(t.Context(), req, old.RefreshToken); err == nil {
				mu.Lock()
				won[req.Subject]++
				mu.Unlock()
			} else if code(err) != providers.CodeRefreshRejected {
				t.Error(err)
			}
		})
		if len(won) != 1 || len(v.seen) != 1 {
			t.Error("served", won, "presented", v.seen)
		}
	})
}

func TestRefusedRefreshTokenIsAskedAboutOnce(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		a := must(t)(next().Generate(t.Context(), alice))
		for _, req := range []providers.Request{nobody, alice} {
			for range 5 {
				_, err := next().Refresh(t.Context(), req, "forged for "+req.Subject)
				if pe := providers.AsError(err); pe.Code != providers.CodeRefreshRejected || pe.Class != providers.GrantDead {
					t.Error(err)
				}
				time.Sleep(time.Minute / 2)
			}
		}
		if len(v.seen) != 2 {
			t.Error("presented", v.seen)
		}
		if cur := must(t)(next().Generate(t.Context(), alice)); cur.AccessToken != a.AccessToken {
			t.Error("a forged refresh token cost alice her pair")
		}
	})
}

func TestDeadGrant(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		a := must(t)(next().Generate(t.Context(), alice))
		v.mu.Lock()
		clear(v.alive) // somebody generated elsewhere
		v.mu.Unlock()
		if _, err := next().Refresh(t.Context(), nobody, a.RefreshToken); code(err) != providers.CodeRefreshRejected || v.n != 1 {
			t.Error("the refresh handler must not revive a grant:", err, v.n)
		}
		b := must(t)(next().Renew(t.Context(), alice, a)) // acts for alice: generates, once
		if v.n != 2 || b.Version <= a.Version {
			t.Error(b, v.n)
		}
		v.mu.Lock()
		clear(v.alive)
		v.mu.Unlock()
		time.Sleep(time.Minute)
		if c := must(t)(next().Renew(t.Context(), alice, b)); v.n != 3 || c.Version <= b.Version {
			t.Error("renewal of a dead grant:", c, v.n)
		}
		if len(v.seen) != 2 {
			t.Error("presented", v.seen)
		}
	})
}

func TestSignOutDuringRefreshIsNotUndone(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		a := must(t)(next().Generate(t.Context(), alice))
		done := make(chan error)
		go func() {
			_, err := next().Refresh(t.Context(), nobody, a.RefreshToken)
			done <- err
		}()
		for v.presented() == 0 {
			time.Sleep(time.Millisecond)
		}
		if err := next().Purge(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		if err := <-done; code(err) != providers.CodeRefreshRejected {
			t.Error("refresh that a sign-out overtook:", err)
		}
		for _, rt := range []string{a.RefreshToken, "rt-2"} {
			if _, err := next().Refresh(t.Context(), nobody, rt); rt == a.RefreshToken && code(err) != providers.CodeRefreshRejected {
				t.Error(err)
			}
		}
		if tok := must(t)(next().Generate(t.Context(), alice)); strings.HasPrefix(tok.AccessToken, "at-1") || strings.HasPrefix(tok.AccessToken, "at-2") {
			t.Error("a token from before the sign-out:", tok.AccessToken)
		}
	})
}

type revoker struct {
	*vendor
	revoked []string
}

func (r *revoker) Revoke(_ context.Context, tok providers.Token) error {
	r.vendor.mu.Lock()
	defer r.vendor.mu.Unlock()
	r.revoked = append(r.revoked, tok.RefreshToken)
	if len(r.revoked) > 1 {
		return errors.ErrUnsupported
	}
	return nil
}

func TestPurgeRevokesUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &revoker{vendor: newVendor()}
		for _, c := range append(cluster(t, 1, r, tokencache.Options{}), open(t, r, tokencache.Options{})) {
			must(t)(c.Generate(t.Context(), alice))
			if err := c.Purge(t.Context(), alice); err != nil {
				t.Error(err)
			}
		}
		if fmt.Sprint(r.revoked) != "[rt-1 rt-2]" {
			t.Error("revoked", r.revoked)
		}
	})
}

func TestWithoutARefreshTokenNothingIsRefreshed(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		must(t)(next().Generate(t.Context(), alice))
		tok, err := next().Refresh(t.Context(), alice, "")
		assert.Equal(t, providers.CodeInvalidField, code(err), "%v", err)
		assert.Zero(t, tok)
		assert.Zero(t, v.presented())
	})
}

// Of the token that this replica has and the one in the Store, the newer one is
// alive and is revoked.
func TestPurgeRevokesTheNewestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &revoker{vendor: newVendor()}
		r.mode = providers.Rotating
		all := cluster(t, 2, r, tokencache.Options{})
		tok := must(t)(all[0].Generate(t.Context(), alice))
		must(t)(all[1].Generate(t.Context(), alice))
		must(t)(all[1].Renew(t.Context(), alice, tok))
		require.NoError(t, all[0].Purge(t.Context(), alice))
		assert.Equal(t, []string{"rt-2"}, r.revoked)
	})
}

func TestASourceOfARequestWithoutAKeySaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		s := open(t, v, tokencache.Options{}).Source(providers.Request{Subject: "alice"})
		_, err := s.Token(t.Context())
		assert.Equal(t, providers.CodeTenantRequired, code(err), "%v", err)
		_, err = s.Renew(t.Context(), providers.Token{Version: 1})
		assert.Equal(t, providers.CodeTenantRequired, code(err), "%v", err)
		assert.Zero(t, v.n)
	})
}

func TestACallerThatHasLeftCausesNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		c := open(t, v, tokencache.Options{})
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Generate(gone, alice)
		assert.ErrorIs(t, err, context.Canceled)
		synctest.Wait()
		assert.Zero(t, v.n)
	})
}

// A replica that signs out a grant of which it knew nothing learns how often that
// was done before: a sign-in right after it is none that the sign-out overtook.
func TestASignInRightAfterASignOutWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		for range 2 {
			must(t)(a.Generate(t.Context(), alice))
			require.NoError(t, a.Purge(t.Context(), alice))
		}
		b := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		require.NoError(t, b.Purge(t.Context(), alice))
		must(t)(b.Generate(t.Context(), alice))
	})
}
