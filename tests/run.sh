#!/usr/bin/env bash
# `make test`: format, lints, every test of every room, the system tests with the real parts, and the demo once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
began=$SECONDS
step() { printf '\ntest: %s (after %d s)\n' "$1" "$((SECONDS - began))"; }

step "the tools of the tests"
tests/tools/install.sh test
step "format and lints"
cargo fmt --all --check
cargo clippy --locked --quiet --workspace --all-targets -- --deny warnings
step "the programs"
cargo build --locked --quiet --workspace --bins
step "every room, and the system tests with the real parts"
cargo test --locked --workspace --no-fail-fast
step "the parsers, a million mutated inputs each"
fuzzed=$(mktemp)
trap 'rm -f "$fuzzed"' EXIT
TIDEGATE_TEST_FUZZ=1000000 cargo test --locked --workspace --test it fuzz -- --nocapture | tee "$fuzzed"
[ "$(grep -cE '10000[0-9]+ inputs' "$fuzzed")" = 3 ] || { echo "test: three parsers were to be fuzzed"; exit 1; }
step "the demo, once"
cargo run --quiet --locked -p system-tests --bin demo -- --once
step "done"
