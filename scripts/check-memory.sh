#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# What is leaked, read uninitialized or raced for: scripts/check-memory.sh [leaks|valgrind|threads]…
# leaks and valgrind run launch lines, once with dronetee and once with tee and queues in its place: dronetee
# must show nothing that those do not show. valgrind also runs rounds of the stress test and the example
# threads, threads the core under ThreadSanitizer. How far each goes: docs/proof.md
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test bench
[ $# -gt 0 ] || set -- leaks valgrind threads

target=${CARGO_TARGET_DIR:-$PWD/target}
logs=$target/memory
mkdir -p "$logs"
export GST_REGISTRY=$logs/registry.bin GST_REGISTRY_FORK=no GST_PLUGIN_PATH=$logs/plugin

# FAN is the element, Q what is between it and a consumer.
lines=(
  'raw videotestsrc num-buffers=60 ! video/x-raw,width=64,height=48 ! FAN name=t t. Q ! fakesink t. Q ! fakesink'
  'slow videotestsrc num-buffers=60 ! video/x-raw,width=64,height=48 ! FAN name=t t. Q ! identity sleep-time=20000 ! fakesink t. Q ! fakesink'
  'caps videotestsrc num-buffers=30 ! video/x-raw,width=64,height=48 ! FAN name=t t. Q ! videoconvert ! videoscale ! video/x-raw,width=32,height=32,format=RGB ! fakesink t. Q ! fakesink'
  'coded videotestsrc num-buffers=60 ! video/x-raw,width=64,height=48 ! x264enc tune=zerolatency speed-preset=ultrafast ! h264parse ! FAN name=t t. Q ! avdec_h264 ! fakesink t. Q ! fakesink'
)

build() {
  cargo build --locked
  mkdir -p "$GST_PLUGIN_PATH"
  cp "$target/debug/libgstdronetee.so" "$GST_PLUGIN_PATH/"
  gst-inspect-1.0 dronetee >/dev/null
}

# The line with tee or dronetee.
spelled() {
  case $1 in
    tee) sed 's/FAN/tee/; s/ Q / ! queue leaky=downstream max-size-buffers=4 /g' <<<"$2" ;;
    dronetee) sed 's/FAN/dronetee/; s/ Q / /g' <<<"$2" ;;
  esac
}

# Objects that are alive at the end, by the leaks tracer.
leaks() {
  build
  local line name words element count failed=0
  local -A alive
  for line in "${lines[@]}"; do
    name=${line%% *}
    for element in tee dronetee; do
      read -r -a words <<<"$(spelled "$element" "${line#* }")"
      GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 GST_DEBUG_NO_COLOR=1 GST_DEBUG_FILE=$logs/leaks-$name-$element \
        gst-launch-1.0 -q "${words[@]}"
      count=$(grep -c 'object-alive' "$logs/leaks-$name-$element" || true)
      alive[$element]=$count
    done
    echo "memory: $name: ${alive[dronetee]} objects alive at the end, ${alive[tee]} with tee"
    [ "${alive[dronetee]}" -le "${alive[tee]}" ] || failed=1
  done
  [ "$failed" = 0 ] || {
    echo "memory: dronetee leaves objects, see $logs/leaks-*" >&2
    return 1
  }
}

memcheck() {
  local log=$1
  shift
  local suppressions=() file
  for file in /usr/share/glib-2.0/valgrind/glib.supp tests/valgrind.supp; do
    [ ! -e "$file" ] || suppressions+=("--suppressions=$file")
  done
  G_SLICE=always-malloc G_DEBUG=gc-friendly valgrind --tool=memcheck --leak-check=full --num-callers=30 \
    --show-leak-kinds=definite --errors-for-leak-kinds=definite "${suppressions[@]}" --log-file="$log" "$@"
}

# What valgrind found, each once: its kind and the first functions.
found() {
  awk '/^==[0-9]+== (Invalid|Conditional|Use of|Syscall|Mismatched|Source and|[0-9,]+ (\([^)]*\) )?bytes in)/ {
         kind = $0; sub(/^==[0-9]+== /, "", kind); gsub(/[0-9,]+/, "N", kind); where = ""; n = 0; inside = 1; next }
       inside && /   (at|by) 0x/ { if (n++ < 12) { f = $0; sub(/.*0x[0-9A-F]+: /, "", f); where = where " < " f } next }
       inside && /^==[0-9]+== *$/ { print kind where; inside = 0 }' "$1" | sort -u
}

valgrind_() {
  build
  local line name words element own failed=0
  for line in "${lines[@]}"; do
    name=${line%% *}
    for element in tee dronetee; do
      read -r -a words <<<"$(spelled "$element" "${line#* }")"
      memcheck "$logs/valgrind-$name-$element" gst-launch-1.0 -q "${words[@]}"
      found "$logs/valgrind-$name-$element" >"$logs/found-$name-$element"
    done
    own=$(grep -c 'gstdronetee\|dronetee::' "$logs/found-$name-dronetee" || true)
    echo "memory: $name: $(wc -l <"$logs/found-$name-dronetee") kinds of reports, $own of them in the plugin," \
      "$(wc -l <"$logs/found-$name-tee") with tee"
    if [ "$own" -gt 0 ] ||
      [ "$(wc -l <"$logs/found-$name-dronetee")" -gt "$(wc -l <"$logs/found-$name-tee")" ]; then
      failed=1
    fi
  done
  # Under valgrind a call may take long: so no more than a few rounds, of seeds without encoders.
  local stress
  stress=$(cargo test --locked --all-features --test stress --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
  STRESS_PATIENCE=300 memcheck "$logs/valgrind-stress" "$stress" --seed 1 --rounds 2
  cargo build --locked --example threads
  memcheck "$logs/valgrind-example" "$target/debug/examples/threads" >/dev/null
  for name in stress example; do
    found "$logs/valgrind-$name" >"$logs/found-$name"
    own=$(grep -c 'gstdronetee\|dronetee::' "$logs/found-$name" || true)
    echo "memory: $name: $(wc -l <"$logs/found-$name") kinds of reports, $own of them in the plugin"
    [ "$own" = 0 ] || failed=1
  done
  [ "$failed" = 0 ] || {
    echo "memory: valgrind found what it does not find with tee, see $logs/found-*" >&2
    return 1
  }
}

# The core and the reporter with threads, under ThreadSanitizer.
threads() {
  local program
  program=$target/tsan/x86_64-unknown-linux-gnu/debug/interleavings
  (
    cd tests/interleavings
    RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' \
      CARGO_TARGET_DIR=$target/tsan cargo build --locked --quiet --features threads --target x86_64-unknown-linux-gnu
    TSAN_OPTIONS='suppressions=tsan.supp halt_on_error=1' "$program" --seconds 20
  )
}

for part in "$@"; do
  case $part in
    leaks | threads) "$part" ;;
    valgrind) valgrind_ ;;
    *)
      echo "memory: there is no part '$part'" >&2
      exit 2
      ;;
  esac
done
