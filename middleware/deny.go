package middleware

import (
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

// DenyList remembers withdrawn tokens until they can no longer be used: until
// five minutes after their end, and with [Config.Renew] also for the Window in
// which they could be renewed. [DenyList.Add] and [DenyList.AddID] withdraw a
// token by its jti or, without one, by its [Verified.Digest]. Its method
// Revoked is a Config.Revoked for one process. The zero DenyList is empty and
// ready to use. It is safe for concurrent use and must not be copied.
//
// A DenyList learns the Window from the tokens that it sees in Add and Revoked.
// Several Authenticators may share it: the longest Window counts. It forgets
// nothing until it has seen the first token.
type DenyList struct {
	window atomic.Int64 // the longest one seen, plus 1 ns; 0 if there was no token yet
	mu     sync.RWMutex
	ends   map[denied]time.Time
	sweep  int // the size at which ended entries are removed
}

// denied is a jti at its issuer, or a digest where there is no jti.
type denied struct {
	issuer, id string
	digest     [sha256.Size]byte
}

// forever is how long a token without an end is remembered.
const forever = 100 * 365 * 24 * time.Hour

// Add withdraws v.
func (d *DenyList) Add(v *Verified) {
	d.learn(v)
	d.add(deniedOf(v), v.Expiry)
}

// AddID withdraws the token of issuer with the jti id. expiry is the token's
// end. The zero time means that the end is not known: the token is never
// forgotten.
func (d *DenyList) AddID(issuer, id string, expiry time.Time) {
	d.add(deniedID(issuer, id), expiry)
}

// Revoked reports whether v was withdrawn. It never fails.
func (d *DenyList) Revoked(_ context.Context, v *Verified) (bool, error) {
	d.learn(v)
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.ends) == 0 {
		return false, nil
	}
	_, gone := d.ends[deniedOf(v)]
	return gone, nil
}

// learn reads how long after its end v may be renewed.
func (d *DenyList) learn(v *Verified) {
	window := int64(min(v.renewable, forever)) + 1
	for known := d.window.Load(); known < window; known = d.window.Load() {
		d.window.CompareAndSwap(known, window)
	}
}

func (d *DenyList) add(k denied, end time.Time) {
	now := time.Now()
	if end.IsZero() {
		end = now.Add(forever)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ends == nil {
		d.ends = make(map[denied]time.Time)
	}
	if window := d.window.Load(); window > 0 && len(d.ends) >= max(d.sweep, 1024) {
		over := now.Add(-maxLeeway - time.Duration(window-1))
		for k, end := range d.ends {
			if end.Before(over) {
				delete(d.ends, k)
			}
		}
		d.sweep = 2 * len(d.ends)
	}
	d.ends[k] = end
}

func deniedOf(v *Verified) denied {
	if v.ID != "" {
		return deniedID(v.Issuer, v.ID)
	}
	return denied{issuer: v.Issuer, digest: v.Digest()}
}

// maxDeniedID is the length of the longest jti that is kept as it is. A token
// may have a jti of 90 KB.
const maxDeniedID = 64

func deniedID(issuer, id string) denied {
	if len(id) > maxDeniedID {
		sum := sha256.Sum256([]byte(id))
		id = "sha256:" + string(sum[:])
	}
	return denied{issuer: issuer, id: id}
}
