package main

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
)

// renewedHeader brings the caller the token that took the place of an expired
// one.
const renewedHeader = "X-Access-Token"

// minHMAC is the length of a secret by which tokens are verified (RFC 7518
// section 3.2).
const minHMAC = 32

// mountRenewed shows "validate, renew once, carry on": a route for
// ContactsManager's own tokens. One whose only fault is its age is replaced by
// a new one for its own user, and the call goes on.
//
// Where anyone may name anybody such a token proves nothing about a person, and
// the route is left out; the demonstration has it.
func (g *gateway) mountRenewed(c *config, p *contactsmanager.Provider) error {
	s := &renewed{window: 7 * 24 * time.Hour, provider: p, gateway: g}
	switch {
	case c.cm != nil && c.cm.anyone:
		return nil
	case c.cm != nil:
		s.org, s.secret, s.window = c.cm.orgID, c.cm.secret.value, c.cm.renewWindow
	default:
		s.org, s.secret = g.demo.cmOrg, func() string { return g.demo.cmSecret }
	}
	if len(s.secret()) < minHMAC {
		g.log.Warn("no route /contactsmanager/session: tokens are not verified by a secret this short", "want", minHMAC)
		return nil
	}
	if _, err := s.authenticator(); err != nil {
		return err
	}
	g.handle("/contactsmanager/session", "GET", s)
	return nil
}

// renewed keeps an Authenticator for the secret of the moment, and for the one
// before it, whose tokens are still out there.
type renewed struct {
	org      string
	secret   func() string
	window   time.Duration
	provider providers.Provider
	gateway  *gateway

	mu      sync.Mutex
	secrets [][]byte
	auth    *middleware.Authenticator
}

func (s *renewed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	auth, err := s.authenticator()
	if err != nil {
		s.gateway.log.Warn("keeping the last secret of ContactsManager", "err", err)
	}
	auth.Handler(http.HandlerFunc(protected)).ServeHTTP(w, r)
}

// authenticator returns the last good one beside an error.
func (s *renewed) authenticator() (*middleware.Authenticator, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := []byte(s.secret())
	if len(s.secrets) > 0 && slices.Equal(s.secrets[0], now) {
		return s.auth, nil
	}
	secrets := append([][]byte{now}, s.secrets...)
	secrets = secrets[:min(len(secrets), 2)]
	auth, err := middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{
			Issuer: s.org, AnyAudience: true, SubjectClaim: "user_id",
			Algorithms: []string{"HS256"}, Secrets: secrets,
		}},
		Renew: &middleware.Renew{
			Window: s.window,
			Token:  middleware.RenewByGenerate(s.provider, nil),
			Deliver: func(w http.ResponseWriter, _ *http.Request, t providers.Token) {
				w.Header().Set(renewedHeader, t.AccessToken)
			},
		},
		Logger: s.gateway.log, Observer: s.gateway.telemetry.observer("contactsmanager"),
	})
	if err == nil {
		s.auth, s.secrets = auth, secrets
	}
	return s.auth, err
}
