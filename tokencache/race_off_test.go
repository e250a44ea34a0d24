//go:build !race

package tokencache_test

const seeds = 40
