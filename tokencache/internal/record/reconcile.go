package record

import (
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// LostOwner is the owner of an intent for a call that may be under way and
// whose own intent the Store has lost.
const LostOwner = "lost"

// Change is the result of [Reconcile].
type Change struct {
	// Adopted: the Store has a newer token than this process had.
	Adopted bool
	// Lost: the Store has lost a token or a sign-out that this process knows.
	// The record must be written again.
	Lost bool
	// Behind: a newer token than the Store's was announced before. A replica
	// that has it may still write it back.
	Behind bool
}

// Reconcile joins the record in the Store with the record that this process
// knows. A sign-out in either record counts. The newer of two tokens counts. In
// Shared mode a lost token is not written again.
func Reconcile(store, own Record, mode providers.Mode, now time.Time) (Record, Change) {
	var c Change
	r := store
	switch {
	case store.Purges < own.Purges:
		// The grant was signed out here while the Store was away, or the Store
		// has lost the sign-out. Tokens that this process got after it still
		// count.
		c.Lost = true
		r = own
		r.Fence = max(own.Fence, store.Fence)
		if r.Intent = store.Intent; r.Intent == nil && mode != providers.Shared && !own.Empty() {
			r.Intent = &Intent{Owner: LostOwner, At: now}
		}
	case store.Purges == own.Purges && mode != providers.Shared && store.Version < own.Version && !own.Empty() && (store.Fence <= own.Fence || store.Empty()):
		// If the Store's fence is higher, a later lease has written the record.
		// Its holder did not know this process's token and presented the refresh
		// token before it. The upstream has ended this process's token.
		c.Lost = true
		r = own
		r.Fence = max(own.Fence, store.Fence)
		// A call whose intent is lost may be under way.
		r.Intent = &Intent{Owner: LostOwner, At: now}
		if r.Failure != nil && r.Failure.Err.Op == "tokencache" {
			r.Failure = nil // the Store need not keep that it was away
		}
	case mode == providers.Shared && store.Purges == own.Purges && store.Token.Version < own.Token.Version:
		r.Token, r.Brought = own.Token, own.Brought // obtained while the Store was away
	default:
		c.Behind = store.Purges == own.Purges && store.Version < own.Version && store.CanRefresh(now)
	}
	r.Ended = JoinEnded(store.Ended, own.Ended)
	c.Adopted = !c.Lost && r.Token.Version > own.Token.Version
	r.Version = max(r.Version, own.Version, store.Version)
	return r, c
}
