#!/usr/bin/env bash
# `make bench`: builds the programs as they are shipped and measures them; names of benchmarks may follow (policy, swap, http).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tests/tools/install.sh bench-peer
echo "bench: building the release (about 15 minutes on two cores the first time)"
cargo build --locked --quiet --release --workspace --bins
exec cargo run --locked --release --quiet -p system-tests --bin bench -- "$@"
