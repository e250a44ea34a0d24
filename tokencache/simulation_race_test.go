//go:build race

package tokencache_test

// defaultSeeds is small, because the race detector makes a run slow. CI runs
// more without it.
const defaultSeeds = 1
