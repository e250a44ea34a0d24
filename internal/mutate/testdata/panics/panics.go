// Package panics is for the tests of mutate.
package panics

// Sum adds.
func Sum(a, b int) int { return a + b }
