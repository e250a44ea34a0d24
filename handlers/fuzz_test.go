package handlers_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

// recorder is a provider that has no upstream but remembers for whom it was
// asked.
type recorder struct {
	providers.Provider
	asked *providers.Request
}

func (p *recorder) Generate(_ context.Context, r providers.Request) (providers.Token, error) {
	p.asked = &r
	return issued, nil
}

// Whatever is sent to Redacto's endpoint, the answer is a token for the
// configured tenant or an error of the table below 500, and both are hardened.
func FuzzRequest(f *testing.F) {
	v := vendors(f, "http://127.0.0.1:1")["redacto"]
	ids := "organisation_uuid=" + org + "&workspace_uuid=" + workspace
	f.Add(ids, "application/json", `{"org_user_id":"u"}`)
	f.Add("", "application/json; charset=utf-8", `{"email":null,"organisation_uuid":"`+org+`","workspace_uuid":"`+workspace+`"}`)
	f.Add(ids+"&workspace_uuid="+other, "application/json", `{"mobile":"+1"}`)
	f.Add(ids, "application/json", `{"organisation_uuid":"../../../admin/api-keys?x="}`)
	f.Add("organisation_uuid=%2e%2e", "text/plain", `{"a":1,"a":2}`)
	f.Add("%zz;", "application/json", "\xff")
	f.Fuzz(func(t *testing.T, query, contentType, body string) {
		p := &recorder{}
		c := v.config()
		c.Provider = p
		h, err := handlers.Generate(c)
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", contentType)
		a := serve(t, must(t, h, err), r)
		assertHardened(t, a.header)
		if a.status == http.StatusOK {
			if tenant := p.asked.Tenant; tenant != org+":"+workspace && tenant != org+":"+other {
				t.Fatalf("asked for tenant %q", tenant)
			}
			require.False(t, len(p.asked.Subject) > 256, "subject over its bound")
			return
		}
		code, _ := a.json["code"].(string)
		if status, ok := contract[providers.Code(code)]; !ok || status != a.status || a.status >= 500 || p.asked != nil {
			t.Fatalf("status %d, code %q, asked %v", a.status, code, p.asked != nil)
		}
		require.False(t, a.json["error"] != a.json["detail"] || a.json["detail"] == "", "texts: %s", a.body)
	})
}

// Whatever path is asked for, what the upstream sees lies under the allowed one.
func FuzzProxyPath(f *testing.F) {
	for _, s := range []string{"/fhir/R4/Patient", "/fhir/%2e%2e/admin", "/fhir/..;/admin", `/fhir/..\admin`, "/fhir//x", "/fhir/%252e%252e/x", "/fhir/%00", "//fhir/"} {
		f.Add(s)
	}
	var seen *url.URL
	c := proxyConfig("https://api.example.com/base")
	c.Allow = []string{"/fhir/"}
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		seen = r.URL
		return respond(r, 200, ""), nil
	})
	h, err := handlers.Proxy(c)
	must(f, h, err)
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Skip()
		}
		seen = nil
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = u
		a := serve(t, h, r)
		if seen == nil {
			require.EqualValues(t, 404, a.status, "status %d", a.status)
			return
		}
		require.False(t, seen.Host != "api.example.com" || seen.Scheme != "https", "went to %s", seen)
		// However often an upstream decodes and cleans, it stays below.
		path := seen.EscapedPath()
		for range 3 {
			clean := (&url.URL{Path: "/"}).ResolveReference(&url.URL{Path: strings.ReplaceAll(path, `\`, "/")}).Path
			require.True(t, strings.HasPrefix(clean, "/base/fhir/"), "%q is %q to an upstream", seen.EscapedPath(), clean)
			decoded, err := url.PathUnescape(path)
			if err != nil {
				break
			}
			path = decoded
		}
	})
}
