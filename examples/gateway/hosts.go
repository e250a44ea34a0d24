package main

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

// ownHosts refuses calls over loopback for host names that are not ours. A page
// of another site can have its name resolve to 127.0.0.1 (DNS rebinding); it is
// then of the same origin as this server, and only the Host header tells. A
// reverse proxy on this machine that keeps its callers' Host needs it in names.
// /forward-auth is asked by reverse proxies alone, with the Host of what they
// protect.
func ownHosts(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if tcp, ok := local.(*net.TCPAddr); ok && tcp.IP.IsLoopback() && !forwardAuth(r.URL.Path) && !ownHost(names, r.Host) {
			handlers.WriteError(w, r, &providers.Error{Code: "misdirected_request"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func forwardAuth(path string) bool {
	return path == "/forward-auth" || strings.HasPrefix(path, "/forward-auth/")
}

func ownHost(names []string, host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback() || slices.Contains(names, host)
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || // RFC 6761 section 6.3: never asked of DNS
		slices.ContainsFunc(names, func(name string) bool { return strings.ToLower(name) == host })
}
