package providertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/bearerkit/bearerkit/providers"
)

// key checks that a request's key is the same every time and holds no secret.
func (s Suite) key(t *testing.T) {
	p, ok := s.New(t, refusing).(providers.Keyer)
	if !ok {
		t.Skip("no Keyer")
	}
	first, err := p.Key(s.Request)
	if err != nil {
		t.Fatalf("fails on Suite's own request: %v", err)
	}
	s.scan(t, "the key", first)
	for range 10 {
		if again, err := p.Key(s.Request); err != nil || again != first {
			t.Fatal("changes from call to call")
		}
	}
}

// other is a request that differs from Suite.Request in one way.
type other struct {
	what string
	req  providers.Request
	// person says that the request names another person or tenant. Any other
	// request may share the grant if the upstream sees the same call.
	person bool
}

// others are requests that differ from s.Request.
func (s Suite) others() []other {
	const x = "providertest-other"
	var list []other
	add := func(what string, person bool, change func(r *providers.Request)) {
		r := s.Request
		r.Params, r.Identifiers = maps.Clone(r.Params), maps.Clone(r.Identifiers)
		change(&r)
		list = append(list, other{what, r, person})
	}
	add("another Subject", true, func(r *providers.Request) { r.Subject += x })
	add("another Tenant", true, func(r *providers.Request) { r.Tenant += x })
	if both := s.Request.Tenant + s.Request.Subject; len(both) > 1 {
		// A key that only joins the two has no boundary.
		add("a Tenant and a Subject that begin and end elsewhere", true, func(r *providers.Request) {
			at := len(r.Tenant) - 1
			if at < 0 {
				at = 1
			}
			r.Tenant, r.Subject = both[:at], both[at:]
		})
	}
	if s.Request.Subject == "" {
		for name := range s.Request.Identifiers {
			add("another "+name, true, func(r *providers.Request) { r.Identifiers[name] += x })
		}
	} else {
		for name := range s.Request.Identifiers {
			add("the "+name+" alone, as a Subject", true, func(r *providers.Request) { r.Subject = r.Identifiers[name]; r.Identifiers = nil })
		}
	}
	add("another Audience", false, func(r *providers.Request) { r.Audience += x })
	add("another scope", false, func(r *providers.Request) { r.Scopes = []string{x} })
	for name, v := range s.Request.Params {
		if text, ok := v.(string); ok {
			add("another "+name, false, func(r *providers.Request) { r.Params[name] = text + x })
		}
	}
	return list
}

// keysOfOthers checks that requests for different grants have different keys.
// Otherwise one user would get the token of another.
func (s Suite) keysOfOthers(t *testing.T) {
	var sent []byte
	u := serve(t, respond(http.StatusOK, s.Answer))
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent = append([]byte(r.Method+r.URL.String()+r.Header.Get("Authorization")), body...)
		respond(http.StatusOK, s.Answer)(w, r)
	})
	p := s.New(t, u.URL)
	keyer, ok := p.(providers.Keyer)
	if !ok {
		t.Skip("no Keyer")
	}
	upstreamSees := func(req providers.Request) []byte {
		sent = nil
		_, _ = p.Generate(t.Context(), req)
		return sent
	}
	own, err := keyer.Key(s.Request)
	if err != nil {
		t.Fatalf("fails on Suite's own request: %v", err)
	}
	asks := upstreamSees(s.Request)
	// If every request carries something new, two cannot be compared.
	comparable := len(asks) > 0 && bytes.Equal(asks, upstreamSees(s.Request))
	for _, o := range s.others() {
		key, err := keyer.Key(o.req)
		if err != nil || key != own {
			continue // a request that is refused shares no grant
		}
		if o.person {
			t.Errorf("%s has the same key: one would be handed the token of another", o.what)
		} else if comparable && !bytes.Equal(asks, upstreamSees(o.req)) {
			t.Errorf("%s has the same key and goes upstream differently", o.what)
		}
	}
}

// oneTime reports whether a refresh token of p works once.
func oneTime(p providers.Provider) bool {
	m, ok := p.(providers.Moder)
	return ok && (m.Mode() == providers.Rotating || m.Mode() == providers.Exclusive)
}

func (s Suite) mode(t *testing.T) {
	p := s.New(t, refusing)
	m, ok := p.(providers.Moder)
	if !ok {
		t.Skip("no Moder")
	}
	first := m.Mode()
	switch first {
	case providers.Shared, providers.Rotating, providers.Exclusive:
	default:
		t.Errorf("is %v", first)
	}
	for range 10 {
		if m.Mode() != first {
			t.Fatal("changes from call to call")
		}
	}
	if _, ok := p.(providers.Refresher); first == providers.Rotating && !ok {
		t.Error("is rotating and the provider is no Refresher")
	}
}

// without returns the JSON body without the members that drop names, at any
// depth, and reports whether there was one.
func without(body string, drop func(name string, value any) bool) (string, bool) {
	var v any
	if json.Unmarshal([]byte(body), &v) != nil {
		return "", false
	}
	found := false
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, value := range v {
				if drop(name, value) {
					delete(v, name)
					found = true
				}
			}
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(v)
	b, err := json.Marshal(v)
	return string(b), found && err == nil
}

// members tells which members of the answer are the access token and which are
// the refresh token, by their usual names or by their values.
func (s Suite) members(t *testing.T, o op) (access, refresh func(name string, value any) bool) {
	t.Helper()
	good, err := s.refresh(t, o, o.answer)
	if err != nil {
		t.Fatalf("fails on Suite's own answer: %v", err)
	}
	access = func(name string, value any) bool {
		return slices.Contains([]string{"token", "access_token", "accessToken"}, name) || value == any(good.AccessToken)
	}
	refresh = func(name string, value any) bool {
		text, _ := value.(string)
		return name == "refresh_token" || name == "refreshToken" ||
			text != "" && text != good.AccessToken && (text == good.RefreshToken || slices.Contains(s.Secrets, text))
	}
	return access, refresh
}

// refresh makes one refresh against an upstream that answers body.
func (s Suite) refresh(t *testing.T, o op, body string) (providers.Token, error) {
	t.Helper()
	server := httptest.NewServer(respond(http.StatusOK, body))
	defer server.Close()
	got, err := o.call(t.Context(), s.New(t, server.URL))
	token, _ := got.(providers.Token)
	return token, err
}

func (s Suite) repeatsRefreshToken(t *testing.T, o op) {
	_, refresh := s.members(t, o)
	body, ok := without(o.answer, refresh)
	if !ok {
		body = o.answer
	}
	token, err := s.refresh(t, o, body)
	if err != nil {
		t.Fatalf("fails on an answer without a new refresh token: %v", err)
	}
	if token.RefreshToken != s.RefreshToken {
		t.Error("an answer without a new refresh token: RefreshToken is not the presented one, which stays valid")
	}
	if !ok {
		return
	}
	if token, err = s.refresh(t, o, o.answer); err == nil && token.RefreshToken == s.RefreshToken {
		t.Error("an answer with a new refresh token: RefreshToken is the presented one")
	}
}

// salvages checks that a new refresh token is returned although the answer has
// no access token.
func (s Suite) salvages(t *testing.T, o op) {
	access, refresh := s.members(t, o)
	body, ok := without(o.answer, access)
	if _, renews := without(o.answer, refresh); !ok || !renews {
		t.Skip("Suite.Answer has no new refresh token beside its token")
	}
	token, err := s.refresh(t, o, body)
	var e *providers.Error
	switch {
	case !errors.As(err, &e):
		t.Fatal("no *providers.Error for an answer without a token")
	case token.AccessToken != "":
		t.Error("AccessToken is not empty beside an error")
	case token.RefreshToken == s.RefreshToken:
		t.Error("RefreshToken is the presented one, which is spent")
	case token.RefreshToken == "" && oneTime(s.New(t, refusing)):
		t.Error("the new refresh token is lost: return it beside the error, see providers.Refresher and the names of upstream.Response.Salvage")
	case token.RefreshToken != "" && e.Class != providers.InDoubt && e.Class != providers.Transient:
		t.Errorf("Class is %v beside a new refresh token", e.Class)
	}
}
