package redacto

import (
	"cmp"
	"encoding/json"
	"errors"

	internal "github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// pair is the vendor's answer. The vendor's endpoint for browsers calls the
// token access_token.
type pair struct {
	Token        string          `json:"token"`
	AccessToken  string          `json:"access_token"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresAt    json.RawMessage `json:"expires_at"`
}

// unwrap reads {"detail":{…}}, with or without code and status beside it. It
// also reads the bare object, which the vendor's own SDK accepts.
func unwrap(res *upstream.Response, v any) error {
	var envelope struct {
		Detail json.RawMessage `json:"detail"`
	}
	if err := res.Decode(&envelope); err != nil {
		return err
	}
	if len(envelope.Detail) == 0 || envelope.Detail[0] != '{' {
		return res.Decode(v)
	}
	if json.Unmarshal(envelope.Detail, v) != nil {
		return res.Bad(errors.New("detail has not the members expected"))
	}
	return nil
}

// readPair turns an answer into a token. spent is the refresh token to keep if
// the answer has none.
func readPair(res *upstream.Response, spent string) (providers.Token, error) {
	var got pair
	if err := unwrap(res, &got); err != nil {
		return providers.Token{}, err
	}
	access := cmp.Or(got.Token, got.AccessToken)
	if access == "" || !wire.Visible(access) {
		return providers.Token{}, res.Bad(errors.New("no token in the answer that can be sent"))
	}
	// An expires_at that cannot be read is ignored: the earlier pair has ended, so
	// the new one is kept. One that has passed is an error, because no call would
	// accept the token.
	end, err := res.Expiry(access, nil, got.ExpiresAt)
	if err != nil {
		return providers.Token{}, err
	}
	t := providers.Token{
		AccessToken:  access,
		TokenType:    "Bearer",
		RefreshToken: cmp.Or(got.RefreshToken, spent),
		Expiry:       end,
		IssuedAt:     res.Sent,
	}
	if exp, ok := internal.JWTExpiry(t.RefreshToken); ok {
		t.RefreshExpiry = exp.Add(-res.Skew())
	}
	return t, nil
}
