package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// skewHint is the difference between the clocks from which on the clock is the
// likely cause of a refused assertion. Redox allows this much.
const skewHint = 10 * time.Second

// serverError holds the server's own words. The kit does not print them.
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

// Format writes Error for every verb, so that %#v does not show the fields.
func (e *serverError) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.Error()) }

// OAuthError returns the members error and error_description as they came.
func (e *serverError) OAuthError() (code, description string) { return e.code, e.description }

// known reports whether code is one of RFC 6749, 6750, 7009, 8628, 8707 or
// 9449, of OpenID Connect Core, or one of the codes of vendors that this package
// reads.
func known(code string) bool {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"access_denied", "server_error", "temporarily_unavailable", "unsupported_token_type", "slow_down",
		"invalid_target", "invalid_dpop_proof", "use_dpop_nonce", "invalid_token",
		"login_required", "interaction_required", "consent_required", "bad_refresh_token", "BAD_REFRESH_TOKEN", "invalid_refresh_token",
		"bad_verification_code", "incorrect_client_credentials", "invalid_code", "code_already_used", "bad_client_secret", "invalid_client_id":
		return true
	}
	return false
}

// saidBy finds the error code in an answer. The code is in the member error, as
// a string (RFC 6749 section 5.2), an object or a list; in a list errors; in a
// list that is the whole body. Besides, the object itself may have a code of a
// dead token in one of codeNames, as HubSpot's has in status.
func saidBy(res *upstream.Response, m members) *serverError {
	said := &serverError{description: m.text("error_description")}
	var all []string
	all = append(all, codesIn(m["error"], 3)...)
	if !res.OK() || m.text("access_token") == "" { // beside a token they are no error
		all = append(all, codesIn(m["errors"], 3)...)
		for _, name := range codeNames {
			if text := m.text(name); endsGrant(text) {
				all = append(all, text)
			}
		}
	}
	if body := bytes.TrimSpace(res.Body); !res.OK() && len(body) > 0 && body[0] == '[' {
		all = codesIn(body, 3)
	}
	for _, code := range all {
		if said.code == "" || endsGrant(code) && !endsGrant(said.code) {
			said.code = code
		}
	}
	return said
}

// codeNames are the names under which error objects have a code.
var codeNames = []string{"code", "error_code", "errorCode", "errorType", "error_type", "status", "type"}

// codesIn lists the codes in a value: the string itself, the members of an
// object that hold one, or those of the elements of a list.
func codesIn(raw json.RawMessage, depth int) (codes []string) {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		return []string{text}
	}
	if depth == 0 {
		return nil
	}
	var object members
	var list []json.RawMessage
	switch {
	case json.Unmarshal(raw, &object) == nil:
		for _, name := range append([]string{"error"}, codeNames...) {
			if text := object.text(name); text != "" {
				codes = append(codes, text)
			}
		}
	case json.Unmarshal(raw, &list) == nil:
		for _, e := range list {
			codes = append(codes, codesIn(e, depth-1)...)
		}
	}
	return codes
}

// endsGrant reports whether code says that a refresh token never works again.
func endsGrant(code string) bool {
	switch code {
	case "invalid_grant", "login_required", "bad_refresh_token", "BAD_REFRESH_TOKEN", "invalid_refresh_token":
		return true
	}
	return false
}

// atWork reports whether the server still works on an earlier request with the
// same credential, as Salesforce says under invalid_grant. The grant is alive.
func (e *serverError) atWork() bool {
	return e.code == "invalid_grant" && strings.Contains(strings.ToLower(e.description), "already being processed")
}

// dead reports whether e ends the refresh token that r presented.
func (e *serverError) dead(r request) bool {
	switch e.code {
	case "interaction_required", "consent_required":
		// The user may have to agree to the additional scopes (OpenID Connect
		// Core section 3.1.2.6). The grant may still be alive.
		return !r.further
	case "invalid_request": // dex
		return e.description == "Refresh token is invalid or has already been claimed by another client." ||
			e.description == "Refresh token expired."
	}
	return endsGrant(e.code) && !e.atWork()
}

// refusal classifies an answer that is not a success. A 4xx without a code may
// come from a proxy.
func (p *Provider) refusal(res *upstream.Response, said *serverError, r request) error {
	if !p.codeDecides(res, said, r) {
		e := res.Err()
		e.Err = said
		return e
	}
	e := p.judge(res, said, r)
	e.Err = said
	if said.code != "" && known(said.code) && e.Description == "" {
		e.Description = said.Error()
	}
	if p.signs && said.code != "" && e.Code != providers.CodeNotSignedIn { // that is about the caller's token, which we did not sign
		p.blameClock(e, said, res, r)
	}
	return e
}

// codeDecides reports whether the error code counts for more than the status.
// In RFC 6749 the code means nothing in a 3xx, a 5xx and the statuses of a busy
// server. But the end of a grant is final: no later attempt brings another
// answer.
func (p *Provider) codeDecides(res *upstream.Response, said *serverError, r request) bool {
	switch status := res.Status; {
	case status >= 500, status >= 300 && status <= 399, status == 408, status == 425, status == 429:
		return p.ends(said, r) && inErrorMember(res, said.code)
	}
	return true
}

// ends reports whether said is the end of what r presented: a refresh token, a
// code or an assertion.
func (p *Provider) ends(said *serverError, r request) bool {
	if r.presented != "" {
		return said.dead(r)
	}
	return said.code == "invalid_grant" && !said.atWork() && r.url == p.tokenURL && p.grant != clientCredentials
}

// inErrorMember reports that the answer is the one of RFC 6749 section 5.2: one
// whole JSON object, without a member twice, whose member error is code.
func inErrorMember(res *upstream.Response, code string) bool {
	m, err := wire.Parse(res.Body)
	if err != nil {
		return false
	}
	text, err := m.String("error")
	return err == nil && text == code
}

func (p *Provider) judge(res *upstream.Response, said *serverError, r request) *providers.Error {
	switch {
	case said.code == "":
		return res.Unexplained()
	case said.atWork():
		return res.Fail(providers.CodeBusy, providers.Transient)
	case r.presented != "" && said.dead(r):
		return res.Fail(providers.CodeRefreshRejected, providers.GrantDead)
	}
	switch said.code {
	case "invalid_grant":
		return res.Fail(p.invalidGrant(r), providers.Permanent)
	case "bad_verification_code", "invalid_code", "code_already_used": // GitHub, Slack
		if r.op == opExchange {
			return res.Fail(providers.CodeGrantRequired, providers.Permanent)
		}
	case "invalid_client", "unauthorized_client",
		"incorrect_client_credentials", "bad_client_secret", "invalid_client_id": // GitHub, Slack
		return res.Fail(providers.CodeCredentialsRejected, providers.Permanent)
	case "temporarily_unavailable", "slow_down":
		return res.Fail(providers.CodeBusy, providers.Transient)
	case "server_error":
		e := res.Fail(providers.CodeUpstreamError, providers.Transient)
		if r.oneTime {
			e.Class = providers.InDoubt
		}
		return e
	}
	if said.code == "invalid_request" && said.description == "No refresh token is found in request." {
		return res.Fail(providers.CodeUpstreamError, providers.Permanent) // dex: the fault is ours and not the caller's
	}
	if p.grant.exchanges() {
		if code, ok := p.forTheUser(said, r); ok {
			return res.Fail(code, providers.Permanent)
		}
		// All other codes are about the request, which the configuration made. A
		// new sign-in would not change it.
		return res.Fail(providers.CodeUpstreamError, providers.Permanent)
	}
	if res.Status == 401 || res.Status == 403 {
		return res.Fail(providers.CodeCredentialsRejected, providers.Permanent)
	}
	if res.Status == 400 || res.Status == 422 {
		return res.Fail(providers.CodeRejectedInput, providers.Permanent)
	}
	return res.Fail(providers.CodeUpstreamError, providers.Permanent)
}

// forTheUser is the code of an exchange that the user can mend: by a new
// sign-in if the caller's token has ended, by a grant if the user has to agree
// or to do more, such as a second factor. That user is the caller, or the
// Subject of an assertion that we sign.
func (p *Provider) forTheUser(said *serverError, r request) (code providers.Code, ok bool) {
	switch said.code {
	case "invalid_token", "login_required":
		return providers.CodeNotSignedIn, p.claims == nil
	case "interaction_required", "consent_required":
		return providers.CodeGrantRequired, r.person
	}
	return "", false
}

// invalidGrant is the code for invalid_grant if no refresh token was presented.
func (p *Provider) invalidGrant(r request) providers.Code {
	switch {
	case r.op == opExchange:
		return providers.CodeGrantRequired
	case p.grant.exchanges() && p.claims == nil:
		return providers.CodeNotSignedIn // the server refused the caller's token
	}
	return providers.CodeCredentialsRejected
}

// blameClock adds to e that our clock and the server's differ by more than
// vendors allow. The invalid_grant may then be about our assertion and not
// about the grant, so the call is tried once more.
func (p *Provider) blameClock(e *providers.Error, said *serverError, res *upstream.Response, r request) {
	skew := res.Skew()
	if skew.Abs() <= skewHint {
		return
	}
	way := "behind"
	if skew < 0 {
		way = "ahead of"
	}
	hint := fmt.Sprintf("our clock is %s %s the server's", skew.Abs().Round(time.Second), way)
	if e.Class == providers.Permanent || e.Class == providers.GrantDead {
		e.Description = strings.TrimPrefix(e.Description+"; "+hint, "; ")
	}
	if said.code != "invalid_grant" {
		return
	}
	if p.lines.Allow("clock", p.now()) {
		p.logger.LogAttrs(context.Background(), slog.LevelWarn, "oauth: the server refused an assertion, which is tried again; "+hint,
			slog.Duration("skew", skew), slog.String("op", e.Op), slog.Int("status", e.Status), slog.String("do", "set the clock of this machine, by NTP"))
	}
	e.Code, e.Class = providers.CodeCredentialsRejected, providers.Transient
	if r.oneTime {
		e.Class = providers.InDoubt
	}
}
