package redacto

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// Config configures a [Provider]. Tenants and one of APIKey and APIKeyFunc are
// required.
type Config struct {
	// BaseURL is the API's origin; "" means https://api.redacto.io. It must
	// be https, or http to a loopback address.
	BaseURL string
	// Prefix is the path before /organisations in the token paths; "" means
	// /consent/public, as in the vendor's guide. The API reference has
	// /consent.
	Prefix string
	// UsersPrefix is the same for the paths of user management; "" means
	// /consent.
	UsersPrefix string
	// UpdateUserCall and LinkUsersCall are the calls of [Provider.UpdateUser]
	// and [Provider.LinkUsers]: a method and a path below the workspace's, in
	// which {org_user_id} or {uuid} stands for the user. "" means
	// "PATCH /consent-ledger/consent-users/{org_user_id}/" and
	// "POST /consent-ledger/consent-users/link-users". No public page shows
	// the first; it is assumed.
	UpdateUserCall, LinkUsersCall string
	// Tenants are the workspaces served, each "organisation:workspace" as two
	// UUIDs. They go upstream in this spelling.
	Tenants []string
	// APIKey is the CMS API key of all tenants.
	APIKey string
	// APIKeyFunc returns the CMS API key of one of Tenants, for keys that
	// differ or rotate. It is called once per request.
	APIKeyFunc func(ctx context.Context, tenant string) (string, error)
	// ExpiresInDays is sent with every generate; 0 means 1.
	ExpiresInDays int
	// HTTPClient makes the calls. Its redirect policy and cookies are not used.
	// nil means a client of the provider, see [upstream.New].
	HTTPClient *http.Client
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Format hides the key from every verb of package fmt.
func (Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "redacto.Config(redacted)") }

// Provider issues Redacto tokens. It implements [providers.Provider],
// [providers.Refresher], [providers.Keyer] and [providers.Moder], and the wire
// shapes of package handlers.
type Provider struct {
	client  *upstream.Client
	tokens  *url.URL
	users   *url.URL
	update  userCall
	link    userCall
	tenants []tenant
	apiKey  func(context.Context, string) (string, error)
	days    int
	now     func() time.Time
}

// New validates cfg. The error joins every fault of cfg.
func New(cfg Config) (*Provider, error) {
	p := &Provider{apiKey: cfg.APIKeyFunc, days: cfg.ExpiresInDays, now: cfg.Now}
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("redacto: "+format, args...))
	}
	base, err := upstream.CheckURL("BaseURL", cmp.Or(cfg.BaseURL, "https://api.redacto.io"))
	if err != nil {
		fault("%w", err)
		base = &url.URL{}
	}
	tokens, users := cmp.Or(cfg.Prefix, "/consent/public"), cmp.Or(cfg.UsersPrefix, "/consent")
	if !plainPath(tokens) {
		fault("Prefix: must be a clean absolute path")
	}
	if !plainPath(users) {
		fault("UsersPrefix: must be a clean absolute path")
	}
	p.tokens, p.users = base.JoinPath(tokens), base.JoinPath(users)
	if p.update, err = parseUserCall(cmp.Or(cfg.UpdateUserCall, "PATCH /consent-ledger/consent-users/{org_user_id}/")); err != nil {
		fault("UpdateUserCall: %w", err)
	}
	if p.link, err = parseUserCall(cmp.Or(cfg.LinkUsersCall, "POST /consent-ledger/consent-users/link-users")); err != nil {
		fault("LinkUsersCall: %w", err)
	}
	errs = append(errs, p.addTenants(cfg.Tenants)...)
	switch key := cfg.APIKey; {
	case key != "" && cfg.APIKeyFunc != nil:
		fault("APIKey and APIKeyFunc exclude each other")
	case key == "" && cfg.APIKeyFunc == nil:
		fault("APIKey or APIKeyFunc is required")
	case !wire.Visible(key):
		fault("APIKey: must be printable ASCII without spaces")
	case key != "":
		p.apiKey = func(context.Context, string) (string, error) { return key, nil }
	}
	if cfg.ExpiresInDays < 0 {
		fault("ExpiresInDays: must not be negative")
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if p.days == 0 {
		p.days = 1
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.client = upstream.New("redacto", cfg.HTTPClient, p.now)
	return p, nil
}

// addTenants parses the configured tenants.
func (p *Provider) addTenants(list []string) (faults []error) {
	if len(list) == 0 {
		return []error{errors.New("redacto: Tenants: at least one is required")}
	}
	for i, raw := range list {
		t, ok := parseTenant(raw)
		switch {
		case !ok:
			faults = append(faults, fmt.Errorf("redacto: Tenants[%d]: must be two UUIDs, organisation:workspace", i))
		case p.hasTenant(t):
			faults = append(faults, fmt.Errorf("redacto: Tenants[%d]: given twice", i))
		}
		p.tenants = append(p.tenants, t)
	}
	return faults
}

// plainPath reports whether JoinPath and servers leave the path p unchanged.
func plainPath(p string) bool {
	return p[0] == '/' && path.Clean(p) == p && wire.Visible(p) && !strings.ContainsAny(p, `%?#\;`)
}

// Mode is [providers.Exclusive].
func (*Provider) Mode() providers.Mode { return providers.Exclusive }

// Key names the user of req: the tenant and the first of org_user_id, email and
// mobile. The vendor keeps one pair per user, however many identifiers a
// request has.
func (p *Provider) Key(req providers.Request) (string, error) {
	t, id, err := p.resolve(req)
	if err != nil {
		return "", err
	}
	return providers.Request{Tenant: t.String(), Audience: id.kind(), Subject: id.first()}.Key()
}

// Generate issues a new pair for the user of req, which ends the user's earlier
// pairs at the vendor. Expiry is the earlier of the vendor's expires_at and the
// token's own exp, corrected by the Date of the answer.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	t, id, err := p.resolve(req)
	if err != nil {
		return providers.Token{}, err
	}
	body := struct {
		identity
		ExpiresInDays int `json:"expires_in_days"`
	}{id, p.days}
	res, err := p.call(ctx, t, upstream.Call{Op: "generate", URL: p.path(p.tokens, t, "tokens", "generate"), Body: body})
	if err != nil {
		return providers.Token{}, err
	}
	if !res.OK() {
		return providers.Token{}, res.Err()
	}
	return readPair(res, "")
}

// Refresh spends refreshToken for a new pair. Of req it uses only the tenant:
// the vendor knows the user.
func (p *Provider) Refresh(ctx context.Context, req providers.Request, refreshToken string) (providers.Token, error) {
	t, err := p.tenant(req.Tenant)
	if err != nil {
		return providers.Token{}, err
	}
	body := struct {
		RefreshToken string `json:"refresh_token"`
	}{refreshToken}
	res, err := p.call(ctx, t, upstream.Call{Op: "refresh", URL: p.path(p.tokens, t, "tokens", "refresh"), Body: body, OneTime: true})
	if err != nil {
		return providers.Token{}, err
	}
	if !res.OK() {
		return providers.Token{}, refusedRefresh(res)
	}
	token, err := readPair(res, refreshToken)
	if err != nil {
		return res.Salvage(refreshToken, err)
	}
	return token, nil
}

// refusedRefresh classifies a refusal. 401 and 403 do not say whether the
// refresh token or our key was refused, so the refresh token is kept.
func refusedRefresh(res *upstream.Response) *providers.Error {
	e := res.Err()
	switch res.Status {
	case 401, 403:
		if e.Code == providers.CodeCredentialsRejected {
			e.Code, e.Class = providers.CodeRefreshRejected, providers.Permanent
		}
	case 400, 404, 410, 422:
		if res.Structured() {
			e.Code, e.Class = providers.CodeRefreshRejected, providers.GrantDead
		}
	}
	return e
}

func (p *Provider) path(prefix *url.URL, t tenant, rest ...string) string {
	return prefix.JoinPath(append([]string{"organisations", t.organisation, "workspaces", t.workspace}, rest...)...).String()
}

// call posts to one of the vendor's endpoints with the tenant's key.
func (p *Provider) call(ctx context.Context, t tenant, c upstream.Call) (*upstream.Response, error) {
	key, err := p.apiKey(ctx, t.String())
	if err == nil {
		err = wire.CheckKey("APIKeyFunc", key)
	}
	if err != nil {
		return nil, wire.KeyError(ctx, "redacto: "+c.Op, err)
	}
	c.Method = cmp.Or(c.Method, http.MethodPost)
	c.Header = http.Header{"X-Cms-Api-Key": {key}}
	return p.client.Do(ctx, c)
}
