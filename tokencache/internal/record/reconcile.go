package record

import (
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// LostOwner is the owner of an intent that stands for a call that may be under
// way and whose own intent the Store has lost.
const LostOwner = "lost"

// Change is what [Reconcile] found.
type Change struct {
	// Adopted: the Store holds a newer token than this process did.
	Adopted bool
	// Lost: the Store has lost a token or a sign-out that this process knows,
	// and the record must be written again.
	Lost bool
	// Behind: a newer token than the Store's was once announced. Who has it
	// may still write it back.
	Behind bool
}

// Reconcile joins what the Store holds with what this process knows. A
// sign-out that either knows has happened; of two tokens the newer one counts.
// In Shared mode a lost token is no loss.
func Reconcile(store, own Record, mode providers.Mode, now time.Time) (Record, Change) {
	var c Change
	r := store
	switch {
	case store.Purges < own.Purges:
		// Signed out here while the Store was away, or the Store has forgotten
		// the sign-out. Tokens that this process got after it still count.
		c.Lost = true
		r = own
		r.Fence = max(own.Fence, store.Fence)
		if r.Intent = store.Intent; r.Intent == nil && mode != providers.Shared && !own.Empty() {
			r.Intent = &Intent{Owner: LostOwner, At: now}
		}
	case store.Purges == own.Purges && mode != providers.Shared && store.Version < own.Version && !own.Empty() && (store.Fence <= own.Fence || store.Empty()):
		// A token under a higher fence is of a later lease: its holder went on
		// without what this process brought too late, and the upstream ended it.
		c.Lost = true
		r = own
		r.Fence = max(own.Fence, store.Fence)
		// A call may be under way that nobody can see any more.
		r.Intent = &Intent{Owner: LostOwner, At: now}
		if r.Failure != nil && r.Failure.Err.Op == "tokencache" {
			r.Failure = nil // that the Store was away is not for the Store to keep
		}
	case mode == providers.Shared && store.Purges == own.Purges && store.Token.Version < own.Token.Version:
		r.Token, r.Brought = own.Token, own.Brought // got while the Store was away
	default:
		c.Behind = store.Purges == own.Purges && store.Version < own.Version && store.CanRefresh(now)
	}
	r.Ended = JoinEnded(store.Ended, own.Ended)
	c.Adopted = !c.Lost && r.Token.Version > own.Token.Version
	r.Version = max(r.Version, own.Version, store.Version)
	return r, c
}
