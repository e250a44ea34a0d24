package warnlog_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/warnlog"
)

func TestRareAllowsOneOfAKindInAMinute(t *testing.T) {
	var r warnlog.Rare
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	require.True(t, r.Allow("a", now))
	require.False(t, r.Allow("a", now.Add(59*time.Second)))
	require.True(t, r.Allow("b", now.Add(59*time.Second)))
	require.True(t, r.Allow("a", now.Add(time.Minute)), "what was kept back does not count")
	require.False(t, r.Allow("a", now.Add(time.Minute)))
	require.True(t, r.Allow("a", now), "the clock was set back")
}

// A kind may be a code that a provider of the application chose.
func TestRareRemembersABoundedNumberOfKinds(t *testing.T) {
	var r warnlog.Rare
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	kinds := 0
	for first := true; first || !r.Allow("0", now); first = false {
		require.True(t, r.Allow(strconv.Itoa(kinds), now))
		kinds++
		require.Less(t, kinds, 10_000, "nothing is forgotten")
	}
}
