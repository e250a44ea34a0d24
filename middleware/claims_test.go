package middleware_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

func TestClaimsFrom(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, trusting(i))
	type base struct {
		Subject string `json:"sub"`
	}
	type claims struct {
		base
		Role   string           `json:"role"`
		Groups []string         `json:"groups"`
		Org    struct{ ID int } `json:"org"`
		Plain  string
	}
	verify := func(over map[string]any) context.Context {
		v, err := auth.Verify(t.Context(), mint(t, i, over))
		require.NoError(t, err)
		return middleware.NewContext(t.Context(), v)
	}
	ctx := verify(map[string]any{"role": "admin", "groups": []string{"a"}, "org": map[string]any{"ID": 7}, "Plain": "x"})
	got, is := middleware.ClaimsFrom[claims](ctx)
	require.True(t, is)
	require.Equal(t, []any{"ada", "admin", []string{"a"}, 7, "x"}, []any{got.Subject, got.Role, got.Groups, got.Org.ID, got.Plain})
	pointer, is := middleware.ClaimsFrom[*claims](ctx)
	require.True(t, is)
	require.Equal(t, "admin", pointer.Role)
	all, is := middleware.ClaimsFrom[map[string]any](ctx)
	require.True(t, is)
	require.Equal(t, "admin", all["role"])
	all["role"] = "changed"
	again, _ := middleware.ClaimsFrom[map[string]any](ctx)
	require.Equal(t, "admin", again["role"], "every caller has a copy")
	raw, is := middleware.ClaimsFrom[json.RawMessage](ctx)
	require.True(t, is)
	require.True(t, json.Valid(raw))

	for name, over := range map[string]map[string]any{
		"another type": {"role": 1}, "another case": {"Role": "admin"}, "plain in another case": {"plain": "x"}, "Groups": {"GROUPS": []string{"admin"}},
	} {
		c, is := middleware.ClaimsFrom[claims](verify(over))
		require.False(t, is, name)
		require.Zero(t, c, name)
	}
	_, is = middleware.ClaimsFrom[claims](context.Background())
	require.False(t, is)
	_, is = middleware.Subject(context.Background())
	require.False(t, is)
	_, is = middleware.VerifiedFrom(middleware.NewContext(t.Context(), nil))
	require.False(t, is)
	type key struct{}
	parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "kept"))
	child, end := context.WithCancel(middleware.NewContext(parent, &middleware.Verified{Subject: "ada"}))
	defer end()
	subject, _ := middleware.Subject(child)
	require.Equal(t, []any{"kept", "ada"}, []any{child.Value(key{}), subject}, "a context like any other")
	cancel(io.ErrUnexpectedEOF)
	<-child.Done()
	require.ErrorIs(t, context.Cause(child), io.ErrUnexpectedEOF)
}

// encoding/json ignores case, at every depth: of two clients portal and PORTAL
// it fills one field twice.
func TestClaimsFromByExactNameAtEveryDepth(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, static(i))
	type roles struct {
		Roles []string `json:"roles"`
	}
	type named struct {
		Access struct {
			Portal roles  `json:"portal"`
			Admin  *roles `json:"admin"`
		} `json:"resource_access"`
	}
	type mapped struct {
		Access map[string]roles     `json:"resource_access"`
		List   []roles              `json:"list"`
		Any    any                  `json:"any"`
		Raw    json.RawMessage      `json:"raw"`
		When   map[string]time.Time `json:"when"`
	}
	decode := func(access string, c any) error {
		token, err := i.Sign(nil, strings.TrimSuffix(string(claimsOf(t, mint(t, i, nil))), "}")+","+access+"}")
		require.NoError(t, err)
		v, err := auth.Verify(t.Context(), token)
		require.NoError(t, err)
		return v.Decode(c)
	}
	const user, admin = `{"roles":["user"]}`, `{"roles":["admin"]}`
	var n named
	require.NoError(t, decode(`"resource_access":{"portal":`+user+`,"other":`+admin+`}`, &n))
	require.Equal(t, []string{"user"}, n.Access.Portal.Roles)
	for _, twin := range []string{
		`"resource_access":{"portal":` + user + `,"PORTAL":` + admin + `}`, `"resource_access":{"Portal":` + admin + `}`, `"resource_access":{"portal":{"roles":["user"],"Roles":["admin"]}}`,
		`"resource_access":{"admin":{"ROLES":["x"]}}`, `"Resource_Access":{"portal":` + admin + `}`, `"resource_access":{"portal":{"role\u017f":["admin"]}}`,
	} {
		require.Error(t, decode(twin, new(named)), twin)
		_, is := middleware.ClaimsFrom[named](context.Background())
		require.False(t, is)
	}
	var m mapped
	require.NoError(t, decode(`"resource_access":{"portal":`+user+`,"PORTAL":`+admin+`},"any":{"a":1,"A":2},"raw":{"roles":1,"Roles":2},"when":{"x":"2026-01-01T00:00:00Z"}`, &m), "names of maps are exact")
	require.Equal(t, []string{"user"}, m.Access["portal"].Roles)
	require.Equal(t, []string{"admin"}, m.Access["PORTAL"].Roles)
	require.Error(t, decode(`"resource_access":{"portal":{"Roles":["admin"]}}`, &m))
	require.Error(t, decode(`"list":[`+user+`,{"ROLES":["admin"]}]`, &m))
}

type hiddenRoles struct {
	Roles struct {
		Other string `json:"other"`
	} `json:"roles"`
}

type taggedRoles struct {
	Roles []string `json:"roles"`
}

// A struct's own field hides that of an embedded one, and an embedded struct
// with a name is a field.
func TestClaimsFromByExactNameInEmbeddedStructs(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, static(i))
	v, err := auth.Verify(t.Context(), mint(t, i, map[string]any{"roles": map[string]any{"ADMIN": true}, "ACCESS": map[string]any{"roles": []string{"admin"}}}))
	require.NoError(t, err)
	var own struct {
		Roles struct {
			Admin bool `json:"admin"`
		} `json:"roles"`
		hiddenRoles
	}
	require.Error(t, v.Decode(&own), "%v", own)
	var tagged struct {
		taggedRoles `json:"access"`
	}
	require.Error(t, v.Decode(&tagged), "%v", tagged)
}

// What a type makes of its own text is its own affair.
func TestClaimsFromLeavesTypesThatReadThemselvesAlone(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, static(i))
	v, err := auth.Verify(t.Context(), mint(t, i, map[string]any{"lenient": map[string]any{"NAME": "a"}, "label": "b"}))
	require.NoError(t, err)
	var c struct {
		Lenient lenient `json:"lenient"`
		Label   label   `json:"label"`
	}
	require.NoError(t, v.Decode(&c))
	require.Equal(t, "a", c.Lenient.Name)
	require.Equal(t, "b", c.Label.Name)
}

type lenient struct {
	Name string `json:"name"`
}

func (l *lenient) UnmarshalJSON(b []byte) error {
	var m map[string]string
	err := json.Unmarshal(b, &m)
	l.Name = m["NAME"]
	return err
}

type label struct{ Name string }

func (l *label) UnmarshalText(b []byte) error {
	l.Name = string(b)
	return nil
}

// Streams flush, and connections can be taken over.
func TestResponseWriterIsNotWrapped(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, trusting(i))
	var seen http.ResponseWriter
	h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = w }))
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+mint(t, i, nil))
	h.ServeHTTP(w, r)
	require.Same(t, w, seen)

	mux := http.NewServeMux()
	mux.Handle("/events", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: first\n\n")
		require.NoError(t, http.NewResponseController(w).Flush())
		<-r.Context().Done()
	})))
	mux.Handle("/socket", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		require.NoError(t, err)
		defer conn.Close()
		sub, _ := middleware.Subject(r.Context())
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + sub + "\n")
		_ = rw.Flush()
	})))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	get := func(path string) *http.Response {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		t.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL+path, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+mint(t, i, nil))
		if path == "/socket" {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
		}
		res, err := server.Client().Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	line, err := bufio.NewReader(get("/events").Body).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: first\n", line)
	res := get("/socket")
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	line, err = bufio.NewReader(res.Body).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ada\n", line)
}

func TestErrorHandlerAndLog(t *testing.T) {
	i := newIssuer(t)
	var log strings.Builder
	auth := newAuth(t, middleware.Config{
		Issuers: []middleware.Issuer{trusting(i)}, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, e *middleware.Error) {
			w.Header().Set("X-Reason", e.Reason)
			e.ServeHTTP(w, r)
		},
	})
	token := mint(t, i, map[string]any{"aud": "https://other.example"})
	w := ask(auth.Handler(ok), token)
	require.Equal(t, "audience", w.Header().Get("X-Reason"))
	require.Contains(t, log.String(), `"reason":"audience"`)
	require.NotContains(t, log.String(), token)
	require.Contains(t, log.String(), `claim aud is \"https://other.example\": it must be one of https://api.example`)

	w = httptest.NewRecorder()
	auth.Deny(w, httptest.NewRequest("GET", "/", nil), io.ErrUnexpectedEOF)
	require.Equal(t, 503, w.Code)
	require.NotContains(t, w.Body.String(), "EOF")

	_, err := auth.Verify(t.Context(), "x")
	require.EqualError(t, err, "middleware: 401 invalid_token (malformed)")
}

// An address may hold a key; and what a broken server sends may hold anything.
func TestLogOfKeySetsHasNoSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		var log strings.Builder
		cfg := trusting(i)
		cfg.JWKSURL += "?api_key=canary"
		cut := false
		cfg.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if cut {
				return nil, io.ErrUnexpectedEOF
			}
			return i.Client().Transport.RoundTrip(r)
		})}
		h := newAuth(t, middleware.Config{Issuers: []middleware.Issuer{cfg}, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}).Handler(ok)
		faults := []func(){
			func() { i.Down(true) },
			func() { i.Down(false); i.ServeSet([]byte("canary")) },
			func() {
				i.ServeSet([]byte(`{"keys":[{"kty":"oct","k":"canary"},{"kty":"EC","crv":"P-256","x":"canary","d":"canary"}]}`))
			},
			func() {
				i.Serve(http.RedirectHandler("https://canary@elsewhere.example/?canary", http.StatusFound))
			},
			func() { i.Slow(time.Minute) },
			func() { cut = true },
		}
		for n, fault := range faults {
			fault()
			w := ask(h, mint(t, i, nil))
			require.Equal(t, 503, w.Code, n)
			require.NotContains(t, w.Body.String(), "canary", n)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			require.Equal(t, n+1, strings.Count(log.String(), "can be fetched")+strings.Count(log.String(), "could not be fetched"), n)
		}
		require.NotContains(t, log.String(), "canary")
		require.Contains(t, log.String(), "keys of a key set cannot be used")
	})
}
