package kudo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	internal "github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/internal/verdict"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// maxLifetime is the longest lifetime of a token. A later expiration_time is
// cut to it.
const maxLifetime = 30 * 24 * time.Hour

// Config configures a [Provider]. AccessKey or Credentials is required.
type Config struct {
	// BaseURL is the token service; "" means
	// https://tokens.kudo.graebert.com. It must be https, or http to a
	// loopback address.
	BaseURL string
	// AccessKey is the partner's key, sent as x-api-key.
	AccessKey string
	// Auth is the parameter auth of every token: the app id or API key that the
	// editor uses. "" leaves it out.
	Auth string
	// Credentials returns AccessKey and Auth, for rotation without a restart.
	// It replaces both fields and is called once per generate.
	Credentials func(context.Context) (accessKey, auth string, err error)
	// Server is the parameter server of every token: the URL of the API server.
	// "" leaves it out. Go code may set another one in Params["server"] of a
	// request; if Servers is not empty, it must be in Servers. Callers of
	// package handlers cannot set it.
	Server  string
	Servers []string
	// AllowedParams are the parameters that a caller may send besides userId
	// and file. nil allows all except those that only Config may set.
	AllowedParams []string
	// EditorParam is the query parameter in which the editor expects the token;
	// "" means apitoken. The vendor's older pages use auth.
	EditorParam string
	// HTTPClient makes the calls. Its redirect policy and cookies are not used.
	// nil means a client of the provider, see [upstream.New].
	HTTPClient *http.Client
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Format hides the keys from every verb of package fmt.
func (Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "kudo.Config(redacted)") }

// Provider issues and verifies Kudo tokens. It implements [providers.Provider],
// [providers.Verifier] and [providers.Keyer], and the wire shapes of package
// handlers. Many tokens may live at once.
type Provider struct {
	client           *upstream.Client
	generate, verify string
	credentials      func(context.Context) (accessKey, auth string, err error)
	server           string
	servers          []string
	allowed          []string // nil: all
	editorParam      string
	verdicts         *verdict.Cache
	now              func() time.Time
}

// New validates cfg. The error joins every fault of cfg.
func New(cfg Config) (*Provider, error) {
	p := &Provider{
		credentials: cfg.Credentials,
		server:      cfg.Server,
		servers:     slices.Clone(cfg.Servers),
		allowed:     slices.Clone(cfg.AllowedParams),
		editorParam: cmp.Or(cfg.EditorParam, "apitoken"),
		now:         cfg.Now,
	}
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kudo: "+format, args...)) }
	if base, err := upstream.CheckURL("BaseURL", cmp.Or(cfg.BaseURL, "https://tokens.kudo.graebert.com")); err != nil {
		fault("%w", err)
	} else {
		p.generate, p.verify = base.JoinPath("generate").String(), base.JoinPath("verify").String()
	}
	switch key, auth := cfg.AccessKey, cfg.Auth; {
	case (key != "" || auth != "") && cfg.Credentials != nil:
		fault("Credentials excludes AccessKey and Auth")
	case key == "" && cfg.Credentials == nil:
		fault("AccessKey or Credentials is required")
	case !wire.Visible(key):
		fault("AccessKey: must be printable ASCII without spaces")
	case cfg.Credentials == nil:
		p.credentials = func(context.Context) (string, string, error) { return key, auth, nil }
	}
	for _, name := range p.allowed {
		if ours(name) {
			fault("AllowedParams: a caller may never send %s", name)
		}
	}
	if !simpleName(p.editorParam) {
		fault("EditorParam: must be letters, digits, _ and -")
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.client = upstream.New("kudo", cfg.HTTPClient, p.now)
	p.verdicts = verdict.New(verdict.Config{
		AtOnce: 32, Waiting: 256, MaxBytes: 8 << 20,
		Positive: 30 * time.Second, Negative: 5 * time.Second, Max: 10_000, Timeout: 10 * time.Second, Now: p.now,
	})
	return p, nil
}

// Generate issues a token for the parameters of req and those of [Config].
// Expiry is the vendor's expiration_time, corrected by the Date of the answer.
// An expiration_time that has passed is an error: a clock or the unit is wrong.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	body, err := p.params(req)
	if err != nil {
		return providers.Token{}, err
	}
	key, auth, err := p.credentials(ctx)
	if err == nil {
		err = wire.CheckKey("Credentials", key)
	}
	if err != nil {
		return providers.Token{}, wire.KeyError(ctx, "kudo: generate", err)
	}
	if auth != "" {
		body["auth"] = auth
	}
	if p.server != "" && body["server"] == nil {
		body["server"] = p.server
	}
	res, err := p.client.Do(ctx, upstream.Call{
		Op: "generate", Method: http.MethodPost, URL: p.generate, Header: http.Header{"X-Api-Key": {key}}, Body: body,
	})
	if err != nil {
		return providers.Token{}, err
	}
	if !res.OK() {
		return providers.Token{}, refusal(res)
	}
	return read(res)
}

// refusal is the error of an answer that is no success. The vendor refuses a
// key or a token with the body "{ Wrong token }". That body is not JSON, but it
// comes from the vendor, so the error is permanent.
func refusal(res *upstream.Response) *providers.Error {
	e := res.Err()
	own := strings.Trim(string(res.Body), "{} \r\n\t") == "Wrong token"
	switch s := res.Status; {
	case !own || s < 400 || s > 499, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
	default:
		e = res.Fail(e.Code, providers.Permanent)
	}
	return e
}

func read(res *upstream.Response) (providers.Token, error) {
	var got struct {
		Token          string          `json:"token"`
		ExpirationTime json.RawMessage `json:"expiration_time"`
	}
	if err := res.Decode(&got); err != nil {
		return providers.Token{}, err
	}
	if got.Token == "" || !wire.Visible(got.Token) {
		return providers.Token{}, res.Bad(errors.New("no token in the answer that can be sent"))
	}
	if _, err := internal.ParseTime(got.ExpirationTime); err != nil {
		return providers.Token{}, res.Bad(errors.New("expiration_time is not a time"))
	}
	end, err := res.Expiry("", nil, got.ExpirationTime)
	if err != nil {
		return providers.Token{}, err
	}
	t := providers.Token{AccessToken: got.Token, TokenType: "Bearer", Expiry: end, IssuedAt: res.Sent}
	if limit := res.Sent.Add(maxLifetime); end.After(limit) {
		t.Expiry = limit
	}
	return t, nil
}

// Key names the grant of req by all of its parameters, because a token is bound
// to each of them.
func (p *Provider) Key(req providers.Request) (string, error) {
	params, err := p.params(req)
	if err != nil {
		return "", err
	}
	return providers.Request{Params: params}.Key()
}

// Verify asks the vendor whether accessToken is valid. Claims are the token's
// parameters without auth, server and apiServerURL. Subject is userId. Expiry
// is zero, because the vendor does not tell it. The kit believes that a token
// is valid for 30 seconds, and that it is not for 5 seconds.
func (p *Provider) Verify(ctx context.Context, accessToken string) (providers.Verified, error) {
	if accessToken == "" || len(accessToken) > 4096 || !wire.Visible(accessToken) {
		return providers.Verified{}, &providers.Error{Code: providers.CodeInvalidToken, Class: providers.Permanent, Op: "kudo: verify"}
	}
	v, err := p.verdicts.Verify(ctx, accessToken, func(ctx context.Context) (providers.Verified, error) {
		return p.ask(ctx, accessToken)
	})
	if err != nil {
		var e *providers.Error
		if !errors.As(err, &e) {
			e = providers.AsError(err)
			e.Op = "kudo: verify"
		}
		return providers.Verified{}, e
	}
	return v, nil
}

func (p *Provider) ask(ctx context.Context, token string) (providers.Verified, error) {
	res, err := p.client.Do(ctx, upstream.Call{
		Op: "verify", Method: http.MethodGet, URL: p.verify,
		Header: http.Header{"X-Api-Token": {token}, "Content-Type": {"application/json"}},
	})
	if err != nil {
		return providers.Verified{}, err
	}
	if !res.OK() {
		e := refusal(res)
		if e.Code == providers.CodeCredentialsRejected { // the call has no key, so the token was refused
			e.Code, e.Class, e.RetryAfter = providers.CodeInvalidToken, providers.Permanent, 0
		}
		return providers.Verified{}, e
	}
	var params map[string]json.RawMessage
	if err := res.Decode(&params); err != nil {
		return providers.Verified{}, err
	}
	if params == nil {
		return providers.Verified{}, res.Bad(errors.New("answer is not an object"))
	}
	var v providers.Verified
	for name := range params {
		if ours(name) {
			delete(params, name)
		}
	}
	_ = json.Unmarshal(params["userId"], &v.Subject) // if userId is no string there is no subject
	if v.Claims, err = json.Marshal(params); err != nil {
		return providers.Verified{}, res.Bad(errors.New("answer is not the JSON expected"))
	}
	return v, nil
}

// Owns reports whether token has the form of a Kudo token, a UUID. Tokens of
// other parties are then not sent to the vendor.
func (*Provider) Owns(token string) bool { return wire.UUID(token) }

// EditorURL returns the link that opens the editor with token. base is the
// address of the editor: https, or http to a loopback address. Without a path
// it gets /editor. Its query is kept. Errors do not repeat token.
func (p *Provider) EditorURL(base, token string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", errors.New("kudo: editor URL: not a URL")
	}
	query, err := url.ParseQuery(u.RawQuery)
	u.RawQuery, u.ForceQuery = "", false
	if err != nil || query.Has(p.editorParam) {
		return "", fmt.Errorf("kudo: editor URL: the query is malformed or has %s already", p.editorParam)
	}
	if _, err := upstream.CheckURL("base", u.String()); err != nil {
		return "", fmt.Errorf("kudo: editor URL: %w", err)
	}
	if token == "" {
		return "", errors.New("kudo: editor URL: no token")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/editor"
	}
	query.Set(p.editorParam, token)
	u.RawQuery = query.Encode()
	return u.String(), nil
}
