package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// selector is the file that each changed package gains.
const selector = `package %s

import (
	"os"
	"strconv"
)

var selectedMutant, _ = strconv.Atoi(os.Getenv("MUTANT"))
`

// faulty matches the compiler's position of an error in a mutant's copy.
var faulty = regexp.MustCompile(`(?m)^\S*mutant/(\d+):`)

// build compiles the tests of the packages over the mutants and returns the
// numbers of those that do not compile. A mutant in a function is a copy of the
// body that the variable MUTANT of the environment selects, so that all share
// one build. Any other is the only one of its build.
func build(dir string, packages []string, mutants []site) (broken []int, err error) {
	for {
		overlay, err := overlay(dir, mutants)
		if err != nil {
			return broken, err
		}
		args := append([]string{"-overlay", overlay, "-gcflags=-e"}, packages...)
		out, err := exec.Command("go", append([]string{"build", "-o", os.DevNull}, args...)...).CombinedOutput()
		if err == nil {
			out, err = exec.Command("go", append([]string{"test", "-c", "-vet=off", "-ldflags=-w", "-o", dir + "/"}, args...)...).CombinedOutput()
		}
		if err == nil {
			return broken, nil
		}
		faults := map[int]bool{}
		for _, m := range faulty.FindAllStringSubmatch(string(out), -1) {
			id, _ := strconv.Atoi(m[1])
			faults[id] = true
		}
		if len(faults) == 0 {
			return broken, fmt.Errorf("the mutants do not build: %w\n%s", err, out)
		}
		mutants = slices.DeleteFunc(slices.Clone(mutants), func(s site) bool {
			if faults[s.id] {
				broken = append(broken, s.id)
			}
			return faults[s.id]
		})
	}
}

// overlay writes the changed files and the list of them for go's -overlay.
func overlay(dir string, mutants []site) (string, error) {
	replace := map[string]string{}
	write := func(path string, text []byte) error {
		if replace[path] != "" {
			return nil // the selector of a package with several changed files
		}
		replace[path] = filepath.Join(dir, fmt.Sprint(len(replace), ".go"))
		return os.WriteFile(replace[path], text, 0o600)
	}
	byFile := map[string][]site{}
	for _, s := range mutants {
		byFile[s.file] = append(byFile[s.file], s)
	}
	for file, of := range byFile {
		src, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		name := regexp.MustCompile(`(?m)^package (\w+)`).FindSubmatch(src)[1]
		if err := write(filepath.Join(filepath.Dir(file), "selected_mutant.go"), fmt.Appendf(nil, selector, name)); err != nil {
			return "", err
		}
		slices.SortStableFunc(of, func(a, b site) int { return start(b) - start(a) }) // the last first, so that offsets stay
		text := slices.Clone(src)
		for i, s := range of {
			switch {
			case s.in == nil:
				text = slices.Concat(text[:s.from], []byte(s.new), text[s.to:])
			case i+1 == len(of) || of[i+1].in != s.in:
				text = slices.Insert(text, s.in.from, []byte("switch selectedMutant {"+copies(src, of, s.in)+"\n}\n")...)
			}
		}
		if err := write(file, text); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}

// start is the offset at which a mutant's text goes in.
func start(s site) int {
	if s.in != nil {
		return s.in.from
	}
	return s.from
}

// copies are the bodies of the function's mutants.
func copies(src []byte, mutants []site, f *function) string {
	var b strings.Builder
	for _, s := range mutants {
		if s.in != f {
			continue
		}
		fmt.Fprintf(&b, "\ncase %d:\n/*line mutant/%d:1:1*/", s.id, s.id)
		for i := f.from; i < f.to; i++ {
			if slices.Contains(f.labels, i) {
				fmt.Fprint(&b, "OfMutant", s.id)
			}
			if i == s.from {
				b.WriteString(s.new)
				if s.to > i {
					i = s.to - 1
					continue
				}
			}
			b.WriteByte(src[i])
		}
		if f.results {
			b.WriteString("\npanic(`missing return`)")
		} else {
			b.WriteString("\nreturn")
		}
	}
	return b.String()
}
