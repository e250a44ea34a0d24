package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// verifier is an opaque verifier made of one function.
type verifier func(context.Context, string) (providers.Verified, error)

func (f verifier) Verify(ctx context.Context, token string) (providers.Verified, error) {
	return f(ctx, token)
}

// One row for every line of the table of answers.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		now := time.Now()
		busy := verifier(func(context.Context, string) (providers.Verified, error) {
			return providers.Verified{}, &providers.Error{Code: providers.CodeBusy, RetryAfter: 7 * time.Second}
		})
		no := verifier(func(context.Context, string) (providers.Verified, error) {
			return providers.Verified{}, &providers.Error{Code: providers.CodeInvalidToken, Description: "Wrong token"}
		})
		base := middleware.Config{
			Issuers: own(trusting(i)), Realm: `a "b" \c`, Resource: "https://api.example/v1",
			Opaque: []middleware.Opaque{
				{Verifier: busy, Owns: func(t string) bool { return strings.HasPrefix(t, "busy") }, Issuer: "busy", AnyAudience: true, Subjects: middleware.Qualified},
				{Verifier: no, Owns: func(t string) bool { return strings.HasPrefix(t, "wrong") }, Issuer: "wrong", AnyAudience: true, Subjects: middleware.Qualified},
			},
			Revoked: func(_ context.Context, v *middleware.Verified) (bool, error) {
				if v.ID == "store down" {
					return false, errors.New("dial tcp 10.0.0.1: secret")
				}
				return v.ID == "withdrawn", nil
			},
		}
		auth := newAuth(t, base)
		scoped, err := auth.Require(middleware.Rule{AllScopes: []string{"read", "write"}})
		require.NoError(t, err)
		anyOf, err := auth.Require(middleware.Rule{AnyScope: []string{"a", "b"}})
		require.NoError(t, err)
		stepUp, err := auth.Require(middleware.Rule{ACR: []string{"gold", "silver"}, MaxAge: time.Hour})
		require.NoError(t, err)
		const common = `Bearer realm="a \"b\" \\c", resource_metadata="https://api.example/.well-known/oauth-protected-resource/v1"`
		invalid := common + `, error="invalid_token", error_description="The access token is not valid."`
		for _, row := range []struct {
			name      string
			auth      *middleware.Authenticator
			token     string
			status    int
			challenge string
		}{
			{"no credentials", auth, "", 401, common},
			{"no credentials, scopes", scoped, "", 401, common + `, scope="read write"`},
			{"outside b64token", auth, "a b", 400, common + `, error="invalid_request", error_description="The credentials are malformed."`},
			{"over 16 KiB", auth, strings.Repeat("é", 16<<10), 401, common + `, error="invalid_token", error_description="The access token is too long."`},
			{"malformed", auth, "abc", 401, common + `, error="invalid_token", error_description="The access token is malformed."`},
			{"audience", auth, mint(t, i, map[string]any{"aud": "x"}), 401, invalid},
			{"issuer", auth, mint(t, i, map[string]any{"iss": "x"}), 401, invalid},
			{"unknown kid", auth, mintAs(t, i, "x"), 401, invalid},
			{"signature", auth, mint(t, i, nil)[:200] + mint(t, i, nil)[200:], 401, invalid},
			{"not yet", auth, mint(t, i, map[string]any{"nbf": now.Add(time.Hour).Unix()}), 401, invalid},
			{"withdrawn", auth, mint(t, i, map[string]any{"jti": "withdrawn"}), 401, invalid},
			{"expired", auth, mint(t, i, map[string]any{"exp": now.Add(-time.Hour).Unix()}), 401, common + `, error="invalid_token", error_description="The access token expired."`},
			{"expired long ago", auth, mint(t, i, map[string]any{"exp": now.Add(-25 * time.Hour).Unix()}), 401, invalid},
			{"opaque, not valid", auth, "wrong", 401, invalid},
			{"scope", scoped, mint(t, i, map[string]any{"scope": "read"}), 403, common + `, error="insufficient_scope", error_description="The access token does not allow this.", scope="read write"`},
			{"any scope", anyOf, mint(t, i, map[string]any{"scp": []string{"c"}}), 403, common + `, error="insufficient_scope", error_description="The access token does not allow this.", scope="a b"`},
			{"acr", stepUp, mint(t, i, map[string]any{"acr": "bronze", "auth_time": now.Unix()}), 401, common + `, error="insufficient_user_authentication", error_description="A more recent or stronger sign-in is required.", acr_values="gold silver", max_age="3600"`},
			{"max_age", stepUp, mint(t, i, map[string]any{"acr": "gold", "auth_time": now.Add(-2 * time.Hour).Unix()}), 401, common + `, error="insufficient_user_authentication", error_description="A more recent or stronger sign-in is required.", acr_values="gold silver", max_age="3600"`},
			{"no auth_time", stepUp, mint(t, i, map[string]any{"acr": "gold"}), 401, common + `, error="insufficient_user_authentication", error_description="A more recent or stronger sign-in is required.", acr_values="gold silver", max_age="3600"`},
			{"introspection down", auth, "busy", 503, ""},
			{"revocation store down", auth, mint(t, i, map[string]any{"jti": "store down"}), 503, ""},
		} {
			if row.name == "signature" {
				a, b := mint(t, i, nil), mint(t, i, map[string]any{"sub": "eve"})
				row.token = a[:strings.LastIndexByte(a, '.')] + b[strings.LastIndexByte(b, '.'):]
			}
			w := ask(row.auth.Handler(ok), row.token)
			require.Equal(t, row.status, w.Code, row.name)
			require.Equal(t, row.challenge, w.Header().Get("WWW-Authenticate"), row.name)
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"), row.name)
			require.Equal(t, row.status == 503, w.Header().Get("Retry-After") != "", row.name)
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), row.name)
			require.NotContains(t, w.Body.String(), "secret", row.name)
			var body struct {
				Type, Title, Code, Detail, Error string
				Status                           int
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body), row.name)
			require.Equal(t, row.status, body.Status, row.name)
			require.True(t, body.Detail != "" && body.Error == body.Detail && body.Code != "" && body.Title != "" && body.Type != "", row.name)
		}
		require.Equal(t, "7", ask(auth.Handler(ok), "busy").Header().Get("Retry-After"))
		for _, good := range []struct {
			auth   *middleware.Authenticator
			claims map[string]any
		}{
			{scoped, map[string]any{"scope": "write read more"}}, {anyOf, map[string]any{"scp": []string{"b"}}}, {anyOf, map[string]any{"scope": []string{"a"}}},
			{stepUp, map[string]any{"acr": "silver", "auth_time": now.Add(-time.Hour).Unix()}},
		} {
			require.Equal(t, 200, ask(good.auth.Handler(ok), mint(t, i, good.claims)).Code)
		}
	})
}

func TestOptional(t *testing.T) {
	i := newIssuer(t)
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Optional: true})
	var seen []string
	h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sub, is := middleware.Subject(r.Context())
		require.Equal(t, sub != "", is)
		seen = append(seen, sub)
	}))
	require.Equal(t, 200, ask(h, "").Code)
	require.Equal(t, 200, ask(h, mint(t, i, nil)).Code)
	require.Equal(t, 200, ask(h, mint(t, i, map[string]any{"sub": nil})).Code, "nobody is called the empty string")
	require.Equal(t, 200, ask(h, mint(t, i, map[string]any{"sub": ""})).Code)
	require.Equal(t, []string{"", "ada", "", ""}, seen)
	require.Equal(t, 401, ask(h, "x").Code, "wrong credentials never pass")
	require.Equal(t, 401, ask(h, mint(t, i, map[string]any{"exp": 1})).Code)
	v, err := auth.Check(httptest.NewRequest("GET", "/", nil))
	require.NoError(t, err)
	require.Nil(t, v)
}

func TestPlacesForTokens(t *testing.T) {
	i := newIssuer(t)
	good := mint(t, i, nil)
	auth := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Cookie: "session", Query: "access_token", Form: "access_token"})
	h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.PostFormValue("other")))
	}))
	send := func(change func(*http.Request)) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("other=x"))
		change(r)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	header := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good) }
	cookie := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "session", Value: good}) }
	query := func(r *http.Request) { r.URL.RawQuery = "access_token=" + good }
	form := func(r *http.Request) {
		*r = *httptest.NewRequest(http.MethodPost, "/", strings.NewReader("other=seen&access_token="+good))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	}
	for n, place := range []func(*http.Request){header, cookie, query, form} {
		require.Equal(t, 200, send(place).Code, n)
	}
	require.Equal(t, "seen", send(form).Body.String())
	for n, two := range [][2]func(*http.Request){{form, header}, {form, query}, {form, cookie}, {header, query}, {cookie, query}, {cookie, cookie}} {
		require.Equal(t, 400, send(func(r *http.Request) { two[0](r); two[1](r) }).Code, n)
	}
	require.Equal(t, 400, send(func(r *http.Request) { r.URL.RawQuery = "access_token=a&access_token=b" }).Code)
	require.Equal(t, 400, send(func(r *http.Request) { r.URL.RawQuery = "access_token=a%20b" }).Code)
	require.Equal(t, 400, send(func(r *http.Request) {
		*r = *httptest.NewRequest(http.MethodPost, "/", strings.NewReader("a="+strings.Repeat("x", 2<<20)))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}).Code)
	require.Equal(t, 401, send(func(r *http.Request) {
		*r = *httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"access_token":"`+good+`"}`))
		r.Header.Set("Content-Type", "application/json")
	}).Code)
	protocol := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Extract: func(r *http.Request) []string { return r.Header["X-Token"] }}).Handler(ok)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["X-Token"] = []string{good}
	w := httptest.NewRecorder()
	protocol.ServeHTTP(w, r)
	require.Equal(t, 200, w.Code)
	require.Equal(t, 401, ask(protocol, good).Code, "Extract replaces the header")
}

// A client that closes its sending half looks to net/http like one that has
// gone, and still reads. An empty 200 would let it pass, and through ForwardAuth
// any request.
func TestAHalfClosedClientNeverGetsAnEmpty200(t *testing.T) {
	i := newIssuer(t)
	auth := newAuth(t, middleware.Config{Issuers: own(static(i))})
	forward, err := middleware.ForwardAuth(auth, middleware.ForwardAuthConfig{Proxy: "envoy", Peers: []string{"127.0.0.1"}})
	require.NoError(t, err)
	for name, h := range map[string]http.Handler{
		"handler": auth.Handler(ok),
		"deny":    http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { auth.Deny(w, r, errors.New("down")) }),
		"forward": forward,
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				h.ServeHTTP(w, r)
			}))
			defer s.Close()
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer garbage\r\n\r\n")
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			got, _ := io.ReadAll(conn) // a reset is an answer too
			require.Empty(t, string(got), "the connection is closed without an answer")
		})
	}
}

// A form that may hold the token and comes later than http.Server.ReadTimeout
// is 408 (RFC 9110 section 15.5.9). net/http has cancelled its request.
func TestAFormThatComesTooLateIs408(t *testing.T) {
	auth := newAuth(t, middleware.Config{Issuers: own(static(newIssuer(t))), Form: "access_token"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", io.MultiReader(strings.NewReader("a=1"), iotest.ErrReader(os.ErrDeadlineExceeded)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	auth.Handler(ok).ServeHTTP(w, r)
	require.Equal(t, http.StatusRequestTimeout, w.Code)
	require.Equal(t, "close", w.Header().Get("Connection"))
	require.Empty(t, w.Header().Get("WWW-Authenticate"))
	require.Contains(t, w.Body.String(), `"code":"request_timeout"`)
}
