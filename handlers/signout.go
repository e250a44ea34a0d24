package handlers

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// signOutTime bounds a sign-out. Its caller may have left.
const signOutTime = 30 * time.Second

// SignOut returns the handler of POST calls that end the subject's tokens. If
// the Provider is a [providers.Purger], SignOut purges the subject's record. If
// it is a [providers.Revoker], SignOut revokes upstream the members token (or
// access_token) and refresh_token of the body. The Provider must be one of the
// two. SignOut clears a Cookie and the browser's cache of this origin
// (Clear-Site-Data), also if the caller is signed out already, and whatever the
// upstream answers. The answer is 204.
//
// If the caller leaves, as a page does that navigates, the work goes on for up
// to 30 seconds. A [Generate] that began before the purge hands out no token
// and sets no cookie, if the Provider keeps the promise of [providers.Purger].
//
// The error joins every fault of c.
func SignOut(c Config) (http.Handler, error) {
	purger, _ := c.Provider.(providers.Purger)
	revoker, _ := c.Provider.(providers.Revoker)
	var bad error
	if c.Provider != nil && purger == nil && revoker == nil {
		bad = fault("Provider", "can neither purge nor revoke")
	}
	e, err := c.endpoint("sign out", http.MethodPost, bad, c.wired())
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), signOutTime)
		defer cancel()
		r = r.WithContext(ctx)
		accepted, err := e.signOut(w, r, purger, revoker)
		if accepted || leaves(err) {
			w.Header().Set("Clear-Site-Data", `"cache"`)
			if e.Cookie != nil {
				http.SetCookie(w, e.cookie("", -1))
			}
		}
		if err != nil {
			e.fail(w, r, err)
			return
		}
		write(w, http.StatusNoContent, "", nil)
	}), nil
}

// leaves reports whether the cookie of a call that was not accepted ends too:
// its caller is signed out already, or this service could not tell.
func leaves(err error) bool {
	status := statusOf(providers.AsError(err).Code)
	return status == http.StatusUnauthorized || status >= 500
}

// signOut reports whether the call was accepted. The cookie then ends: the
// record is purged, whatever the upstream answers to the revocation.
func (e *endpoint) signOut(w http.ResponseWriter, r *http.Request, p providers.Purger, v providers.Revoker) (accepted bool, err error) {
	req, members, err := e.request(w, r)
	if err != nil {
		return false, err
	}
	tok, err := presented(members)
	if err != nil {
		return false, err
	}
	accepted = true
	var purged, revoked error
	if p != nil {
		purged = p.Purge(r.Context(), req) // a token cache also revokes the tokens of the record
		// A Purge that fails with 400 means that the call names no grant.
		accepted = purged == nil || statusOf(providers.AsError(purged).Code) != http.StatusBadRequest
	}
	if v != nil && (tok.AccessToken != "" || tok.RefreshToken != "") {
		revoked = v.Revoke(r.Context(), tok)
	}
	for _, err := range []error{purged, revoked} {
		if err != nil && !errors.Is(err, errors.ErrUnsupported) { // the upstream has no revocation
			return accepted, err
		}
	}
	return accepted, nil
}

// presented returns the credentials in the body of a sign-out.
func presented(members wire.Object) (providers.Token, error) {
	access, err1 := members.String("token")
	other, err2 := members.String("access_token")
	refresh, err3 := members.String("refresh_token")
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return providers.Token{}, err
		}
	}
	return providers.Token{AccessToken: cmp.Or(access, other), RefreshToken: refresh}, nil
}
