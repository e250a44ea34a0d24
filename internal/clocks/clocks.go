// Package clocks measures ages on two clocks. The wall clock may be set, and
// the monotonic clock stops while the machine is suspended. An age is therefore
// the larger one of the two.
package clocks

import "time"

// Clock reads both clocks. [New] makes it. It is safe for concurrent use if
// its wall clock is.
type Clock struct {
	wall  func() time.Time // nil: time.Now
	start time.Time
}

// New returns a Clock over wall; nil means time.Now.
func New(wall func() time.Time) *Clock { return &Clock{wall: wall, start: time.Now()} }

// Instant is a moment on both clocks.
type Instant struct{ Wall, Mono int64 } // ns, since 1970 and since the Clock was made

// Now returns the present time.
func (c *Clock) Now() Instant { return c.At(c.Wall()) }

// Wall returns the time of the wall clock.
func (c *Clock) Wall() time.Time {
	if c.wall == nil {
		return time.Now()
	}
	return c.wall()
}

// At returns the present time for a caller who has just read [Clock.Wall].
func (c *Clock) At(wall time.Time) Instant {
	if c.wall == nil { // wall is time.Now's, which reads both clocks at once
		return Instant{wall.UnixNano(), int64(wall.Sub(c.start))}
	}
	return Instant{wall.UnixNano(), int64(time.Since(c.start))}
}

// Since returns the time from i to now, by the clock that shows more.
func (now Instant) Since(i Instant) time.Duration {
	return time.Duration(max(now.Wall-i.Wall, now.Mono-i.Mono))
}

// Suspended returns how much more time passed since i on the wall clock than on
// the monotonic one: the time of a suspend, or by which the clock was set.
func (now Instant) Suspended(i Instant) time.Duration {
	return time.Duration(now.Wall - i.Wall - (now.Mono - i.Mono))
}

// Add returns the time d after i.
func (i Instant) Add(d time.Duration) Instant {
	return Instant{i.Wall + int64(d), i.Mono + int64(d)}
}

// Reached reports whether now is i or later on at least one clock.
func (now Instant) Reached(i Instant) bool { return now.Wall >= i.Wall || now.Mono >= i.Mono }
