package providers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/providers"
)

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
