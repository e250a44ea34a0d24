package providers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
)

// statuses is the contract's table. Codes that package handlers alone uses have
// no constant.
var statuses = map[string]int{
	"invalid_json": 400, "invalid_field": 400, "tenant_required": 400, "tenant_invalid": 400, "tenant_conflict": 400,
	"identity_required": 400, "refresh_token_required": 400,
	"not_signed_in": 401, "grant_required": 401, "refresh_rejected": 401,
	"invalid_token": 403, "cross_origin": 403, "tenant_not_allowed": 403, "identity_mismatch": 403,
	"not_found": 404, "method_not_allowed": 405, "body_too_large": 413, "unsupported_media_type": 415,
	"upstream_rejected_input": 422, "rate_limited": 429, "internal": 500,
	"upstream_credentials_rejected": 502, "upstream_error": 502, "upstream_bad_response": 502, "upstream_unreachable": 502,
	"upstream_rejected_token": 502, "upstream_busy": 503, "upstream_timeout": 504,
}

// codeConstants reads the Code constants out of error.go, so that a new one
// cannot be forgotten.
func codeConstants(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "error.go", nil, 0)
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

func TestEveryCodeHasItsStatus(t *testing.T) {
	codes := codeConstants(t)
	assert.Greater(t, len(codes), 15)
	for _, code := range codes {
		assert.Contains(t, statuses, code, "a constant that the table lacks")
	}
	for code, status := range statuses {
		assert.Equal(t, status, providers.Code(code).HTTPStatus(), code)
	}
	for _, unknown := range []providers.Code{"", "Internal", "invalid_json ", "toString"} {
		assert.Equal(t, http.StatusInternalServerError, unknown.HTTPStatus(), "%q", unknown)
	}
}

func TestErrorHasAPublicAndAPrivateHalf(t *testing.T) {
	cause := errors.New("private cause")
	e := &providers.Error{
		Code: providers.CodeBusy, Class: providers.Transient, Description: "come back", Op: "redacto: generate",
		Status: 429, RetryAfter: 7 * time.Second, Err: cause,
	}
	assert.Equal(t, "redacto: generate: upstream_busy (upstream status 429): come back", e.Error())
	assert.Equal(t, "internal", (&providers.Error{Code: providers.CodeInternal, Err: cause}).Error())
	for _, format := range []string{"%v", "%s", "%q"} {
		assert.NotContains(t, fmt.Sprintf(format, e), "private")
		assert.NotContains(t, fmt.Errorf("outer: %w", e).Error(), "private")
	}
	assert.ErrorIs(t, fmt.Errorf("outer: %w", e), cause)

	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "error", e)
	for _, want := range []string{
		`"code":"upstream_busy"`, `"class":"transient"`, `"op":"redacto: generate"`, `"status":429`,
		`"description":"come back"`, `"retry_after":7000000000`, `"cause":"private cause"`,
	} {
		assert.Contains(t, b.String(), want)
	}
	b.Reset()
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "error", &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent})
	assert.True(t, strings.HasSuffix(b.String(), "msg=m error.code=internal error.class=permanent\n"), b.String())
}

func TestAsError(t *testing.T) {
	assert.Nil(t, providers.AsError(nil))
	e := &providers.Error{Code: providers.CodeTenantInvalid}
	assert.Same(t, e, providers.AsError(e))
	assert.Same(t, e, providers.AsError(errors.Join(errors.New("x"), fmt.Errorf("y: %w", e))))
	for _, c := range []struct {
		err  error
		code providers.Code
	}{
		{context.DeadlineExceeded, providers.CodeTimeout},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), providers.CodeTimeout},
		{context.Canceled, providers.CodeInternal},
		{errors.New("x"), providers.CodeInternal},
	} {
		got := providers.AsError(c.err)
		assert.Equal(t, c.code, got.Code, c.err)
		assert.Equal(t, providers.Transient, got.Class, c.err)
		assert.ErrorIs(t, got, c.err)
		assert.NotContains(t, got.Error(), "x")
	}
}
