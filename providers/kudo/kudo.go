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

// maxLifetime bounds an expiration_time that no session can mean.
const maxLifetime = 30 * 24 * time.Hour

// Config configures a [Provider]. AccessKey or Credentials is required.
type Config struct {
	// BaseURL is the token service; "" means
	// https://tokens.kudo.graebert.com. It must be https, or http to a
	// loopback address.
	BaseURL string
	// AccessKey is the partner's key, sent as x-api-key.
	AccessKey string
	// Auth is the auth parameter of every token: the app id or API key that
	// the editor uses; "" leaves it out.
	Auth string
	// Credentials yields AccessKey and Auth in their place, for rotation
	// without a restart. It is called once per generate.
	Credentials func(context.Context) (accessKey, auth string, err error)
	// Server is the server parameter of every token, the API server's URL;
	// "" leaves it out. Go code may name another in a request's
	// Params["server"], one of Servers if there are any; callers of package
	// handlers cannot.
	Server  string
	Servers []string
	// AllowedParams are the parameters that a caller may send besides userId
	// and file; nil allows all that only Config may not set.
	AllowedParams []string
	// EditorParam is the query parameter of the editor that takes the token;
	// "" means apitoken. The vendor's older pages have auth.
	EditorParam string
	// HTTPClient makes the calls, redirects and cookies switched off; nil
	// means one of the provider's own, see [upstream.New].
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

// New validates cfg and returns every fault at once, joined.
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
// Expiry is the vendor's expiration_time corrected by the answer's Date; one
// that has passed is an error, for it means a wrong clock or unit.
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

// refusal is the error of an answer that is no success. The body with which the
// vendor refuses a key or a token, "{ Wrong token }", is not JSON and its own
// word all the same.
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

// Key names req's grant by all of its parameters: a token is bound to each.
func (p *Provider) Key(req providers.Request) (string, error) {
	params, err := p.params(req)
	if err != nil {
		return "", err
	}
	return providers.Request{Params: params}.Key()
}

// Verify asks the vendor whether accessToken is valid. Claims are the token's
// parameters without auth, server and apiServerURL; Subject is userId; the
// vendor tells no expiry. A valid token is believed for 30 seconds, a refused
// one for 5.
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
		if e.Code == providers.CodeCredentialsRejected { // the call carries no key: it is about the token
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
	_ = json.Unmarshal(params["userId"], &v.Subject) // a userId that is no string is no subject
	if v.Claims, err = json.Marshal(params); err != nil {
		return providers.Verified{}, res.Bad(errors.New("answer is not the JSON expected"))
	}
	return v, nil
}

// Owns reports that token has the form of Kudo's own, a UUID, so that other
// parties' tokens are not sent to the vendor.
func (*Provider) Owns(token string) bool { return wire.UUID(token) }

// EditorURL is the link that opens the editor with token. base is the editor's
// address, https or loopback; without a path it gets /editor. Its query is
// kept. Errors do not repeat token.
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
