package tokencache

import (
	"sync/atomic"
	"time"
)

// clocks let a hit read one clock instead of two: the monotonic clock and how
// far the wall clock was ahead of it when that was last read, a moment ago.
type clocks struct {
	now    func() time.Time // nil: time.Now
	base   time.Time        // when the monotonic clock was 0
	_      [64]byte         // what follows is written every wallEvery
	read   atomic.Int64     // when the wall clock was read
	offset atomic.Int64
	_      [64]byte
}

// wallEvery is for how long a reading of the wall clock is believed. A wall
// clock that jumps is noticed after as much running time.
const wallEvery = int64(time.Millisecond)

// times are the wall clock, in Unix nanoseconds, and the monotonic clock.
func (c *clocks) times() (wall, mono int64) {
	mono = int64(time.Since(c.base))
	if c.now != nil {
		return c.now().UnixNano(), mono
	}
	if mono-c.read.Load() < wallEvery {
		return mono + c.offset.Load(), mono
	}
	return c.look()
}

func (c *clocks) look() (wall, mono int64) {
	t := time.Now()
	wall, mono = t.UnixNano(), int64(t.Sub(c.base))
	c.offset.Store(wall - mono)
	c.read.Store(mono)
	return wall, mono
}

// wallNow is the wall clock itself.
func (c *clocks) wallNow() time.Time {
	if c.now == nil {
		return time.Now().Round(0)
	}
	return c.now().Round(0)
}

// hit reports whether st may be served without a second thought.
func (c *Cache) hit(st *state) bool {
	wall, mono := c.times()
	if mono&1023 == 341 { // counts one hit in 1,024, by the clock's low bits
		c.stats.hits.Add(1024)
	}
	return wall < st.wall && mono < st.mono
}

// usable reports whether st may still be handed out. A token that one of the
// clocks says is over is over.
func (c *Cache) usable(st *state) bool {
	if st == nil || st.tok.AccessToken == "" {
		return false
	}
	wall, mono := c.times()
	ahead := hardOf(&st.tok).UnixNano() - st.wall
	return wall < st.wall+ahead && mono < st.mono+ahead
}
