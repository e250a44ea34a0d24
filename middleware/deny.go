package middleware

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// DenyList remembers withdrawn tokens until they end. [DenyList.Add] and
// [DenyList.AddID] withdraw a token by its jti or, without one, by its
// [Verified.Digest]. Its method Revoked is a
// Config.Revoked for one process. The zero DenyList is empty and ready to use.
// It is safe for concurrent use and must not be copied.
type DenyList struct {
	mu    sync.RWMutex
	until map[denied]time.Time
	sweep int // the size at which ended entries are removed
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
	until := v.Expiry.Add(maxLeeway)
	if v.Expiry.IsZero() {
		until = time.Now().Add(forever)
	}
	d.add(deniedOf(v), until)
}

// AddID withdraws the token of issuer with the jti id. expiry is the token's
// end.
func (d *DenyList) AddID(issuer, id string, expiry time.Time) {
	d.add(deniedID(issuer, id), expiry.Add(maxLeeway))
}

// Revoked reports whether v was withdrawn. It never fails.
func (d *DenyList) Revoked(_ context.Context, v *Verified) (bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.until) == 0 {
		return false, nil
	}
	_, gone := d.until[deniedOf(v)]
	return gone, nil
}

func (d *DenyList) add(k denied, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil {
		d.until = make(map[denied]time.Time)
	}
	if len(d.until) >= max(d.sweep, 1024) {
		now := time.Now()
		for k, until := range d.until {
			if until.Before(now) {
				delete(d.until, k)
			}
		}
		d.sweep = 2 * len(d.until)
	}
	d.until[k] = until
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
