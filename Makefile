# Shorthands; .ci/run is the whole of it.
.PHONY: test ci bench run

test:
	go test ./...

ci:
	.ci/run

bench:
	cd internal/bench && go test -run '^$$' -bench . -benchmem ./...

run:
	go -C examples run ./gateway
