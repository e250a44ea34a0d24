// Command mutate measures what the tests of packages notice: it changes one
// place of the code at a time, runs the tests, and prints the changes that no
// test saw. From the root of the module:
//
//	go run ./internal/mutate -n 300 -seed 1 -short ./tokencache ./tokencache/internal/record
//
// The sample is drawn by seed over all places, so that it replays. The tests of
// a change's own package run first, those of the other packages only if the
// first pass; in each the fast tests run before the slow ones. The
// tree is never written to: the changes are an overlay of the go command.
//
// A change that does not compile counts as not viable; one that outlasts the
// timeout counts as killed. Tests that fail without a change are left out. If the
// tests of a package hang or panic without a change, nothing is measured. Text
// for people (String, Error, log calls), tests, generated files and doc.go are
// never changed.
package main

import (
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"regexp"
	"slices"
	"time"
)

func main() {
	log.SetFlags(0)
	n := flag.Int("n", 300, "mutants in the sample")
	seed := flag.Uint64("seed", 1, "seed of the sample")
	short := flag.Bool("short", false, "run the tests with -short")
	workers := flag.Int("j", 1, "mutants tested at a time")
	timeout := flag.Duration("timeout", time.Minute, "time limit of one run of the tests")
	only := flag.String("only", "", "of the sample, test only mutants whose line of output matches this `regexp`")
	verbose := flag.Bool("v", false, "print every mutant, not the survivors alone")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	all, err := sites(flag.Args())
	if err != nil {
		log.Fatal(err)
	}
	sample := draw(all, *n, *seed)
	sample = slices.DeleteFunc(sample, func(s site) bool { return !match.MatchString(fmt.Sprint(s.id, " ", s)) })
	r := &runner{timeout: *timeout, short: *short, verbose: *verbose, packages: flag.Args()}
	err = r.test(sample, *workers)
	viable := r.killed + r.timedOut + r.survived
	fmt.Printf("sites %d, sampled %d, tested %d, viable %d, killed %d, by time %d, survived %d, score %.1f %%\n", len(all), len(sample),
		viable+r.broken, viable, r.killed, r.timedOut, r.survived, 100*float64(viable-r.survived)/float64(max(viable, 1)))
	if err != nil {
		log.Fatal(err)
	}
}

// draw returns n of all, numbered from 1, in an order that seed decides.
func draw(all []site, n int, seed uint64) []site {
	sample := slices.Clone(all)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(sample), func(i, j int) { sample[i], sample[j] = sample[j], sample[i] })
	sample = sample[:min(n, len(sample))]
	for i := range sample {
		sample[i].id = i + 1
	}
	return sample
}
