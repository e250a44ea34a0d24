package tokencache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

func TestASourceOfOneCallAllocatesOnceAtMost(t *testing.T) {
	ctx := context.Background()
	c, err := tokencache.New(&fake{ttl: time.Hour}, tokencache.Options{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, c.Close(ctx)) }()
	req := providers.Request{Subject: "alice"}
	_, err = c.Generate(ctx, req)
	require.NoError(t, err)
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { _, err = c.Source(req).Token(ctx) }), 1.0)
	require.NoError(t, err)
	assert.EqualValues(t, 1001, c.Stats().Hits)
}

func TestASourceKeepsItsRequest(t *testing.T) {
	ctx := context.Background()
	var asked []providers.Request
	c, err := tokencache.New(&fake{ttl: time.Hour, generate: func(_ context.Context, req providers.Request) (providers.Token, error) {
		asked = append(asked, req)
		return providers.Token{AccessToken: "at", Expiry: time.Now().Add(time.Hour)}, nil
	}}, tokencache.Options{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, c.Close(ctx)) }()
	req := func() providers.Request {
		return providers.Request{
			Subject: "alice", Scopes: []string{"read"}, Identifiers: map[string]string{"email": "a@example.com"},
			Params: map[string]any{"list": []any{map[string]any{"x": 1}}, "object": map[string]any{"list": []any{1}}, "flat": 1},
		}
	}
	changed := req()
	source := c.Source(changed)
	changed.Scopes[0], changed.Identifiers["email"], changed.Params["flat"] = "write", "", 2
	changed.Params["list"].([]any)[0].(map[string]any)["x"] = 2
	changed.Params["object"].(map[string]any)["list"].([]any)[0] = 2
	tok, err := source.Token(ctx)
	require.NoError(t, err)
	_, err = source.Renew(ctx, tok)
	require.NoError(t, err)
	assert.Equal(t, []providers.Request{req(), req()}, asked)
}
