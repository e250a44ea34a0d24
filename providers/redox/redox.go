package redox

import (
	"cmp"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/bearerkit/bearerkit/internal/jose"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

const defaultBase = "https://api.redoxengine.com"

// overlap is how long a key stays published after the next key has replaced it.
// Redox does not say how long it keeps a copy of the set.
const overlap = 24 * time.Hour

// maxLife is the longest time from iat to exp that Redox accepts.
const maxLife = 5 * time.Minute

// Config configures a [Provider]. ClientID and Key are required.
type Config struct {
	// ClientID is the API key's client ID in the Redox dashboard.
	ClientID string
	// Key signs the assertions: with RS384 if it is an RSA key, with ES384 if
	// it is a key on P-384. Its ID is required and is the kid in the dashboard.
	// It must have no Certificate.
	Key oauth.Key
	// Next, if set, is published beside Key. It signs from NextFrom on. While
	// NextFrom is zero it does not sign.
	Next     oauth.Key
	NextFrom time.Time
	// Scopes are requested unless the request has its own. Most clients need
	// none.
	Scopes []string
	// BaseURL is the API's origin; "" means https://api.redoxengine.com. The
	// Canadian one is https://api.ca.redoxengine.com.
	BaseURL string
	// TokenPath is the path of the token endpoint; "" means /v2/auth/token.
	// BaseURL and TokenPath together are the aud of the assertions.
	TokenPath string
	// AssertionLifetime is the time from iat to exp of the assertions: whole
	// seconds, up to the five minutes that Redox allows; 0 means two minutes.
	AssertionLifetime time.Duration
	// HTTPClient makes the calls. Its redirect policy and cookies are not used.
	// nil means a client of the provider, see [upstream.New].
	HTTPClient *http.Client
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Provider issues Redox tokens, which live for five minutes. It implements
// [providers.Provider] and [providers.Keyer]. [New] makes it.
type Provider struct {
	current, next signer // next is empty without Config.Next
	nextFrom      time.Time
	now           func() time.Time
}

// signer takes tokens with one key.
type signer struct {
	*oauth.Provider
	public jose.JWK
}

// New validates cfg. It makes no call. The error joins every fault of cfg.
func New(cfg Config) (*Provider, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("redox: "+format, args...)) }
	base, err := upstream.CheckURL("BaseURL", cmp.Or(cfg.BaseURL, defaultBase))
	if err != nil {
		fault("%w", err)
		base, _ = url.Parse(defaultBase)
	}
	settings := oauth.Config{
		TokenURL: base.JoinPath(cmp.Or(cfg.TokenPath, "/v2/auth/token")).String(),
		ClientID: cfg.ClientID, Scopes: cfg.Scopes, HTTPClient: cfg.HTTPClient, Now: cfg.Now,
		AuthMethod: "none", // New checks the keys itself
	}
	if _, err := oauth.New(settings); err != nil {
		fault("%w", err)
	}
	if life := cfg.AssertionLifetime; life < 0 || life > maxLife || life%time.Second != 0 {
		fault("AssertionLifetime: must be whole seconds, up to %v", maxLife)
	} else {
		settings.AssertionLifetime = life
	}
	current, err := newSigner(settings, cfg.Key)
	if err != nil {
		fault("Key: %w", err)
	}
	var next signer
	hasNext := len(cfg.Next.PEM) > 0 || cfg.Next.Signer != nil
	switch {
	case hasNext && cfg.Next.ID == cfg.Key.ID:
		fault("Next: has the ID of Key")
	case hasNext:
		if next, err = newSigner(settings, cfg.Next); err != nil {
			fault("Next: %w", err)
		}
	case cfg.Next.ID != "" || !cfg.NextFrom.IsZero():
		fault("Next: no private key")
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	p := &Provider{current: current, next: next, nextFrom: cfg.NextFrom, now: cfg.Now}
	if p.now == nil {
		p.now = time.Now
	}
	return p, nil
}

func newSigner(settings oauth.Config, key oauth.Key) (signer, error) {
	private, err := jose.OneOf(key.PEM, key.Signer)
	if err != nil {
		return signer{}, err
	}
	if key.ID == "" {
		return signer{}, errors.New("no ID")
	}
	if len(key.Certificate) > 0 {
		return signer{}, errors.New("Certificate: Redox knows keys by their ID alone")
	}
	alg := "ES384"
	if _, ok := private.Public().(*rsa.PublicKey); ok {
		alg = "RS384"
	}
	if key.Algorithm != "" && key.Algorithm != alg {
		return signer{}, fmt.Errorf("a key of this kind signs with %s, not %q", alg, key.Algorithm)
	}
	k, err := jose.NewKey(private, alg, key.ID)
	if err != nil {
		return signer{}, err
	}
	settings.AuthMethod, settings.Key = "", oauth.Key{ID: key.ID, Algorithm: alg, Signer: private}
	p, err := oauth.New(settings)
	if err != nil {
		return signer{}, nil // New has reported it
	}
	return signer{p, k.PublicJWK()}, nil
}

// Generate asks for a token with a new assertion. Redox has no refresh tokens.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	s := p.current
	if p.rotated() {
		s = p.next
	}
	t, err := s.Generate(ctx, req)
	return t, explain(err, "redox: generate")
}

// Key is [providers.Request.Key] of req. A request with a tenant or a subject
// is an error, because the token is the client's.
func (p *Provider) Key(req providers.Request) (string, error) {
	key, err := p.current.Key(req)
	return key, explain(err, "redox: key")
}

// JWKS returns the public keys to publish, as a JWK set (RFC 7517 section 5):
// the key in use, the next key, and the last key for a day. The result changes
// with time, so call JWKS for each answer.
func (p *Provider) JWKS() []byte {
	keys := []jose.JWK{p.current.public}
	switch {
	case p.rotated() && !p.now().Before(p.nextFrom.Add(overlap)):
		keys[0] = p.next.public
	case p.next.Provider != nil:
		keys = append(keys, p.next.public)
	}
	set, _ := json.Marshal(struct { // strings cannot fail
		Keys []jose.JWK `json:"keys"`
	}{keys})
	return set
}

func (p *Provider) rotated() bool { return !p.nextFrom.IsZero() && !p.now().Before(p.nextFrom) }
