package main

import (
	"errors"
	"net/http"

	"github.com/bearerkit/bearerkit/middleware"
)

// forwardConfig is the reverse proxy that may ask who a caller is.
type forwardConfig struct {
	proxy string
	peers []string
}

func (e *env) forward() *forwardConfig {
	if !e.group("forward-auth", []string{"FORWARD_AUTH", "FORWARD_AUTH_PEERS"}, nil) {
		return nil
	}
	return &forwardConfig{proxy: e.get("FORWARD_AUTH"), peers: e.list("FORWARD_AUTH_PEERS", "")}
}

// mountForward answers the proxy of FORWARD_AUTH.
func (g *gateway) mountForward(c *config) error {
	switch {
	case c.forward == nil:
		return nil
	case g.auth == nil:
		return errors.New("FORWARD_AUTH: needs AUTH_ISSUER and AUTH_AUDIENCE")
	}
	h, err := middleware.ForwardAuth(g.auth, middleware.ForwardAuthConfig{Proxy: c.forward.proxy, Peers: c.forward.peers})
	if err != nil {
		return err
	}
	if c.forward.proxy == "envoy" { // it asks with the request's own method and path
		g.handle("/forward-auth/", "ANY", http.StripPrefix("/forward-auth", h))
		return nil
	}
	g.handle("/forward-auth", "GET", h)
	return nil
}
