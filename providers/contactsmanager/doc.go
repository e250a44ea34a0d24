// Package contactsmanager signs the tokens of ContactsManager
// (docs.contactsmanager.io/services/token-generation) with the API secret, as
// the vendor's two server SDKs do. No call goes to the vendor.
//
// A request's Subject is the vendor's user_id; Params may hold "deviceInfo", an
// object of at most 4 KiB. Every call signs a new token with a new jti, which
// takes microseconds: there is nothing to cache, so give the [Provider] itself to
// package handlers.
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
// A caller who may choose the Subject of Generate can act as any user: take the
// Subject from a verified identity. The vendor chooses the secret. RFC 7518
// section 3.2 wants 32 bytes for HS256; a shorter secret is used, with one
// warning in the log.
package contactsmanager
