// Renew validates incoming tokens. One that has merely expired is renewed once, and
// the call goes on; the caller finds the new token in X-Access-Token. /contacts
// takes tokens that this program signs, /orders an OIDC issuer's. Variables: those
// of demo.Contacts and demo.Logins, and ADDR; what is not set runs in this process.
package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/examples/demo"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
)

func main() {
	org, key, secret, old := demo.Contacts()
	cm := demo.Must(contactsmanager.New(contactsmanager.Config{OrgID: org, APIKey: key, APISecret: secret, Logger: slog.Default()}))
	contacts := demo.Must(middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{Issuer: org, AnyAudience: true, SubjectClaim: "user_id", Algorithms: []string{"HS256"}, Secrets: [][]byte{[]byte(secret)}}},
		Renew:   &middleware.Renew{Window: 7 * 24 * time.Hour, Token: middleware.RenewByGenerate(cm, nil), Deliver: deliver}, Logger: slog.Default(),
	}))
	login := demo.Logins()
	server := demo.Must(oauth.New(oauth.Config{Grant: "refresh_token", TokenURL: login.TokenURL, ClientID: login.ClientID, Secret: login.Secret}))
	grants := demo.Must(tokencache.New(server, tokencache.Options{Logger: slog.Default()})) // uses a refresh token once, for all calls that wait
	orders := demo.Must(middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{Issuer: login.Issuer, Audiences: []string{login.Audience}, Algorithms: []string{"RS256", "ES256"}, Discover: true}},
		Renew:   &middleware.Renew{Window: 24 * time.Hour, Credential: demo.RefreshCookie, Token: middleware.RenewByRefresh(grants), Deliver: deliver}, Logger: slog.Default(),
	}))
	orders.Ready() // starts to fetch the issuer's keys: an expired token does not

	mux := http.NewServeMux()
	mux.Handle("GET /contacts", contacts.Handler(http.HandlerFunc(hello)))
	// A cookie travels with every site's requests: those of other sites are refused.
	mux.Handle("GET /orders", http.NewCrossOriginProtection().Handler(orders.Handler(http.HandlerFunc(hello))))
	demo.Serve(mux, "CM_ORGANIZATION_ID, CM_API_KEY, CM_API_SECRET, AUTH_ISSUER, AUTH_AUDIENCE, TOKEN_URL, CLIENT_ID, CLIENT_SECRET, ADDR",
		"curl -i {base}/contacts -H 'Authorization: Bearer "+old+"'   # the token has expired: 200, and a new one in X-Access-Token",
		"curl -i {base}/orders -H 'Authorization: Bearer "+login.Expired+"' -H 'Cookie: "+demo.CookieName+"="+login.Refresh+"'   # the same",
		"curl -i {base}/orders -H 'Authorization: Bearer "+login.Expired+"'   # 401: no refresh token")
}

// deliver hands the new token to the client before the handler runs.
func deliver(w http.ResponseWriter, _ *http.Request, t providers.Token) {
	if t.RefreshToken != "" {
		http.SetCookie(w, &http.Cookie{Name: demo.CookieName, Value: t.RefreshToken, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	}
	w.Header().Set("X-Access-Token", t.AccessToken)
}

func hello(w http.ResponseWriter, r *http.Request) {
	subject, _ := middleware.Subject(r.Context())
	fmt.Fprintln(w, "hello", subject)
}
