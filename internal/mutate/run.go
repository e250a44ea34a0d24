package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// fast is the duration up to which a test runs among the first.
const fast = 300 * time.Millisecond

// suite is the tests of one package.
type suite struct {
	pkg, dir, binary string
	fast, failing    string // regexps of the names of fast tests, and of tests that fail without a change
}

// runner runs the tests over mutants.
type runner struct {
	dir      string   // of what is built
	packages []string // import paths or directories
	suites   []suite
	short    bool
	timeout  time.Duration
	verbose  bool

	survived, killed, timedOut, broken, notRun int
}

// test tests the mutants of the sample and counts. It leaves no files.
func (r *runner) test(sample []site, workers int) (err error) {
	if r.dir, err = os.MkdirTemp("", "mutate"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	compiling, err := r.prepare(sample)
	if err != nil {
		return err
	}
	r.all(compiling, workers)
	if r.notRun > 0 {
		return fmt.Errorf("the tests of %d mutants could not be run", r.notRun)
	}
	return nil
}

// prepare builds the mutants in functions and runs the tests without a change.
// It returns the mutants that compile as far as it knows.
func (r *runner) prepare(sample []site) ([]site, error) {
	list, err := exec.Command("go", append([]string{"list", "-f", "{{.ImportPath}} {{.Dir}}"}, r.packages...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %q: %w", r.packages, err)
	}
	broken, err := build(r.dir, r.packages, slices.DeleteFunc(slices.Clone(sample), func(s site) bool { return s.in == nil }))
	if err != nil {
		return nil, err
	}
	r.broken = len(broken)
	for line := range strings.Lines(string(list)) {
		pkg, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		s := suite{pkg: pkg, dir: dir, binary: filepath.Base(dir) + ".test", failing: "^$"}
		if _, err := os.Stat(filepath.Join(r.dir, s.binary)); err != nil {
			continue // no tests
		}
		out, runErr := r.run(s, r.dir, 0, "-test.v")
		var quick, failing []string
		for _, m := range regexp.MustCompile(`(?m)^--- (PASS|FAIL): (\w+) \(([\d.]+s)\)`).FindAllStringSubmatch(out, -1) {
			if took, err := time.ParseDuration(m[3]); m[1] == "FAIL" {
				failing = append(failing, m[2])
			} else if err == nil && took <= fast {
				quick = append(quick, m[2])
			}
		}
		died := regexp.MustCompile(`(?m)^(panic|fatal error): .*`).FindString(out)
		if runErr != nil && (died != "" || len(failing) == 0) {
			return nil, fmt.Errorf("%s: the tests do not end without a change: %w: %s", pkg, runErr, cmp.Or(died, out[max(0, len(out)-500):]))
		}
		s.fast = "^(" + strings.Join(quick, "|") + ")$"
		if len(failing) > 0 {
			s.failing = "^(" + strings.Join(failing, "|") + ")$"
			fmt.Printf("%s: left out, for they fail without a change: %v\n", pkg, failing)
		}
		r.suites = append(r.suites, s)
	}
	return slices.DeleteFunc(slices.Clone(sample), func(s site) bool { return slices.Contains(broken, s.id) }), nil
}

// all tests the mutants in their order.
func (r *runner) all(sample []site, workers int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := 0
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(sample) {
					return
				}
				count, how := r.mutant(sample[i])
				mu.Lock()
				*count++
				if r.verbose || count == &r.survived || count == &r.notRun {
					fmt.Printf("%d %s: %s\n", sample[i].id, sample[i], how)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// mutant runs the tests over one mutant and returns the count it belongs to.
func (r *runner) mutant(s site) (count *int, how string) {
	dir := r.dir
	if s.in == nil {
		dir = filepath.Join(r.dir, fmt.Sprint(s.id))
		defer os.RemoveAll(dir)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return &r.notRun, "not run: " + err.Error()
		}
	}
	suites := slices.Clone(r.suites)
	slices.SortStableFunc(suites, func(a, b suite) int { return own(b, s) - own(a, s) })
	for _, t := range suites {
		if s.in == nil {
			if _, err := build(dir, []string{t.pkg}, []site{s}); err != nil {
				return &r.broken, "does not compile"
			}
		}
		for _, flags := range [][]string{{"-test.run", t.fast}, {"-test.skip", t.fast + "|" + t.failing}} {
			out, err := r.run(t, dir, s.id, append(flags, "-test.failfast")...)
			switch {
			case errors.Is(err, context.DeadlineExceeded) || strings.Contains(out, "panic: test timed out"):
				return &r.timedOut, "timed out in " + t.pkg
			case err != nil && !errors.As(err, new(*exec.ExitError)):
				return &r.notRun, "not run: " + err.Error()
			case err != nil:
				return &r.killed, "killed by " + strings.Join(regexp.MustCompile(`(?m)^--- FAIL: \w+|^panic: .*`).FindAllString(out, 1), "")
			}
		}
	}
	return &r.survived, "survived"
}

// own is 1 for the tests of the package that s changes.
func own(t suite, s site) int {
	if t.pkg == s.pkg {
		return 1
	}
	return 0
}

// run runs tests of a suite with one mutant selected.
func (r *runner) run(t suite, dir string, id int, flags ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, t.binary), append(flags, "-test.timeout", r.timeout.String(), fmt.Sprint("-test.short=", r.short))...)
	cmd.Dir, cmd.WaitDelay = t.dir, time.Second
	cmd.Env = append(os.Environ(), fmt.Sprint("MUTANT=", id))
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, exec.ErrWaitDelay): // the tests passed, and left a process that holds their output
		err = nil
	}
	return string(out), err
}
