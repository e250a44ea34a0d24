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

// ours reports whether only [Config] may set the member name. Case does not
// count, because the vendor does not say how it compares names.
func ours(name string) bool {
	for _, reserved := range []string{"auth", "server", "apiServerURL", "x-api-key"} {
		if strings.EqualFold(name, reserved) {
			return true
		}
	}
	return false
}

// misspelled reports whether name is one of the names that this package reads,
// in another case. The vendor may read it as that name, and nothing has checked
// its value.
func misspelled(name string) bool {
	for _, own := range []string{"userId", "file", "fileUrl"} {
		if name != own && strings.EqualFold(name, own) {
			return true
		}
	}
	return false
}

// simpleName reports whether an error may repeat the name s.
func simpleName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-')
	})
}

// params checks req and returns a new map of the parameters of its token,
// without those of Config.
func (p *Provider) params(req providers.Request) (map[string]any, error) {
	if err := wire.OnePerson(req); err != nil {
		return nil, err
	}
	params := make(map[string]any, len(req.Params)+3)
	sent := make(map[string]bool, len(req.Params))
	for _, name := range slices.Sorted(maps.Keys(req.Params)) {
		v := req.Params[name]
		if err := p.check(name, v); err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		folded := strings.ToLower(strings.ToUpper(name))
		switch {
		case sent[folded] && simpleName(name):
			return nil, wire.Invalid(name + " is sent twice")
		case sent[folded]:
			return nil, wire.Invalid("a parameter is sent twice")
		}
		sent[folded] = true
		params[name] = v // "" is a value
	}
	if req.Subject != "" {
		if named := params["userId"]; named != nil && named != "" && named != req.Subject {
			return nil, wire.Invalid("userId differs from the subject")
		}
		params["userId"] = req.Subject
	}
	return params, nil
}

func (p *Provider) check(name string, v any) error {
	_, isString := v.(string)
	switch {
	case name == "server":
		return p.checkServer(v)
	case ours(name), misspelled(name):
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

// checkServer checks the server of one request. Only Go code can set it.
func (p *Provider) checkServer(v any) error {
	s, ok := v.(string)
	switch {
	case v == nil:
		return nil
	case !ok || s == "":
		return wire.Invalid("server must be a string that is not empty")
	case len(p.servers) > 0 && s != p.server && !slices.Contains(p.servers, s):
		return wire.Invalid("server is none of Servers")
	}
	return nil
}

// Decode reads a caller's editor parameters: userId, which becomes the Subject,
// and any others that [Config] allows. None is required. null counts as absent;
// an empty string is a value. Parameters that only [Config] or Go code may set
// are refused, such as auth and server. Case does not count there. So are other
// spellings of userId, file and fileUrl, and two names that differ in case only:
// the vendor may take either for the other. members are the members of the
// body. The query is not read.
func (p *Provider) Decode(_ url.Values, members map[string]json.RawMessage) (providers.Request, error) {
	o := wire.Object(members)
	req := providers.Request{Params: make(map[string]any, len(o))}
	var err error
	if req.Subject, err = o.String("userId"); err != nil {
		return providers.Request{}, err
	}
	for name := range o {
		switch {
		case ours(name), misspelled(name):
			return providers.Request{}, wire.Invalid(name + " may not be sent")
		case name == "userId", string(o[name]) == "null":
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

// Encode returns the vendor's own answer: token, and expiration_time in Unix
// seconds.
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
