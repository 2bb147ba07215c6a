#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Installs with meson into a folder and loads the plugin from there: by default, with a prefix,
# stripped, and with cargo-c, if it is here, as a static library in a C program too.
#   scripts/check-meson.sh [FOLDER]    (default: a new one in /var/tmp, removed at the end)
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh meson
if [ $# -gt 0 ]; then
  work=$1
  mkdir -p "$work"
else
  work=$(mktemp -d '/var/tmp/dronetee meson.XXXXXX')
  trap 'rm -rf "$work"' EXIT
fi

fail() {
  echo "check-meson: $*" >&2
  exit 1
}

# The plugin is in this folder, and GStreamer runs it from there.
loads() {
  [ -f "$1/libgstdronetee.so" ] || fail "no plugin in $1: $(find "$work" -name '*.so' -path '*gstreamer-1.0*')"
  GST_PLUGIN_PATH=$1 GST_REGISTRY=$work/registry.bin gst-inspect-1.0 dronetee >"$work/inspect"
  grep -qF "$1/libgstdronetee.so" "$work/inspect" || fail "loaded from elsewhere: $(grep Filename "$work/inspect")"
  echo "check-meson: loads from $1"
}

install_to() {
  rm -rf "$1"
  DESTDIR=$1 meson install -C "$work/build" --quiet
}

is_stripped() {
  ! readelf --sections --wide "$1" | grep -q ' \.symtab '
}

pluginsdir=$(pkg-config --variable=pluginsdir gstreamer-1.0)
[ -f "$work/build/build.ninja" ] || meson setup "$work/build"
meson configure "$work/build" --prefix /usr -Dstrip=false
install_to "$work/default"
loads "$work/default$pluginsdir"
is_stripped "$work/default$pluginsdir/libgstdronetee.so" && fail 'stripped, which nobody asked for'

before=$(stat -c %Y "$work/build/libgstdronetee.so")
meson compile -C "$work/build" >/dev/null
[ "$before" = "$(stat -c %Y "$work/build/libgstdronetee.so")" ] || fail 'built anew without a change'

meson configure "$work/build" --prefix /opt/drone --libdir lib -Dstrip=true
install_to "$work/prefix"
loads "$work/prefix/opt/drone/lib/gstreamer-1.0"
is_stripped "$work/prefix/opt/drone/lib/gstreamer-1.0/libgstdronetee.so" || fail 'not stripped'

if command -v cargo-cbuild >/dev/null; then
  cat >"$work/static.c" <<'EOC'
#include <gst/gst.h>
GST_PLUGIN_STATIC_DECLARE (dronetee);
int main (int argc, char **argv) {
  gst_init (&argc, &argv);
  GST_PLUGIN_STATIC_REGISTER (dronetee);
  return gst_element_factory_make ("dronetee", NULL) ? 0 : 1;
}
EOC
  export PKG_CONFIG_PATH=$work/prefix/opt/drone/lib/pkgconfig
  mapfile -d ' ' -t flags < <(pkg-config --cflags --libs --static gstdronetee gstreamer-1.0 | tr -d '\n')
  flags=("${flags[@]/#-L\/opt\/drone/-L$work/prefix/opt/drone}")
  rm -f "$work/prefix/opt/drone/lib/gstreamer-1.0/libgstdronetee.so"
  cc "$work/static.c" -o "$work/static" "${flags[@]}"
  GST_PLUGIN_PATH='' GST_REGISTRY=$work/registry-static.bin "$work/static" || fail 'the static plugin does not register'
  echo 'check-meson: a C program has it as a static library'
else
  echo 'check-meson: NOT checked as a static library, cargo-c is not here (cargo install cargo-c)'
fi
