package middleware_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

func TestChallengeFrom(t *testing.T) {
	res := func(status int, fields ...string) *http.Response {
		return &http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": fields}}
	}
	require.Equal(t, &middleware.ChallengeError{Code: "insufficient_scope", Scopes: []string{"a", "b"}, MaxAge: -1},
		middleware.ChallengeFrom(res(403, `Basic realm=x`, `Bearer error="insufficient_scope", scope="a b"`)))
	require.Equal(t, &middleware.ChallengeError{Code: "insufficient_user_authentication", ACRValues: []string{"gold"}, MaxAge: 0},
		middleware.ChallengeFrom(res(401, `Bearer error="insufficient_user_authentication", acr_values="gold", max_age="0"`)))
	require.Equal(t, 5*time.Second, middleware.ChallengeFrom(res(401, `DPoP error="insufficient_user_authentication", max_age=5`)).MaxAge)
	require.Nil(t, middleware.ChallengeFrom(res(401, `Bearer error="invalid_token"`)))
	require.Nil(t, middleware.ChallengeFrom(res(401, `Basic error="insufficient_scope"`)))
	require.Nil(t, middleware.ChallengeFrom(res(200, `Bearer error="insufficient_scope"`)))
	claims := func(v string) string {
		return string(middleware.ChallengeFrom(res(401, `Bearer error="insufficient_claims", claims="`+v+`"`)).Claims)
	}
	require.Equal(t, `{"a":"?>"}`, claims("eyJhIjoiPz4ifQ=="), "base64 with padding")
	require.Equal(t, `{"a":"?>"}`, claims("eyJhIjoiPz4ifQ"), "base64 without padding")
	require.Equal(t, `{"aa":"??>"}`, claims("eyJhYSI6Ij8_PiJ9"), "base64url")
	require.Equal(t, `{"aa":"??>"}`, claims("eyJhYSI6Ij8/PiJ9"), "base64")
	require.Equal(t, `{"a":"?>"}`, claims(`{\"a\":\"?>\"}`), "JSON as a quoted-string")
	require.Empty(t, claims("{x"), "not JSON")
	require.Empty(t, claims("bm8ganNvbg=="), "not JSON")
	require.Empty(t, claims("%%%"), "not base64")
	require.Empty(t, claims(""))
}
