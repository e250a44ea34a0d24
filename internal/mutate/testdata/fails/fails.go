// Package fails is for the tests of mutate.
package fails

// Sum adds.
func Sum(a, b int) int { return a + b }
