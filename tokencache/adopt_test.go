package tokencache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

func TestAdopt(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		pair := v.issue("t1/alice")
		if err := next().Adopt(t.Context(), alice, pair); err != nil {
			t.Fatal(err)
		}
		if tok := must(t)(next().Generate(t.Context(), alice)); tok.AccessToken != pair.AccessToken || tok.Version == 0 {
			t.Error(tok)
		}
		must(t)(next().Refresh(t.Context(), nobody, pair.RefreshToken))
		if err := next().Adopt(t.Context(), alice, providers.Token{}); code(err) != providers.CodeInvalidField {
			t.Error("an empty token:", err)
		}
	})
}

// A pair kept from last week: its access token is over, its refresh token good.
func TestAdoptRestoresAGrant(t *testing.T) {
	for name, keep := range map[string]func(providers.Token) providers.Token{
		"expired pair": func(p providers.Token) providers.Token {
			p.IssuedAt, p.Expiry = p.IssuedAt.Add(-2*time.Hour), p.Expiry.Add(-2*time.Hour)
			return p
		},
		"refresh token alone": func(p providers.Token) providers.Token {
			return providers.Token{RefreshToken: p.RefreshToken}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
				pair := keep(v.issue("t1/alice"))
				if err := next().Adopt(t.Context(), alice, pair); err != nil {
					t.Fatal(err)
				}
				tok := must(t)(next().Source(alice).Token(t.Context()))
				if tok.AccessToken != "at-2 of t1/alice" || len(v.seen) != 1 {
					t.Error(tok.AccessToken, "presented", v.seen)
				}
			})
		})
	}
}

func TestAdoptRefusesWhatCannotServe(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		dead := v.issue("t1/alice")
		dead.RefreshToken, dead.Expiry = "", time.Now().Add(-time.Second)
		if err := next().Adopt(t.Context(), alice, dead); code(err) != providers.CodeInvalidField {
			t.Error("an expired token alone:", err)
		}
		must(t)(next().Generate(t.Context(), alice))
	})
}

// An application that adopts what it kept at every start must not undo the
// renewals since.
func TestAdoptOfAnOlderPair(t *testing.T) {
	bothWays(t, func(t *testing.T, v *vendor, next func() *tokencache.Cache) {
		kept := v.issue("t1/alice")
		if err := next().Adopt(t.Context(), alice, kept); err != nil {
			t.Fatal(err)
		}
		cur := must(t)(next().Renew(t.Context(), alice, must(t)(next().Generate(t.Context(), alice))))
		for range 3 {
			if err := next().Adopt(t.Context(), alice, kept); err != nil {
				t.Error(err)
			}
			if tok := must(t)(next().Generate(t.Context(), alice)); tok.AccessToken != cur.AccessToken {
				t.Errorf("%s after %s", tok.AccessToken, cur.AccessToken)
			}
		}
		if len(v.seen) != 1 {
			t.Error("presented", v.seen)
		}
		if err := next().Purge(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		if err := next().Adopt(t.Context(), alice, kept); code(err) != providers.CodeRefreshRejected {
			t.Error("adopted after the sign-out:", err)
		}
	})
}

// What fell out of a full cache may be adopted again.
func TestAdoptOfAForgottenPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor()
		c := open(t, v, tokencache.Options{MaxEntries: 1})
		kept := v.issue("t1/alice")
		if err := c.Adopt(t.Context(), alice, kept); err != nil {
			t.Fatal(err)
		}
		must(t)(c.Generate(t.Context(), bob))
		if err := c.Adopt(t.Context(), alice, kept); err != nil {
			t.Fatal(err)
		}
		if tok := must(t)(c.Generate(t.Context(), alice)); tok.AccessToken != kept.AccessToken {
			t.Error(tok.AccessToken)
		}
	})
}
