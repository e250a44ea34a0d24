// Package exits is for the tests of mutate.
package exits

// Sum adds.
func Sum(a, b int) int { return a + b }
