package kudo

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// ours reports that name is a member that only [Config] may set, in any
// capitals, for nobody knows how the vendor compares.
func ours(name string) bool {
	for _, reserved := range []string{"auth", "server", "apiServerURL", "x-api-key"} {
		if strings.EqualFold(name, reserved) {
			return true
		}
	}
	return false
}

// simpleName reports a name that may be repeated in an error.
func simpleName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-')
	})
}

// params checks req and returns a new map of the parameters that a token for it
// is bound to, without those of Config.
func (p *Provider) params(req providers.Request) (map[string]any, error) {
	params := make(map[string]any, len(req.Params)+3)
	for _, name := range slices.Sorted(maps.Keys(req.Params)) {
		v := req.Params[name]
		if err := p.check(name, v); err != nil {
			return nil, err
		}
		if v != nil && v != "" {
			params[name] = v
		}
	}
	if req.Subject != "" {
		if named := params["userId"]; named != nil && named != req.Subject {
			return nil, wire.Invalid("userId differs from the subject")
		}
		params["userId"] = req.Subject
	}
	if params["file"] == nil && params["fileUrl"] == nil {
		return nil, wire.Invalid("file is required")
	}
	return params, nil
}

func (p *Provider) check(name string, v any) error {
	_, isString := v.(string)
	switch {
	case ours(name):
		return wire.Invalid(name + " may not be sent")
	case (name == "file" || name == "fileUrl" || name == "userId") && v != nil && !isString:
		return wire.Invalid(name + " must be a string")
	case p.allowed == nil || name == "file" || name == "userId" || slices.Contains(p.allowed, name):
		return nil
	case simpleName(name):
		return wire.Invalid(name + " is not allowed here")
	}
	return wire.Invalid("a parameter is not allowed here")
}

// Decode reads a caller's editor parameters: file or fileUrl, userId, which
// becomes the Subject, and any others that [Config] allows. members are those of
// the body, of a bounded size; the query is not read.
func (p *Provider) Decode(_ url.Values, members map[string]json.RawMessage) (providers.Request, error) {
	o := wire.Object(members)
	req := providers.Request{Params: make(map[string]any, len(o))}
	var err error
	if req.Subject, err = o.String("userId"); err != nil {
		return providers.Request{}, err
	}
	for name := range o {
		if name == "userId" || o.Absent(name) && !ours(name) {
			continue
		}
		if req.Params[name], err = o.Value(name); err != nil {
			return providers.Request{}, err
		}
	}
	if _, err := p.params(req); err != nil {
		return providers.Request{}, err
	}
	return req, nil
}

// Encode is the vendor's own answer: token and expiration_time in Unix seconds.
func (*Provider) Encode(_ providers.Request, t providers.Token) any {
	answer := struct {
		Token          string `json:"token"`
		ExpirationTime int64  `json:"expiration_time,omitempty"`
	}{Token: t.AccessToken}
	if !t.Expiry.IsZero() {
		answer.ExpirationTime = t.Expiry.Unix()
	}
	return answer
}
