package middleware_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// tenants are realms of one server, all with the keys of one authtest.Issuer.
type tenants struct {
	*authtest.Issuer
	mu    sync.Mutex
	known map[string]bool
	asked map[string]int
	takes time.Duration
	err   error
	edit  func(*middleware.Issuer)

	client *http.Client // the same for every answer
}

func newTenants(t testing.TB, names ...string) *tenants {
	ts := &tenants{Issuer: newIssuer(t), known: map[string]bool{}, asked: map[string]int{}}
	ts.client = ts.Client()
	for _, name := range names {
		ts.known[ts.URL+"/"+name] = true
	}
	return ts
}

func (ts *tenants) resolve(ctx context.Context, iss string) (*middleware.Issuer, error) {
	ts.mu.Lock()
	ts.asked[iss]++
	known, takes, err := ts.known[iss], ts.takes, ts.err
	ts.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil || !known {
		return nil, err
	}
	cfg := trusting(ts.Issuer)
	cfg.Issuer, cfg.Subjects, cfg.HTTPClient = iss, middleware.Qualified, ts.client
	if ts.edit != nil {
		ts.edit(&cfg)
	}
	return &cfg, nil
}

func (ts *tenants) times(name string) int {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.asked[ts.URL+"/"+name]
}

func (ts *tenants) token(t testing.TB, name string, over map[string]any) string {
	claims := map[string]any{"iss": ts.URL + "/" + name}
	for k, v := range over {
		claims[k] = v
	}
	return mint(t, ts.Issuer, claims)
}

func (ts *tenants) auth(t testing.TB, change func(*middleware.Config)) *middleware.Authenticator {
	c := middleware.Config{Resolve: ts.resolve, DangerouslyPrivateHosts: []string{"issuer.example"}}
	if change != nil {
		change(&c)
	}
	return newAuth(t, c)
}

func TestIssuersThatAreResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTenants(t, "a", "b")
		auth := ts.auth(t, nil)
		h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sub, _ := middleware.Subject(r.Context())
			_, _ = w.Write([]byte(sub))
		}))
		ts.takes = time.Second
		require.Equal(t, map[int]int{200: 50}, together(h, repeat(50, func() string { return ts.token(t, "a", nil) })...))
		require.Equal(t, 1, ts.times("a"), "asked once for all")
		require.Equal(t, "iss:24:https://issuer.example/a:ada", ask(h, ts.token(t, "a", nil)).Body.String())
		require.Equal(t, 401, ask(h, ts.token(t, "c", nil)).Code)
		require.Equal(t, 401, ask(h, ts.token(t, "c", nil)).Code)
		require.Equal(t, 1, ts.times("c"), "a refusal is remembered")
		require.Equal(t, 1, ts.Fetches(), "nothing is fetched for an iss that is refused")
		time.Sleep(31 * time.Second)
		ts.known[ts.URL+"/c"] = true
		require.Equal(t, 200, ask(h, ts.token(t, "c", nil)).Code)
		require.Equal(t, 401, ask(h, ts.token(t, "a", map[string]any{"iss": ts.URL + "/b", "aud": "x"})).Code)
	})
}

// RFC 8725 sections 3.8 to 3.10: what no Issuer is needed for is checked first.
func TestResolveIsNotAskedForTokensThatCannotPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTenants(t, "a")
		auth := ts.auth(t, nil)
		past := time.Now().Add(-time.Hour).Unix()
		for name, token := range map[string]string{
			"expired": ts.token(t, "a", map[string]any{"exp": past}), "no exp": ts.token(t, "a", map[string]any{"exp": nil}), "bound": ts.token(t, "a", map[string]any{"cnf": map[string]any{}}), "no iss": ts.token(t, "a", map[string]any{"iss": nil}),
			"iss a number": ts.token(t, "a", map[string]any{"iss": 1}), "iss empty": ts.token(t, "a", map[string]any{"iss": ""}), "iss long": ts.token(t, strings.Repeat("x", 1100), nil), "not yet": ts.token(t, "a", map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
			"alg none": b64url(`{"alg":"none"}`) + "." + strings.Split(ts.token(t, "a", nil), ".")[1] + ".x", "event": ts.token(t, "a", map[string]any{"events": map[string]any{}}), "jti": ts.token(t, "a", map[string]any{"jti": 1}), "garbage": "a.b.c",
			"logout token": mustSign(t, ts.Issuer, map[string]any{"typ": "logout+jwt"}),
		} {
			require.NotEmpty(t, reasonOf(t, auth, token), name)
		}
		require.Empty(t, ts.asked)
		require.Zero(t, ts.Fetches())
	})
}

type requestKey struct{}

func TestResolveSeesNothingOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTenants(t, "a")
		var value any
		deadline := false
		auth := ts.auth(t, func(c *middleware.Config) {
			c.Resolve = func(ctx context.Context, iss string) (*middleware.Issuer, error) {
				value = ctx.Value(requestKey{})
				_, deadline = ctx.Deadline()
				return ts.resolve(ctx, iss)
			}
		})
		_, err := auth.Verify(context.WithValue(t.Context(), requestKey{}, "secret"), ts.token(t, "a", nil))
		require.NoError(t, err)
		require.Nil(t, value)
		require.True(t, deadline)
	})
}

func TestTenantThatIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTenants(t, "a")
		// No key set is fetched because of its age.
		seldom := func(i *middleware.Issuer) { i.RefreshEvery = time.Hour }
		ts.edit = seldom
		auth := ts.auth(t, nil)
		long := ts.token(t, "a", map[string]any{"exp": time.Now().Add(100 * time.Hour).Unix()})
		require.Empty(t, reasonOf(t, auth, long))
		ts.known[ts.URL+"/a"] = false
		time.Sleep(4 * time.Minute)
		require.Empty(t, reasonOf(t, auth, long))
		time.Sleep(time.Minute)
		require.Equal(t, "issuer", reasonOf(t, auth, long), "also a token that is remembered")
		ts.known[ts.URL+"/a"] = true
		time.Sleep(time.Minute)
		require.Empty(t, reasonOf(t, auth, long))
		// What changes in the answer holds for tokens that are remembered.
		ts.edit = func(i *middleware.Issuer) {
			seldom(i)
			i.Audiences = []string{"another"}
		}
		time.Sleep(5 * time.Minute)
		require.Equal(t, "audience", reasonOf(t, auth, long))
		ts.edit = seldom
		time.Sleep(5 * time.Minute)
		require.Empty(t, reasonOf(t, auth, long))
		fetches := ts.Fetches()
		time.Sleep(6 * time.Minute)
		require.Empty(t, reasonOf(t, auth, long))
		require.Equal(t, fetches, ts.Fetches(), "an answer that is the same keeps its keys")
	})
}

func TestResolveThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTenants(t, "a", "b")
		auth := ts.auth(t, nil)
		h := auth.Handler(ok)
		require.Equal(t, 200, ask(h, ts.token(t, "a", nil)).Code)
		ts.err = errors.New("database: secret address")
		w := ask(h, ts.token(t, "b", nil))
		require.Equal(t, 503, w.Code)
		require.NotContains(t, w.Body.String(), "secret")
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		time.Sleep(6 * time.Minute)
		long := ts.token(t, "a", map[string]any{"exp": time.Now().Add(100 * time.Hour).Unix()})
		require.Equal(t, 200, ask(h, long).Code, "an issuer that is in use outlives a failure")
		time.Sleep(10 * time.Minute)
		require.Equal(t, 503, ask(h, long).Code, "but not for ever")
		ts.err = nil
		time.Sleep(2 * time.Second)
		require.Equal(t, 200, ask(h, long).Code)
		for _, crash := range []func(){func() { panic("x") }, runtime.Goexit, func() { time.Sleep(time.Hour) }} {
			auth := ts.auth(t, func(c *middleware.Config) {
				c.Resolve = func(context.Context, string) (*middleware.Issuer, error) { crash(); return nil, nil }
			})
			start := time.Now()
			require.Equal(t, 503, ask(auth.Handler(ok), ts.token(t, "a", nil)).Code)
			require.LessOrEqual(t, time.Since(start), 6*time.Second)
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestAnswersOfResolveThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for want, edit := range map[string]func(*middleware.Issuer){
			"and not the iss that was asked for": func(i *middleware.Issuer) { i.Issuer = "https://issuer.example/b" },
			"Subjects must be Qualified":         func(i *middleware.Issuer) { i.Subjects = middleware.Own },
			"its address must be https":          func(i *middleware.Issuer) { i.JWKSURL = "http://localhost:1/" },
			"DangerouslyPlainHTTP is for":        func(i *middleware.Issuer) { i.DangerouslyPlainHTTP = []string{"issuer.example:80"} },
			"127.0.0.1 is not a public address":  func(i *middleware.Issuer) { i.JWKSURL = "https://127.0.0.1/" },
			"::1 is not a public address":        func(i *middleware.Issuer) { i.JWKSURL = "https://[::1]/" },
			"169.254.169.254 is not":             func(i *middleware.Issuer) { i.JWKSURL = "https://169.254.169.254/latest/meta-data" },
			"::ffff:10.0.0.1 is not":             func(i *middleware.Issuer) { i.JWKSURL = "https://[::ffff:10.0.0.1]/" },
			"does not let addresses be seen":     func(i *middleware.Issuer) { i.JWKSURL = "https://other.example/" },
			"Audiences is empty":                 func(i *middleware.Issuer) { i.Audiences = nil },
			"WithoutIssuer and templates":        func(i *middleware.Issuer) { i.WithoutIssuer = true },
		} {
			ts := newTenants(t, "a")
			ts.edit = edit
			auth := ts.auth(t, nil)
			require.Equal(t, "unavailable", reasonOf(t, auth, ts.token(t, "a", nil)), want)
			require.Contains(t, causeOf(t, auth, ts.token(t, "a", nil)), want)
			require.Zero(t, ts.Fetches())
		}
		ts := newTenants(t, "a")
		ts.edit = func(i *middleware.Issuer) { i.Subjects = middleware.Own }
		require.Empty(t, reasonOf(t, ts.auth(t, func(c *middleware.Config) { c.DangerouslySharedSubjects = true }), ts.token(t, "a", nil)))
	})
	_, err := middleware.New(middleware.Config{Resolve: newTenants(t).resolve, DangerouslyPrivateHosts: []string{"*.example", "a:443", "https://a"}})
	require.ErrorContains(t, err, `"*.example" is not an exact host name`)
	require.ErrorContains(t, err, `"a:443" is not`)
}

// An answer that is changed in place is another answer: a key that was removed
// from it is out when Resolve is asked again.
func TestAnswerOfResolveThatIsChangedInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		answer := static(i)
		answer.Subjects = middleware.Qualified
		auth := newAuth(t, middleware.Config{Resolve: func(context.Context, string) (*middleware.Issuer, error) { return &answer, nil }})
		token := func() string {
			return mint(t, i, map[string]any{"iss": answer.Issuer, "exp": time.Now().Add(time.Hour).Unix()})
		}
		require.Empty(t, reasonOf(t, auth, token()))
		for kid := range answer.Keys {
			delete(answer.Keys, kid)
		}
		answer.Keys["another"] = newIssuer(t).PublicKeys()["es256-1"]
		require.Empty(t, reasonOf(t, auth, token()))
		time.Sleep(5*time.Minute + time.Second)
		require.Equal(t, "signature", reasonOf(t, auth, token()))
	})
}

// A thousand tenants, and a flood of issuers that nobody knows.
func TestThousandTenantsInAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for n := range 1000 {
			names = append(names, fmt.Sprint("t", n))
		}
		ts := newTenants(t, names...)
		auth := ts.auth(t, nil)
		h := auth.Handler(ok)
		for _, name := range names {
			require.Equal(t, 200, ask(h, ts.token(t, name, nil)).Code)
		}
		payload := string(claimsOf(t, ts.token(t, "t0", nil)))
		flood := func(n int) string {
			return b64url(`{"alg":"ES256","kid":"es256-1"}`) + "." + b64url(strings.Replace(payload, "/t0", fmt.Sprint("/evil", n), 1)) + ".AAAA"
		}
		ts.mu.Lock()
		ts.takes = 10 * time.Millisecond
		ts.mu.Unlock()
		got := together(h, repeatN(5_000, flood)...)
		require.Equal(t, 5_000, got[401]+got[503])
		require.LessOrEqual(t, got[401], 32+1024, "at most so many were asked for at once")
		for n := range 6_000 {
			_ = ask(h, flood(100_000+n))
		}
		before := ts.times("t0")
		for _, name := range names {
			require.Equal(t, 200, ask(h, ts.token(t, name, nil)).Code)
		}
		require.LessOrEqual(t, ts.times("t0"), before+1)
		require.Equal(t, 1000, ts.Fetches())
	})
}

func repeatN(n int, f func(int) string) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = f(i)
	}
	return s
}

// The address is looked at when it is dialled, for a name says nothing about
// it, and however the key set's address was found.
func TestResolvedIssuersReachNoPrivateAddress(t *testing.T) {
	i := newIssuer(t)
	var asked atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		i.ServeHTTP(w, r)
	}))
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	i.URL = "https://localhost:" + port
	tlsConfig := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	tlsConfig.ServerName = "example.com" // what httptest's certificate is for
	proxy := func(*http.Request) (*url.URL, error) { return url.Parse(server.URL) }
	for name, client := range map[string]*http.Client{
		"none": nil, "own CA": {Transport: &http.Transport{TLSClientConfig: tlsConfig}}, "proxy": {Transport: &http.Transport{TLSClientConfig: tlsConfig, Proxy: proxy}},
		"own dialer": {Transport: &http.Transport{TLSClientConfig: tlsConfig, DialContext: (&net.Dialer{}).DialContext}},
		"own TLS dialer": {Transport: &http.Transport{DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&tls.Dialer{Config: tlsConfig}).DialContext(ctx, network, address)
		}}},
	} {
		for _, discover := range []bool{true, false} {
			config := middleware.Config{Resolve: func(_ context.Context, iss string) (*middleware.Issuer, error) {
				cfg := middleware.Issuer{Issuer: iss, Audiences: []string{i.Audience}, Algorithms: []string{"ES256"}, HTTPClient: client, Subjects: middleware.Qualified, Discover: discover}
				if !discover {
					cfg.JWKSURL = iss + "/jwks"
				}
				return &cfg, nil
			}}
			require.Equal(t, "unavailable", reasonOf(t, newAuth(t, config), mint(t, i, nil)), name)
			require.Zero(t, asked.Load(), name)
			if name == "own CA" {
				config.DangerouslyPrivateHosts = []string{"LOCALHOST"}
				require.Empty(t, reasonOf(t, newAuth(t, config), mint(t, i, nil)), "a host that is named")
				require.NotZero(t, asked.Swap(0))
			}
		}
	}
}
