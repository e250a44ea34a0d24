// Package tokencache keeps the current token of every grant and lets one
// upstream call per grant through.
package tokencache
