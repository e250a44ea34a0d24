//go:build race

package providertest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSuiteCatchesRaces(t *testing.T) {
	out, err := runDefective(t, "races", "generate/concurrent")
	require.Error(t, err)
	assert.Contains(t, out, "DATA RACE")
}
