#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# The checks that take longer than scripts/test.sh has time for: scripts/check.sh [guard|interleavings|stress|beyond]…
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test bench
[ $# -gt 0 ] || set -- guard interleavings stress beyond

# Random pipelines with a seed that was never tried; a fault prints the one that repeats it.
stress() {
  local seed=${STRESS_SEED:-$(date +%s)000}
  echo "check: three minutes of random pipelines from seed $seed on"
  cargo test --locked --all-features --test stress -- --seed "$seed" --seconds 180
}

# The core in many orders of its threads' steps, and faults that must show there.
interleavings() {
  scripts/interleavings.sh
}

# What a publish costs, against benches/instructions.txt.
guard() {
  scripts/bench.sh guard
}

# Consumers in other processes that are killed, stopped, or behind a slow link.
beyond() {
  cargo test --locked --all-features --test it -- --ignored beyond::
}

for part in "$@"; do
  case $part in
    guard | interleavings | stress | beyond) "$part" ;;
    *)
      echo "check: there is no part '$part'" >&2
      exit 2
      ;;
  esac
done
