package handlers_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
)

// seen is what reached the upstream.
type seen struct {
	uri, body string
	header    http.Header
	length    int64
}

func spy(t *testing.T, change func(*handlers.ProxyConfig)) (http.Handler, *seen) {
	t.Helper()
	got := &seen{}
	return newProxy(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		*got = seen{r.RequestURI, string(b), r.Header, r.ContentLength}
	}, change), got
}

func TestTheQueryLosesItsTokens(t *testing.T) {
	h, got := spy(t, func(c *handlers.ProxyConfig) { c.Credentials = []string{"apitoken"} })
	for query, want := range map[string]string{
		"":                              "/x?",
		"a=1&access_token=theirs":       "/x?a=1",
		"access_token=theirs":           "/x",
		"access%5Ftoken=theirs&b=%2F+2": "/x?b=%2F+2",
		"Access_Token=theirs&ACCESS-TOKEN=theirs":            "/x",
		"access_token[]=theirs&access_token%5B0%5D=theirs&z": "/x?z",
		"apitoken=theirs&apiToken=theirs&tokens=kept":        "/x?tokens=kept",
		"%20access_token=theirs&a":                           "/x?a",
		"_lastUpdated=gt2020&_sort=-date&name:exact=A%26B":   "/x?_lastUpdated=gt2020&_sort=-date&name:exact=A%26B",
	} {
		*got = seen{}
		a := serve(t, h, httptest.NewRequest("GET", "/x?"+query, nil))
		require.Equal(t, 200, a.status, query)
		assert.Equal(t, want, got.uri, query)
	}
	for _, query := range []string{"a=%zz", "a=1;access_token=theirs", "%=1", "access_token=%"} {
		*got = seen{}
		a := serve(t, h, httptest.NewRequest("GET", "/x?"+query, nil))
		assert.Equal(t, 400, a.status, query)
		assert.Empty(t, got.uri, query)
	}
}

func TestAFormLosesItsTokens(t *testing.T) {
	h, got := spy(t, func(c *handlers.ProxyConfig) { c.Credentials = []string{"apitoken"} })
	call := func(body string, types ...string) answer {
		*got = seen{}
		r := httptest.NewRequest("POST", "/Patient/_search", strings.NewReader(body))
		r.Header["Content-Type"] = types
		return serve(t, h, r)
	}
	const form = "application/x-www-form-urlencoded"
	for _, types := range []string{form, form + "; charset=utf-8", "Application/X-WWW-Form-URLEncoded", " " + form} {
		require.Equal(t, 200, call("name=A%26B&access_token=theirs&apitoken=theirs&birthdate=1990", types).status, types)
		assert.Equal(t, "name=A%26B&birthdate=1990", got.body, types)
		assert.EqualValues(t, len(got.body), got.length)
	}
	require.Equal(t, 200, call("access_token=theirs", form).status)
	assert.Empty(t, got.body)
	require.Equal(t, 200, call(`{"access_token":"not ours to read"}`, "application/json").status)
	assert.Contains(t, got.body, "not ours to read")

	assert.Equal(t, 400, call("a=1;access_token=theirs", form).status)
	assert.Equal(t, 415, call("access_token=theirs", form, "text/plain").status)
	a := call("a="+strings.Repeat("x", 1<<20), form)
	assert.Equal(t, 413, a.status)
	assert.Equal(t, "The form is larger than 1 MiB.", a.json["detail"])
	r := httptest.NewRequest("POST", "/x", strings.NewReader("a"))
	r.Header.Set("Content-Type", form)
	r.Header.Set("Content-Encoding", "gzip")
	assert.Equal(t, 415, serve(t, h, r).status)
}

// A form that was looked through can be sent again after a 401.
func TestAFormCanBeReplayed(t *testing.T) {
	c := proxyConfig("https://api.example.com")
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		first, _ := io.ReadAll(r.Body)
		again, err := r.GetBody()
		require.NoError(t, err)
		second, _ := io.ReadAll(again)
		assert.Equal(t, "a=1", string(first))
		assert.Equal(t, "a=1", string(second))
		return respond(r, 200, ""), nil
	})
	h, err := handlers.Proxy(c)
	r := httptest.NewRequest("POST", "/x", strings.NewReader("access_token=theirs&a=1"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	assert.Equal(t, 200, serve(t, must(t, h, err), r).status)
}

func TestHeadersOfCredentialsAndOfProxiesDoNotGoOn(t *testing.T) {
	h, got := spy(t, func(c *handlers.ProxyConfig) { c.Credentials = []string{"X_Vendor-Key"} })
	r := httptest.NewRequest("GET", "/x", nil)
	for _, name := range []string{
		"X-Api-Key", "X-API-Token", "X-Auth-Token", "X-Access-Token", "Access-Token", "DPoP", "X-Vendor-Key", "x-vendor-key",
		"X-Host", "CF-Connecting-IP", "CF-Connecting-IPv6", "CF-IPCountry", "True-Client-IP", "X-Real-IP", "Fastly-Client-IP", "Client-IP",
		"X-Envoy-External-Address", "X-Azure-ClientIP", "X-Remote-User", "Remote-User", "X-SSL-Client-Verify", "Client-Cert", "X-ARR-ClientCert",
		"X-Http-Host-Override", "X-Forwarded", "X-Forwarded-Access-Token", "X-MS-CLIENT-PRINCIPAL-NAME", "X-Original-Host", "X-Override-URL",
		"Fly-Client-IP", "DO-Connecting-IP", "X-NF-Client-Connection-IP", "Incap-Client-IP", "X-Vercel-IP-Country", "Tailscale-User-Login",
		"X-Amzn-Oidc-Identity", "X-Amzn-Oidc-Data", "X-Goog-IAP-JWT-Assertion", "X-Goog-Authenticated-User-Email", "X-MS-TOKEN-AAD-ID-TOKEN",
		"X-Auth-Request-User", "X-WebAuth-User", "SSL-Client-Verify", "SSL-Client-S-DN", "X-Client-DN", "X-Forward-For", "Forwarded-For",
	} {
		r.Header[name] = []string{"theirs"}
	}
	r.Header.Set("Accept", "kept")
	require.Equal(t, 200, serve(t, h, r).status)
	assert.NotContains(t, fmt.Sprint(got.header), "theirs")
	assert.Equal(t, "kept", got.header.Get("Accept"))
}

func TestTheRefererLosesItsTokens(t *testing.T) {
	h, got := spy(t, func(c *handlers.ProxyConfig) { c.Credentials = []string{"ticket"} })
	for referer, want := range map[string]string{
		"https://app.example/a%2Fb?x=%41&y":                                                "https://app.example/a%2Fb?x=%41&y",
		"https://app.example/?access_token=theirs&x=1":                                     "https://app.example/?x=1",
		"https://app.example/?x=1&access%5Ftoken=theirs&Ticket=theirs#access_token=theirs": "https://app.example/?x=1",
		"https://app.example/?access_token=theirs":                                         "https://app.example/",
		"https://theirs:theirs@app.example/":                                               "https://app.example/",
		"https://app.example/?access_token=theirs;x":                                       "",
		"https://app.example/?access_token=theirs&x=%zz":                                   "",
		"%zz?access_token=theirs":                                                          "",
		"/only/a/path":                                                                     "/only/a/path",
	} {
		r := httptest.NewRequest("GET", "/x", nil)
		r.Header.Set("Referer", referer)
		require.Equal(t, 200, serve(t, h, r).status, referer)
		assert.Equal(t, want, got.header.Get("Referer"), referer)
	}
	r := httptest.NewRequest("GET", "/x", nil)
	r.Header["Referer"] = []string{"https://app.example/", "https://app.example/?access_token=theirs"}
	require.Equal(t, 200, serve(t, h, r).status)
	assert.NotContains(t, fmt.Sprint(got.header), "theirs")
}

func TestSubprotocolsLoseTheirTokens(t *testing.T) {
	const jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.x"
	h, got := spy(t, func(c *handlers.ProxyConfig) { c.Credentials = []string{"ticket", "V0Z9"} })
	for offered, want := range map[string]string{
		"graphql-ws":                    "graphql-ws",
		"bearer, " + jwt:                "",
		"bearer, opaque-theirs, chat":   "chat",
		"chat,Bearer,opaque-theirs":     "chat",
		"access_token, opaque-theirs":   "",
		"AuthoriZation, opaque-theirs":  "",
		"authorization, opaque-theirs":  "",
		"v0z9, opaque-theirs, c":        "c",
		"v-z9, c":                       "v-z9, c", // another name
		"v0z-, c":                       "v0z-, c",
		"access_token.opaque-theirs, a": "a",
		"ticket, opaque-theirs, b":      "b",
		"ticket.opaque-theirs":          "",
		"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.dGhlaXJz": "v4.channel.k8s.io",
		"chat, " + jwt: "chat",
	} {
		*got = seen{}
		r := httptest.NewRequest("GET", "/x", nil)
		r.Header.Set("Sec-WebSocket-Protocol", offered)
		require.Equal(t, 200, serve(t, h, r).status, offered)
		assert.Equal(t, want, got.header.Get("Sec-WebSocket-Protocol"), offered)
		if want == "" {
			assert.NotContains(t, got.header, "Sec-Websocket-Protocol", "an empty offer is malformed")
		}
	}
}

// A browser gives up a WebSocket of which no offered subprotocol is selected.
func TestAPageThatOffersItsTokenAloneHasThatSubprotocolSelected(t *testing.T) {
	for _, tt := range []struct {
		offered  []string
		upstream string
		want     []string
	}{
		{[]string{"bearer, opaque-theirs"}, "", []string{"bearer"}},
		{[]string{"access_token", "opaque-theirs"}, "", []string{"access_token"}},
		{[]string{"bearer, opaque-theirs, chat"}, "chat", []string{"chat"}},
		{[]string{"chat"}, "", nil},
		{nil, "", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			var refused atomic.Bool
			conn := dial(t, streaming(t, time.Minute, &refused, func(r *http.Request) *http.Response {
				res := echo(r)
				if tt.upstream != "" {
					res.Header.Set("Sec-WebSocket-Protocol", tt.upstream)
				}
				return res
			}), nil)
			r := httptest.NewRequest("GET", "http://x/ws", nil)
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Origin": {"http://x"}, "Sec-Websocket-Protocol": tt.offered}
			go func() { _ = r.Write(conn) }()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, 101, res.StatusCode)
			assert.Equal(t, tt.want, res.Header["Sec-Websocket-Protocol"], tt.offered)
		})
	}
}

func TestWebSocketsOpenForTheirOwnOriginAlone(t *testing.T) {
	reached := false
	h := newProxy(t, func(http.ResponseWriter, *http.Request) { reached = true }, func(c *handlers.ProxyConfig) {
		c.Origins = []string{"https://app.example.org", "http://localhost:3000", "https://www.example.org:443"}
	})
	for _, c := range []struct {
		name, url string
		origin    []string
		auth      string
		upgrade   string
		ok        bool
	}{
		{"same origin", "https://app.example.com/ws", []string{"https://app.example.com"}, "", "websocket", true},
		{"same, with its port", "https://app.example.com/ws", []string{"https://app.example.com:443"}, "", "websocket", true},
		{"same, other letters", "https://app.example.com/ws", []string{"https://APP.example.com"}, "", "WebSocket", true},
		{"behind a server that ends TLS", "http://app.example.com/ws", []string{"https://app.example.com"}, "", "websocket", true},
		{"listed", "https://app.example.com/ws", []string{"https://app.example.org"}, "", "websocket", true},
		{"listed with a port", "https://app.example.com/ws", []string{"http://localhost:3000"}, "", "websocket", true},
		{"listed, with the port that browsers leave out", "https://app.example.com/ws", []string{"https://www.example.org"}, "", "websocket", true},
		{"listed without it", "https://app.example.com/ws", []string{"https://app.example.org:443"}, "", "websocket", true},
		{"listed for https", "https://app.example.com/ws", []string{"http://www.example.org"}, "", "websocket", false},
		{"a sibling", "https://app.example.com/ws", []string{"https://evil.example.com"}, "", "websocket", false},
		{"a sibling, WEBSOCKET", "https://app.example.com/ws", []string{"https://evil.example.com"}, "", "WEBSOCKET", false},
		{"a sibling with a bearer", "https://app.example.com/ws", []string{"https://evil.example.com"}, "Bearer x", "websocket", false},
		{"the parent", "https://app.example.com/ws", []string{"https://example.com"}, "", "websocket", false},
		{"a name that begins so", "https://app.example.com/ws", []string{"https://app.example.com.evil.org"}, "", "websocket", false},
		{"another port", "https://app.example.com/ws", []string{"https://app.example.com:8443"}, "", "websocket", false},
		{"plain http", "https://app.example.com/ws", []string{"http://app.example.com"}, "", "websocket", false},
		{"null", "https://app.example.com/ws", []string{"null"}, "", "websocket", false},
		{"empty", "https://app.example.com/ws", []string{""}, "", "websocket", false},
		{"two", "https://app.example.com/ws", []string{"https://app.example.com", "https://evil.example.com"}, "", "websocket", false},
		{"user information", "https://app.example.com/ws", []string{"https://app.example.com@evil.org"}, "", "websocket", false},
		{"the Kelvin sign", "https://kapp.example.com/ws", []string{"https://\u212aapp.example.com"}, "", "websocket", false},
		{"no origin, no bearer", "https://app.example.com/ws", nil, "", "websocket", false},
		{"no origin, basic", "https://app.example.com/ws", nil, "Basic eA==", "websocket", false},
		{"no origin, empty bearer", "https://app.example.com/ws", nil, "Bearer ", "websocket", false},
		{"no origin, a bearer", "https://app.example.com/ws", nil, "bearer x", "websocket", true},
		{"no upgrade", "https://app.example.com/ws", []string{"https://evil.example.com"}, "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			reached = false
			r := httptest.NewRequest("GET", c.url, nil)
			r.Header.Set("Cookie", "__Host-session=visitor")
			r.Header["Origin"] = c.origin
			if c.auth != "" {
				r.Header.Set("Authorization", c.auth)
			}
			if c.upgrade != "" {
				r.Header.Set("Upgrade", c.upgrade)
				r.Header.Set("Connection", "Upgrade")
			}
			a := serve(t, h, r)
			assert.Equal(t, c.ok, reached)
			if !c.ok {
				assert.Equal(t, 403, a.status)
				assert.Equal(t, "cross_origin", a.json["code"])
			}
		})
	}
	upgraded := ""
	h = newProxy(t, func(_ http.ResponseWriter, r *http.Request) { upgraded = r.Header.Get("Upgrade") }, nil)
	for _, upgrade := range [][]string{{"websocket", "x"}, {"x", "websocket"}, {"websocket, x"}, {"websocket "}, {"websocket/13"}} {
		upgraded = ""
		r := httptest.NewRequest("GET", "https://app.example.com/ws", nil)
		r.Header["Origin"] = []string{"https://evil.example.com"}
		r.Header["Upgrade"] = upgrade
		r.Header.Set("Connection", "Upgrade")
		a := serve(t, h, r)
		assert.Equal(t, upgrade[0] == "websocket", a.status == 403, "%v", upgrade)
		assert.Empty(t, upgraded, "%v", upgrade)
	}
	c := proxyConfig("https://api.example.com")
	c.Origins = []string{"https://*.example.com", "app.example.com", "https://app.example.com/"}
	_, err := handlers.Proxy(c)
	assert.Equal(t, 3, strings.Count(fmt.Sprint(err), "Origins: each must be an exact origin"))
}

func TestEncodedSlashesPassWherePatternsSaySo(t *testing.T) {
	h, got := spy(t, func(c *handlers.ProxyConfig) {
		c.Allow, c.EncodedSlashes = []string{"/api/v4/"}, []string{"/api/v4/projects/{id}/"}
	})
	for path, ok := range map[string]bool{
		"/api/v4/projects/group%2Fproject/issues": true,
		"/api/v4/projects/group%2fproject/issues": true,
		"/api/v4/projects/a%2F..%2Fb/issues":      false,
		"/api/v4/projects/a%2F%2Fb/issues":        false,
		"/api/v4/projects/%2Fadmin/issues":        false,
		"/api/v4/projects/a%5Cb/issues":           false,
		"/api/v4/projects/a%252Fb/issues":         false,
		"/api/v4/groups/a%2Fb/issues":             false,
		"/api/v4/projects/a%2Fb/../../../admin":   false,
		"/api/v4/projects/a%2F.%2Fb/issues":       false,
	} {
		*got = seen{}
		a := serve(t, h, httptest.NewRequest("GET", path, nil))
		assert.Equal(t, ok, a.status == 200, path)
		if ok {
			assert.Equal(t, path, got.uri)
		} else {
			assert.Empty(t, got.uri, path)
		}
	}
}

func TestPlainHTTPNeedsAName(t *testing.T) {
	for target, ok := range map[string]bool{
		"http://keycloak:8080/base": true, "http://KEYCLOAK:8080": true, "https://keycloak:8080": true, "http://127.0.0.1:1": true,
		"http://keycloak:8081": false, "http://keycloak": false, "http://evil:8080": false, "http://u:p@keycloak:8080": false, "ftp://keycloak:8080": false,
	} {
		c := proxyConfig(target)
		c.DangerouslyPlainHTTP = []string{"keycloak:8080"}
		_, err := handlers.Proxy(c)
		assert.Equal(t, ok, err == nil, "%s %v", target, err)
	}
	c := proxyConfig("http://keycloak:8080")
	c.DangerouslyPlainHTTP = []string{"*:8080"}
	_, err := handlers.Proxy(c)
	assert.ErrorContains(t, err, "DangerouslyPlainHTTP")
}
