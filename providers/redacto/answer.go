package redacto

import (
	"cmp"
	"encoding/json"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// pair is the vendor's answer. access_token is what its sibling endpoint for
// browsers calls the token.
type pair struct {
	Token        string          `json:"token"`
	AccessToken  string          `json:"access_token"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresAt    json.RawMessage `json:"expires_at"`
}

// unwrap reads {"detail":{…}}, with or without code and status beside it, and
// the bare object that the vendor's own SDK accepts too.
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

// readPair turns an answer into a token; spent is the refresh token to keep if
// the answer has none.
func readPair(res *upstream.Response, spent string) (providers.Token, error) {
	var got pair
	if err := unwrap(res, &got); err != nil {
		return providers.Token{}, err
	}
	access := cmp.Or(got.Token, got.AccessToken)
	if access == "" {
		return providers.Token{}, res.Bad(errors.New("no token in the answer"))
	}
	t := providers.Token{
		AccessToken:  access,
		TokenType:    "Bearer",
		RefreshToken: cmp.Or(got.RefreshToken, spent),
		IssuedAt:     res.Sent,
	}
	// An expires_at that cannot be read must not cost the pair: the earlier
	// one is dead already.
	end, _ := upstream.ParseTime(got.ExpiresAt)
	if exp, ok := upstream.JWTExpiry(access); ok && (end.IsZero() || exp.Before(end)) {
		end = exp
	}
	t.Expiry = ours(end, res)
	if exp, ok := upstream.JWTExpiry(t.RefreshToken); ok {
		t.RefreshExpiry = ours(exp, res)
	}
	return t, nil
}

// ours moves an instant of the vendor's clock to ours.
func ours(t time.Time, res *upstream.Response) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(-res.Skew())
}
