package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"os"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/kudo"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/providers/redox"
)

// demo is what runs in this process in place of vendors that are not
// configured. Nil fields are real, or left out.
type demo struct {
	issuer                    *authtest.Issuer
	redacto, redox, cm, kudo  *providertest.Fake
	redactoURL, redactoTenant string
	redactoKey                string
	cmOrg, cmSecret           string
}

const demoTenant = "6b1c4a0e-7a51-4c0f-9a3e-2f5d8e1b7c10:0d9f2b34-51c8-4e7a-8f60-a1b2c3d4e5f6"

// embed serves a vendor on a separate loopback port, whose address make gets.
func (g *gateway) embed(make func(url string) (http.Handler, error)) error {
	end, err := listen(make)
	if err == nil {
		g.closers = append(g.closers, end)
	}
	return err
}

func (g *gateway) embeddedRedacto() (p *redacto.Provider, base string, err error) {
	err = g.embed(func(url string) (http.Handler, error) {
		key := rand.Text()
		g.demo.redacto, err = providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{demoTenant: key}})
		if err != nil {
			return nil, err
		}
		base = url
		g.demo.redactoURL, g.demo.redactoTenant, g.demo.redactoKey = url, demoTenant, key
		p, err = redacto.New(redacto.Config{BaseURL: url, Tenants: []string{demoTenant}, APIKey: key})
		return g.demo.redacto, err
	})
	return p, base, err
}

func (g *gateway) embeddedRedox() (p *redox.Provider, base string, err error) {
	err = g.embed(func(url string) (http.Handler, error) {
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			return nil, err
		}
		base = url
		p, err = redox.New(redox.Config{BaseURL: url, ClientID: "demo-client", Key: oauth.Key{ID: "demo-1", Signer: key}})
		if err != nil {
			return nil, err
		}
		g.demo.redox, err = providertest.NewRedox(providertest.RedoxConfig{ClientID: "demo-client", JWKS: p.JWKS()})
		return g.demo.redox, err
	})
	return p, base, err
}

func (g *gateway) embeddedKudo() (p *kudo.Provider, err error) {
	err = g.embed(func(url string) (http.Handler, error) {
		key := rand.Text()
		g.demo.kudo, err = providertest.NewKudo(providertest.KudoConfig{AccessKey: key})
		if err != nil {
			return nil, err
		}
		p, err = kudo.New(kudo.Config{BaseURL: url, AccessKey: key})
		return g.demo.kudo, err
	})
	return p, err
}

// embeddedContactsManager needs no server: tokens are signed here, and only the
// vendor's own API would look at them.
func (g *gateway) embeddedContactsManager() (*contactsmanager.Provider, error) {
	cfg := providertest.ContactsManagerConfig{OrgID: "demo-org", APIKey: rand.Text(), APISecret: rand.Text() + rand.Text()}
	g.demo.cmOrg, g.demo.cmSecret = cfg.OrgID, cfg.APISecret
	var err error
	if g.demo.cm, err = providertest.NewContactsManager(cfg); err != nil {
		return nil, err
	}
	return contactsmanager.New(contactsmanager.Config{OrgID: cfg.OrgID, APIKey: cfg.APIKey, APISecret: cfg.APISecret, Logger: g.log})
}

func (g *gateway) demoIssuer() (middleware.Issuer, error) {
	i, err := authtest.New("ES256")
	if err != nil {
		return middleware.Issuer{}, err
	}
	g.demo.issuer = i
	return middleware.Issuer{
		Issuer: i.URL, Audiences: []string{i.Audience}, Algorithms: []string{"ES256"},
		Discover: true, HTTPClient: i.Client(),
	}, nil
}

// demoToken signs a bearer token for {"sub": …}.
func (d *demo) demoToken(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Sub string `json:"sub"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10)).Decode(&body)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		handlers.WriteError(w, r, &providers.Error{Code: "request_timeout"})
		return
	}
	if err != nil || body.Sub == "" || len(body.Sub) > 256 {
		handlers.WriteError(w, r, &providers.Error{Code: providers.CodeInvalidField, Description: `The body must be {"sub": "a name"}.`})
		return
	}
	token, err := d.issuer.Token(map[string]any{"sub": body.Sub})
	if err != nil {
		handlers.WriteError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": token,
		"token":        token, // as the vendors' endpoints here call theirs
		"token_type":   "Bearer",
		"expires_in":   int(authtest.Lifetime.Seconds()),
	})
}
