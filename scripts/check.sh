#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# The checks that take longer than scripts/test.sh has time for: scripts/check.sh [guard|interleavings|memory|stress|beyond|readme|zenoh]…
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test bench
[ $# -gt 0 ] || set -- guard interleavings memory beyond readme zenoh stress

# Random pipelines with a seed that was never tried. A fault prints the seed that repeats it, which is tried at
# once: a fault of timing that does not come again, on a machine that anything may hold up, is told and no more.
stress() {
  local seed=${STRESS_SEED:-$(date +%s)000} log again
  log=$(mktemp)
  echo "check: three minutes of random pipelines from seed $seed on"
  if cargo test --locked --all-features --test stress -- --seed "$seed" --seconds 180 2>&1 | tee "$log"; then
    rm "$log"
    return
  fi
  seed=$(sed -n 's/.*--seed \([0-9]*\) --rounds 1$/\1/p' "$log" | tail -n 1)
  rm "$log"
  [ -n "$seed" ] || return 1
  for again in 1 2 3 4 5; do
    echo "check: seed $seed again, $again of 5"
    cargo test --locked --all-features --test stress -- --seed "$seed" --rounds 1 || return 1
  done
  echo "check: the fault of seed $seed did not come again in five tries: look at what is told above" >&2
}

# The core in many orders of its threads' steps, and faults that must show there.
interleavings() {
  scripts/interleavings.sh
}

# Objects that are left, with the plugin as it is built by itself, without what the tests need.
memory() {
  scripts/check-memory.sh leaks
}

# What a publish costs, against benches/instructions.txt.
guard() {
  scripts/bench.sh guard
}

# Consumers in other processes that are killed, stopped, or behind a slow link.
beyond() {
  cargo test --locked --all-features --test it -- --ignored beyond::
}

# The README's program as a crate of its own.
readme() {
  cargo test --locked --all-features --test it -- --ignored docs::crate_outside
}

# The crate in zenoh/, with a ground side in Python.
zenoh() {
  scripts/test-zenoh.sh
}

for part in "$@"; do
  case $part in
    guard | interleavings | memory | stress | beyond | readme | zenoh) "$part" ;;
    *)
      echo "check: there is no part '$part'" >&2
      exit 2
      ;;
  esac
done
