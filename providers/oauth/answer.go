package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// members is a JSON object by exact names: encoding/json's structs would take
// "Access_Token" too.
type members map[string]json.RawMessage

// text is the string member name; "" if it is absent or no string.
func (m members) text(name string) string {
	var s string
	_ = json.Unmarshal(m[name], &s)
	return s
}

// token makes a token request and reads its answer. presented is the refresh
// token that form spends, if any.
func (p *Provider) token(ctx context.Context, op string, form url.Values, presented string) (providers.Token, error) {
	res, m, err := p.post(ctx, op, p.tokenURL, form, presented != "")
	if err != nil {
		return providers.Token{}, err
	}
	t := providers.Token{
		AccessToken: m.text("access_token"), TokenType: "Bearer", RefreshToken: m.text("refresh_token"),
		IssuedAt: res.Sent, Scopes: m.scopes(),
	}
	if t.AccessToken == "" || !wire.Visible(t.AccessToken) {
		return providers.Token{}, res.Bad(errors.New("answer holds no access token"))
	}
	if kind := m.text("token_type"); kind != "" && !strings.EqualFold(kind, t.TokenType) {
		e := res.Fail(providers.CodeBadResponse, providers.Permanent)
		e.Description = "the server issued a token that is not a Bearer token"
		return providers.Token{}, e
	}
	t.Expiry = m.expiry(res, t)
	if p.grant == clientCredentials {
		t.RefreshToken = "" // RFC 6749 section 4.4.3: there should be none
	} else if t.RefreshToken == "" {
		t.RefreshToken = presented
	} else {
		t.RefreshExpiry = m.refreshExpiry(t.IssuedAt)
	}
	t.Extra = m.extra()
	return t, nil
}

// expiry is the earlier of what the answer and a JWT access token say; zero if
// neither does. A lifetime that cannot be read says nothing: it must not cost a
// pair whose predecessor has been spent.
func (m members) expiry(res *upstream.Response, t providers.Token) time.Time {
	var end time.Time
	if life, ok, _ := upstream.ParseSeconds(m["expires_in"]); ok {
		end = t.IssuedAt.Add(life)
	}
	for _, name := range []string{"expires_at", "expires_on"} {
		if at, _ := upstream.ParseTime(m[name]); end.IsZero() && !at.IsZero() {
			end = at.Add(-res.Skew())
		}
	}
	if exp, ok := upstream.JWTExpiry(t.AccessToken); ok {
		exp = exp.Add(-res.Skew())
		// An exp in the past means clocks that differ, not a token issued dead.
		if exp.After(t.IssuedAt) && (end.IsZero() || exp.Before(end)) {
			end = exp
		}
	}
	return end
}

// refreshExpiry reads the two names in use. 0 stands for no end.
func (m members) refreshExpiry(issued time.Time) time.Time {
	for _, name := range []string{"refresh_token_expires_in", "refresh_expires_in"} {
		if life, ok, err := upstream.ParseSeconds(m[name]); err == nil && ok && life > 0 {
			return issued.Add(life)
		}
	}
	return time.Time{}
}

func (m members) scopes() []string {
	var list []string
	if json.Unmarshal(m["scope"], &list) == nil && len(list) > 0 {
		return list
	}
	if fields := strings.Fields(m.text("scope")); len(fields) > 0 {
		return fields
	}
	return nil
}

// extra is what Token has no field for.
func (m members) extra() map[string]any {
	var extra map[string]any
	for name, raw := range m {
		switch name {
		case "access_token", "refresh_token", "token_type", "expires_in", "scope":
			continue
		}
		var v any
		if json.Unmarshal(raw, &v) == nil {
			if extra == nil {
				extra = make(map[string]any)
			}
			extra[name] = v
		}
	}
	return extra
}

// post makes one authenticated call. Its answer is a 2xx without an error in
// it; members is nil if the body is no JSON object.
func (p *Provider) post(ctx context.Context, op, target string, form url.Values, oneTime bool) (*upstream.Response, members, error) {
	h := make(http.Header)
	if err := p.auth(ctx, h, form); err != nil {
		return nil, nil, &providers.Error{Code: providers.CodeInternal, Class: providers.Transient, Op: opName(op),
			Description: "the client's secret or signature could not be had", Err: err}
	}
	res, err := p.client.Do(ctx, upstream.Call{Op: op, Method: http.MethodPost, URL: target, Header: h, Body: form, OneTime: oneTime})
	if err != nil {
		return nil, nil, err
	}
	var m members
	_ = json.Unmarshal(res.Body, &m) // an error's body may be anything
	if code := m.text("error"); code != "" || !res.OK() {
		return nil, nil, p.refusal(res, &serverError{code, m.text("error_description")}, op == "refresh")
	}
	return res, m, nil
}
