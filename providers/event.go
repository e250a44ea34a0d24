package providers

import "time"

// Event is something that happened in the kit. The token cache, the inbound and
// the outbound middleware and the handlers pass events to their Observer. The
// values of every label come from a small fixed set, so a label may be the
// label of a metric. No label holds a token, a subject, a tenant, a key id or a
// URL.
type Event struct {
	// Source is the part of the kit where it happened: "tokencache",
	// "authenticator", "transport" or "proxy".
	Source string
	// Kind is what happened. Each package documents its kinds.
	Kind string
	// Op is the upstream call or the step that the event is about, if any.
	Op string
	// Outcome is "ok", or what went wrong: the class of an error (see
	// [Class]) or the reason of a refusal.
	Outcome string
	// Duration is how long it took; 0 if that was not measured.
	Duration time.Duration
	// N is a number that the kind explains, such as how many callers shared one
	// call.
	N int
}
