// Package browser serves bearerkit's helper for pages: one ES module without
// dependencies, which takes tokens from the endpoints of package handlers.
//
//	import { createClient } from "/bearerkit.mjs";
//	const client = createClient({ base: "/api/consent", identity: { org_user_id: "alice" } });
//	const response = await client.fetch("/protected");
//
// A client has five methods, described by JSDoc in the module, which TypeScript
// reads too: fetch, token, refresh, logout and close. A tab has one renewal
// under way at most; that two tabs renew once is the server's doing. While an
// endpoint asks to wait, by Retry-After, it is not asked again, for five minutes
// at most.
//
// # Sign-out
//
// logout ends the renewals under way, in this tab and in the others of the same
// identity, and then calls the sign-out endpoint. The endpoint is called while
// no tab renews, where the browser has Web Locks: renewals share a lock that the
// sign-out has alone. A tab that does not end its renewal is waited for one
// second. The call goes on when the page is left (keepalive). onSignOut is
// called after the answer, or after three seconds, and may navigate.
//
// # Concurrency
//
// The handler is safe for concurrent use.
//
// # Errors
//
// A call that cannot get a token rejects with the module's BearerError, which
// has the status and code of the endpoint's answer. When a renewal fails, the
// 401 that called for it is the answer.
//
// # Security
//
// Tokens are in the module's memory only, never in storage, a URL or a global.
// Other scripts of the page can still call the client; where that is too much,
// keep the token in a cookie (handlers.Config.Cookie) and set cookie: true.
// Across origins the page can read WWW-Authenticate and Retry-After only if the
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
