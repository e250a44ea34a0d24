package authtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

func fetch(t *testing.T, i *authtest.Issuer, path string) (int, string) {
	t.Helper()
	res, err := i.Client().Get(i.URL + path)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

func TestEndpoints(t *testing.T) {
	i, err := authtest.New("RS256", "EdDSA")
	require.NoError(t, err)
	status, body := fetch(t, i, "/jwks")
	require.Equal(t, 200, status)
	var set struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(body), &set))
	require.Len(t, set.Keys, 2)
	require.NotContains(t, body, `"d"`)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		status, body := fetch(t, i, path)
		require.Equal(t, 200, status)
		require.JSONEq(t, `{"issuer":"https://issuer.example","jwks_uri":"https://issuer.example/jwks"}`, body)
	}
	status, _ = fetch(t, i, "/other")
	require.Equal(t, 404, status)
	require.Equal(t, 1, i.Fetches())
	_, err = i.Client().Get("https://elsewhere.example/")
	require.ErrorContains(t, err, "is not the issuer")
}

func TestFaults(t *testing.T) {
	i, err := authtest.New()
	require.NoError(t, err)
	i.Down(true)
	status, _ := fetch(t, i, "/jwks")
	require.Equal(t, 503, status)
	i.Down(false)
	i.ServeSet([]byte("broken"))
	_, body := fetch(t, i, "/jwks")
	require.Equal(t, "broken", body)
	i.Serve(nil)
	i.Slow(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", i.URL+"/jwks", nil)
	require.NoError(t, err)
	_, err = i.Client().Do(r)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// A caller that leaves sees its own error and never an answer that looks whole.
func TestAnAnswerThatIsCutShortIsNotWhole(t *testing.T) {
	i, err := authtest.New()
	require.NoError(t, err)
	i.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{")
		<-r.Context().Done()
	}))
	for range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", i.URL+"/jwks", nil)
		require.NoError(t, err)
		res, err := i.Client().Do(r)
		require.NoError(t, err)
		_, err = io.ReadFull(res.Body, make([]byte, 1))
		require.NoError(t, err)
		cancel()
		_, err = io.ReadAll(res.Body)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, res.Body.Close())
	}
}

func TestTokens(t *testing.T) {
	i, err := authtest.New("ES256", "RS256")
	require.NoError(t, err)
	keys := i.PublicKeys()
	key := func(token *jwt.Token) (any, error) { return keys[token.Header["kid"].(string)], nil }
	token, err := i.Token(map[string]any{"sub": nil, "role": "x"})
	require.NoError(t, err)
	got, err := jwt.Parse(token, key, jwt.WithAudience(i.Audience), jwt.WithIssuer(i.URL), jwt.WithExpirationRequired())
	require.NoError(t, err)
	claims := got.Claims.(jwt.MapClaims)
	require.Equal(t, "x", claims["role"])
	require.NotContains(t, claims, "sub")
	token, err = i.Sign(map[string]any{"alg": "RS256", "typ": nil, "x": 1}, `{"exp":9999999999}`)
	require.NoError(t, err)
	got, err = jwt.Parse(token, key)
	require.NoError(t, err)
	require.Equal(t, "RS256", got.Method.Alg())
	require.NotContains(t, got.Header, "typ")
	require.NoError(t, i.Rotate(true))
	require.Len(t, i.PublicKeys(), 4)
	require.NoError(t, i.Rotate(false))
	require.Len(t, i.PublicKeys(), 2)
	_, err = authtest.New("HS256")
	require.ErrorContains(t, err, "HS256")
	_, err = i.Sign(nil, func() {})
	require.Error(t, err)
}

// The corpus finds a handler that lets everything pass, and one that refuses
// everything.
func TestCorpusCanFail(t *testing.T) {
	i, err := authtest.New("ES256")
	require.NoError(t, err)
	cases, err := authtest.Corpus(i)
	require.NoError(t, err)
	for name, h := range map[string]http.HandlerFunc{
		"open":   func(w http.ResponseWriter, _ *http.Request) {},
		"closed": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		"broken": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
	} {
		failed := 0
		for _, c := range cases {
			w := httptest.NewRecorder()
			h(w, c.Request("/"))
			if c.Check(w.Result(), w.Body.String()) != nil {
				failed++
			}
		}
		require.Greater(t, failed, 20, name)
	}
}

func ExampleNew() {
	issuer, err := authtest.New("ES256")
	if err != nil {
		fmt.Println(err)
		return
	}
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: issuer.URL, Audiences: []string{issuer.Audience}, Algorithms: []string{"ES256"},
		Discover: true, HTTPClient: issuer.Client(),
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, _ := issuer.Token(map[string]any{"sub": "ada"})
	v, err := auth.Verify(context.Background(), token)
	fmt.Println(v.Subject, err, issuer.Fetches())
	// Output: ada <nil> 1
}
