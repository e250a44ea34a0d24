package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// protect lets requests through to orders that carry a token of the issuer.
func protect(issuer, audience string, grants providers.Refresher, orders http.Handler, log *slog.Logger) (http.Handler, error) {
	auth, err := middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{
			Issuer: issuer, Audiences: []string{audience}, Algorithms: []string{"ES256"}, Discover: true,
		}},
		Leeway: -1, // a token ends on the second; without this line a minute later
		Renew: &middleware.Renew{ // an expired token that comes with a refresh token
			Window: time.Hour, Credential: refreshToken, Token: middleware.RenewByRefresh(grants), Deliver: deliver,
		},
		Logger: log,
	})
	if err != nil {
		return nil, err
	}
	return auth.Handler(orders), nil
}

func refreshToken(r *http.Request) string {
	c, err := r.Cookie("__Host-refresh")
	if err != nil {
		return ""
	}
	return c.Value
}

// deliver hands the new tokens to the client before the handler runs.
func deliver(w http.ResponseWriter, _ *http.Request, t providers.Token) {
	http.SetCookie(w, &http.Cookie{
		Name: "__Host-refresh", Value: t.RefreshToken, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode,
	})
	w.Header().Set("X-Access-Token", t.AccessToken)
}
