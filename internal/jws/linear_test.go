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

// Names are looked at once each, however many there are: to read one object with
// 30 times the members costs about as much as to read 30 objects, where comparing
// all pairs costs 30 times as much. Both sides take long
// enough that neither the garbage collector nor the clock's steps decide.
func TestReadingIsLinear(t *testing.T) {
	cost := func(n, times int) int64 {
		s := manyShort(n)
		s = s[:len(s)-1] + `,"filler":"` + strings.Repeat("x", 32*n) + `"}`
		best := int64(math.MaxInt64)
		for range 3 {
			start := cpu(t)
			for range times {
				_, err := jws.Claims(s, nil)
				require.NoError(t, err)
			}
			best = min(best, cpu(t)-start)
		}
		return best
	}
	const members, more = 1000, 30
	require.Less(t, cost(more*members, 1), 10*cost(members, more))
}
