package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

func hs256(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	require.NoError(t, err)
	return s
}

func TestHandlerPassesTheVerifiedToken(t *testing.T) {
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: "https://issuer.example", Audiences: []string{"api"}, Algorithms: []string{"HS256"}, Secrets: [][]byte{secret},
	}}})
	require.NoError(t, err)
	type claims struct {
		Role string `json:"role"`
	}
	h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sub, ok := middleware.Subject(r.Context())
		require.True(t, ok)
		c, ok := middleware.ClaimsFrom[claims](r.Context())
		require.True(t, ok)
		_, _ = w.Write([]byte(sub + " " + c.Role))
	}))
	good := hs256(t, jwt.MapClaims{"iss": "https://issuer.example", "aud": "api", "sub": "ada", "role": "admin", "exp": time.Now().Add(time.Hour).Unix()})
	for range 2 { // the second time from memory
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+good)
		h.ServeHTTP(w, r)
		require.Equal(t, "ada admin", w.Body.String())
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	require.Equal(t, 401, w.Code)
	require.Equal(t, `Bearer realm="api"`, w.Header().Get("WWW-Authenticate"))
}

// RFC 6750's b64token, every byte at every place.
func TestCharactersOfTokens(t *testing.T) {
	h := authFor(t, trusting(newIssuer(t))).Handler(ok)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
	for c := range 256 {
		for at := range 9 {
			token := []byte("abcdefghi")
			token[at] = byte(c)
			want := 400
			switch {
			case strings.IndexByte(letters, byte(c)) >= 0, c == '=' && at == 8:
				want = 401
			case c == ' ' && at == 0: // two spaces, and a letter less
				want = 401
			}
			require.Equal(t, want, ask(h, string(token)).Code, "%q", token)
		}
	}
	require.Equal(t, 400, ask(h, "====").Code)
}
