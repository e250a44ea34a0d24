package middleware

import (
	"slices"
	"time"
)

// Stats are counters since an Authenticator was made, and gauges of its present
// state. Authenticators that [Authenticator.Require] derives share them.
type Stats struct {
	// Remembered counts accepted tokens that were in memory. Verified counts
	// those whose signature was checked, that a Verifier accepted, or that were
	// renewed. Both are exact.
	Remembered, Verified uint64
	// Refused counts answers with 400, 401, 403 or 408, Unavailable those
	// with 503. A request whose client left while its token was checked counts
	// as Unavailable.
	Refused, Unavailable uint64
	// Renewed and RenewalsFailed count calls of Renew.Token.
	Renewed, RenewalsFailed uint64
	// KeyFetches counts fetches of key sets, KeyFetchesFailed those that failed.
	KeyFetches, KeyFetchesFailed uint64
	// Verdicts counts calls of Verifiers, VerdictsFailed those without an answer.
	Verdicts, VerdictsFailed uint64

	// Entries is how many verified tokens are in memory now.
	Entries int
	// KeySetsMissing is how many issuers have no usable key set.
	KeySetsMissing int
	// KeySetsStale is how many key sets in use failed their last refresh.
	KeySetsStale int
	// OldestKeySet is the age of the oldest fetched key set; 0 without one.
	OldestKeySet time.Duration
}

// Stats returns the counters and gauges. It takes a few locks briefly and makes
// no calls.
func (a *Authenticator) Stats() Stats {
	c := &a.counters
	s := Stats{
		Verified: c.verified.Load(), Refused: c.refused.Load(), Unavailable: c.unavailable.Load(),
		Renewed: c.renewed.Load(), RenewalsFailed: c.renewalsFailed.Load(),
		KeyFetches: c.keyFetches.Load(), KeyFetchesFailed: c.keyFetchesFailed.Load(),
		Verdicts: c.verdicts.Load(), VerdictsFailed: c.verdictsFailed.Load(),
		Entries: a.cache.size(),
	}
	for i := range c.remembered {
		s.Remembered += c.remembered[i].n.Load()
	}
	for _, set := range a.keySets() {
		age, missing, stale := set.health()
		s.OldestKeySet = max(s.OldestKeySet, age)
		if missing {
			s.KeySetsMissing++
		}
		if stale {
			s.KeySetsStale++
		}
	}
	return s
}

// keySets returns those of the configured and of the resolved issuers.
func (c *core) keySets() []*keySet {
	if c.resolver == nil {
		return c.sets
	}
	sets := slices.Clone(c.sets)
	c.resolver.mu.RLock()
	defer c.resolver.mu.RUnlock()
	for _, r := range c.resolver.entries {
		if set := r.entry.keys; set != nil && set.fetch != nil {
			sets = append(sets, set)
		}
	}
	return sets
}

// health returns the age of the set, whether there is no usable set, and
// whether the last refresh failed.
func (s *keySet) health() (age time.Duration, missing, stale bool) {
	snap := s.current.Load()
	if snap == nil {
		return 0, true, false
	}
	age = max(s.clock.Now().Since(snap.fetched), 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	return age, age > maxStale, s.failures > 0
}

// size returns how many tokens are remembered. Each token counts once.
func (c *cache) size() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.young)
		for token := range s.old {
			if _, twice := s.young[token]; !twice {
				n++
			}
		}
		s.mu.RUnlock()
	}
	return n
}
