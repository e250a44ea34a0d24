package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

func readAll(r io.Reader) string {
	b, _ := io.ReadAll(r)
	return string(b)
}

func redirecting(p providers.Provider) handlers.Config {
	c := config(p)
	c.Authorize = handlers.SubjectFrom(subject)
	c.Target = func(token string) (string, error) { return "https://editor.example.com/editor?apitoken=" + token, nil }
	return c
}

func TestRedirectSendsTheCallerToTheEditor(t *testing.T) {
	var got providers.Request
	h, err := handlers.Redirect(redirecting(&fake{generate: func(_ context.Context, r providers.Request) (providers.Token, error) {
		got = r
		return issued, nil
	}}))
	must(t, h, err)
	form := func(contentType, body string) *http.Request {
		r := httptest.NewRequest("POST", "https://app.example.com/open?tenant=query", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		return signedIn(r, "alice")
	}
	link := signedIn(httptest.NewRequest("GET", "https://app.example.com/open?user=alice&email=e", nil), "alice")
	link.Header.Set("Sec-Fetch-Site", "same-origin")
	link.Header.Set("Sec-Fetch-Mode", "navigate")
	for name, r := range map[string]*http.Request{
		"a form": form("application/x-www-form-urlencoded", "user=alice&email=e"),
		"JSON":   form("application/json", `{"user":"alice"}`),
		"a link": link,
	} {
		got = providers.Request{}
		a := serve(t, h, r)
		require.Equal(t, 303, a.status, name+a.body)
		assert.Equal(t, "https://editor.example.com/editor?apitoken=access-1", a.header.Get("Location"))
		assert.Empty(t, a.body, "the token is not on a page")
		assertHardened(t, a.header)
		assert.Equal(t, "alice", got.Subject, name)
		assert.Empty(t, got.Identifiers)
	}
}

// An Authorize that looks at the request sees the same one for a link as for a
// form.
func TestAuthorizeOfALinkSeesItsQuery(t *testing.T) {
	var queries []string
	c := redirecting(&fake{})
	c.Authorize = func(r *http.Request, _ *providers.Request) error {
		queries = append(queries, r.URL.RawQuery)
		return nil
	}
	h, err := handlers.Redirect(c)
	must(t, h, err)
	link := httptest.NewRequest("GET", "https://app.example.com/open?user=alice&project=7", nil)
	link.Header.Set("Sec-Fetch-Site", "same-origin")
	link.Header.Set("Sec-Fetch-Mode", "navigate")
	form := httptest.NewRequest("POST", "https://app.example.com/open?project=7", strings.NewReader("user=alice"))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	form.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, r := range []*http.Request{link, form} {
		require.Equal(t, 303, serve(t, h, r).status)
	}
	assert.Equal(t, []string{"user=alice&project=7", "project=7"}, queries)
}

// No page, mail, image or prefetch creates a session at the vendor.
func TestRedirectNeedsIntent(t *testing.T) {
	h, err := handlers.Redirect(redirecting(&fake{generate: func(context.Context, providers.Request) (providers.Token, error) {
		t.Error("a session was created")
		return issued, nil
	}}))
	must(t, h, err)
	for _, c := range []struct {
		method string
		header map[string]string
		status int
	}{
		{"GET", nil, 403},
		{"GET", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"}, 403},
		{"GET", map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}, 403},
		{"GET", map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"}, 403},
		{"GET", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"GET", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Purpose": "prefetch;prerender"}, 403},
		{"GET", map[string]string{"Origin": "https://app.example.com"}, 403},
		{"POST", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"POST", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"POST", map[string]string{"Origin": "https://evil.example"}, 403},
		{"HEAD", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}, 405},
		{"PUT", map[string]string{"Sec-Fetch-Site": "same-origin"}, 405},
	} {
		r := signedIn(httptest.NewRequest(c.method, "https://app.example.com/open?user=alice", strings.NewReader("user=alice")), "alice")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		a := serve(t, h, r)
		assert.Equal(t, c.status, a.status, "%+v", c)
		assert.Empty(t, a.header.Get("Location"))
		if c.status == 405 {
			assert.Equal(t, "GET, POST", a.header.Get("Allow"))
		}
	}
}

func TestRedirectRefusesWhatItCannotRead(t *testing.T) {
	h, err := handlers.Redirect(redirecting(&fake{}))
	must(t, h, err)
	for body, code := range map[string]string{
		"user=alice&user=bob": "invalid_field", "user=%ff": "invalid_field", "%ff=1": "invalid_field", "user=%zz": "invalid_field",
		"user=bob": "identity_mismatch", "x=" + strings.Repeat("x", 17<<10): "body_too_large",
	} {
		r := signedIn(httptest.NewRequest("POST", "/open", strings.NewReader(body)), "alice")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		assert.Equal(t, code, serve(t, h, r).json["code"], body[:min(len(body), 30)])
	}
	r := httptest.NewRequest("POST", "/open", strings.NewReader("user=alice"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	assert.Equal(t, "not_signed_in", serve(t, h, r).json["code"])
}

// A token goes to https alone, and into no log.
func TestRedirectSendsNoTokenAnywhereElse(t *testing.T) {
	for name, target := range map[string]func(string) (string, error){
		"http":     func(s string) (string, error) { return "http://editor.example.com/?t=" + s, nil },
		"relative": func(s string) (string, error) { return "/editor?t=" + s, nil },
		"script":   func(s string) (string, error) { return "javascript:alert('" + s + "')", nil },
		"newline":  func(s string) (string, error) { return "https://editor.example.com/\n" + s, nil },
		"userinfo": func(s string) (string, error) { return "https://" + s + "@editor.example.com/", nil },
		"error":    func(s string) (string, error) { return "", errors.New("bad " + s) },
	} {
		t.Run(name, func(t *testing.T) {
			log := new(strings.Builder)
			c := redirecting(&fake{})
			c.Target, c.Logger = target, logTo(log)
			h, err := handlers.Redirect(c)
			r := signedIn(post(`{}`), "alice")
			a := serve(t, must(t, h, err), r)
			assert.Equal(t, 500, a.status)
			assert.Empty(t, a.header.Get("Location"))
			assert.NotContains(t, log.String(), "access-1")
			assert.Contains(t, log.String(), "Target: no https URL")
		})
	}
	c := redirecting(&fake{})
	c.Target = func(token string) (string, error) { return "https://editor.example.com/~user?t=" + token, nil }
	h, err := handlers.Redirect(c)
	assert.Equal(t, 303, serve(t, must(t, h, err), signedIn(post(`{}`), "alice")).status, "~ is a character of URLs")

	_, err = handlers.Redirect(cookieConfig(&fake{}))
	assert.ErrorContains(t, err, "Target: required")
	assert.ErrorContains(t, err, "Cookie: Redirect puts the token into the URL")
}

// located is a Wire that reads the tenant from the query.
type located struct{ wire }

func (located) Decode(query url.Values, _ map[string]json.RawMessage) (providers.Request, error) {
	return providers.Request{Tenant: query.Get("tenant"), Subject: "alice"}, nil
}

func TestTheQueryOfALinkIsItsMembersAndThatOfAFormIsNot(t *testing.T) {
	var got providers.Request
	c := redirecting(&fake{generate: func(_ context.Context, r providers.Request) (providers.Token, error) {
		got = r
		return issued, nil
	}})
	c.Wire = located{}
	h, err := handlers.Redirect(c)
	must(t, h, err)
	form := signedIn(httptest.NewRequest("POST", "https://app.example.com/open?tenant=t1", strings.NewReader("a=1")), "alice")
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	form.Header.Set("Sec-Fetch-Site", "same-origin")
	require.Equal(t, 303, serve(t, h, form).status)
	assert.Equal(t, "t1", got.Tenant)
	link := signedIn(httptest.NewRequest("GET", "https://app.example.com/open?tenant=t1", nil), "alice")
	link.Header.Set("Sec-Fetch-Site", "same-origin")
	link.Header.Set("Sec-Fetch-Mode", "navigate")
	require.Equal(t, 303, serve(t, h, link).status)
	assert.Empty(t, got.Tenant)
}
