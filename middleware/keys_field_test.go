package middleware_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// What honest servers publish, and what their clocks and ours do.

// setOf is i's key set with change applied to each key.
func setOf(t testing.TB, i *authtest.Issuer, change func(jwk map[string]any)) []byte {
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	require.NoError(t, json.Unmarshal(i.JWKS(), &set))
	for _, jwk := range set.Keys {
		change(jwk)
	}
	body, err := json.Marshal(set)
	require.NoError(t, err)
	return body
}

func causeOf(t testing.TB, a *middleware.Authenticator, token string) string {
	t.Helper()
	_, err := a.Verify(t.Context(), token)
	var e *middleware.Error
	require.ErrorAs(t, err, &e)
	require.Error(t, e.Err)
	return e.Err.Error()
}

// kube-apiserver serves its keys as application/jwk-set+json and answers 406
// to those who accept application/json alone (RFC 9110 section 12.5.1).
func TestServersThatServeOneMediaTypeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		accepts := map[string][]string{}
		cfg := trusting(i)
		cfg.JWKSURL, cfg.Discover = "", true
		cfg.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			accepts[r.URL.Path] = r.Header["Accept"]
			if !strings.Contains(r.Header.Get("Accept"), "application/jwk-set+json") {
				return &http.Response{StatusCode: 406, Header: http.Header{}, Body: http.NoBody}, nil
			}
			return i.Client().Transport.RoundTrip(r)
		})}
		require.Empty(t, reasonOf(t, authFor(t, cfg), mint(t, i, nil)))
		want := []string{"application/jwk-set+json, application/json;q=0.9, */*;q=0.1"}
		require.Equal(t, map[string][]string{"/jwks": want, "/.well-known/openid-configuration": want}, accepts)
	})
}

func TestMembersOfKeysByExactName(t *testing.T) {
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"a note called D":    {func(k map[string]any) { k["D"] = "a note" }, ""},
		"x5c as text":        {func(k map[string]any) { k["x5c"] = "MIIB"; k["x5t"] = 1 }, ""},
		"unknown members":    {func(k map[string]any) { k["nbf"] = "x"; k["Use"] = "enc" }, ""},
		"key_ops of another": {func(k map[string]any) { k["key_ops"] = []string{"verify", "x"} }, ""},
		"use mistyped":       {func(k map[string]any) { k["use"] = []string{"sig"} }, "unavailable"},
		"issuer mistyped":    {func(k map[string]any) { k["issuer"] = 1 }, "unavailable"},
		"private":            {func(k map[string]any) { k["d"] = "AAAA" }, "unavailable"},
	} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			i.ServeSet(setOf(t, i, c.change))
			require.Equal(t, c.want, reasonOf(t, authFor(t, trusting(i)), mint(t, i, nil)), name)
		})
	}
}

func TestDiscoveryMembersByExactName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		cfg := trusting(i)
		cfg.JWKSURL, cfg.Discover = "", true
		doc := ""
		cfg.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return pages{i.URL + "/.well-known/openid-configuration": doc, i.URL + "/jwks": string(i.JWKS()), "https://evil.example/jwks": "{}"}.RoundTrip(r)
		})}
		auth := authFor(t, cfg)
		doc = `{"issuer":"` + i.URL + `/","jwks_uri":"` + i.URL + `/jwks"}`
		require.Contains(t, causeOf(t, auth, mint(t, i, nil)), `its issuer is "`+i.URL+`/" and not `+i.URL, "the text says what differs")
		require.Contains(t, causeOf(t, auth, mint(t, i, nil)), `its issuer is "`+i.URL+`/" and not `+i.URL, "while nothing is fetched again")
		time.Sleep(time.Second)
		doc = `{"Issuer":"` + i.URL + `","jwks_uri":"` + i.URL + `/jwks"}`
		require.Contains(t, causeOf(t, auth, mint(t, i, nil)), "discovery document has no issuer")
		time.Sleep(10 * time.Second)
		doc = `{"issuer":"` + i.URL + `","jwks_uri":"` + i.URL + `/jwks","JWKS_URI":"https://evil.example/jwks","ISSUER":1}`
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
	})
}

// RFC 7515 section 4.1.4: kid is a hint.
func TestKidsThatNoKeyHasAndKeysWithoutKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		unnamed := func(k map[string]any) { delete(k, "kid") }
		i.ServeSet(setOf(t, i, unnamed))
		auth := authFor(t, trusting(i))
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
		require.Empty(t, reasonOf(t, auth, mintAs(t, i, "other")))
		require.Empty(t, reasonOf(t, auth, mustSign(t, i, map[string]any{"kid": nil})))
		require.Equal(t, 1, i.Fetches())
		require.NoError(t, i.Rotate(false))
		i.ServeSet(setOf(t, i, unnamed))
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)), "then it is an unknown kid, which has the set fetched")
		require.Equal(t, 2, i.Fetches())
		stranger := newIssuer(t)
		forged := mint(t, stranger, nil)
		require.Equal(t, "key", reasonOf(t, auth, forged))
		require.Contains(t, causeOf(t, auth, forged), "no such key: kid es256-1")
	})
}

// A token without kid that no key verifies may be signed with a key that is
// new, whether or not the others have kids. Forgeries of that kind have a
// budget of their own, so that the one for rotations is there when it is
// needed; a known kid with a bad signature never causes a fetch.
func TestTokensWithoutKidFindARotation(t *testing.T) {
	for _, named := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			i, forger := newIssuer(t), newIssuer(t)
			publish := func() {
				if !named {
					i.ServeSet(setOf(t, i, func(k map[string]any) { delete(k, "kid") }))
				}
			}
			publish()
			auth := authFor(t, trusting(i))
			bare := map[string]any{"kid": nil}
			require.Empty(t, reasonOf(t, auth, mustSign(t, i, bare)))
			require.NoError(t, i.Rotate(false))
			publish()
			require.Empty(t, reasonOf(t, auth, mustSign(t, i, bare)))
			require.Equal(t, 2, i.Fetches())
			for range 100 {
				require.Equal(t, "signature", reasonOf(t, auth, mustSign(t, forger, bare)))
			}
			require.LessOrEqual(t, i.Fetches(), 6, "five at once at most")
			require.NoError(t, i.Rotate(false))
			publish()
			if named {
				require.Empty(t, reasonOf(t, auth, mint(t, i, nil)), "the budget for rotations is untouched")
				before := i.Fetches()
				require.Equal(t, "signature", reasonOf(t, auth, mustSign(t, forger, map[string]any{"kid": "es256-3"})))
				require.Equal(t, before, i.Fetches(), "a known kid with a bad signature fetches nothing")
			}
			time.Sleep(10 * time.Second)
			require.Empty(t, reasonOf(t, auth, mustSign(t, i, bare)))
		})
	}
}

// After joining a fetch that began before it asked, a token without kid has
// the set fetched once more.
func TestTokenWithoutKidDuringAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, forger := newIssuer(t), newIssuer(t)
		h := authFor(t, trusting(i)).Handler(ok)
		require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
		i.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			set := i.JWKS()
			time.Sleep(time.Second)
			_, _ = w.Write(set)
		}))
		bare := map[string]any{"kid": nil}
		go ask(h, mustSign(t, forger, bare))
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, i.Rotate(true))
		require.Equal(t, map[int]int{200: 20}, together(h, repeat(20, func() string { return mustSign(t, i, bare) })...))
		require.Equal(t, 3, i.Fetches())
	})
}

func TestMoreCandidatesThanAreTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, forger := newIssuer(t), newIssuer(t)
		for range 11 {
			require.NoError(t, i.Rotate(true))
		}
		auth := authFor(t, trusting(i))
		bare := mustSign(t, forger, map[string]any{"kid": nil})
		cause := causeOf(t, auth, bare)
		require.Contains(t, cause, "more candidates were not tried")
		require.Contains(t, cause, "8 keys tried")
		cfg := trusting(i)
		cfg.JWKSURL, cfg.Keys = "", i.PublicKeys()
		require.Contains(t, causeOf(t, authFor(t, cfg), bare), "4 more candidates were not tried (8 keys tried)")
	})
}

// With the wall clock 6 h ahead and then set right, a withdrawn key must not
// be accepted for 6 h.
func TestWallClockThatIsSetBackKeepsNoWithdrawnKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		var set atomic.Int64 // the fetch reads it too
		set.Store(int64(6 * time.Hour))
		auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Now: func() time.Time { return time.Now().Add(time.Duration(set.Load())) }})
		old := mint(t, i, map[string]any{"exp": time.Now().Add(100 * time.Hour).Unix()})
		require.Empty(t, reasonOf(t, auth, old))
		set.Store(0)
		require.NoError(t, i.Rotate(false))
		time.Sleep(17 * time.Minute)
		_ = reasonOf(t, auth, old) // has the set refreshed
		synctest.Wait()
		require.Equal(t, "key", reasonOf(t, auth, old))
		// Nor do the limits of fetches wait for the clock.
		i.Down(true)
		require.Equal(t, "unavailable", reasonOf(t, auth, mintAs(t, i, "new")))
		set.Store(int64(-24 * time.Hour))
		i.Down(false)
		time.Sleep(time.Second)
		fresh := mint(t, i, map[string]any{"iat": nil})
		require.Empty(t, reasonOf(t, auth, fresh))
	})
}

// A suspended machine's monotonic clock stands still: its wall clock tells.
func TestKeysAfterASuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		var slept atomic.Int64
		auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Now: func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }})
		old := mint(t, i, map[string]any{"exp": time.Now().Add(1000 * time.Hour).Unix()})
		require.Empty(t, reasonOf(t, auth, old))
		require.NoError(t, i.Rotate(false))
		i.Slow(300 * time.Millisecond)
		slept.Store(int64(20 * time.Minute))
		start := time.Now()
		require.Equal(t, "key", reasonOf(t, auth, old), "the first request waits for the refresh")
		require.GreaterOrEqual(t, time.Since(start), 300*time.Millisecond)
		i.Slow(time.Minute)
		slept.Add(int64(time.Hour))
		fresh := mint(t, i, map[string]any{"exp": time.Now().Add(1000 * time.Hour).Unix()})
		start = time.Now()
		require.Empty(t, reasonOf(t, auth, fresh))
		require.Equal(t, time.Second, time.Since(start), "and for a second at most")
		time.Sleep(10 * time.Second)
		i.Slow(0)
		i.Down(true)
		slept.Add(int64(72 * time.Hour))
		require.Equal(t, "unavailable", reasonOf(t, auth, fresh), "a set of 72 hours serves nobody")
		time.Sleep(10 * time.Second)
		require.Equal(t, "unavailable", reasonOf(t, auth, fresh))
		i.Down(false)
		time.Sleep(10 * time.Second)
		require.Empty(t, reasonOf(t, auth, fresh))
	})
}

const tenantA, tenantB = "11111111-aaaa-4bbb-8ccc-000000000001", "22222222-aaaa-4bbb-8ccc-000000000002"

// Entra's key sets say for which issuer a key is.
func TestKeysThatAreBoundToAnIssuer(t *testing.T) {
	for bound, want := range map[string]string{
		"https://login.example/" + tenantA + "/v2.0": "", "https://login.example/{tenantid}/v2.0": "",
		"https://login.example/" + tenantB + "/v2.0": "signature", "https://login.example/" + tenantA + "/v2.0/": "signature", "https://evil.example/{tenantid}/v2.0": "signature", "{tenantid}": "signature",
	} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			i.URL = "https://login.example/" + tenantA + "/v2.0"
			i.ServeSet(setOf(t, i, func(k map[string]any) { k["issuer"] = bound }))
			auth := authFor(t, trusting(i))
			for _, header := range []map[string]any{nil, {"kid": nil}} {
				token, err := i.Sign(header, claimsOf(t, mint(t, i, map[string]any{"tid": tenantA})))
				require.NoError(t, err)
				require.Equal(t, want, reasonOf(t, auth, token), bound)
			}
			if bound == "https://login.example/{tenantid}/v2.0" {
				require.Equal(t, "signature", reasonOf(t, auth, mint(t, i, map[string]any{"tid": tenantB})))
				require.Equal(t, "signature", reasonOf(t, auth, mint(t, i, nil)), "no tid")
				// The issuer is part of a key's identity: moved to another, it is another key.
				good := mint(t, i, map[string]any{"tid": tenantA, "exp": time.Now().Add(10 * time.Hour).Unix()})
				require.Empty(t, reasonOf(t, auth, good))
				i.ServeSet(setOf(t, i, func(k map[string]any) { k["issuer"] = "https://login.example/" + tenantB + "/v2.0" }))
				time.Sleep(17 * time.Minute)
				_ = reasonOf(t, auth, good)
				synctest.Wait()
				require.Equal(t, "signature", reasonOf(t, auth, good))
			}
		})
	}
}

// A canary: what a header names is not looked at, by whatever name it goes
// (RFC 7515 section 4, RFC 8725 section 3.10).
func TestHeadersFetchNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, evil := newIssuer(t), newIssuer(t)
		var asked []string
		cfg := trusting(i)
		cfg.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.String())
			if r.URL.Host == "canary.example" {
				return pages{r.URL.String(): string(evil.JWKS())}.RoundTrip(r)
			}
			return i.Client().Transport.RoundTrip(r)
		})}
		auth := authFor(t, cfg)
		for name, header := range map[string]map[string]any{
			"jku": {"jku": "https://canary.example/jwks"}, "x5u": {"x5u": "https://canary.example/cert"}, "x5c": {"x5c": []string{"https://canary.example"}},
			"kid": {"jku": "https://canary.example/jwks", "kid": nil}, "all": {"jku": "https://canary.example/a", "x5u": "https://canary.example/b", "x5t": "x", "x5t#S256": "y", "zip": "none"},
		} {
			require.Empty(t, reasonOf(t, auth, mustSign(t, i, header)), name)
			require.Contains(t, []string{"signature", "key"}, reasonOf(t, auth, mustSign(t, evil, header)), name)
		}
		for _, address := range asked {
			require.Equal(t, i.URL+"/jwks", address)
		}
	})
}

// RFC 7517 section 4.2: SPIFFE's bundles have use jwt-svid.
func TestUsesOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		i.ServeSet(setOf(t, i, func(k map[string]any) { k["use"] = "jwt-svid" }))
		cfg := trusting(i)
		require.Equal(t, "unavailable", reasonOf(t, authFor(t, cfg), mint(t, i, nil)))
		cfg.KeyUses = []string{"jwt-svid"}
		require.Empty(t, reasonOf(t, authFor(t, cfg), mint(t, i, nil)))
		cfg.KeyUses = []string{"jwt-svid", "enc"}
		_, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{cfg}})
		require.ErrorContains(t, err, "keys for encryption")
	})
}

// A handler of the log that panics or exits, and a clock that does, leave
// nobody waiting.
func TestHooksOfAFetchThatCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		i.Down(true)
		auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Logger: crashingLogger()})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := auth.Verify(ctx, mint(t, i, nil))
		require.Error(t, err)
		require.Zero(t, time.Since(start))
		i.Down(false)
		time.Sleep(time.Second)
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
		require.NoError(t, i.Rotate(false))
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
	})
}
