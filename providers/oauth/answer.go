package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	internal "github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// members is a JSON object with exact member names. A struct of encoding/json
// would accept "Access_Token" too.
type members map[string]json.RawMessage

// text returns the string in the member name, or "" if it is absent or no
// string.
func (m members) text(name string) string {
	var s string
	_ = json.Unmarshal(m[name], &s)
	return s
}

// request is one call to an endpoint of the server.
type request struct {
	op        string
	url       string
	form      url.Values
	presented string // the refresh token that the call spends
	oneTime   bool
	further   bool // asks for more than the grant has: a scope or an audience
	person    bool // asks for a user's token by an assertion
}

// token makes a token request and reads its answer.
func (p *Provider) token(ctx context.Context, r request) (providers.Token, error) {
	r.url, r.oneTime = p.tokenURL, r.oneTime || r.presented != ""
	res, m, err := p.post(ctx, r)
	if res == nil {
		return providers.Token{}, err
	}
	var t providers.Token
	if err == nil {
		t, err = p.read(res, m, r)
	}
	if err == nil {
		return t, nil
	}
	if r.presented == "" {
		return providers.Token{}, err
	}
	t, err = res.Salvage(r.presented, err)
	if t.RefreshToken == "" && isForm(res) { // Salvage reads JSON
		asJSON := *res
		asJSON.Body, _ = json.Marshal(parse(res))
		return asJSON.Salvage(r.presented, err)
	}
	return t, err
}

// read makes a token from a successful answer.
func (p *Provider) read(res *upstream.Response, m members, r request) (providers.Token, error) {
	t := providers.Token{
		AccessToken: m.text("access_token"), TokenType: "Bearer", RefreshToken: m.text("refresh_token"),
		IssuedAt: res.Sent, Scopes: m.scopes(),
	}
	if t.AccessToken == "" || !wire.Visible(t.AccessToken) {
		return providers.Token{}, res.Bad(errors.New("answer holds no access token"))
	}
	kind := m.text("token_type")
	if kind == "" && p.grant == tokenExchange && !isAccessToken(p.requested) {
		kind = notApplicable // what was asked for is not to be presented, unless the server says so
	}
	if kind != "" && !p.bearer(kind) {
		if !strings.EqualFold(kind, notApplicable) || !p.grant.exchanges() || isAccessToken(p.requested) {
			return providers.Token{}, unusable(res, "the server issued a token that is not a Bearer token")
		}
		t.TokenType = notApplicable
	}
	if p.grant == tokenExchange && !p.issuedAsRequested(m.text("issued_token_type")) {
		return providers.Token{}, unusable(res, "the server issued a token of another type than was requested")
	}
	var err error
	if t.Expiry, err = res.Expiry(t.AccessToken, m["expires_in"], m["expires_at"], m["expires_on"]); err != nil {
		return providers.Token{}, err
	}
	switch {
	case p.grant != refreshToken:
		t.RefreshToken = "" // RFC 6749 section 4.4.3: there should be none
	case t.RefreshToken == "":
		t.RefreshToken = r.presented
	default:
		t.RefreshExpiry = m.refreshExpiry(t.IssuedAt)
	}
	t.Extra = m.extra()
	return t, nil
}

// unusable is the error for a complete token that the kit cannot use.
func unusable(res *upstream.Response, description string) error {
	e := res.Fail(providers.CodeBadResponse, providers.Permanent)
	e.Description = description
	return e
}

// bearer reports whether a token of this type is presented as a Bearer token.
func (p *Provider) bearer(kind string) bool {
	is := func(s string) bool { return strings.EqualFold(s, kind) }
	return is("Bearer") || slices.ContainsFunc(p.tokenTypes, is)
}

// refreshExpiry reads the two member names in use. 0 means no end.
func (m members) refreshExpiry(issued time.Time) time.Time {
	for _, name := range []string{"refresh_token_expires_in", "refresh_expires_in"} {
		if life, ok, err := internal.ParseSeconds(m[name]); err == nil && ok && life > 0 {
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

// extra returns the members for which Token has no field. Numbers keep their
// digits.
func (m members) extra() map[string]any {
	var extra map[string]any
	for name, raw := range m {
		switch name {
		case "access_token", "refresh_token", "token_type", "expires_in", "scope":
			continue
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var v any
		if d.Decode(&v) == nil {
			if extra == nil {
				extra = make(map[string]any)
			}
			extra[name] = v
		}
	}
	return extra
}

// post makes one authenticated call. If the error is nil, the answer is a 2xx
// without an error code, and members is nil if the body is no object. If no
// answer came, the response is nil.
func (p *Provider) post(ctx context.Context, r request) (*upstream.Response, members, error) {
	h := make(http.Header)
	if err := p.auth(ctx, h, r.form); err != nil {
		return nil, nil, credentialError(ctx, r.op, err)
	}
	res, err := p.client.Do(ctx, upstream.Call{Op: r.op, Method: http.MethodPost, URL: r.url, Header: h, Body: r.form, OneTime: r.oneTime})
	if err != nil {
		return nil, nil, err
	}
	if p.classify != nil && r.url == p.tokenURL {
		if e := p.classify(res.Status, res.Header.Clone(), bytes.Clone(res.Body)); e != nil {
			return res, nil, ownError(e, res)
		}
	}
	m := parse(res)
	if said := saidBy(res, m); said.code != "" || !res.OK() {
		return res, nil, p.refusal(res, said, r)
	}
	return res, m, nil
}

// ownError completes the error that Config.Classify returned.
func ownError(e *providers.Error, res *upstream.Response) *providers.Error {
	full, own := res.Fail(e.Code, e.Class), *e
	if own.Op == "" {
		own.Op = full.Op
	}
	if own.Status == 0 {
		own.Status = full.Status
	}
	if own.RetryAfter == 0 {
		own.RetryAfter = full.RetryAfter
	}
	return &own
}

func isForm(res *upstream.Response) bool {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return kind == "application/x-www-form-urlencoded"
}

// parse reads the body as one object: as a form if Content-Type says so, else
// as JSON. It returns nil for anything else.
func parse(res *upstream.Response) members {
	if !isForm(res) {
		var m members
		_ = json.Unmarshal(res.Body, &m) // an error's body may be anything
		return m
	}
	form, err := url.ParseQuery(string(bytes.TrimSpace(res.Body)))
	if err != nil {
		return nil
	}
	m := make(members, len(form))
	for name, vs := range form {
		if len(vs) != 1 {
			return nil
		}
		m[name], _ = json.Marshal(vs[0])
	}
	return m
}
