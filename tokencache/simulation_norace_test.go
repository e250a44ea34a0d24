//go:build !race

package tokencache_test

// defaultSeeds is the number of runs of each scenario.
const defaultSeeds = 3
