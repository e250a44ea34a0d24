//go:build unix

package jws_test

import (
	"math"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// cpu is the processor time of this process in ns. Other processes do not
// change it.
func cpu(t *testing.T) int64 {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

// Names are looked at once each, however many there are: ten times the members
// take about ten times as long, where comparing all pairs took a hundred.
func TestReadingIsLinear(t *testing.T) {
	cost := func(n int) int64 {
		s := manyShort(n)
		s = s[:len(s)-1] + `,"filler":"` + strings.Repeat("x", 32*n) + `"}`
		best := int64(math.MaxInt64)
		for range 3 {
			start := cpu(t)
			for range 3 {
				_, err := jws.Claims(s, nil)
				require.NoError(t, err)
			}
			best = min(best, cpu(t)-start)
		}
		return best
	}
	require.Less(t, cost(10_000), 40*cost(1_000))
}
