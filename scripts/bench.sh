#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Measures dronetee beside tee ! queue, and beside other ways to get frames into an application:
# scripts/bench.sh [count|stuck|latency|receivers|peers|alive|coded]…
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh bench
[ $# -gt 0 ] || set -- count stuck latency receivers peers alive coded

cargo bench --locked --bench fanout --no-run
bench=$(cargo bench --locked --bench fanout --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

# Instructions of one publish.
instructions() {
  local total
  total=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null \
    --toggle-collect='fanout::publish_counted*' "$bench" count "$1" "$2" 2000 2>&1 |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p')
  echo $((total / 2000))
}

count() {
  echo "instructions of a publish with every consumer stuck (harness alone: $(instructions harness 0))"
  printf '%10s %10s %10s %8s %8s\n' consumers tee dronetee ratio goal
  local consumers goal tee own
  for consumers in 3 16; do
    goal=$([ "$consumers" = 3 ] && echo 0.42 || echo 0.14)
    tee=$(instructions tee "$consumers")
    own=$(instructions dronetee "$consumers")
    printf '%10s %10s %10s %8s %8s\n' "$consumers" "$tee" "$own" \
      "$(awk "BEGIN { printf \"%.2f\", $own / $tee }")" "$goal"
  done
}

# A crate of its own, built beside this one.
peers() {
  local target=${CARGO_TARGET_DIR:-$PWD/target}
  (cd benches/peers && CARGO_TARGET_DIR=$target/peers cargo run --locked --release --quiet)
}

for part in "$@"; do
  case $part in
    count) count ;;
    peers) peers ;;
    latency)
      "$bench" latency
      echo "the same on one core, where no other core has to be woken"
      taskset --cpu-list 0 "$bench" latency
      ;;
    *) "$bench" "$part" ;;
  esac
done
