package doctest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// shopClaims are claims as a server over golang-jwt has them.
type shopClaims struct {
	Tenant string `json:"tenant"`
	jwt.RegisteredClaims
}

func (c shopClaims) Validate() error {
	if c.Tenant == "blocked" {
		return errors.New("blocked")
	}
	return nil
}

// beforeMoving is the server of docs/from-golang-jwt.md, with claims.
func beforeMoving(t *testing.T, issuer string, keys ...string) http.Handler {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	set, err := keyfunc.NewDefaultOverrideCtx(ctx, keys, keyfunc.Override{RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
		return func(context.Context, error) {}
	}})
	require.NoError(t, err)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c shopClaims
		_, err := jwt.ParseWithClaims(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), &c, set.Keyfunc,
			jwt.WithIssuer(issuer), jwt.WithAudience("orders"), jwt.WithValidMethods([]string{"RS256"}))
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprint(w, c.Subject, c.Tenant)
	})
}

// afterMoving is its successor.
func afterMoving(t *testing.T, issuers ...middleware.Issuer) http.Handler {
	t.Helper()
	auth, err := middleware.New(middleware.Config{Issuers: issuers, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject, _ := middleware.Subject(r.Context())
		c, _ := middleware.ClaimsFrom[struct {
			Tenant string `json:"tenant"`
		}](r.Context())
		_, _ = fmt.Fprint(w, subject, c.Tenant)
	}))
}

func moved(url string) middleware.Issuer {
	return middleware.Issuer{Issuer: url, Audiences: []string{"orders"}, Algorithms: []string{"RS256"}, JWKSURL: url + "/jwks"}
}

// served makes one request with each of tokens in a header of its own.
func served(h http.Handler, tokens ...string) string {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, token := range tokens {
		r.Header.Add("Authorization", token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return fmt.Sprint(w.Code)
	}
	return w.Body.String()
}

// servedIssuer is an issuer on a socket, as keyfunc wants one.
func servedIssuer(t *testing.T) *authtest.Issuer {
	t.Helper()
	i, err := authtest.New("RS256", "PS256")
	require.NoError(t, err)
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.URL, i.Audience = server.URL, "orders"
	return i
}

// TestMovingFromGolangJWTChangesWhatItsGuideSays runs the rows of
// docs/from-golang-jwt.md on both sides.
func TestMovingFromGolangJWTChangesWhatItsGuideSays(t *testing.T) {
	i := servedIssuer(t)
	before, after := beforeMoving(t, i.URL, i.URL+"/jwks"), afterMoving(t, moved(i.URL))
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	claims := func(change map[string]any, twice ...string) string {
		all := map[string]any{"iss": i.URL, "aud": "orders", "sub": "ada", "exp": in(time.Hour), "iat": in(0)}
		for name, v := range change {
			if all[name] = v; v == nil {
				delete(all, name)
			}
		}
		b, err := json.Marshal(all)
		require.NoError(t, err)
		return strings.TrimSuffix(string(b), "}") + strings.Join(twice, "") + "}"
	}
	sign := func(header map[string]any, claims string) string {
		token, err := i.Sign(header, claims)
		require.NoError(t, err)
		return "Bearer " + token
	}
	plain := sign(nil, claims(nil))
	for _, row := range []struct {
		name          string
		tokens        []string
		before, after string
	}{
		{"a good token", []string{plain}, "ada", "ada"},
		{"leeway on exp", []string{sign(nil, claims(map[string]any{"exp": in(-30 * time.Second)}))}, "401", "ada"},
		{"leeway on nbf", []string{sign(nil, claims(map[string]any{"nbf": in(30 * time.Second)}))}, "401", "ada"},
		{"expired beyond the leeway", []string{sign(nil, claims(map[string]any{"exp": in(-90 * time.Second)}))}, "401", "401"},
		{"no exp", []string{sign(nil, claims(map[string]any{"exp": nil}))}, "ada", "401"},
		{"iat in the future", []string{sign(nil, claims(map[string]any{"iat": in(time.Hour)}))}, "ada", "401"},
		{"Validate of the claims", []string{sign(nil, claims(map[string]any{"tenant": "blocked"}))}, "401", "adablocked"},
		{"ISS in place of iss", []string{sign(nil, claims(map[string]any{"iss": nil, "ISS": i.URL}))}, "ada", "401"},
		{"SUB beside sub", []string{sign(nil, claims(nil, `,"SUB":"eve"`))}, "eve", "401"},
		{"TENANT", []string{sign(nil, claims(map[string]any{"TENANT": "acme"}))}, "adaacme", "ada"},
		{"sub twice", []string{sign(nil, claims(nil, `,"sub":"eve"`))}, "eve", "401"},
		{"tenant twice", []string{sign(nil, claims(nil, `,"tenant":"a"`, `,"tenant":"b"`))}, "adab", "401"},
		{"crit", []string{sign(map[string]any{"crit": []string{"x"}, "x": 1}, claims(nil))}, "ada", "401"},
		{"typ of an ID token", []string{sign(map[string]any{"typ": "id+jwt"}, claims(nil))}, "ada", "401"},
		{"no kid", []string{sign(map[string]any{"kid": nil}, claims(nil))}, "ada", "ada"},
		{"two tokens", []string{plain, sign(nil, claims(map[string]any{"sub": "eve"}))}, "ada", "400"},
		{"the scheme in lower case", []string{"b" + plain[1:]}, "401", "ada"},
		{"no token", nil, "401", "401"},
	} {
		require.Equal(t, row.before, served(before, row.tokens...), "before: %s", row.name)
		require.Equal(t, row.after, served(after, row.tokens...), "after: %s", row.name)
	}

	i.Down(true)
	require.Equal(t, "401", served(beforeMoving(t, i.URL, i.URL+"/jwks"), plain), "an outage, before")
	require.Equal(t, "503", served(afterMoving(t, moved(i.URL)), plain), "an outage, after")
}

func TestKeysOfSeveralIssuersAreOnePoolBeforeMovingAlone(t *testing.T) {
	a, b := servedIssuer(t), servedIssuer(t)
	require.NoError(t, b.Rotate(false)) // whose kid is then another one than a's
	forged, err := b.Token(map[string]any{"iss": a.URL})
	require.NoError(t, err)
	require.Equal(t, "ada", served(beforeMoving(t, a.URL, a.URL+"/jwks", b.URL+"/jwks"), "Bearer "+forged))
	own, other := moved(a.URL), moved(b.URL)
	own.Subjects, other.Subjects = middleware.Own, middleware.Qualified
	require.Equal(t, "401", served(afterMoving(t, own, other), "Bearer "+forged))
}

func TestWhatNewRefusesAfterMoving(t *testing.T) {
	for want, change := range map[string]func(*middleware.Issuer){
		"must be https": func(i *middleware.Issuer) { i.JWKSURL = "http://keycloak:8080/keys" },
		"shorter than the hash": func(i *middleware.Issuer) {
			i.JWKSURL, i.Algorithms, i.Secrets = "", []string{"HS256"}, [][]byte{[]byte("short")}
		},
		"Audiences is empty": func(i *middleware.Issuer) { i.Audiences = nil },
	} {
		i := moved("https://id.example.com")
		change(&i)
		_, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{i}})
		require.ErrorContains(t, err, want)
	}
}
