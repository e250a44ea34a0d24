// Renew validates incoming tokens; one whose only fault is its age is renewed
// once, and the call goes on. /contacts takes ContactsManager's tokens, which this
// program signs. /orders takes an OIDC issuer's, which are renewed by the
// refresh token in a cookie. The caller finds the new token in X-Access-Token.
package main

import (
	"cmp"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
)

const cookie = "__Host-refresh"

func main() {
	org, secret := os.Getenv("CM_ORGANIZATION_ID"), os.Getenv("CM_API_SECRET")
	cm := must(contactsmanager.New(contactsmanager.Config{APIKey: os.Getenv("CM_API_KEY"), APISecret: secret, OrgID: org}))
	contacts := must(middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{
			Issuer: org, AnyAudience: true, SubjectClaim: "user_id", Algorithms: []string{"HS256"}, Secrets: [][]byte{[]byte(secret)},
		}},
		Renew: &middleware.Renew{Window: 7 * 24 * time.Hour, Token: middleware.RenewByGenerate(cm, nil), Deliver: deliver},
	}))

	server := must(oauth.New(oauth.Config{
		Grant: "refresh_token", TokenURL: os.Getenv("TOKEN_URL"), ClientID: os.Getenv("CLIENT_ID"), Secret: os.Getenv("CLIENT_SECRET"),
	}))
	grants := must(tokencache.New(server, tokencache.Options{})) // spends a refresh token once, for all calls that wait
	orders := must(middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{
			Issuer: os.Getenv("AUTH_ISSUER"), Audiences: []string{os.Getenv("AUTH_AUDIENCE")}, Algorithms: []string{"RS256", "ES256"}, Discover: true,
		}},
		Renew: &middleware.Renew{Window: 24 * time.Hour, Credential: refreshToken, Token: middleware.RenewByRefresh(grants), Deliver: deliver},
	}))

	http.Handle("GET /contacts", contacts.Handler(http.HandlerFunc(hello)))
	// A cookie travels with every site's requests: those of other sites are refused.
	http.Handle("GET /orders", http.NewCrossOriginProtection().Handler(orders.Handler(http.HandlerFunc(hello))))
	log.Fatal(http.ListenAndServe(cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"), nil))
}

func refreshToken(r *http.Request) string {
	c, err := r.Cookie(cookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// deliver hands the new token to the client before the handler runs.
func deliver(w http.ResponseWriter, _ *http.Request, t providers.Token) {
	if t.RefreshToken != "" {
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: t.RefreshToken, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	}
	w.Header().Set("X-Access-Token", t.AccessToken)
}

func hello(w http.ResponseWriter, r *http.Request) {
	subject, _ := middleware.Subject(r.Context())
	fmt.Fprintln(w, "hello", subject)
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
