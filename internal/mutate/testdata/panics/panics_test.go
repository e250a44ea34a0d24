package panics

import "testing"

func TestPanics(*testing.T) { panic(Sum(1, 2)) }

func TestSum(t *testing.T) {
	if Sum(1, 2) != 3 {
		t.Error("wrong")
	}
}
