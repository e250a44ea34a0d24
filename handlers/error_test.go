package handlers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

// contract is the table of http-contract.md.
var contract = map[providers.Code]int{
	"invalid_json": 400, "invalid_field": 400,
	"tenant_required": 400, "tenant_invalid": 400, "tenant_conflict": 400,
	"identity_required": 400, "refresh_token_required": 400,
	"not_signed_in": 401, "refresh_rejected": 401, "grant_required": 401,
	"invalid_token": 403, "cross_origin": 403, "tenant_not_allowed": 403, "identity_mismatch": 403,
	"not_found": 404, "method_not_allowed": 405, "request_timeout": 408, "body_too_large": 413, "unsupported_media_type": 415, "misdirected_request": 421,
	"upstream_rejected_input": 422, "rate_limited": 429, "internal": 500,
	"upstream_credentials_rejected": 502, "upstream_error": 502, "upstream_bad_response": 502,
	"upstream_unreachable": 502, "upstream_rejected_token": 502,
	"upstream_busy": 503, "upstream_timeout": 504,
}

// codeConstants reads the Code constants out of package providers, so that a new one
// cannot be forgotten.
func codeConstants(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../providers/error.go", nil, 0)
	require.NoError(t, err)
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Code" {
			return true
		}
		for i, name := range spec.Names {
			lit, ok := spec.Values[i].(*ast.BasicLit)
			require.True(t, ok, name.Name)
			code, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			codes = append(codes, code)
		}
		return true
	})
	return codes
}

func TestEveryCodeHasOneStatusAndOneText(t *testing.T) {
	codes := codeConstants(t)
	assert.Greater(t, len(codes), 15)
	for _, code := range codes {
		assert.Contains(t, contract, providers.Code(code), "a constant that the table lacks")
	}
	for _, unknown := range []providers.Code{"", "Internal", "invalid_json ", "toString"} {
		assert.Equal(t, 500, handlers.StatusOf(unknown), "%q", unknown)
	}
	for code, status := range contract {
		assert.Equal(t, status, handlers.StatusOf(code), code)
		assert.NotEmpty(t, handlers.Texts[code], code)
	}
	for code := range handlers.Texts {
		assert.Contains(t, contract, code)
	}
	assert.Equal(t, "At least one user identifier required", handlers.Texts[providers.CodeIdentityRequired])
}

func TestErrorIsOneProblem(t *testing.T) {
	for code, status := range contract {
		t.Run(string(code), func(t *testing.T) {
			w := httptest.NewRecorder()
			handlers.WriteError(w, post("{}"), fmt.Errorf("wrapped: %w", &providers.Error{
				Code: code, Op: "op-private", Err: errors.New("cause-private"), Status: 418,
			}))
			a := read(t, w.Result())
			assert.Equal(t, status, a.status)
			assert.Equal(t, map[string]any{
				"type": "about:blank", "title": http.StatusText(status), "status": float64(status), "code": string(code),
				"detail": handlers.Texts[code], "error": handlers.Texts[code],
			}, a.json)
			assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
			assertHardened(t, a.header)
			assert.Equal(t, status == 401, a.header.Get("WWW-Authenticate") != "", "challenge")
			assert.Equal(t, status == 429 || status == 503, a.header.Get("Retry-After") != "", "Retry-After")
		})
	}
}

func assertHardened(t *testing.T, h http.Header) {
	t.Helper()
	assert.Contains(t, []string{"no-store", "private, no-store"}, h.Get("Cache-Control"))
	assert.Equal(t, "no-cache", h.Get("Pragma"))
	assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
	assert.Empty(t, h.Get("Etag"))
}

func TestWhichErrorsSpeak(t *testing.T) {
	fixed := func(c providers.Code) string { return handlers.Texts[c] }
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   providers.Code
		detail string
	}{
		{"a description below 500", &providers.Error{Code: providers.CodeInvalidField, Description: "email must be a string"}, 400, "invalid_field", "email must be a string"},
		{"but one text is fixed", &providers.Error{Code: providers.CodeIdentityRequired, Description: "no user"}, 400, "identity_required", "At least one user identifier required"},
		{"none from 500 on", &providers.Error{Code: providers.CodeCredentialsRejected, Description: "key cms-7 refused"}, 502, "upstream_credentials_rejected", fixed("upstream_credentials_rejected")},
		{"nor in internal", &providers.Error{Code: providers.CodeInternal, Description: "pq: password"}, 500, "internal", fixed("internal")},
		{"a code nobody knows", &providers.Error{Code: "sql_exploded", Description: "x"}, 500, "internal", fixed("internal")},
		{"another error", errors.New("open /etc/key: no such file"), 500, "internal", fixed("internal")},
		{"a deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), 504, "upstream_timeout", fixed("upstream_timeout")},
		{"a cancellation that is not the client's", context.Canceled, 500, "internal", fixed("internal")},
		{"nil", nil, 500, "internal", fixed("internal")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			handlers.WriteError(w, post("{}"), c.err)
			a := read(t, w.Result())
			assert.Equal(t, c.status, a.status)
			assert.Equal(t, string(c.code), a.json["code"])
			assert.Equal(t, c.detail, a.json["detail"])
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		code  providers.Code
		after time.Duration
		set   string
		want  string
	}{
		{"upstream_busy", 0, "", "5"},
		{"upstream_busy", -time.Minute, "", "1"},
		{"upstream_busy", time.Millisecond, "", "1"},
		{"upstream_busy", 2*time.Second + 1, "", "3"},
		{"upstream_busy", 300 * time.Second, "", "300"},
		{"upstream_busy", time.Hour, "", "300"},
		{"upstream_busy", 0, "77", "5"},
		{"rate_limited", 0, "", "5"},
		{"rate_limited", 0, "600", "600"}, // a limiter's own
		{"rate_limited", 15 * time.Minute, "1", "900"},
	} {
		w := httptest.NewRecorder()
		if c.set != "" {
			w.Header().Set("Retry-After", c.set)
		}
		handlers.WriteError(w, post("{}"), &providers.Error{Code: c.code, RetryAfter: c.after})
		assert.Equal(t, c.want, w.Header().Get("Retry-After"), "%+v", c)
	}
}

func TestAClientThatHasGoneGetsNoAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	c := config(&fake{generate: func(ctx context.Context, _ providers.Request) (providers.Token, error) {
		cancel()
		return providers.Token{}, &providers.Error{Code: providers.CodeUnreachable, Err: ctx.Err()}
	}})
	c.Logger = logTo(&log)
	h, err := handlers.Generate(c)
	require.NoError(t, err)
	w := &strictWriter{header: http.Header{}}
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { h.ServeHTTP(w, post(`{"user":"a"}`).WithContext(ctx)) })
	assert.Zero(t, w.writes)
	assert.Empty(t, w.header)
	assert.NotContains(t, log.String(), "level=ERROR")
	assert.NotContains(t, log.String(), "level=WARN")
}

type strictWriter struct {
	header http.Header
	writes int
}

func (w *strictWriter) Header() http.Header         { return w.header }
func (w *strictWriter) WriteHeader(int)             { w.writes++ }
func (w *strictWriter) Write(b []byte) (int, error) { w.writes++; return len(b), nil }

func TestAWrappersDeadlineIs504(t *testing.T) {
	for name, got := range map[string]error{
		"the context's own error": context.DeadlineExceeded,
		"what it broke":           &providers.Error{Code: providers.CodeUnreachable, Err: errors.New("read: connection closed")},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
			defer cancel()
			h, err := handlers.Generate(config(&fake{generate: func(context.Context, providers.Request) (providers.Token, error) {
				return providers.Token{}, got
			}}))
			a := serve(t, must(t, h, err), post(`{"user":"a"}`).WithContext(ctx))
			assert.Equal(t, 504, a.status)
			assert.Equal(t, "upstream_timeout", a.json["code"])
		})
	}
}

// What the kit or the vendor had said about the call by then stands.
func TestAWrappersDeadlineHidesNoRefusal(t *testing.T) {
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	h, err := handlers.Generate(config(&fake{generate: func(context.Context, providers.Request) (providers.Token, error) {
		return providers.Token{}, &providers.Error{Code: providers.CodeTenantNotAllowed}
	}}))
	a := serve(t, must(t, h, err), post(`{"user":"a"}`).WithContext(ctx))
	assert.Equal(t, 403, a.status)
	assert.Equal(t, "tenant_not_allowed", a.json["code"])
}

func TestThePrivateHalfIsLogged(t *testing.T) {
	var log bytes.Buffer
	c := config(&fake{generate: func(context.Context, providers.Request) (providers.Token, error) {
		return providers.Token{}, &providers.Error{
			Code: providers.CodeCredentialsRejected, Op: "vendor: generate", Status: 403, Err: errors.New("because of this"),
		}
	}})
	c.Logger = logTo(&log)
	h, err := handlers.Generate(c)
	a := serve(t, must(t, h, err), post(`{"user":"somebody@example.com"}`))
	assert.Equal(t, 502, a.status)
	for _, want := range []string{"level=ERROR", "handlers: generate", "answer=502", "error.op=\"vendor: generate\"", "error.status=403", "because of this"} {
		assert.Contains(t, log.String(), want)
	}
	assert.NotContains(t, a.body, "because")
	assert.NotContains(t, log.String(), "somebody")
}

// exportedStructs are the names of the package's exported structs.
func exportedStructs(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				if _, ok := spec.Type.(*ast.StructType); ok {
					names = append(names, spec.Name.Name)
				}
			}
			return true
		})
	}
	return names
}
