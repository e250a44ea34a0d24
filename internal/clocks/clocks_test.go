package clocks_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/clocks"
)

func TestAgeIsWhatTheSlowerClockDoesNotHide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var set time.Duration
		c := clocks.New(func() time.Time { return time.Now().Add(set) })
		i := c.Now()
		due := i.Add(time.Hour)
		time.Sleep(time.Minute)
		require.Equal(t, time.Minute, c.Now().Since(i))
		require.Zero(t, c.Now().Suspended(i))
		require.False(t, c.Now().Reached(due))
		set = -6 * time.Hour
		require.Equal(t, time.Minute, c.Now().Since(i), "a wall clock set back makes nothing younger")
		set = 72 * time.Hour // as after a suspend
		require.Equal(t, 72*time.Hour+time.Minute, c.Now().Since(i))
		require.Equal(t, 72*time.Hour, c.Now().Suspended(i))
		require.True(t, c.Now().Reached(due))
		set = -6 * time.Hour
		time.Sleep(time.Hour)
		require.True(t, c.Now().Reached(due))
		require.Equal(t, c.Now(), c.At(time.Now().Add(set)))
	})
}

func TestClockOfTheSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clocks.New(nil)
		i := c.Now()
		time.Sleep(time.Minute)
		require.Equal(t, time.Now(), c.Wall())
		require.Equal(t, clocks.Instant{Wall: time.Now().UnixNano(), Mono: int64(time.Minute)}, c.At(c.Wall()))
		require.Equal(t, time.Minute, c.Now().Since(i))
		require.Zero(t, c.Now().Suspended(i))
	})
}
