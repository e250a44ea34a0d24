package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redacto"
)

// verifiedAlice is an Authorize over verified claims: subject, email and mobile.
func verifiedAlice(r *http.Request, req *providers.Request) error {
	sub, ok := subject(r.Context())
	if !ok {
		return &providers.Error{Code: providers.CodeNotSignedIn}
	}
	req.Subject = sub
	req.Identifiers = map[string]string{"email": "alice@example.com", "alias": "anonymous-7"}
	return nil
}

func redactoUsers(t *testing.T, base string) redacto.Users {
	t.Helper()
	p, err := redacto.New(redacto.Config{BaseURL: base, APIKey: cmsKey, Tenants: []string{org + ":" + workspace, org + ":" + other}, Now: now})
	require.NoError(t, err)
	return p.Users()
}

// The document takes identity and email from the authenticated user, never from
// the body.
func TestUserManagementTakesTheVerifiedIdentity(t *testing.T) {
	var path, body string
	base, upstream := upstreamServer(t)
	upstream.set(func(w http.ResponseWriter, r *http.Request) {
		b := new(strings.Builder)
		_, _ = fmt.Fprint(b, readAll(r.Body))
		path, body = r.URL.Path, b.String()
		w.WriteHeader(201)
		_, _ = fmt.Fprint(w, `{"detail":{"uuid":"`+other+`","org_user_id":"alice","primary_email":"alice@example.com"}}`)
	})
	users := redactoUsers(t, base)
	h, err := handlers.Users(handlers.Config{Wire: users, Authorize: verifiedAlice}, users.Create)
	must(t, h, err)
	const tenant = `"organisation_uuid":"` + org + `","workspace_uuid":"` + other + `"`
	for name, c := range map[string]struct{ body, code string }{
		"nothing of persons": {`{` + tenant + `}`, ""},
		"the same":           {`{` + tenant + `,"org_user_id":"alice","primary_email":"alice@example.com"}`, ""},
		"what names nobody":  {`{` + tenant + `,"name":"Alice","metadata":{"n":1e400}}`, ""},
		"another user":       {`{` + tenant + `,"org_user_id":"bob"}`, "identity_mismatch"},
		"another's email, as the token endpoints call it": {`{` + tenant + `,"email":"bob@example.com"}`, "identity_mismatch"},
		"a mobile, called so":                             {`{` + tenant + `,"mobile":"+15550100"}`, "identity_mismatch"},
		"another, as identifier":                          {`{` + tenant + `,"identifier":"bob"}`, "identity_mismatch"},
		"the same, called so":                             {`{` + tenant + `,"identifier":"alice","email":"alice@example.com"}`, ""},
		"another's email":                                 {`{` + tenant + `,"primary_email":"bob@example.com"}`, "identity_mismatch"},
		"an unverified mobile":                            {`{` + tenant + `,"primary_mobile":"+15550100"}`, "identity_mismatch"},
		"another's record":                                {`{` + tenant + `,"uuid":"` + org + `"}`, "identity_mismatch"},
		"email in other letters":                          {`{` + tenant + `,"primary_email":"Alice@example.com"}`, "identity_mismatch"},
		"no tenant of two":                                {`{}`, "tenant_required"},
		"a foreign tenant":                                {`{"organisation_uuid":"` + other + `","workspace_uuid":"` + other + `"}`, "tenant_not_allowed"},
		"a wrong type":                                    {`{` + tenant + `,"metadata":[]}`, "invalid_field"},
		"empty":                                           {``, "invalid_json"},
	} {
		t.Run(name, func(t *testing.T) {
			path, body = "", ""
			a := serve(t, h, signedIn(post(c.body), "alice"))
			if c.code != "" {
				assert.Equal(t, c.code, a.json["code"], a.body)
				assert.Empty(t, path, "reached the vendor")
				return
			}
			require.Equal(t, 201, a.status, a.body)
			assert.Contains(t, path, "/workspaces/"+other+"/", "the tenant of the request, not the first one")
			assert.Contains(t, body, `"org_user_id":"alice"`)
			assert.Contains(t, body, `"primary_email":"alice@example.com"`)
			assertHardened(t, a.header)
		})
	}
}

func TestUserManagementRefusesAQueryThatCannotBeRead(t *testing.T) {
	base, upstream := upstreamServer(t)
	upstream.set(func(http.ResponseWriter, *http.Request) { t.Error("reached the vendor") })
	users := redactoUsers(t, base)
	h, err := handlers.Users(handlers.Config{Wire: users, Authorize: verifiedAlice}, users.Create)
	must(t, h, err)
	for _, query := range []string{"%zz", "a=1;b=2"} {
		r := signedIn(post(`{"organisation_uuid":"`+org+`","workspace_uuid":"`+workspace+`"}`), "alice")
		r.URL.RawQuery = query
		a := serve(t, h, r)
		assert.Equal(t, "invalid_field", a.json["code"], query)
	}
}

func TestUserManagementNeedsAVerifiedIdentity(t *testing.T) {
	base, upstream := upstreamServer(t)
	upstream.set(func(http.ResponseWriter, *http.Request) { t.Error("reached the vendor") })
	users := redactoUsers(t, base)
	const body = `{"organisation_uuid":"` + org + `","workspace_uuid":"` + workspace + `","org_user_id":"bob"}`
	for name, authorize := range map[string]handlers.Authorize{
		"any caller": handlers.DangerouslyAllowAnyCaller, "no claims": handlers.SubjectFrom(subject), "forgotten": func(*http.Request, *providers.Request) error { return nil },
	} {
		for how, call := range map[string]func(context.Context, providers.Request) (int, any, error){"create": users.Create, "update": users.Update, "link": users.Link} {
			h, err := handlers.Users(handlers.Config{Wire: users, Authorize: authorize}, call)
			a := serve(t, must(t, h, err), post(body))
			assert.Equal(t, 401, a.status, name+how)
			assert.Equal(t, "not_signed_in", a.json["code"])
		}
	}
	_, err := handlers.Users(handlers.Config{}, nil)
	for _, want := range []string{"call: required", "Wire: required", "Authorize: required"} {
		assert.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), "Provider")
}

func TestUsersAreUpdatedAndLinked(t *testing.T) {
	fake, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{org + ":" + workspace: cmsKey}})
	require.NoError(t, err)
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/link-users") {
			_, _ = fmt.Fprint(w, `{"detail":{"linked":["anonymous-7"],"already_linked":[],"not_found":[],"conflicts":[]}}`)
			return
		}
		if r.Method != http.MethodPost {
			_, _ = fmt.Fprint(w, `{"detail":{"org_user_id":"alice","name":"Alice"}}`)
			return
		}
		fake.ServeHTTP(w, r)
	}))
	defer s.Close()
	users := redactoUsers(t, s.URL)
	const body = `{"organisation_uuid":"` + org + `","workspace_uuid":"` + workspace + `","name":"Alice"}`
	serveIt := func(call func(context.Context, providers.Request) (int, any, error), body string) answer {
		h, err := handlers.Users(handlers.Config{Wire: users, Authorize: verifiedAlice}, call)
		return serve(t, must(t, h, err), signedIn(post(body), "alice"))
	}
	a := serveIt(users.Update, body)
	assert.Equal(t, 200, a.status, a.body)
	assert.Contains(t, a.body, `"name":"Alice"`)
	a = serveIt(users.Link, body)
	assert.Equal(t, 200, a.status, a.body)
	assert.JSONEq(t, `{"detail":{"linked":["anonymous-7"],"already_linked":[],"not_found":[],"conflicts":[]}}`, a.body)
	a = serveIt(users.Link, strings.Replace(body, `"name"`, `"alias_org_user_id":"bob","name"`, 1))
	assert.Equal(t, "identity_mismatch", a.json["code"], "an alias is a person too")
	assert.Len(t, seen, 2)
}
