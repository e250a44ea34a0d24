package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASampleReplaysBySeed(t *testing.T) {
	all, err := sites([]string{"."})
	require.NoError(t, err)
	first := draw(all, 20, 1)
	assert.Len(t, first, 20)
	assert.Equal(t, first, draw(all, 20, 1))
	assert.NotEqual(t, first, draw(all, 20, 2))
	for i, s := range first {
		assert.Equal(t, i+1, s.id)
		assert.NotEqual(t, s.old, s.new, s)
	}
}
