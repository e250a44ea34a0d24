// Package doctest compiles every Go snippet of README.md and docs, and follows
// their links. It is a separate module because the snippets of the migration
// guides import what one comes from.
package doctest
