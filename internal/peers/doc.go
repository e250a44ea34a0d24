// Package peers has no code: its tests run the kit against authorization
// servers that others wrote.
//
//   - oidc-provider, which is certified by the OpenID Foundation; op.mjs starts
//     it on a free loopback port.
//   - dex, a server of fosite's compose and the example server of zitadel/oidc,
//     from their Go modules and in the process of the test.
//
// The tests need Node.js 20 or newer and npm, and fail without them. The first
// run installs what package-lock.json pins.
//
//	go test ./...             about a minute
//	go test ./... -soak=60s   callers with short tokens for as long as CI does
package peers
