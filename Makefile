# Shorthands. `make` prints them; .ci/run is the whole of it.
IMPORTED = $(shell git ls-files 'go.mod' '*/go.mod' | xargs -n1 dirname | grep -vE '^(internal|examples)(/|$$)')
OLDEST = go1.25.5

.PHONY: help test ci docs api breaks oldest platforms bench run

help: ## print this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1	/'

test: ## run the root module's tests
	go test ./...

ci: ## run everything that must pass before a change lands
	.ci/run

docs: ## compile the snippets of README.md and docs, follow links
	go -C internal/doctest test ./...

api: ## write the exported names to internal/doctest/testdata/api.txt
	go -C internal/doctest test -run TestExportedNamesAreThoseOfTheBaseline -update .

breaks: ## show what changed in the exported names since the last release, or API_BASE
	.ci/api

oldest: ## vet and test the root module with the oldest Go that it claims
	GOTOOLCHAIN=$(OLDEST) go vet ./...
	GOTOOLCHAIN=$(OLDEST) go test -short ./...

platforms: ## vet for 386 what is for import, build for arm64, windows and darwin, without cgo
	@for m in $(IMPORTED); do (cd $$m && echo "386 $$m" && GOARCH=386 CGO_ENABLED=0 go vet ./...) || exit 1; done
	CGO_ENABLED=0 GOARCH=arm64 go build ./...
	CGO_ENABLED=0 GOOS=windows go build ./...
	CGO_ENABLED=0 GOOS=darwin go build ./...
	CGO_ENABLED=0 go build ./...

bench: ## run the benchmarks beside the peers
	go -C internal/bench test -run '^$$' -bench . -benchmem ./...

run: ## run the gateway with fakes of all vendors
	go -C examples run ./gateway
