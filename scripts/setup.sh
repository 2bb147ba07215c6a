#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Installs the Debian packages that a job needs, and nothing where all are there:
#   scripts/setup.sh [demo|test|bench|meson|package|arm64|pictures|zenoh]…    (without a job: demo and test)
set -euo pipefail
cd "$(dirname "$0")/.."

# To build the plugin, and the elements and libraries of the demo.
demo=(
  gcc libc6-dev pkg-config
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav
)
# The tests run launch lines, a Python program, kill, script and Prometheus.
test=(
  gstreamer1.0-tools procps bsdutils prometheus
  python3 python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0
)
bench=(valgrind util-linux patch)
meson=(meson ninja-build gstreamer1.0-tools binutils)
package=(dpkg-dev debootstrap lintian binutils)
# Cross-building needs nothing of the demo but a C compiler, for build scripts.
arm64=(gcc libc6-dev pkg-config gcc-aarch64-linux-gnu mmdebstrap qemu-user-static dpkg-dev)
# What scripts/pictures.py draws with.
pictures=(graphviz python3 python3-gi gir1.2-gstreamer-1.0)
zenoh=(python3-venv)

packages=()
[ $# -gt 0 ] || set -- demo test
for job in "$@"; do
  case $job in
    demo) packages+=("${demo[@]}") ;;
    test) packages+=("${demo[@]}" "${test[@]}") ;;
    bench) packages+=("${demo[@]}" "${bench[@]}") ;;
    meson) packages+=("${demo[@]}" "${meson[@]}") ;;
    package) packages+=("${demo[@]}" "${package[@]}") ;;
    arm64) packages+=("${arm64[@]}") ;;
    pictures) packages+=("${demo[@]}" "${pictures[@]}") ;;
    zenoh) packages+=("${demo[@]}" "${zenoh[@]}") ;;
    -h | --help)
      sed -n 's/^# \{0,1\}//; 3,4p' "$0"
      exit
      ;;
    *)
      echo "setup: '$job' is none of demo, test, bench, meson, package, arm64, pictures, zenoh" >&2
      exit 2
      ;;
  esac
done
mapfile -t packages <<<"$(printf '%s\n' "${packages[@]}" | sort -u)"

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# Before anything is installed: without the right Rust all of it would be for nothing.
check_rust() {
  local needed version path
  needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  if ! path=$(command -v cargo); then
    [ ! -x "$HOME/.cargo/bin/cargo" ] ||
      fail "Rust is in ~/.cargo/bin, which is not in PATH: . ~/.cargo/env"
    fail "Rust is missing: install $needed or later (https://rustup.rs)"
  fi
  version=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) || true
  [ -n "$version" ] || fail "$path has no compiler: rustup toolchain install stable"
  [ "$(printf '%s\n' "$needed" "${version%%-*}" | sort -V | head -n 1)" = "$needed" ] ||
    fail "Rust $version is too old (${path%/*}): install $needed or later (https://rustup.rs)"
}

# Of this machine's architecture: with a foreign one added, a package may be there twice.
is_installed() {
  local states
  states=$(dpkg-query --show --showformat='${Architecture} ${db:Status-Status}\n' "$1" 2>/dev/null) || true
  grep -qE "^($native|all) installed\$" <<<"$states"
}

# Where there is no apt, the packages have other names; the libraries have the same.
check_without_apt() {
  local module absent=()
  for module in gstreamer-1.0 gstreamer-base-1.0 gstreamer-video-1.0 gstreamer-app-1.0 \
    gstreamer-allocators-1.0 gstreamer-check-1.0 gstreamer-rtsp-server-1.0; do
    pkg-config --exists "$module" 2>/dev/null || absent+=("$module")
  done
  [ ${#absent[@]} -gt 0 ] || return 0
  fail "there is no apt-get here. These are Debian's names of what is needed:" \
    "${packages[@]/#/  }" "pkg-config does not find: ${absent[*]}"
}

install_missing() {
  local as_root=() size
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "install as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  echo "setup: installing ${missing[*]}" >&2
  "${as_root[@]}" apt-get update -q >&2
  # Its answer is no, so that it tells the size and ends with a failure.
  size=$(LC_ALL=C apt-get install -o Debug::NoLocking=1 --assume-no --no-install-recommends \
    "${missing[@]}" 2>/dev/null | sed -n 's/^Need to get \(.*\) of archives.*/\1/p') || true
  [ -z "$size" ] || echo "setup: this downloads $size" >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}

check_rust
if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
  native=$(dpkg --print-architecture)
  missing=()
  for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] || install_missing
else
  check_without_apt
fi
