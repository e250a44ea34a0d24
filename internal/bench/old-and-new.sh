#!/usr/bin/env bash
# Runs benchmarks of the token cache on the engine of an earlier commit and on
# this one, in turns, and prints the best figure of each side by side:
#
#	internal/bench/old-and-new.sh ed46ea8 'TokenHit|TokenByRequest' 5
set -euo pipefail
commit=$1 pattern=$2 rounds=$3
cd "$(git rev-parse --show-toplevel)"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
git archive "$commit" | tar -x -C "$dir"
cp internal/bench/tokencache*_bench_test.go "$dir/internal/bench/"
go -C "$dir/internal/bench" test -c -o "$dir/old" .
go -C internal/bench test -c -o "$dir/new" .
for _ in $(seq "$rounds"); do
	for engine in old new; do
		"$dir/$engine" -test.run '^$' -test.bench "$pattern" -test.benchtime 1s | sed "s/^/$engine /"
	done
done | awk '
	$2 ~ /^Benchmark/ {
		for (i = 4; i < NF; i += 2) {
			if ($(i + 1) == "ratio") continue
			row = $2 " " $(i + 1)
			if (!(row in known)) { known[row]; rows[n++] = row }
			if (!(($1, row) in best) || $i < best[$1, row]) best[$1, row] = $i
		}
	}
	END {
		printf "%-60s %10s %10s\n", "", "old", "new"
		for (i = 0; i < n; i++) printf "%-60s %10s %10s\n", rows[i], best["old", rows[i]], best["new", rows[i]]
	}'
