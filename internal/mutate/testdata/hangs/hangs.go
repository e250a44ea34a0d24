// Package hangs is for the tests of mutate.
package hangs

// Sum adds.
func Sum(a, b int) int { return a + b }
