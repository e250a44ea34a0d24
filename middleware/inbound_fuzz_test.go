package middleware_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

// Whatever stands in the header, the answer is 401 or 400 with a challenge,
// never a panic and never a 5xx.
func FuzzAuthorizationHeader(f *testing.F) {
	i := newIssuer(f)
	h := authFor(f, trusting(i)).Handler(ok)
	for _, s := range []string{"", "Bearer", "Bearer x", "bearer\tx", "Basic YTpi", "Bearer a, Bearer b", "Bearer  x==", mint(f, i, nil)} {
		f.Add(s, "")
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = []string{first}
		if second != "" {
			r.Header["Authorization"] = append(r.Header["Authorization"], second)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Contains(t, []int{400, 401}, w.Code)
		require.True(t, strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `Bearer realm="api"`))
		require.True(t, w.Code == 401 || strings.Contains(w.Header().Get("WWW-Authenticate"), "invalid_request"))
		if second != "" {
			require.Equal(t, 400, w.Code)
		}
	})
}

// Whatever a rule writes into its error, the challenge stays one header line of
// well-formed parameters, which the outbound half's parser reads back.
func FuzzChallenge(f *testing.F) {
	i := newIssuer(f)
	f.Add("insufficient_scope", `a "quoted" \ text`, "api")
	f.Add("a\r\nX-Injected: 1", "é\x00", `"`)
	good := mint(f, i, nil)
	f.Fuzz(func(t *testing.T, code, description, realm string) {
		auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{trusting(i)}, Realm: realm, Require: middleware.Rule{
			Check: func(context.Context, *middleware.Verified) error {
				return &middleware.Error{Status: 403, Code: code, Description: description}
			},
		}})
		if err != nil {
			return // the realm is not printable
		}
		w := ask(auth.Handler(ok), good)
		line := w.Header().Get("WWW-Authenticate")
		for _, c := range []byte(line) {
			require.True(t, ' ' <= c && c <= '~')
		}
		require.Regexp(t, `^Bearer( [a-z_]+="([^"\\]|\\.)*"(, [a-z_]+="([^"\\]|\\.)*")*)?$`, line)
		require.True(t, json.Valid(w.Body.Bytes()))
		if code == "insufficient_scope" {
			got := middleware.ChallengeFrom(w.Result())
			require.NotNil(t, got)
			require.Equal(t, code, got.Code)
		}
	})
}

// A token that is not signed by the issuer is refused, whatever it is.
func FuzzVerify(f *testing.F) {
	i := newIssuer(f)
	auth := authFor(f, trusting(i))
	good := mint(f, i, nil)
	for _, s := range []string{good, good[:len(good)-1], "a.b.c", "..", strings.Repeat(".", 1000), strings.ToUpper(good), good + "="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		v, err := auth.Verify(t.Context(), token)
		if token == good {
			return
		}
		require.Nil(t, v)
		var e *middleware.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, http.StatusUnauthorized, e.Status)
	})
}
