package tokencache

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"
)

// receipt says how far a member has read.
type receipt struct {
	Edition string `json:"e"`
	Seq     uint64 `json:"s"`
}

func (h *replicas) memberKey(replica string) string {
	return h.sealer.name("m", h.c.digest("member", replica))
}

// sign writes how far this replica has read.
func (h *replicas) sign(ctx context.Context) error {
	h.mu.Lock()
	r := receipt{h.seen.Edition, h.seen.Seq}
	if h.restoring {
		r.Seq = h.restored
	}
	rev := h.receiptRev
	h.mu.Unlock()
	val, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key, begun := h.memberKey(h.replica), h.c.now()
	for range 2 {
		next, err := h.cas(ctx, key, rev, r.Seq, val, memberTTL)
		if err != nil {
			return err
		}
		if next != 0 {
			h.mu.Lock()
			h.receiptRev = next
			h.mu.Unlock()
			h.signed = begun
			return nil
		}
		v, err := h.fetch(ctx, key)
		if err != nil && v.rev == 0 {
			return err
		}
		rev = v.rev
	}
	return errContended
}

// awaitReceipts waits until every member has read up to seq. A member without a
// new receipt for memberTTL does not count any more. A member whose receipt is
// missing has the time patience to write another.
func (h *replicas) awaitReceipts(ctx context.Context, seq uint64, patience time.Duration) error {
	b, rev, err := h.readBulletin(ctx)
	if err != nil {
		return err
	}
	if rev == 0 || b.Seq < seq {
		return errEdition
	}
	var gone []string
	end := h.c.since() + patience
	for _, m := range b.Members {
		if m == h.replica {
			continue
		}
		present, err := h.awaitReceipt(ctx, m, b.Edition, seq, end)
		if err != nil {
			return err
		}
		if !present {
			gone = append(gone, m)
		}
	}
	if len(gone) > 0 {
		_, _ = h.editBulletin(ctx, func(b *bulletin) {
			b.Members = slices.DeleteFunc(b.Members, func(m string) bool { return slices.Contains(gone, m) })
		})
	}
	return nil
}

// patience is how long a member without a receipt has to write another one,
// because a failover may have lost it. newServer says that nothing is known of
// the server.
func (h *replicas) patience(newServer bool) time.Duration {
	failed := time.Duration(h.failedAt.Load())
	recent := failed > 0 && h.c.since()-failed < memberTTL+2*noticeEvery
	if h.epocher == nil || !newServer && !recent {
		return 0
	}
	return 2 * noticeEvery
}

func (h *replicas) awaitReceipt(ctx context.Context, member, edition string, seq uint64, end time.Duration) (present bool, err error) {
	key := h.memberKey(member)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		v, err := h.fetch(ctx, key)
		if err == nil && v.rev == 0 && h.c.since() >= end {
			return false, nil
		}
		var r receipt
		if err == nil && json.Unmarshal(v.bytes, &r) == nil && r.Edition == edition && r.Seq >= seq {
			return true, nil
		}
		if err := sleep(ctx, wait); err != nil {
			return false, err
		}
	}
}

// A sign-out elsewhere waits for this replica until its receipt ends. From then
// on this replica may not know of a sign-out. It serves no token from memory
// before it has looked at the notices. A process that was stopped for a while
// is such a case.

// never is later than every time.
var never = moment{math.MaxInt64 - int64(memberTTL), math.MaxInt64 - int64(memberTTL)}

// informed reports whether the others still wait for this replica at now, by
// both clocks.
func (n *news) informed(now moment) bool {
	return now.mono < n.lookBy.mono.Load() && now.wall < n.lookBy.wall.Load()
}

// inform lets this process serve tokens from memory until memberTTL after begun.
func (n *news) inform(begun moment) {
	n.lookBy.mono.Store(begun.mono + int64(memberTTL))
	n.lookBy.wall.Store(begun.wall + int64(memberTTL))
}

// beginLook returns the number of a look that begins now.
func (n *news) beginLook() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looks.begun++
	return n.looks.begun
}

// endLook wakes the callers that wait for a look. read says whether the look has
// read the bulletin.
func (n *news) endLook(number uint64, read bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looks.ended = number
	if read {
		n.looks.read = number
	}
	close(n.looked)
	n.looked = make(chan struct{})
}

// attention bounds the wait for a look. A Store that takes longer is away.
const attention = time.Second

// attend waits until this replica is informed, or has read the bulletin since
// the caller came. If the Store is away, valid tokens are still served.
func (c *Cache) attend(ctx context.Context) error {
	if c.informed(c.now()) {
		return nil
	}
	return c.replicas.attend(ctx)
}

func (h *replicas) attend(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, attention)
	defer cancel()
	h.awaitJoin(patience)
	err := h.awaitLook(patience, func(came, now looks) bool { return h.informed(h.c.now()) || now.read > came.begun })
	if err != nil && ctx.Err() == nil {
		h.inform(h.c.now())
		return nil
	}
	return err
}

// awaitJoinAgain lets a replica join whose first look failed, and reports
// whether it is a member then.
func (h *replicas) awaitJoinAgain(ctx context.Context) bool {
	_ = h.awaitLook(ctx, func(came, now looks) bool { return now.ended > came.begun })
	return h.joined()
}

// awaitLook makes this replica look at the notices until enough is true of the
// looks when the caller came and those now, or ctx or the cache ends.
func (h *replicas) awaitLook(ctx context.Context, enough func(came, now looks) bool) error {
	h.mu.Lock()
	came := h.looks
	h.mu.Unlock()
	for {
		h.mu.Lock()
		now, looked := h.looks, h.looked
		h.mu.Unlock()
		if enough(came, now) {
			return nil
		}
		h.wake()
		select {
		case <-looked:
		case <-ctx.Done():
			return ctx.Err()
		case <-h.left:
			return nil
		}
	}
}

// informed reports whether c may serve a token that it read from memory before
// now. Callers read the token first and the clock second. If the process is
// stopped in between, the clock shows it.
func (c *Cache) informed(now moment) bool { return c.replicas == nil || c.replicas.informed(now) }
