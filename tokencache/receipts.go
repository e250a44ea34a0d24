package tokencache

import (
	"context"
	"encoding/json"
	"slices"
	"time"
)

// receipt says how far a member has read.
type receipt struct {
	Edition string `json:"e"`
	Seq     uint64 `json:"s"`
}

func (h *shared) memberKey(replica string) string {
	return h.sealer.name("m", h.c.digest("member", replica))
}

// sign writes how far this replica has read.
func (h *shared) sign(ctx context.Context) {
	h.mu.Lock()
	r := receipt{h.seen.Edition, h.seen.Seq}
	if h.restoring {
		r.Seq = h.restored
	}
	rev := h.receiptRev
	h.mu.Unlock()
	val, err := json.Marshal(r)
	if err != nil {
		return
	}
	key := h.memberKey(h.replica)
	for range 2 {
		next, err := h.cas(ctx, key, rev, r.Seq, val, memberTTL)
		if err != nil {
			return
		}
		if next != 0 {
			h.mu.Lock()
			h.receiptRev = next
			h.mu.Unlock()
			return
		}
		v, err := h.fetch(ctx, key)
		if err != nil && v.rev == 0 {
			return
		}
		rev = v.rev
	}
}

// awaitReceipts waits until every member has read up to seq. A member without a
// new receipt for memberTTL does not count any more. A member whose receipt is
// missing has the time patience to write another.
func (h *shared) awaitReceipts(ctx context.Context, seq uint64, patience time.Duration) error {
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
func (h *shared) patience(newServer bool) time.Duration {
	failed := time.Duration(h.failedAt.Load())
	recent := failed > 0 && h.c.since()-failed < memberTTL+2*noticeEvery
	if h.epocher == nil || !newServer && !recent {
		return 0
	}
	return 2 * noticeEvery
}

func (h *shared) awaitReceipt(ctx context.Context, member, edition string, seq uint64, end time.Duration) (present bool, err error) {
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
