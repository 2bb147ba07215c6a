#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# The core in many orders of its threads' steps, see tests/interleavings:
#   scripts/interleavings.sh [run|seeded]… [-- ARGUMENT OF THE PROGRAM]…     (without a part: both)
# run searches the core as it is for a minute; seeded builds copies with a fault each, which must be found.
set -euo pipefail
cd "$(dirname "$0")/.."

parts=()
while [ $# -gt 0 ]; do
  case $1 in
    run | seeded) parts+=("$1") ;;
    --) shift && break ;;
    *)
      echo "interleavings: there is no part '$1'" >&2
      exit 2
      ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=(run seeded)
target=${CARGO_TARGET_DIR:-$PWD/target}/interleavings
export CARGO_TARGET_DIR=$target SHUTTLE_SILENCE_WARNINGS=1

run() {
  (cd tests/interleavings && cargo run --locked --quiet -- --seconds 60 "$@")
}

# Each fault and what is to be said of it.
seeded() {
  local name expected copy found
  while read -r name expected; do
    copy=$target/copy
    rm -rf "$copy"
    mkdir -p "$copy/tests"
    cp -r src "$copy/"
    cp -r tests/interleavings "$copy/tests/"
    patch --quiet --strip 1 --directory "$copy" <"tests/interleavings/seeded/$name.patch" || {
      echo "interleavings: $name.patch does not apply: make it anew" >&2
      return 1
    }
    (cd "$copy/tests/interleavings" && CARGO_TARGET_DIR=$target/faulty cargo build --locked --quiet)
    if "$target/faulty/debug/interleavings" --seconds 30 >"$copy/log" 2>&1; then
      echo "interleavings: $name was not found" >&2
      return 1
    fi
    found=$(grep -m 1 -E -- "$expected" "$copy/log") || {
      tail -n 20 "$copy/log" >&2
      echo "interleavings: $name was found, but not by '$expected'" >&2
      return 1
    }
    echo "interleavings: $name is found: $found"
  done <<'FAULTS'
wake-before-append deadlock
missed-answer after a flush
stale-stamp ended by an answer from before|after a flush
FAULTS
}

for part in "${parts[@]}"; do
  "$part" "$@"
done
