#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Sets up and runs every check and test.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
cargo fmt --check
cargo clippy --locked --all-targets --all-features -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features --quiet
# Most tests wait for something, rather than compute: twice as many at a time as there are cores.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(nproc)))}"
cargo test --locked --all-features --no-run
# They take two minutes; one that hangs is named by the last lines.
timeout --kill-after=10 1800 cargo test --locked --all-features || {
  [ $? -ne 124 ] || echo 'test: a test hangs' >&2
  exit 1
}
