// Package interop has no code of its own. Its tests use the kit together with
// golang.org/x/oauth2 and a retrying client, neither of which a user of the kit
// depends on; its Example is a recipe to copy. gRPC and the bridge to x/oauth2
// are packages: middleware/grpc and tokencache/oauth2bridge.
package interop
