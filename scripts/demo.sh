#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# The main job on real RTSP, see --help.
set -euo pipefail
cd "$(dirname "$0")/.."
for argument in "$@"; do
  case $argument in
    -h | --help) exec cat examples/common/autopilot.txt ;;
  esac
done
scripts/setup.sh demo
echo 'demo: building, which takes some minutes and downloads some crates the first time' >&2
cargo build --release --locked --quiet --example autopilot
exec "${CARGO_TARGET_DIR:-target}/release/examples/autopilot" "$@"
