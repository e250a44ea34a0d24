package forward_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/forward"
)

func TestOriginalRequestOfEachDialect(t *testing.T) {
	for name, prefix := range map[string]string{"nginx": "X-Original-", "caddy": "X-Forwarded-", "traefik": "X-Forwarded-"} {
		p, err := forward.Dialect(name)
		require.NoError(t, err)
		r := httptest.NewRequest("GET", "http://auth.internal/forward-auth?a=1", strings.NewReader("body"))
		r.Header.Set(prefix+"Method", "DELETE")
		r.Header.Set(prefix+"Host", "api.example.com")
		r.Header.Set(prefix+"Uri", "/orders/7%2F8?q=x")
		r.Header.Set("Authorization", "Bearer x")
		o, err := p.Original(r)
		require.NoError(t, err)
		require.Equal(t, "DELETE api.example.com /orders/7%2F8?q=x x", o.Method+" "+o.Host+" "+o.URL.RequestURI()+" "+o.URL.Query().Get("q"))
		require.Equal(t, "Bearer x", o.Header.Get("Authorization"))
		require.Equal(t, http.NoBody, o.Body)
		require.Equal(t, "GET", r.Method, "the subrequest is untouched")

		for _, bad := range []func(http.Header){
			func(h http.Header) { h.Del(prefix + "Method") },
			func(h http.Header) { h.Del(prefix + "Host") },
			func(h http.Header) { h.Del(prefix + "Uri") },
			func(h http.Header) { h.Add(prefix+"Uri", "/other") },
			func(h http.Header) { h.Set(prefix+"Uri", "orders") },
			func(h http.Header) { h.Set(prefix+"Uri", "http://evil.test/") },
			func(h http.Header) { h.Set(prefix+"Uri", "/%zz") },
			func(h http.Header) { h.Set(prefix+"Uri", "") },
			func(h http.Header) { h.Set(prefix+"Method", "GET /") },
			func(h http.Header) { h.Set(prefix+"Method", "") },
		} {
			c := r.Clone(t.Context())
			bad(c.Header)
			_, err := p.Original(c)
			require.ErrorContains(t, err, prefix)
		}
	}
	_, err := forward.Dialect("apache")
	require.ErrorContains(t, err, `"apache"`)
}

// Envoy asks with the original request's own method and URL, and one dialect's
// headers say nothing in another.
func TestOriginalRequestOfEnvoyIsItself(t *testing.T) {
	p, err := forward.Dialect("envoy")
	require.NoError(t, err)
	r := httptest.NewRequest("PUT", "http://api.example.com/orders?q=x", nil)
	r.Header.Set("X-Forwarded-Uri", "/admin")
	r.Header.Set("X-Original-Uri", "/admin")
	o, err := p.Original(r)
	require.NoError(t, err)
	require.Equal(t, "PUT api.example.com /orders?q=x", o.Method+" "+o.Host+" "+o.URL.RequestURI())
}

func TestStatusesThatNginxKnows(t *testing.T) {
	nginx, _ := forward.Dialect("nginx")
	caddy, _ := forward.Dialect("caddy")
	for status, want := range map[int]int{400: 401, 401: 401, 403: 403, 503: 503, 418: 401} {
		require.Equal(t, want, nginx.Status(status))
		require.Equal(t, status, caddy.Status(status))
	}
}

func TestPeers(t *testing.T) {
	p, err := forward.ParsePeers([]string{"10.1.2.3", "192.168.0.0/16", "fd00::/8", "::1", "::ffff:172.16.0.1", "::ffff:172.17.0.0/112"})
	require.NoError(t, err)
	for remote, want := range map[string]bool{
		"10.1.2.3:4711": true, "10.1.2.4:4711": false, "192.168.7.7:1": true, "[fd12::1]:80": true, "[::1]:80": true, "[fe80::1%eth0]:80": false,
		"[::ffff:10.1.2.3]:80": true, "172.16.0.1:80": true, "172.17.9.9:80": true, "[::ffff:172.17.9.9]:80": true, "127.0.0.1:80": false, "@": false, "": false, "/run/x.sock": false, "10.1.2.3": false, "name:80": false,
	} {
		require.Equal(t, want, p.Has(remote), remote)
	}
	unix, err := forward.ParsePeers([]string{"unix"})
	require.NoError(t, err)
	require.True(t, unix.Has("@"))
	require.True(t, unix.Has(""))
	require.False(t, unix.Has("127.0.0.1:80"))
	_, err = forward.ParsePeers(nil)
	require.Error(t, err)
	_, err = forward.ParsePeers([]string{"10.0.0.0/33", "proxy.internal", "10.0.0.1:80", "", "fe80::1%eth0"})
	for _, bad := range []string{"10.0.0.0/33", "proxy.internal", "10.0.0.1:80", `""`, "fe80::1%eth0"} {
		require.ErrorContains(t, err, bad)
	}
}

func TestNames(t *testing.T) {
	names, err := forward.Names([]string{"X-Auth-Subject", "remote-user", "X-Az09"})
	require.NoError(t, err)
	require.Equal(t, []string{"X-Auth-Subject", "Remote-User", "X-Az09"}, names)
	bad := []string{"X_Auth", "X Auth", "X.Auth", "", "Content-Type", "cache-control", "WWW-Authenticate", "Set-Cookie", "Authorization", "X-Forwarded-For", "X-Original-Uri", "Forwarded"}
	for _, b := range bad {
		_, err := forward.Names([]string{b})
		require.ErrorContains(t, err, `"`+b+`"`)
	}
	_, err = forward.Names([]string{"X-Auth", "x-auth"})
	require.ErrorContains(t, err, "twice")
	_, err = forward.Names(nil)
	require.Error(t, err)
}

func TestDisguisedNamesAreFound(t *testing.T) {
	names := []string{"X-Auth-Subject", "Remote-User"}
	for _, name := range []string{"X_Auth_Subject", "X_auth-subject", "x.auth.subject", "x-auth_SUBJECT", "Remote_User", "REMOTE~USER"} {
		h := http.Header{}
		h.Set(name, "root")
		require.NotEmpty(t, forward.Disguised(h, names), name)
		require.NotEmpty(t, forward.Disguised(http.Header{name: {"root"}}, names), name)
	}
	for _, name := range []string{"X-Auth-Subject", "x-auth-subject", "Remote-User", "X-Auth-Subjects", "Accept"} {
		h := http.Header{}
		h.Set(name, "root")
		require.Empty(t, forward.Disguised(h, names), name)
	}
}

func TestListIsEscapedAndInjective(t *testing.T) {
	require.Equal(t, "", forward.List(nil))
	require.Equal(t, "ada@example.com", forward.List([]string{"ada@example.com"}))
	require.Equal(t, "a%2Cb,c", forward.List([]string{"a,b", "c"}))
	require.Equal(t, "a%0D%0AX:%201,%25,%C3%A9,%00", forward.List([]string{"a\r\nX: 1", "%", "é", "\x00"}))
	require.Equal(t, "%20a%20", forward.List([]string{" a "}))
}

func FuzzList(f *testing.F) {
	f.Add("a", "b,c")
	f.Add("%2C", "\r\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		parts := strings.Split(forward.List([]string{a, b}), ",")
		require.Len(t, parts, 2)
		for i, want := range []string{a, b} {
			got, err := url.PathUnescape(parts[i])
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	})
}
