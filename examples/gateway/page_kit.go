package main

import (
	"errors"
	"net/http"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/tokencache"
)

func (s *stage) kit(vendor *redacto.Provider, api string) (http.Handler, *tokencache.Cache, error) {
	cache, err := tokencache.New(vendor, tokencache.Options{Logger: s.log}) // one token call per user
	user := handlers.SubjectFrom(middleware.Subject)                        // only the user who is signed in
	cfg := handlers.Config{
		Provider: cache, Wire: vendor, Authorize: user, CrossOrigin: http.NewCrossOriginProtection(), Logger: s.log,
	}
	generate, err1 := handlers.Generate(cfg)
	refresh, err2 := handlers.Refresh(cfg)
	cfg.Cookie = &http.Cookie{Name: "__Host-consent"} // a token that no script can read
	hidden, err3 := handlers.Generate(cfg)
	signOut, err4 := handlers.SignOut(cfg)
	proxy, err5 := handlers.Proxy(handlers.ProxyConfig{ // the vendor's API, token attached and renewed
		Target: api, Allow: []string{"GET /consent/notices"}, Authorize: user,
		Transport: &middleware.Transport{Source: func(r *http.Request) (middleware.TokenSource, error) {
			subject, _ := middleware.Subject(r.Context())
			return cache.Source(providers.Request{Subject: subject}), nil
		}},
	})
	limit, mux := s.limiter(), http.NewServeMux() // go-chi/httprate: 100 calls in 15 minutes per address
	mux.Handle("/api/consent/token", limit(generate))
	mux.Handle("/api/consent/refresh-token", limit(refresh))
	mux.Handle("/api/consent/cookie", limit(hidden))
	mux.Handle("/api/consent/sign-out", s.endSession(signOut))
	mux.Handle("/consent/notices", proxy)
	return s.auth.Handler(mux), cache, errors.Join(err, err1, err2, err3, err4, err5)
}
