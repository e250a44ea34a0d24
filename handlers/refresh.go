package handlers

import (
	"net/http"

	"github.com/bearerkit/bearerkit/providers"
)

// Refresh returns the handler of POST calls that spend a refresh token, the
// member refresh_token of the body. The Provider must be a
// [providers.Refresher]. Cookie must be nil: in cookie mode no page holds a
// refresh token, and pages renew by calling [Generate] with Cache-Control:
// no-cache. The error joins every fault of c.
func Refresh(c Config) (http.Handler, error) {
	refresher, ok := c.Provider.(providers.Refresher)
	if cache, is := c.Provider.(providers.OptionalRefresher); is {
		ok = cache.CanRefresh()
	}
	var faults []error
	if c.Provider != nil && !ok {
		faults = append(faults, fault("Provider", "cannot refresh"))
	}
	if c.Cookie != nil {
		faults = append(faults, fault("Cookie", "Refresh answers with a refresh token; renew by Generate with Cache-Control: no-cache"))
	}
	e, err := c.endpoint("refresh", http.MethodPost, append(faults, c.wired())...)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, tok, err := e.refresh(w, r, refresher)
		if err != nil {
			e.fail(w, r, err)
			return
		}
		e.answerToken(w, r, req, tok)
	}), nil
}

func (e *endpoint) refresh(w http.ResponseWriter, r *http.Request, p providers.Refresher) (providers.Request, providers.Token, error) {
	req, members, err := e.request(w, r)
	if err != nil {
		return req, providers.Token{}, err
	}
	refreshToken, err := members.String("refresh_token")
	if err == nil && refreshToken == "" {
		err = refuse(codeRefreshRequired, "")
	}
	if err != nil {
		return req, providers.Token{}, err
	}
	tok, err := p.Refresh(r.Context(), req, refreshToken)
	return req, tok, err
}
