#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# A camera over RTSP for a long time, see tests/soak: scripts/soak.sh [MINUTES]   (45)
# The figures go into target/soak.json, where scripts/bench.sh report finds them.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo test --locked --all-features --test soak -- --minutes "${1:-45}" --json "$target/soak.json"
