package handlers

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/bearerkit/bearerkit/providers"
)

// SignOut returns the handler of POST calls that end the subject's tokens. It
// purges the subject's record, where the Provider is a [providers.Purger], and
// revokes upstream the token (or access_token) and refresh_token in the body,
// where it is a [providers.Revoker]. It must be one of the two. A Cookie is cleared, also when the caller turns out
// to be signed out already. The answer is 204. The error joins every fault of
// c.
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
		err := e.signOut(w, r, purger, revoker)
		if e.Cookie != nil && leaves(err) {
			http.SetCookie(w, e.cookie("", -1))
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
	status := providers.AsError(err).Code.HTTPStatus()
	return status == http.StatusUnauthorized || status >= 500
}

func (e *endpoint) signOut(w http.ResponseWriter, r *http.Request, p providers.Purger, v providers.Revoker) error {
	req, body, err := e.request(w, r)
	if err != nil {
		return err
	}
	var tok providers.Token
	for name, field := range map[string]*string{
		"token": &tok.AccessToken, "access_token": &tok.AccessToken, "refresh_token": &tok.RefreshToken,
	} {
		s, err := member(body, name)
		if err != nil {
			return err
		}
		*field = cmp.Or(s, *field)
	}
	if p != nil {
		err = p.Purge(r.Context(), req) // a token cache revokes what it held
	}
	if err == nil && v != nil && (tok.AccessToken != "" || tok.RefreshToken != "") {
		err = v.Revoke(r.Context(), tok)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // an upstream without revocation
	}
	return err
}
