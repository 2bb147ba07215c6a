#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Sets up and runs every check and test.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
cargo fmt --check
cargo clippy --locked --all-targets --all-features -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features --quiet
cargo test --locked --all-features
