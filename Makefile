# weft: `make help` lists what can be made.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN     := bin/weft
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo -dirty)
VERSION := $(shell git describe --tags --match 'v*' 2>/dev/null || echo 0.1.0-dev)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

GO_FILES := $(shell find . -name '*.go' -not -path './bin/*') go.mod go.sum

.PHONY: help build demo test test-vm lint generate fuzz bench packages clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BIN) ## build bin/weft, one static binary

$(BIN): $(GO_FILES)
	@echo "building $(BIN)"
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/weft

demo: $(BIN) ## three hosts and their containers on this machine, every pair tried (root)
	@$(BIN) demo $(DEMOFLAGS)

packages: # the Debian packages that the tests use as real parts
	@deploy/test-packages

test: packages ## everything that must hold: vet, staticcheck, all tests with real kernels and servers (root)
	@deploy/test-all

test-vm: packages ## the tests on another kernel: Debian's, under qemu (VMKERNEL=linux-image-…)
	@VMKERNEL=$(VMKERNEL) deploy/test-vm

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	@go vet ./...
	@go tool staticcheck ./...

generate: ## compile the eBPF programs again (clang, llvm)
	@go generate ./kernelmode/express

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME each (30s)
	@deploy/fuzz-all $(FUZZTIME)

bench: $(BIN) ## measure this machine: weft beside kernel VXLAN and whatever else is on PATH (root)
	@$(BIN) bench $(BENCHFLAGS)

clean: ## remove what was built
	@rm -rf bin
