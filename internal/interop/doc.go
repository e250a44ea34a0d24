// Package interop has no code of its own. Its tests use the kit together with
// golang.org/x/oauth2, gRPC and a retrying client, none of which a user of the
// kit depends on; its Examples are recipes to copy.
package interop
