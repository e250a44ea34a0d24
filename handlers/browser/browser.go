// Package browser serves bearerkit's helper for pages: one ES module without
// dependencies. It takes tokens from the endpoints of package handlers.
//
//	import { createClient } from "/bearerkit.mjs";
//	const client = createClient({ base: "/api/consent", identity: { org_user_id: "alice" } });
//	const response = await client.fetch("/protected");
//
// A client has five methods: fetch, token, refresh, logout and close. JSDoc in
// the module describes them, and TypeScript reads it too. A tab has at most one
// renewal under way. If two tabs renew at once, the server makes one renewal of
// it. While an endpoint asks to wait, by Retry-After, the client does not call
// it, for five minutes at most.
//
// # Sign-out
//
// logout ends the renewals under way, in this tab and in the other tabs of the
// same identity. It then calls the sign-out endpoint. If the browser has Web
// Locks, no tab renews during that call: renewals share a lock that the
// sign-out holds alone. logout waits one second for a tab that does not end its
// renewal. The call goes on when the user leaves the page (keepalive).
// onSignOut is called after the answer, or after three seconds, and may
// navigate.
//
// # Concurrency
//
// The handler is safe for concurrent use.
//
// # Errors
//
// A call that cannot get a token rejects with the module's BearerError, which
// has the status and the code of the endpoint's answer. If a renewal after a
// 401 fails, fetch returns that 401.
//
// # Security
//
// Tokens are in the module's memory only, never in storage, a URL or a global.
// Other scripts of the page can still call the client. If that is too much,
// keep the token in a cookie (handlers.Config.Cookie) and set cookie: true. A
// page of another origin can read WWW-Authenticate and Retry-After only if the
// server exposes them (Access-Control-Expose-Headers).
package browser

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

//go:embed client.mjs
var module []byte

// Script returns the handler of GET calls that serves the module. Answers have
// an ETag and may be stored for five minutes.
func Script() http.Handler {
	sum := sha256.Sum256(module)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			handlers.WriteError(w, r, &providers.Error{Code: "method_not_allowed"})
			return
		}
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Cache-Control", "public, max-age=300")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(module))
	})
}
