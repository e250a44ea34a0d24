package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// New checks c and reports all of its faults at once. It makes no call.
func New(c Config) (*Provider, error) {
	if c.Grant == "" {
		c.Grant = clientCredentials
	}
	if c.AudienceParam == "" {
		c.AudienceParam = "audience"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	auth, err := newAuth(c)
	if err := errors.Join(append(c.check(), err)...); err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	params := make(url.Values, len(c.Params)+1)
	for name, vs := range c.Params {
		params[name] = slices.Clone(vs)
	}
	if len(c.Audience) > 0 {
		params[c.AudienceParam] = slices.Clone(c.Audience)
	}
	return &Provider{
		client: upstream.New("oauth", c.HTTPClient, c.Now), now: c.Now, auth: auth, signs: c.Key.set(), grant: c.Grant,
		tokenURL: c.TokenURL, introspectionURL: c.IntrospectionURL, untyped: c.DangerouslyUntypedTokens, revocationURL: c.RevocationURL,
		scopes: slices.Clone(c.Scopes), params: params, audience: c.AudienceParam,
	}, nil
}

// check finds what is wrong with c, but for how the client authenticates.
func (c Config) check() (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, u := range []struct{ field, raw string }{
		{"TokenURL", c.TokenURL}, {"IntrospectionURL", c.IntrospectionURL}, {"RevocationURL", c.RevocationURL},
	} {
		if u.raw == "" && u.field != "TokenURL" {
			continue
		}
		base, _, _ := strings.Cut(u.raw, "?") // RFC 6749 section 3.2 allows a query
		if _, err := upstream.CheckURL(u.field, base); err != nil {
			bad("%w", err)
		} else if strings.Contains(u.raw, "#") {
			bad("%s: a fragment is not allowed", u.field)
		}
	}
	if c.ClientID == "" {
		bad("ClientID: missing")
	}
	if c.Grant != clientCredentials && c.Grant != refreshToken {
		bad("Grant: %q is neither client_credentials nor refresh_token", c.Grant)
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
	return faults
}

// reserved reports parameters whose meaning would be lost if somebody else set
// them.
func reserved(name string) bool {
	switch name {
	case "", "grant_type", "scope", "refresh_token", "token", "token_type_hint",
		"client_secret", "client_assertion", "client_assertion_type":
		return true
	}
	return false
}

// validScope is the scope-token of RFC 6749 section 3.3. A blank inside would
// make two scopes of one.
func validScope(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// paramValues is a JSON value as values of one parameter: none for null and "".
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

// form is what token requests have in common.
func (p *Provider) form(op string, req providers.Request, scopes []string) (url.Values, error) {
	form := maps.Clone(p.params) // its slices are shared, and only ever replaced
	for name, v := range req.Params {
		vs, ok := paramValues(v)
		switch {
		case reserved(name):
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
