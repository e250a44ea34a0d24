package fails

import "testing"

func TestFails(t *testing.T) { t.Error("always") }

func TestSum(t *testing.T) {
	if Sum(1, 2) != 3 {
		t.Error("wrong")
	}
}
