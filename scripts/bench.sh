#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Measures dronetee beside tee ! queue, and beside other ways to get frames into an application:
# scripts/bench.sh [count|guard|stuck|latency|receivers|peers|alive|coded]…
# scripts/bench.sh report writes docs/benchmarks.md from one run of five minutes: nothing else must run.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh bench
[ $# -gt 0 ] || set -- count stuck latency receivers peers alive coded

target=${CARGO_TARGET_DIR:-$PWD/target}

report() {
  local soak=()
  [ ! -e "$target/soak.json" ] || soak=(--soak "$target/soak.json")
  (cd benches/peers && CARGO_TARGET_DIR=$target/peers cargo build --locked --release --quiet --bin report)
  REPORT_DATE=$(date --utc +%F) REPORT_COMMIT=$(git describe --always --dirty --exclude '*' 2>/dev/null || true) \
    REPORT_SYSTEM="$(. /etc/os-release && echo "$PRETTY_NAME"), Linux $(uname -r)" REPORT_RUST=$(rustc --version) \
    REPORT_LOAD=$(cut -d ' ' -f 1 /proc/loadavg) "$target/peers/release/report" docs/benchmarks.md "${soak[@]}"
}

# It has a build of its own.
if [ "$*" = report ]; then
  report
  exit
fi

cargo bench --locked --bench fanout --no-run
bench=$(cargo bench --locked --bench fanout --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

# Instructions of one publish. Addresses and the environment are the same each time, as they decide what is in
# one cache line or page with what, and how long the search for a variable takes.
instructions() {
  local total
  total=$(env -i PATH="$PATH" HOME="$HOME" LC_ALL=C setarch -R valgrind --tool=callgrind --callgrind-out-file=/dev/null \
    --toggle-collect='fanout::publish_counted*' "$bench" count "$1" "$2" 2000 2>&1 |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p')
  echo $((total / 2000))
}

count() {
  echo "instructions of a publish with every consumer stuck (harness alone: $(instructions harness 0))"
  printf '%10s %10s %10s %8s %8s\n' consumers tee dronetee ratio goal
  local consumers goal tee own
  for consumers in 3 16; do
    goal=$([ "$consumers" = 3 ] && echo 0.30 || echo 0.10)
    tee=$(instructions tee "$consumers")
    own=$(instructions dronetee "$consumers")
    printf '%10s %10s %10s %8s %8s\n' "$consumers" "$tee" "$own" \
      "$(awk "BEGIN { printf \"%.2f\", $own / $tee }")" "$goal"
  done
}

# The least of three: every run counts the same, unless the machine stops it where the publisher holds a lock.
least() {
  for _ in 1 2 3; do
    instructions dronetee "$1"
  done | sort -n | head -n 1
}

# Fails where a publish takes 3 % more or fewer instructions than benches/instructions.txt says.
guard() {
  local consumers known own failed=0
  while read -r -u 3 consumers known; do
    [ "$consumers" != '#' ] || continue
    own=$(least "$consumers")
    echo "a publish over $consumers stuck consumers: $own instructions, $known are expected"
    if [ $((own * 100)) -gt $((known * 103)) ] || [ $((own * 100)) -lt $((known * 97)) ]; then
      failed=1
    fi
  done 3<benches/instructions.txt
  [ "$failed" = 0 ] || {
    echo 'bench: more than 3 % off. If that is meant, write the new numbers into benches/instructions.txt' >&2
    return 1
  }
}

# A crate of its own, built beside this one.
peers() {
  (cd benches/peers && CARGO_TARGET_DIR=$target/peers cargo run --locked --release --quiet --bin dronetee-peers)
}

for part in "$@"; do
  case $part in
    count | guard) "$part" ;;
    peers) peers ;;
    latency)
      "$bench" latency
      echo "the same on one core, where no other core has to be woken"
      taskset --cpu-list 0 "$bench" latency
      ;;
    *) "$bench" "$part" ;;
  esac
done
