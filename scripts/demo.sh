#!/usr/bin/env bash
# The main job on real RTSP:
#   scripts/demo.sh [rtsp://…] [--seconds N] [--slow-ms N] [--metrics [ADDR:PORT]]
# Without a URL a camera of its own is started on loopback.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
echo 'demo: building, which takes some minutes the first time' >&2
cargo build --release --locked --quiet --example autopilot
exec "${CARGO_TARGET_DIR:-target}/release/examples/autopilot" "$@"
