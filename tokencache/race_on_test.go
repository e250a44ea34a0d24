//go:build race

package tokencache_test

const seeds = 12 // each is about eight times as slow
