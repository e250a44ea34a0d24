package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// web is a RoundTripper over a few hosts in memory: a path like
// "/307/http://other.test/x" redirects there, "/401" refuses, others answer
// 200. It keeps which URLs saw a token.
type web struct {
	mu   sync.Mutex
	seen []string // URLs in order, those with a token marked "*"
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	mark := ""
	for _, vs := range r.Header {
		if strings.Contains(strings.Join(vs, ","), "token-") {
			mark = "*"
		}
	}
	w.mu.Lock()
	w.seen = append(w.seen, mark+r.URL.Scheme+"://"+r.URL.Host)
	w.mu.Unlock()
	rec := httptest.NewRecorder()
	if status, to, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); ok && len(status) == 3 {
		rec.Header().Set("Location", to)
		rec.WriteHeader(map[string]int{"302": 302, "307": 307}[status])
	} else if r.URL.Path == "/401" {
		rec.WriteHeader(401)
	} else {
		_, _ = rec.Write(body)
	}
	return rec.Result(), nil
}

// TC-10, invariant 12: no token leaves its origin over any redirect graph. The
// nested module internal/interop runs the same graphs through
// golang.org/x/oauth2's Transport, which leaks.
func TestTransportRedirectGraphs(t *testing.T) {
	const a, b = "https://a.test", "https://b.test"
	cases := []struct {
		name, path string
		origins    []string
		want       string
	}{
		{"same host", "/307/" + a + "/x", nil, "*https://a.test *https://a.test"},
		{"same host, default port spelt out", "/307/https://A.test:443/x", nil, "*https://a.test *https://A.test:443"},
		{"other host", "/307/" + b + "/x", nil, "*https://a.test https://b.test"},
		{"other port", "/307/" + a + ":8443/x", nil, "*https://a.test https://a.test:8443"},
		{"scheme-relative", "/302///b.test/x", nil, "*https://a.test https://b.test"},
		{"downgrade", "/307/http://a.test/x", nil, "*https://a.test http://a.test"},
		{"subdomain", "/307/https://x.a.test/", nil, "*https://a.test https://x.a.test"},
		{"suffix", "/307/https://a.test.evil.test/", nil, "*https://a.test https://a.test.evil.test"},
		{"away and back", "/307/" + b + "/307/" + a + "/x", nil, "*https://a.test https://b.test https://a.test"},
		{"away, back, on", "/307/" + b + "/307/" + a + "/307/" + a + "/x", nil, "*https://a.test https://b.test https://a.test https://a.test"},
		{"401 elsewhere renews nothing", "/307/" + b + "/401", nil, "*https://a.test https://b.test"},
		{"listed", "/307/" + b + "/x", []string{a, b + ":443/"}, "*https://a.test *https://b.test"},
		{"listed, away and back", "/307/https://c.test/307/" + a + "/x", []string{a, b}, "*https://a.test https://c.test https://a.test"},
		{"other case", "/307/HTTPS://A.TEST/x", nil, "*https://a.test *https://A.TEST"},
		{"listed port", "/307/" + b + ":8443/x", []string{a, b + ":8443"}, "*https://a.test *https://b.test:8443"},
		{"listed, other port", "/307/" + b + ":8443/x", []string{a, b}, "*https://a.test https://b.test:8443"},
		{"listed, other scheme", "/307/http://b.test/x", []string{a, b}, "*https://a.test http://b.test"},
		{"http on 443 is not https", "/307/http://a.test:443/x", []string{a}, "*https://a.test http://a.test:443"},
		{"https on 80 is not http", "/307/https://localhost:80/x", []string{a, "http://localhost"}, "*https://a.test https://localhost:80"},
		{"listed loopback, after https", "/307/http://localhost/x", []string{a, "http://localhost"}, "*https://a.test http://localhost"},
		{"not listed", "/x", []string{b}, "https://a.test"},
		{"not listed, then listed", "/307/" + b + "/x", []string{b}, "https://a.test https://b.test"},
	}
	for _, attach := range []string{"Authorization", "X-Api-Key"} {
		for _, c := range cases {
			t.Run(attach+"/"+c.name, func(t *testing.T) {
				w := &web{}
				src := newGrantSource()
				client := http.Client{Transport: &middleware.Transport{
					Source: middleware.Fixed(src), Base: w, Origins: c.origins,
					Attach: func(r *http.Request, tok providers.Token) { r.Header.Set(attach, tok.AccessToken) },
				}}
				res, err := client.Post(a+c.path, "text/plain", strings.NewReader("body"))
				require.NoError(t, err)
				_ = res.Body.Close()
				require.Equal(t, c.want, strings.Join(w.seen, " "))
				require.Zero(t, src.renews)
			})
		}
	}
}

// The ports of an origin may be left out (RFC 6454 section 4), each scheme's
// for itself.
func TestTransportOriginPorts(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"http://localhost", "http://localhost:80", "*http://localhost *http://localhost:80"},
		{"http://localhost:80", "http://localhost", "*http://localhost:80 *http://localhost"},
		{"http://localhost", "http://localhost:443", "*http://localhost http://localhost:443"},
		{"https://localhost", "https://localhost:443", "*https://localhost *https://localhost:443"},
		{"https://localhost", "https://localhost:80", "*https://localhost https://localhost:80"},
	} {
		w := &web{}
		client := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(newGrantSource()), Base: w}}
		res, err := client.Get(c.from + "/307/" + c.to + "/x")
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, c.want, strings.Join(w.seen, " "))
	}
}

// A redirect whose origin is not known carries no token.
func TestTransportRedirectFromUnknownCarriesNoToken(t *testing.T) {
	w := &web{}
	req, _ := http.NewRequest("GET", "https://a.test/x", nil)
	req.Response = &http.Response{StatusCode: 307}
	res, err := (&middleware.Transport{Source: middleware.Fixed(newGrantSource()), Base: w}).RoundTrip(req)
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, []string{"https://a.test"}, w.seen)
}

// RFC 6454 section 4 compares hosts as ASCII. The long s and the Kelvin sign
// fold to s and k in Unicode: such a host is another one.
func TestTransportOriginsFoldASCIIOnly(t *testing.T) {
	for _, c := range []struct{ host, other string }{
		{"sales.example", "\u017fales.example"},
		{"kudo.example", "\u212audo.example"},
		{"\u017fales.example", "sales.example"},
		{"\u00e9.example", "\u00c9.example"},
	} {
		for _, origins := range [][]string{nil, {"https://" + c.host}} {
			w := &web{}
			client := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(newGrantSource()), Base: w, Origins: origins}}
			res, err := client.Get("https://" + c.host + "/307/https://" + c.other + "/x")
			require.NoError(t, err)
			_ = res.Body.Close()
			require.Len(t, w.seen, 2)
			require.Equal(t, "*https://"+c.host, w.seen[0], "the host itself")
			require.False(t, strings.HasPrefix(w.seen[1], "*"), "%s took the token of %s", w.seen[1], c.host)
		}
		w := &web{}
		client := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(newGrantSource()), Base: w, Origins: []string{"https://" + c.other}}}
		res, err := client.Get("https://" + c.host + "/x")
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, []string{"https://" + c.host}, w.seen, "listed is %s", c.other)
	}
}

// The configuration's faults are errors of every request, all at once, and do
// not show a password.
func TestTransportNamesFaultyOrigins(t *testing.T) {
	faulty := []string{"", "api.test", "//api.test", "ftp://api.test", "https://", "https://*.api.test", "https://api.test/v1", "https://api.test?q", "https://api.test#f", "https://:443"}
	transport := &middleware.Transport{
		Source: middleware.Fixed(newGrantSource()), Base: &web{}, Origins: append(faulty, "https://ada:hunter2@api.test"),
	}
	req, _ := http.NewRequest("GET", "https://api.test/", nil)
	_, err := transport.RoundTrip(req)
	for _, o := range faulty {
		require.ErrorContains(t, err, `Transport.Origins: "`+o+`" is not scheme://host[:port]`)
		one := &middleware.Transport{Source: transport.Source, Base: &web{}, Origins: []string{o}}
		_, err := one.RoundTrip(req)
		require.Error(t, err, o)
	}
	require.NotContains(t, err.Error(), "hunter2")
	transport.Origins = []string{"https://ada:hunter2@api.test"}
	_, err = transport.RoundTrip(req)
	require.Error(t, err)
}

// http is for loopback and for servers that are named one by one.
func TestTransportDangerouslyPlainHTTP(t *testing.T) {
	for _, c := range []struct {
		name, url      string
		hosts, origins []string
		want           string // what was seen; "" for an error
	}{
		{"named", "http://orders:8080/x", []string{"orders:8080"}, nil, "*http://orders:8080"},
		{"named, port 80", "http://orders/x", []string{"orders:80"}, nil, "*http://orders"},
		{"not named", "http://orders:8080/x", []string{"billing:8080"}, nil, ""},
		{"none named", "http://orders:8080/x", nil, nil, ""},
		{"another port", "http://orders:8081/x", []string{"orders:8080"}, nil, ""},
		{"Kelvin sign", "http://\u212aeycloak:8080/x", []string{"keycloak:8080"}, nil, ""},
		{"loopback needs no name", "http://LocalHost:8080/x", nil, nil, "*http://LocalHost:8080"},
		{"no loopback by folding", "http://localho\u017ft:8080/x", nil, nil, ""},
		{"to another named host", "http://orders:8080/307/http://billing:8080/x", []string{"orders:8080", "billing:8080"}, nil, "*http://orders:8080 http://billing:8080"},
		{"to another named host, listed", "http://orders:8080/307/http://billing:8080/x", []string{"orders:8080", "billing:8080"},
			[]string{"http://orders:8080", "http://billing:8080"}, "*http://orders:8080 *http://billing:8080"},
		{"never after https", "https://a.test/307/http://orders:8080/x", []string{"orders:8080"},
			[]string{"https://a.test", "http://orders:8080"}, "*https://a.test http://orders:8080"},
		{"nor further on", "https://a.test/307/http://orders:8080/307/http://orders:8080/x", []string{"orders:8080"},
			[]string{"https://a.test", "http://orders:8080"}, "*https://a.test http://orders:8080 http://orders:8080"},
		{"nor back on https", "https://a.test/307/http://orders:8080/307/https://a.test/x", []string{"orders:8080"},
			[]string{"https://a.test", "http://orders:8080"}, "*https://a.test http://orders:8080 https://a.test"},
		{"faulty", "https://a.test/x", []string{"orders"}, nil, ""},
		{"wildcard", "http://orders:8080/x", []string{"*:8080"}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &web{}
			client := http.Client{Transport: &middleware.Transport{
				Source: middleware.Fixed(newGrantSource()), Base: w, DangerouslyPlainHTTP: c.hosts, Origins: c.origins,
			}}
			res, err := client.Get(c.url)
			if c.want == "" {
				require.ErrorContains(t, err, "DangerouslyPlainHTTP", "an error names the field to set")
				require.Empty(t, w.seen)
				return
			}
			require.NoError(t, err)
			_ = res.Body.Close()
			require.Equal(t, c.want, strings.Join(w.seen, " "))
		})
	}
}

// A 401 in the middle of a redirect chain is renewed and replayed there.
func TestTransportRenewsBehindARedirect(t *testing.T) {
	w := &web{}
	src := newGrantSource()
	client := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(src), Base: w}}
	res, err := client.Post("https://a.test/307/https://a.test/401", "text/plain", strings.NewReader("body"))
	require.NoError(t, err)
	require.Equal(t, 401, res.StatusCode)
	require.Equal(t, "*https://a.test *https://a.test *https://a.test", strings.Join(w.seen, " "))
	require.Equal(t, 1, src.renews)
}
