#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# What meson.build runs: builds the plugin with cargo, or with cargo-c the static library and its
# pkg-config file too, and puts each output where meson wants it.
#   scripts/meson-cargo.sh SOURCE_DIR DEPFILE OUTPUT…
set -eu
source_dir=$1 depfile=$2
shift 2

built=$CARGO_TARGET_DIR/${RUST_TARGET:+$RUST_TARGET/}
[ "$PROFILE" = release ] && built=${built}release || built=${built}debug

if [ -n "$CARGO_C" ]; then
  host=$(rustc -vV | sed -n 's/^host: //p')
  [ -n "$RUST_TARGET" ] || built=$CARGO_TARGET_DIR/$host/${built##*/}
  "$CARGO" cbuild --profile "$PROFILE" --locked --manifest-path "$source_dir/Cargo.toml" \
    --target "${RUST_TARGET:-$host}" --prefix "$PREFIX" --libdir "$LIBDIR" \
    --library-type cdylib --library-type staticlib
else
  "$CARGO" build --profile "$PROFILE" --locked --lib --manifest-path "$source_dir/Cargo.toml" \
    ${RUST_TARGET:+--target "$RUST_TARGET"}
fi

for output in "$@"; do
  case $output in
    # The library is where the plugin is.
    *.pc) sed "s|^libdir=.*|libdir=$LIBDIR|; s|^Libs: -L[^ ]*|Libs: -L$PLUGINS_DIR|" "$built/${output##*/}" >"$output" ;;
    *.so)
      cp "$built/${output##*/}" "$output"
      [ -z "$STRIP" ] || "$STRIP" --strip-unneeded "$output"
      ;;
    *) cp "$built/${output##*/}" "$output" ;;
  esac
done

# Cargo's list of sources, which is of the file as cargo names it.
{
  printf '%s:' "$1"
  sed -n '1s/^.*libgstdronetee\.[a-z]*://p' "$built/libgstdronetee.d"
} >"$depfile"
