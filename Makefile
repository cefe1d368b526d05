# make builds the two programs; make help names the rest. Debian 12 or newer
# with Go is enough: what else is needed is installed when make runs as root.

GO      ?= go
# The version control stamp needs git to trust the directory, which it does not
# for another user's clone: builds must not depend on that.
export GOFLAGS := -buildvcs=false $(GOFLAGS)
BUILD    = $(GO) build -trimpath
BIN      = $(CURDIR)/bin
MINUTES ?= 14m

.PHONY: all build test unit lab soak demo bench bench-babel rows conformance lint fuzz test-kernel generate setup clean help

all: build

build: ## build bin/re6stregistry and bin/re6stnode
	@scripts/setup build
	CGO_ENABLED=0 $(BUILD) -o bin/re6stnode ./cmd/node
	CGO_ENABLED=1 $(BUILD) -o bin/re6stregistry ./cmd/registry

generate: ## make the eBPF objects again: only after a change in ebpf/bpf; needs Debian 12's clang-14 and llvm-14
	$(GO) generate ./ebpf

setup: ## install the Debian packages that the tests need
	@scripts/setup test

test: setup build ## all tests: pure ones and edges with -race, then the lab with real programs
	@RE6ST_BIN=$(BIN) $(GO) run ./scripts/verdict -race -timeout=$(MINUTES) $$(scripts/packages rest) \
		-- -p=1 -timeout=$(MINUTES) $$(scripts/packages lab)

unit: ## the tests without the lab, without -race: the quick round
	@$(GO) run ./scripts/verdict -timeout=$(MINUTES) $$(scripts/packages rest)

lab: setup build ## the lab alone
	@RE6ST_BIN=$(BIN) $(GO) run ./scripts/verdict -count=1 -p=1 -timeout=$(MINUTES) $$(scripts/packages lab)

soak: setup build ## the full counts of the rows: hours
	RE6ST_SOAK=1 RE6ST_BIN=$(BIN) $(GO) run ./scripts/verdict -count=1 -p=1 -timeout=24h ./...
	scripts/fuzz 100000000x
	RE6ST_SOAK=1 RE6ST_LANE_SECONDS=7200 scripts/kernel-lane

demo: setup build ## a small world in namespaces: homes with only IPv4 get IPv6, a gateway dies; and what was seen
	@RE6ST_BIN=$(BIN) $(GO) run ./scripts/demo

sim: ## a few hundred simulated networks through storms of faults; a failing seed is printed as one command
	@$(GO) run ./scripts/sim

bench: setup build ## the figures of docs/benchmarks.md
	@RE6ST_BIN=$(BIN) $(GO) run ./scripts/bench

bench-babel: setup build ## our Babel beside babeld and BIRD, in one run
	@RE6ST_BIN=$(BIN) $(GO) run ./scripts/bench-babel

rows: ## the ledger: which row is shown by which test, full or reduced
	@$(GO) run ./scripts/rows

conformance: ## the demands of the Babel RFCs: which are shown by a test that passes
	@$(GO) run ./scripts/conformance

lint: ## go vet, staticcheck, gofumpt
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@bad=$$(find . -name '*.go' -not -path './build/*' -not -path './.git/*' | xargs $(GO) tool gofumpt -l); \
		test -z "$$bad" || { echo "not as gofumpt writes it:" $$bad; exit 1; }
	@for f in .ci/run scripts/setup scripts/fuzz scripts/packages scripts/kernel-lane; do bash -n $$f || exit 1; done

fuzz: ## each fuzz target for 10 s
	@scripts/fuzz 10s

test-kernel: setup build ## named tests again with kernel WireGuard, on Debian's kernel under QEMU
	@scripts/kernel-lane

clean: ## remove what make made
	rm -rf bin build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
