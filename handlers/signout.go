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

// signOutTime bounds the work of a sign-out, whose caller may have left.
const signOutTime = 30 * time.Second

// SignOut returns the handler of POST calls that end the subject's tokens. It
// purges the subject's record, where the Provider is a [providers.Purger], and
// revokes upstream the token (or access_token) and refresh_token in the body,
// where it is a [providers.Revoker]. It must be one of the two. A Cookie is
// cleared, and so is the browser's cache of this origin (Clear-Site-Data), also
// when the caller turns out to be signed out already. The answer is 204.
//
// The work goes on when the caller leaves, as a page does that navigates, for
// 30 seconds at most. A [Generate] that began before the purge hands out no
// token and sets no cookie, provided that the Provider keeps what
// [providers.Purger] promises.
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
		err := e.signOut(w, r, purger, revoker)
		if leaves(err) {
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

// leaves reports that the caller's own cookie is of no more use: it is signed
// out here, whatever the upstream made of it, or was so before.
func leaves(err error) bool {
	if err == nil {
		return true
	}
	status := statusOf(providers.AsError(err).Code)
	return status == http.StatusUnauthorized || status >= 500
}

func (e *endpoint) signOut(w http.ResponseWriter, r *http.Request, p providers.Purger, v providers.Revoker) error {
	req, members, err := e.request(w, r)
	if err != nil {
		return err
	}
	tok, err := presented(members)
	if err != nil {
		return err
	}
	var purged, revoked error
	if p != nil {
		purged = p.Purge(r.Context(), req) // a token cache revokes what it held
	}
	if v != nil && (tok.AccessToken != "" || tok.RefreshToken != "") {
		revoked = v.Revoke(r.Context(), tok)
	}
	for _, err := range []error{purged, revoked} {
		if err != nil && !errors.Is(err, errors.ErrUnsupported) { // an upstream without revocation
			return err
		}
	}
	return nil
}

// presented are the credentials that a sign-out hands over.
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
