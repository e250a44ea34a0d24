package warnlog

import (
	"log/slog"
	"sync"
	"time"
)

// pause is how long a line of one kind is for Debug after it was told.
const pause = time.Minute

// maxKinds bounds the kinds that are remembered.
const maxKinds = 256

// Rare lets one line of each kind through in a minute, so that a state that
// lasts is told without a line for each request. The zero Rare is ready for
// use. It is safe for concurrent use. If there are very many kinds, some are
// told more often.
type Rare struct {
	mu   sync.Mutex
	told map[string]time.Time
}

// Allow reports whether a line of that kind is due at now.
func (r *Rare) Allow(kind string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.told[kind]; ok && now.Sub(last) < pause && !now.Before(last) {
		return false
	}
	if r.told == nil || len(r.told) >= maxKinds {
		r.told = map[string]time.Time{}
	}
	r.told[kind] = now
	return true
}

// Level is level for the one line of kind in a minute, and Debug for the others.
func (r *Rare) Level(level slog.Level, kind string, now time.Time) slog.Level {
	if r.Allow(kind, now) {
		return level
	}
	return slog.LevelDebug
}
