// Package peers has no code: its tests run the kit against authorization
// servers that others wrote. Today that is oidc-provider, which is certified by
// the OpenID Foundation; op.mjs starts it on a free loopback port.
//
// The tests need Node.js 20 or newer and npm, and fail without them. The first
// run installs what package-lock.json pins.
//
//	go test ./...             about half a minute
//	go test ./... -soak=60s   callers with short tokens for as long as CI does
package peers
