package middleware_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
)

// greet answers with the subject.
var greet = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	subject, _ := middleware.Subject(r.Context())
	fmt.Fprintf(w, "hello %s", subject)
})

// ContactsManager's tokens are signed here, so that an expired one is renewed
// by signing anew for the same user_id. The browser reads the new one from a
// header, and the request goes on.
func ExampleRenewByGenerate() {
	secret := "an API secret of 32 bytes or more"
	cm, err := contactsmanager.New(contactsmanager.Config{APIKey: "key", APISecret: secret, OrgID: "org-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	auth, err := middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{
			Issuer: "org-1", AnyAudience: true, SubjectClaim: "user_id",
			Algorithms: []string{"HS256"}, Secrets: [][]byte{[]byte(secret)},
		}},
		Renew: &middleware.Renew{
			Window: 7 * 24 * time.Hour,
			Token:  middleware.RenewByGenerate(cm, nil),
			Deliver: func(w http.ResponseWriter, _ *http.Request, t providers.Token) {
				w.Header().Set("X-Access-Token", t.AccessToken)
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	expired, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "org-1", "user_id": "user-7", "exp": time.Now().Add(-time.Hour).Unix(),
	}).SignedString([]byte(secret))

	w := get(auth.Handler(greet), "/", expired)
	fmt.Println(w.Code, w.Body)
	w = get(auth.Handler(greet), "/", w.Header().Get("X-Access-Token"))
	fmt.Println(w.Code, w.Body, w.Header().Get("X-Access-Token"))
	// Output:
	// 200 hello user-7
	// 200 hello user-7
}

// exampleGrants is an OIDC issuer's token endpoint; providers/oauth has the
// real one, and *tokencache.Cache is a Refresher that spends a refresh token
// once for all replicas.
type exampleGrants struct{ idp *authtest.Issuer }

func (g exampleGrants) Refresh(_ context.Context, _ providers.Request, refresh string) (providers.Token, error) {
	if refresh != "refresh-1" {
		return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}
	}
	access, err := g.idp.Token(nil)
	return providers.Token{AccessToken: access, RefreshToken: "refresh-2"}, err
}

// The refresh token of an OIDC issuer is in a cookie that scripts cannot read.
func ExampleRenewByRefresh() {
	idp, issuer := exampleIssuer()
	const cookie = "__Host-refresh"
	auth, err := middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{issuer},
		Renew: &middleware.Renew{
			Window: 24 * time.Hour,
			Credential: func(r *http.Request) string {
				c, err := r.Cookie(cookie)
				if err != nil {
					return ""
				}
				return c.Value
			},
			Token: middleware.RenewByRefresh(exampleGrants{idp}),
			Deliver: func(w http.ResponseWriter, _ *http.Request, t providers.Token) {
				http.SetCookie(w, &http.Cookie{
					Name: cookie, Value: t.RefreshToken, Path: "/",
					HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode,
				})
				w.Header().Set("X-Access-Token", t.AccessToken)
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// A cookie travels by itself: refuse requests of other sites.
	h := http.NewCrossOriginProtection().Handler(auth.Handler(greet))

	fresh, _ := idp.Token(nil)
	get(h, "/", fresh) // loads the keys: an expired token has none fetched
	expired, _ := idp.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+expired)
	fmt.Println(get(h, "/", expired).Code)
	r.AddCookie(&http.Cookie{Name: cookie, Value: "refresh-1"})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	fmt.Println(w.Header().Get("Set-Cookie"))
	// Output:
	// 401
	// 200 hello ada
	// __Host-refresh=refresh-2; Path=/; HttpOnly; Secure; SameSite=Strict
}

// exampleSource is one user's record; *tokencache.Source is the real one.
type exampleSource struct{ idp *authtest.Issuer }

func (s exampleSource) Token(context.Context) (providers.Token, error) {
	access, err := s.idp.Token(nil)
	return providers.Token{AccessToken: access}, err
}

func (s exampleSource) Renew(ctx context.Context, _ providers.Token) (providers.Token, error) {
	return s.Token(ctx)
}

// The refresh token stays on the server, in the token cache: the expired
// token's subject chooses the record. With the cache itself, source is
//
//	func(v *middleware.Verified, _ string) middleware.TokenSource {
//		return cache.Source(providers.Request{Subject: v.Subject})
//	}
//
// and whoever signs users in hands their grants to Cache.Adopt.
func ExampleRenewBySource() {
	idp, issuer := exampleIssuer()
	auth, err := middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{issuer},
		Renew: &middleware.Renew{
			Window: 24 * time.Hour,
			Token: middleware.RenewBySource(func(v *middleware.Verified, _ string) middleware.TokenSource {
				fmt.Println("record of", v.Subject)
				return exampleSource{idp}
			}),
			Deliver: func(w http.ResponseWriter, _ *http.Request, t providers.Token) {
				w.Header().Set("X-Access-Token", t.AccessToken)
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := auth.Handler(greet)
	fresh, _ := idp.Token(nil)
	get(h, "/", fresh)
	expired, _ := idp.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	w := get(h, "/", expired)
	fmt.Println(w.Code, w.Body, w.Header().Get("X-Access-Token") != "")
	// Output:
	// record of ada
	// 200 hello ada true
}
