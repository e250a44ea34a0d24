package tokencache_test

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
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
	req := providers.Request{Subject: "alice", Scopes: []string{"read", "write"}, Params: map[string]any{"region": "eu", "days": 30}}
	_, err = c.Generate(ctx, req)
	require.NoError(t, err)
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { _, err = c.Source(req).Token(ctx) }), 1.0)
	require.NoError(t, err)
	assert.EqualValues(t, 1001, c.Stats().Hits)
}

func TestASourceKeepsItsRequest(t *testing.T) {
	params := func(n int) map[string]any {
		m := map[string]any{}
		for i := range n {
			m[strconv.Itoa(i)] = i
		}
		return m
	}
	scopes := []string{"a", "b", "c", "d", "e"}
	for name, req := range map[string]func() providers.Request{
		"no maps": func() providers.Request { return providers.Request{Subject: "alice", Audience: "api"} },
		"few scopes, params": func() providers.Request {
			return providers.Request{Scopes: slices.Clone(scopes[:4]), Params: params(4)}
		},
		"many scopes": func() providers.Request { return providers.Request{Scopes: slices.Clone(scopes), Params: params(1)} },
		"many params": func() providers.Request {
			return providers.Request{Scopes: slices.Clone(scopes[:1]), Params: params(5)}
		},
		"identifiers, params": func() providers.Request {
			return providers.Request{Identifiers: map[string]string{"email": "a@example.com"}, Params: params(2)}
		},
		"params in params": func() providers.Request {
			return providers.Request{Scopes: slices.Clone(scopes[:2]), Params: map[string]any{
				"list": []any{map[string]any{"0": 1}}, "object": map[string]any{"list": []any{1}}, "0": json.Number("1"), "none": nil}}
		},
	} {
		t.Run(name, func(t *testing.T) { sourceKeeps(t, req) })
	}
}

func sourceKeeps(t *testing.T, req func() providers.Request) {
	ctx := context.Background()
	var asked []providers.Request
	c, err := tokencache.New(&fake{ttl: time.Hour, generate: func(_ context.Context, req providers.Request) (providers.Token, error) {
		asked = append(asked, req)
		return providers.Token{AccessToken: "at", Expiry: time.Now().Add(time.Hour)}, nil
	}}, tokencache.Options{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, c.Close(ctx)) }()
	changed := req()
	source := c.Source(changed)
	for i := range changed.Scopes {
		changed.Scopes[i] = "changed"
	}
	clear(changed.Identifiers)
	if list, ok := changed.Params["list"].([]any); ok {
		list[0].(map[string]any)["0"] = 2
		changed.Params["object"].(map[string]any)["list"].([]any)[0] = 2
	}
	for name := range changed.Params {
		changed.Params[name] = "changed"
	}
	tok, err := source.Token(ctx)
	require.NoError(t, err)
	_, err = source.Renew(ctx, tok)
	require.NoError(t, err)
	assert.Equal(t, []providers.Request{req(), req()}, asked)
}
