package oauth

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// skewHint is the difference between clocks from which a refused assertion is
// likely to be the clock's fault: what Redox allows.
const skewHint = 10 * time.Second

// serverError is what the server said, which is not ours to print.
type serverError struct{ code, description string }

func (e *serverError) Error() string {
	switch {
	case e.code == "":
		return "answer has no error code"
	case !known(e.code):
		return "answer has an error code of the server's own"
	}
	return "the server answered " + e.code
}

// Format is Error for every verb, so that no %#v shows the fields.
func (e *serverError) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.Error()) }

// OAuthError returns the members error and error_description as they came.
func (e *serverError) OAuthError() (code, description string) { return e.code, e.description }

// known reports the codes of RFC 6749, 7009, 8628, 8707 and 9449.
func known(code string) bool {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"access_denied", "server_error", "temporarily_unavailable", "unsupported_token_type", "slow_down",
		"invalid_target", "invalid_dpop_proof", "use_dpop_nonce":
		return true
	}
	return false
}

// refusal classifies an answer that is not a success. The status decides where
// RFC 6749 gives the code no say; a 4xx without a code is a proxy's.
func (p *Provider) refusal(res *upstream.Response, said *serverError, refresh bool) error {
	e := res.Err()
	e.Err = said
	switch s := res.Status; {
	case s >= 500, s >= 300 && s <= 399, s == 408, s == 425, s == 429:
		return e
	case said.code == "":
		e.Code, e.Class = providers.CodeUpstreamError, providers.Transient
		return e
	}
	e.Class = providers.Permanent
	switch said.code {
	case "invalid_grant":
		e.Code = providers.CodeCredentialsRejected
		if refresh {
			e.Code, e.Class = providers.CodeRefreshRejected, providers.GrantDead
		}
	case "invalid_client", "unauthorized_client":
		e.Code = providers.CodeCredentialsRejected
	case "temporarily_unavailable", "slow_down":
		e.Code, e.Class = providers.CodeBusy, providers.Transient
	case "server_error":
		e.Code, e.Class = providers.CodeUpstreamError, providers.Transient
		if refresh {
			e.Class = providers.InDoubt
		}
	}
	if known(said.code) {
		e.Description = said.Error()
	}
	if p.signs && e.Class == providers.Permanent {
		e.Description = strings.TrimPrefix(e.Description+clockHint(res.Skew()), "; ")
	}
	return e
}

// clockHint tells of a clock that is wrong by more than vendors allow.
func clockHint(skew time.Duration) string {
	way := "behind"
	switch {
	case skew.Abs() <= skewHint:
		return ""
	case skew < 0:
		way = "ahead of"
	}
	return fmt.Sprintf("; our clock is %s %s the server's", skew.Abs().Round(time.Second), way)
}
