package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

func (c Config) checkCookie() error {
	if c.Cookie == nil {
		if c.Handle != nil {
			return fault("Handle", "needs a Cookie")
		}
		return nil
	}
	var faults []error
	k := c.Cookie
	if !strings.HasPrefix(k.Name, "__Host-") || (&http.Cookie{Name: k.Name, Value: "x"}).Valid() != nil {
		faults = append(faults, fault("Cookie", "Name must begin with __Host- and be a cookie name"))
	}
	if k.Domain != "" || k.Path != "" && k.Path != "/" || k.Value != "" || k.MaxAge != 0 || !k.Expires.IsZero() {
		faults = append(faults, fault("Cookie", "only Name, SameSite and Partitioned may be set"))
	}
	if k.SameSite == http.SameSiteNoneMode {
		faults = append(faults, fault("Cookie", "SameSite=None would send the token with every site's requests"))
	}
	return errors.Join(faults...)
}

func (e *endpoint) cookie(value string, maxAge int) *http.Cookie {
	k := &http.Cookie{
		Name: e.Cookie.Name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: e.Cookie.SameSite, Partitioned: e.Cookie.Partitioned,
	}
	if k.SameSite <= http.SameSiteDefaultMode {
		k.SameSite = http.SameSiteStrictMode
	}
	return k
}

// tokenCookie returns the cookie with the token, or with the application's
// handle. It lives as long as the token. If the token has no end, the cookie
// lives as long as the browser's session.
func (e *endpoint) tokenCookie(r *http.Request, req providers.Request, tok providers.Token) (*http.Cookie, error) {
	value := tok.AccessToken
	if e.Handle != nil {
		h, err := e.Handle(r, req, tok)
		if err != nil {
			return nil, err
		}
		value = h
	}
	maxAge := 0 // 0 means that no Max-Age is set
	if !tok.Expiry.IsZero() {
		maxAge = max(int(tok.Expiry.Sub(e.Now())/time.Second), 1)
	}
	k := e.cookie(value, maxAge)
	if err := k.Valid(); err != nil || value == "" || len(k.String()) > 4096 {
		// err quotes the value, so it is not repeated.
		return nil, &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Op: e.op, Err: errors.New("the value does not fit a cookie")}
	}
	return k, nil
}

// withoutTokens returns v as JSON values. It leaves out all members, at any
// depth, that hold one of the token's credentials.
func withoutTokens(v any, tok providers.Token) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Err: err}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return nil, err
	}
	return redact(out, tok), nil
}

func redact(v any, tok providers.Token) any {
	switch v := v.(type) {
	case map[string]any:
		for name, e := range v {
			if v[name] = redact(e, tok); v[name] == nil {
				delete(v, name)
			}
		}
	case []any:
		for i := range v {
			v[i] = redact(v[i], tok)
		}
	case string:
		for _, secret := range []string{tok.AccessToken, tok.RefreshToken} {
			if secret != "" && strings.Contains(v, secret) {
				return nil
			}
		}
	}
	return v
}
