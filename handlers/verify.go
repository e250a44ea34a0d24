package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/bearerkit/bearerkit/providers"
)

// maxToken is the length of the longest token that a vendor is asked about.
const maxToken = 16 << 10

// Verify returns the handler that tells whether a token is valid. The Provider
// must be a [providers.Verifier]. If it has a method CanVerify() bool, that
// method must return true. A token cache is no Verifier, so use the vendor's
// provider itself.
//
// Verify answers as Kudo does: GET with the token in the header x-api-token
// gets 200 with the token's parameters, or 403 invalid_token. With
// Config.Introspection it answers services of our own as RFC 7662 says: POST
// with the form field token gets 200 with active true and the known members, or
// active false. RFC 7662 requires that the caller is authorized, so use an
// Authorize that does it.
//
// The provider decides how long its answer is kept. The error joins every fault
// of c.
func Verify(c Config) (http.Handler, error) {
	verifier := verifierOf(c.Provider)
	var bad error
	if c.Provider != nil && verifier == nil {
		bad = fault("Provider", "cannot verify")
	}
	method := http.MethodGet
	if c.Introspection {
		method = http.MethodPost
	}
	e, err := c.endpoint("verify", method, bad)
	if err != nil {
		return nil, err
	}
	v := &verification{endpoint: e, verifier: verifier}
	if c.Introspection {
		return http.HandlerFunc(v.introspect), nil
	}
	return http.HandlerFunc(v.native), nil
}

// verifierOf returns p if it can verify, else nil.
func verifierOf(p providers.Provider) providers.Verifier {
	if o, ok := p.(interface{ CanVerify() bool }); ok && !o.CanVerify() {
		return nil
	}
	v, _ := p.(providers.Verifier)
	return v
}

type verification struct {
	*endpoint
	verifier providers.Verifier
}

func (v *verification) native(w http.ResponseWriter, r *http.Request) {
	got, err := v.verify(r, func() (string, error) {
		if tokens := r.Header.Values("X-Api-Token"); len(tokens) == 1 {
			return tokens[0], nil
		}
		return "", nil // none, or more than one
	})
	if err != nil {
		v.fail(w, r, err)
		return
	}
	if len(got.Claims) == 0 {
		got.Claims = json.RawMessage("{}")
	}
	v.answer(w, r, got.Claims)
}

func (v *verification) introspect(w http.ResponseWriter, r *http.Request) {
	got, err := v.verify(r, func() (string, error) {
		body, err := readBody(w, r, "application/x-www-form-urlencoded")
		if err != nil {
			return "", err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil || len(form["token"]) != 1 || form.Get("token") == "" {
			return "", refuse(providers.CodeInvalidField, "token must be given once.")
		}
		return form.Get("token"), nil
	})
	var pe *providers.Error
	if errors.As(err, &pe) && pe.Code == providers.CodeInvalidToken {
		v.answer(w, r, map[string]any{"active": false})
		return
	}
	if err != nil {
		v.fail(w, r, err)
		return
	}
	body, err := claims(got.Claims)
	if err != nil {
		v.fail(w, r, &providers.Error{Code: providers.CodeBadResponse, Op: v.op, Err: err})
		return
	}
	body["active"] = true
	if got.Subject != "" {
		body["sub"] = got.Subject
	}
	if got.Scopes != nil {
		body["scope"] = strings.Join(got.Scopes, " ")
	}
	if !got.Expiry.IsZero() {
		body["exp"] = got.Expiry.Unix()
	}
	v.answer(w, r, body)
}

// claims reads one object, or nothing. Numbers keep all digits.
func claims(raw json.RawMessage) (map[string]any, error) {
	out := map[string]any{}
	if len(raw) == 0 {
		return out, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&out) != nil || out == nil {
		return nil, errors.New("claims are not one JSON object") // the error of encoding/json may quote them
	}
	return out, nil
}

// verify makes the checks in their order and asks the provider.
func (v *verification) verify(r *http.Request, token func() (string, error)) (providers.Verified, error) {
	if err := v.admit(r); err != nil {
		return providers.Verified{}, err
	}
	tok, err := token()
	if err != nil {
		return providers.Verified{}, err
	}
	if err := v.authorize(r, &providers.Request{}); err != nil {
		return providers.Verified{}, err
	}
	if tok == "" || len(tok) > maxToken || strings.ContainsFunc(tok, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return providers.Verified{}, refuse(providers.CodeInvalidToken, "")
	}
	return v.verifier.Verify(r.Context(), tok)
}
