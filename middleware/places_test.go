package middleware_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// A token that came by the query is gone from the request that the handler
// gets: what it logs, proxies or puts into a link does not hold it.
func TestTokenOfTheQueryIsGone(t *testing.T) {
	i := newIssuer(t)
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{static(i)}, Query: "access_token", Optional: true})
	var seen *http.Request
	h := auth.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }))
	good := mint(t, i, nil)
	for _, c := range []struct{ query, want string }{
		{"access_token=TOKEN", ""}, {"a=1&access_token=TOKEN&b=%20x+y", "a=1&b=%20x+y"}, {"%61ccess%5Ftoken=TOKEN&a", "a"}, {"a=1&access%5ftoken=TOKEN", "a=1"}, {"b=%2F&a=1", "b=%2F&a=1"}, {"", ""}, {"Access_Token=x", "Access_Token=x"},
	} {
		seen = nil
		target := "/orders"
		if c.query != "" {
			target += "?" + strings.ReplaceAll(c.query, "TOKEN", good)
		}
		r := httptest.NewRequest("GET", target, nil)
		before := r.URL.String()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, 200, w.Code, c.query)
		require.NotNil(t, seen)
		require.Equal(t, c.want, seen.URL.RawQuery, c.query)
		want := "/orders"
		if c.want != "" {
			want += "?" + c.want
		}
		require.Equal(t, want, seen.RequestURI, c.query)
		require.NotContains(t, seen.URL.String()+seen.RequestURI+seen.FormValue("access_token"), "eyJ")
		require.Equal(t, before, r.URL.String(), "the request outside is not changed")
		if strings.Contains(c.query, "TOKEN") {
			sub, is := middleware.Subject(seen.Context())
			require.True(t, is)
			require.Equal(t, "ada", sub)
		}
	}
	r := httptest.NewRequest("GET", "/?access_token="+good, nil)
	require.NoError(t, r.ParseForm())
	h.ServeHTTP(httptest.NewRecorder(), r)
	require.Empty(t, seen.Form.Get("access_token"), "also from a form that was parsed before")
	require.NotEmpty(t, r.Form.Get("access_token"))
	for _, bad := range []string{"access_token=" + good + "&x=%zz", "a;access_token=x", "%zz=1", "access_token=" + good + "&access%5Ftoken=" + good, "access_token="} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.RawQuery = bad
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, 400, w.Code, bad)
	}
}

// A form is read once and stays readable: FHIR's _search sends one, and the
// proxy behind must send it on.
func TestFormIsReadOnceAndStaysReadable(t *testing.T) {
	i := newIssuer(t)
	good := mint(t, i, nil)
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{static(i)}, Form: "access_token"})
	var got string
	h := auth.Handler(auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(502)
		}
		got = string(body)
	})))
	send := func(body string, change func(*http.Request)) int {
		got = ""
		r := httptest.NewRequest("POST", "/Patient/_search", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if change != nil {
			change(r)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	header := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good) }
	search := "name=" + strings.Repeat("x", 100_000)
	require.Equal(t, 200, send(search, header))
	require.Equal(t, search, got)
	require.Equal(t, 200, send("access_token="+good+"&"+search, nil))
	require.Equal(t, "access_token="+good+"&"+search, got)
	require.Equal(t, 400, send("access_token="+good+"&"+search, header), "two tokens are seen")
	require.Equal(t, 400, send("access_token="+good+"&access%5Ftoken="+good, nil))
	require.Equal(t, 400, send("access_token="+good, func(r *http.Request) {
		header(r)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset")
	}), "net/http reads this as a form too")
	require.Equal(t, 400, send("access_token="+good+"&x=%zz", nil))
	require.Equal(t, 400, send(strings.Repeat("x", 1<<20+1), header), "over the bound")
	require.Equal(t, 200, send("x="+strings.Repeat("x", 1<<20-2), header))
	closed := false
	require.Equal(t, 200, send("a=b", func(r *http.Request) {
		header(r)
		r.Body = closer{r.Body, &closed}
	}))
	require.Equal(t, 400, send("", func(r *http.Request) { header(r); r.Body = io.NopCloser(iotestErr{}) }))
	require.Equal(t, 200, send("access_token="+good, func(r *http.Request) { r.Method = "GET"; header(r) }), "RFC 6750 section 2.2: not in a GET")
	require.Equal(t, 200, send("access_token="+good, func(r *http.Request) { require.NoError(t, r.ParseForm()) }), "a form that was parsed before")

	// Behind the kit's own proxy.
	var upstreamGot string
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		upstreamGot = string(body)
	}))
	t.Cleanup(upstream.Close)
	front := httptest.NewServer(auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), "POST", upstream.URL, r.Body)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		out.ContentLength = r.ContentLength
		res, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		_ = res.Body.Close()
	})))
	t.Cleanup(front.Close)
	req, err := http.NewRequestWithContext(t.Context(), "POST", front.URL, strings.NewReader("name=ada&_count=10"))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+good)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "name=ada&_count=10", upstreamGot)
}

type closer struct {
	io.Reader
	closed *bool
}

func (c closer) Close() error { *c.closed = true; return nil }

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// 20,000 distinct opaque tokens at once.
func TestFloodOfOpaqueTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, now, most atomic.Int64
		v := verifier(func(context.Context, string) (providers.Verified, error) {
			calls.Add(1)
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(100 * time.Millisecond)
			now.Add(-1)
			return providers.Verified{}, &providers.Error{Code: providers.CodeInvalidToken}
		})
		h := newAuth(t, middleware.Config{Opaque: []middleware.Opaque{{Verifier: v, Owns: func(string) bool { return true }, AnyAudience: true}}}).Handler(ok)
		before := runtime.NumGoroutine()
		var mu sync.Mutex
		got := map[int]int{}
		retry := map[string]int{}
		var wg sync.WaitGroup
		for n := range 20_000 {
			wg.Go(func() {
				w := ask(h, "token-"+strconv.Itoa(n))
				mu.Lock()
				defer mu.Unlock()
				got[w.Code]++
				if w.Code == 503 {
					retry[w.Header().Get("Retry-After")]++
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 32, most.Load())
		require.LessOrEqual(t, calls.Load(), int64(32+1024))
		require.Equal(t, 20_000, got[401]+got[503])
		require.Equal(t, map[string]int{"1": got[503]}, retry)
		t.Logf("20,000 distinct tokens at once: %d calls, %d at one time, %v; %d goroutines before", calls.Load(), most.Load(), got, before)
	})
}

// What an RFC 7662 answer says is checked against the entry.
func TestAnswersOfOpaqueVerifiers(t *testing.T) {
	claims := ""
	v := verifier(func(context.Context, string) (providers.Verified, error) {
		return providers.Verified{Subject: "said", Claims: []byte(claims)}, nil
	})
	entry := middleware.Opaque{Verifier: v, Owns: func(string) bool { return true }, Issuer: "https://as.example", Audiences: []string{"api"}, SubjectClaim: "username", CacheFor: -1}
	auth := newAuth(t, middleware.Config{Opaque: []middleware.Opaque{entry}})
	for body, want := range map[string]string{
		`{"aud":"api","username":"ada"}`: "", `{"aud":["x","api"],"username":"ada","iss":"https://as.example"}`: "", `{"aud":"api","username":"ada","iss":null,"cnf":null}`: "",
		`{"username":"ada"}`: "audience", `{"aud":"x","username":"ada"}`: "audience", `{"aud":["api",1],"username":"ada"}`: "audience", `{"aud":"api","username":"ada","iss":"https://evil.example"}`: "issuer", `{"aud":"api","username":"ada","iss":1}`: "issuer",
		`{"aud":"api","sub":"ada"}`: "subject", `{"aud":"api","username":7,"sub":"ada"}`: "subject", `{"aud":"api","username":"\ud800"}`: "subject", `{"aud":"api","username":"ada","cnf":{}}`: "bound",
	} {
		claims = body
		require.Equal(t, want, reasonOf(t, auth, "x"), body)
	}
	claims = `{"aud":["api","b"],"username":"ada","sub":"other"}`
	got, err := auth.Verify(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, []any{"ada", []string{"api", "b"}}, []any{got.Subject, got.Audience})
	entry.SubjectClaim = ""
	got, err = newAuth(t, middleware.Config{Opaque: []middleware.Opaque{entry}}).Verify(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, "said", got.Subject)
	entry.Audiences = nil
	_, err = middleware.New(middleware.Config{Opaque: []middleware.Opaque{entry}})
	require.ErrorContains(t, err, "Opaque[0]: Audiences is empty")
	entry.Audiences, entry.AnyAudience = []string{"x"}, true
	_, err = middleware.New(middleware.Config{Opaque: []middleware.Opaque{entry}})
	require.ErrorContains(t, err, "contradict")
}
