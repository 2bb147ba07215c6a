#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Checks and tests the crate in zenoh/, with a ground side in Python:
#   scripts/test-zenoh.sh [TEST]…    for example Ground.test_a_router_that_is_restarted
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh demo zenoh

folder=${CARGO_TARGET_DIR:-zenoh/target}
export CARGO_TARGET_DIR=$folder
crate=(--locked --manifest-path zenoh/Cargo.toml)
cargo fmt --check --manifest-path zenoh/Cargo.toml
cargo clippy "${crate[@]}" --all-targets -- -D warnings
cargo test "${crate[@]}"
cargo build "${crate[@]}"
# The camera is the plugin's.
CARGO_TARGET_DIR=target cargo build --locked --example rtsp_server

# The same zenoh as the crate's, and a decoder of CDR that is not of this project.
venv=$folder/venv
wanted=$(sed 's/#.*//' zenoh/tests/requirements.txt)
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement zenoh/tests/requirements.txt
  printf '%s\n' "$wanted" >"$venv/installed"
fi

export DRONETEE_ZENOH=$folder/debug/dronetee-zenoh RTSP_SERVER=target/debug/examples/rtsp_server
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" zenoh/tests/test_ground.py --verbose "$@"
