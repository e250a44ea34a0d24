package main

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASampleReplaysBySeed(t *testing.T) {
	all, err := sites([]string{"."})
	require.NoError(t, err)
	first := draw(all, 20, 1)
	assert.Len(t, first, 20)
	assert.Equal(t, first, draw(all, 20, 1))
	assert.NotEqual(t, first, draw(all, 20, 2))
	for i, s := range first {
		assert.Equal(t, i+1, s.id)
		assert.NotEqual(t, s.old, s.new, s)
	}
}

// Tests that do not end without a change would count every mutant as killed.
func TestNothingIsMeasuredWhenTheTestsDoNotEnd(t *testing.T) {
	for pkg, want := range map[string]string{
		"./testdata/hangs":  "test timed out",
		"./testdata/panics": "panic: 3",
		"./testdata/exits":  "exit status 3",
	} {
		r := &runner{timeout: 2 * time.Second, packages: []string{pkg}}
		require.ErrorContains(t, r.test(nil, 1), want, pkg)
	}
	out, err := exec.Command("go", "run", ".", "-n", "1", "./testdata/exits").CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, string(out))
	require.Contains(t, string(out), "the tests do not end without a change")
}

// A test that fails without a change is left out, and the others count.
func TestAFailingTestIsLeftOut(t *testing.T) {
	all, err := sites([]string{"./testdata/fails"})
	require.NoError(t, err)
	r := &runner{timeout: time.Minute, packages: []string{"./testdata/fails"}}
	sample := draw(all, len(all), 1)
	require.NotEmpty(t, sample)
	require.NoError(t, r.test(sample, 1))
	assert.Equal(t, len(sample), r.killed+r.broken)
	assert.NotZero(t, r.killed)

	// A program of tests that cannot be started has killed no mutant.
	count, _ := (&runner{dir: t.TempDir(), suites: []suite{{binary: "missing"}}}).mutant(site{in: &function{}})
	require.Zero(t, *count)
}
