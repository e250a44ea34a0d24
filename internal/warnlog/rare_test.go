package warnlog_test

import (
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
