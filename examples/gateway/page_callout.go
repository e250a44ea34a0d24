package main

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
)

// callout returns a client whose requests carry this service's own token.
func callout(tokenURL, clientID, secret string, log *slog.Logger) (*http.Client, *tokencache.Cache, error) {
	server, err := oauth.New(oauth.Config{TokenURL: tokenURL, ClientID: clientID, Secret: secret, Grant: "client_credentials"})
	cache, err1 := tokencache.New(server, tokencache.Options{
		ForcedFloor: time.Millisecond, // the API revokes two tokens in a row here; leave it out for 5 s between two renewals
		Logger:      log,
	})
	if err := errors.Join(err, err1); err != nil {
		return nil, nil, err
	}
	client := &http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(cache.Source(providers.Request{}))}}
	return client, cache, nil
}
