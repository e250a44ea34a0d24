// Package contactsmanager signs the tokens of ContactsManager
// (docs.contactsmanager.io/services/token-generation) with the API secret, as
// the vendor's two server SDKs do. It makes no call to the vendor.
//
// The Subject of a request is the vendor's user_id. Params may hold
// "deviceInfo", an object of at most 4 KiB. Every call signs a new token with a
// new jti. Signing takes microseconds, so tokens need no cache: give the
// [Provider] itself to package handlers.
//
// # Concurrency
//
// A [Provider] is safe for concurrent use.
//
// # Errors
//
// Every error is an [*providers.Error].
//
// # Security
//
// A caller who may choose the Subject of Generate can act as any user. Take the
// Subject from a verified identity. The vendor chooses the secret. RFC 7518
// section 3.2 requires 32 bytes for HS256. A shorter secret is used, with one
// warning in the log.
package contactsmanager
