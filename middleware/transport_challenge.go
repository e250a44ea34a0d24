package middleware

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/challenges"
)

// ChallengeError is what a server's challenge asks for and a newer token of the
// same grant would not have.
type ChallengeError struct {
	// Code is "insufficient_scope" (RFC 6750 section 3.1),
	// "insufficient_user_authentication" (RFC 9470 section 3), or
	// "insufficient_claims", the claims challenge of Microsoft Entra.
	Code string
	// Scopes are the scopes that the server asks for; nil if it does not say.
	Scopes []string
	// ACRValues are the accepted authentication contexts, in the server's
	// order.
	ACRValues []string
	// MaxAge is how old the user's sign-in may be; negative if it does not say.
	MaxAge time.Duration
	// Claims is the claims request (OpenID Connect Core section 5.5) of an
	// insufficient_claims challenge, as decoded JSON. It belongs into the
	// claims parameter of the next request for a token. It is nil if there is
	// none that can be read.
	Claims json.RawMessage
}

func (e *ChallengeError) Error() string { return "middleware: server answered " + e.Code }

// ChallengeFrom reads the WWW-Authenticate headers of a 401 or 403 and returns
// the [*ChallengeError] in them, or nil if there is none. It does not read the
// body.
func ChallengeFrom(res *http.Response) *ChallengeError {
	if res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden {
		return nil
	}
	return challengeIn(res.Header)
}

func challengeIn(h http.Header) *ChallengeError {
	for _, c := range challenges.Parse(h["Www-Authenticate"]) {
		if c.Scheme != "bearer" && c.Scheme != "dpop" {
			continue
		}
		switch code := c.Params["error"]; code {
		case "insufficient_scope", "insufficient_user_authentication", "insufficient_claims":
			e := &ChallengeError{
				Code: code, MaxAge: -1, Scopes: challengeList(c.Params["scope"]),
				ACRValues: challengeList(c.Params["acr_values"]), Claims: challengeClaims(c.Params["claims"]),
			}
			if s, err := strconv.ParseUint(c.Params["max_age"], 10, 31); err == nil {
				e.MaxAge = time.Duration(s) * time.Second
			}
			return e
		}
	}
	return nil
}

func challengeList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Fields(s)
}

// challengeClaims decodes a claims request. Entra sends base64 with padding.
// Both alphabets are accepted, with or without padding, and JSON as it is.
func challengeClaims(s string) json.RawMessage {
	if strings.HasPrefix(s, "{") && json.Valid([]byte(s)) {
		return json.RawMessage(s)
	}
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(s), "=")
	claims, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil || !json.Valid(claims) {
		return nil
	}
	return claims
}
