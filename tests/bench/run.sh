#!/usr/bin/env bash
# `make bench`: builds the programs as they are shipped and measures them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo build --locked --release --workspace --bins
exec cargo run --locked --release --quiet -p system-tests --bin bench
