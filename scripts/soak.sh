#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# A camera over RTSP for a long time, see tests/soak: scripts/soak.sh [MINUTES]   (45)
# The figures go into target/soak.json, where scripts/bench.sh report finds them.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
target=${CARGO_TARGET_DIR:-$PWD/target}
# One heap for all threads: with one for each of sixteen, the C library's memory grows for half an hour, until
# each of them has had a decoder's thread in it.
export MALLOC_ARENA_MAX=1
cargo test --locked --all-features --test soak -- --minutes "${1:-45}" --json "$target/soak.json"
