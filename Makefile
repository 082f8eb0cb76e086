GO ?= go

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

check: lint test generated ## all that a change must pass, no root needed

test: ## unit, script, golden and layer tests
	$(GO) test ./...

test-root: ## tests that need root: namespaces and eBPF
	$(GO) test -exec 'sudo -E' -count=1 -p 1 -run '^TestRoot' ./...

test-all: ## everything, as root, with the packages it needs: what CI runs
	scripts/test-all

test-kernels: ## the same binary on real Debian kernels under qemu
	scripts/test-kernels

lint: ## formatting and linters
	scripts/lint

generate: ## rebuild eBPF objects, their Go types and the JSON Schema
	$(GO) generate ./...
	$(GO) test ./internal/report -run TestSchema -update

generated: ## fail if a generated file is stale
	scripts/generated

golden: ## rewrite the golden files, then read the diff
	$(GO) test ./internal/cli ./internal/report -update

fuzz: ## a minute of fuzzing for each target
	scripts/fuzz-each 60s

bench: ## cost, flood, latency beside other tools into docs/performance.md (root, nine minutes)
	cd bench && $(GO) run . -write ../docs/performance.md

demo: ## watch this host while a dozen resets are made (root)
	$(GO) build -o holdfast ./cmd/holdfast
	$$([ "$$(id -u)" = 0 ] || echo sudo) ./holdfast watch --demo

.PHONY: help check test test-root test-all test-kernels lint generate generated golden fuzz bench demo
