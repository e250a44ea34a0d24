package oauth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/plainhttp"
	"github.com/bearerkit/bearerkit/internal/warnlog"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// New validates c. It makes no call. The error joins every fault of c.
func New(c Config) (*Provider, error) {
	if c.AudienceParam == "" {
		c.AudienceParam = "audience"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	grant, err := grantOf(c.Grant)
	faults := append(c.check(grant), err)
	claims, err := newClaims(c, grant)
	faults = append(faults, err)
	auth, err := newAuth(c)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	params := make(url.Values, len(c.Params)+1)
	for name, vs := range c.Params {
		params[name] = slices.Clone(vs)
	}
	if len(c.Audience) > 0 {
		params[c.AudienceParam] = slices.Clone(c.Audience)
	}
	p := &Provider{
		client: upstream.New("oauth", c.HTTPClient, c.Now), now: c.Now, logger: c.Logger, auth: auth, signs: c.Key.set(), grant: grant,
		claims: claims, issuers: slices.Clone(c.Issuers), requested: params.Get("requested_token_type"),
		tokenURL: c.TokenURL, introspectionURL: c.IntrospectionURL, untyped: c.DangerouslyUntypedTokens, revocationURL: c.RevocationURL,
		scopes: slices.Clone(c.Scopes), params: params, audience: c.AudienceParam,
		tokenTypes: slices.Clone(c.TokenTypes), classify: c.Classify, lines: new(warnlog.Rare),
	}
	if grant.exchanges() {
		own, _ := providers.Request{Tenant: c.TokenURL, Subject: c.ClientID, Audience: params.Encode(), Scopes: c.Scopes}.Key()
		digest := sha256.Sum256([]byte(own)) // Params may be secret
		p.keyPrefix = hex.EncodeToString(digest[:])
	}
	return p, nil
}

// check returns the faults of c, except those of the client's authentication.
func (c Config) check(grant grantType) (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	c.checkURLs(bad)
	if err := plainhttp.Check("DangerouslyPlainHTTP", c.DangerouslyPlainHTTP); err != nil {
		bad("%w", err)
	}
	if c.TokenURL == "" && c.IntrospectionURL == "" && c.RevocationURL == "" {
		bad("TokenURL: missing")
	}
	switch {
	case c.ClientID == "":
		bad("ClientID: missing")
	case !vschar(c.ClientID):
		bad("ClientID: has characters outside printable ASCII (RFC 6749 appendix A.1)")
	}
	for _, s := range c.Scopes {
		if !validScope(s) {
			bad("Scopes: %q is not a scope of RFC 6749 section 3.3", s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		if reserved(name) {
			bad("Params: %q is set by the kit", name)
		}
	}
	if reserved(c.AudienceParam) {
		bad("AudienceParam: %q is set by the kit", c.AudienceParam)
	}
	for _, kind := range c.TokenTypes {
		switch strings.ToLower(kind) {
		case "":
			bad("TokenTypes: one is empty")
		case "dpop", "mac", "n_a", "pop":
			bad("TokenTypes: %s is never presented as a Bearer token", kind)
		}
	}
	switch presents := grant.exchanges() && c.Claims == nil; {
	case presents && len(c.Issuers) == 0:
		bad("Issuers: required for %s", grant)
	case !presents && len(c.Issuers) > 0:
		bad("Issuers: only token_exchange and jwt_bearer present a caller's token")
	case slices.Contains(c.Issuers, ""):
		bad("Issuers: one is empty")
	}
	return faults
}

// checkURLs reports the faults of the endpoints to bad.
func (c Config) checkURLs(bad func(format string, args ...any)) {
	for _, u := range []struct{ field, raw string }{
		{"TokenURL", c.TokenURL}, {"IntrospectionURL", c.IntrospectionURL}, {"RevocationURL", c.RevocationURL},
	} {
		if u.raw == "" {
			continue
		}
		base, _, _ := strings.Cut(u.raw, "?") // RFC 6749 section 3.2 allows a query
		if plain, err := url.Parse(base); err == nil && plain.User == nil && plainhttp.Allowed(c.DangerouslyPlainHTTP, plain) {
			base = "https" + strings.TrimPrefix(base, plain.Scheme) // so that CheckURL reports the other faults
		}
		if _, err := upstream.CheckURL(u.field, base); err != nil {
			bad("%w", err)
		} else if strings.Contains(u.raw, "#") {
			bad("%s: a fragment is not allowed", u.field)
		}
	}
}

// vschar reports whether s has only characters of RFC 6749 appendix A.
func vschar(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// reserved reports whether only the kit may set the parameter name.
func reserved(name string) bool {
	switch name {
	case "", "grant_type", "scope", "refresh_token", "token", "token_type_hint",
		"client_secret", "client_assertion", "client_assertion_type",
		"assertion", "subject_token", "subject_token_type", "actor_token", "actor_token_type",
		"code", "code_verifier":
		return true
	}
	return false
}

// validScope reports whether s is a scope-token of RFC 6749 section 3.3. A
// blank inside would make two scopes of it.
func validScope(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// paramValues returns a JSON value as the values of one parameter. null and ""
// have none.
func paramValues(v any) ([]string, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		if v == "" {
			return nil, true
		}
		return []string{v}, true
	case bool:
		return []string{strconv.FormatBool(v)}, true
	case json.Number:
		return []string{v.String()}, true
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}, true
	case int, int32, int64, uint, uint32, uint64:
		return []string{fmt.Sprint(v)}, true
	case []any:
		var all []string
		for _, e := range v {
			if _, nested := e.([]any); nested {
				return nil, false
			}
			vs, ok := paramValues(e)
			if !ok {
				return nil, false
			}
			all = append(all, vs...)
		}
		return all, true
	}
	return nil, false
}

// form returns the parameters that all token requests have.
func (p *Provider) form(op string, req providers.Request, scopes []string) (url.Values, error) {
	form := maps.Clone(p.params) // its slices are shared, and only ever replaced
	for name, v := range req.Params {
		vs, ok := paramValues(v)
		switch {
		case reserved(name), name == "requested_token_type":
			return nil, fault(op, providers.CodeInvalidField, fmt.Sprintf("Params: %q is not for callers to set", name))
		case !ok:
			return nil, fault(op, providers.CodeInvalidField, fmt.Sprintf("Params: %q has no form as a parameter", name))
		case len(vs) > 0:
			form[name] = vs
		}
	}
	if req.Audience != "" {
		form[p.audience] = []string{req.Audience}
	}
	for _, s := range scopes {
		if !validScope(s) {
			return nil, fault(op, providers.CodeInvalidField, "Scopes: not a scope of RFC 6749 section 3.3")
		}
	}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	return form, nil
}
