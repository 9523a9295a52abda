# The front door of Tidegate. `make` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export TIDEGATE_TOOLS ?= $(HOME)/.cache/tidegate/tools

.PHONY: help demo test check bench tools build clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools build ## start everything and show the main job; ONCE=1 exits by itself
	@cargo run --quiet --locked -p system-tests --bin demo -- $(if $(ONCE),--once)

test: ## every test, with the real parts, and the demo once
	@tests/run.sh

check: ## format and lints only; needs no real part
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings

bench: tools ## measure, against a peer in the same run; writes nothing, prints tables
	@tests/bench/run.sh

tools: ## install the pinned real parts (Postgres, Envoy, ONNX Runtime, models) into a cache
	@tests/tools/install.sh

build: ## build the programs
	@echo "build: compiling the programs (10 minutes or more on two cores the first time)"
	@cargo build --locked --workspace --bins

clean: ## remove what was built here; the tools cache stays
	cargo clean
