#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Runs the test suite in a Debian system that it makes on this machine, with this machine's Rust:
#   scripts/test-debian.sh [--in FOLDER] [--fresh] 12|13 [ARGUMENT OF cargo test]…
# The system stays in FOLDER (/var/tmp) for the next time, and what was built there; --fresh begins anew.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=/var/tmp
fresh=
while [ $# -gt 0 ]; do
  case $1 in
    --in) folder=${2:?--in takes a folder} && shift ;;
    --fresh) fresh=1 ;;
    -h | --help)
      sed -n '3,5s/^# //p' "$0"
      exit
      ;;
    *) break ;;
  esac
  shift
done
case ${1:-} in
  12) suite=bookworm ;;
  13) suite=trixie ;;
  *)
    echo 'test-debian: say which Debian, 12 or 13, see --help' >&2
    exit 2
    ;;
esac
debian=$1
shift
root=$folder/dronetee-debian-$debian

[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env=PATH,CARGO_HOME,RUSTUP_HOME \
  "$0" --in "$folder" ${fresh:+--fresh} "$debian" "$@"
command -v debootstrap >/dev/null || scripts/setup.sh package

if [ -n "$fresh" ]; then
  rm -rf --one-file-system "$root"
fi
if [ ! -e "$root/complete" ]; then
  echo "test-debian: making a Debian $debian in $root"
  rm -rf --one-file-system "$root"
  mkdir -p "$root"
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" >"$root.log" 2>&1 || {
    tail -n 5 "$root.log" >&2
    exit 1
  }
  rm "$root.log"
  touch "$root/complete"
fi

cargo_home=${CARGO_HOME:-$HOME/.cargo}
toolchain=$(rustc --print sysroot)
mkdir -p "$root"/{project,rust,cargo,target} "$cargo_home/registry"

# In a name space of their own, so that no mount is left behind.
exec unshare --mount --pid --fork --kill-child -- bash -euo pipefail -s -- \
  "$PWD" "$root" "$toolchain" "$cargo_home" "$@" <<'MOUNTS'
project=$1 root=$2 toolchain=$3 cargo_home=$4
shift 4
mount --bind "$project" "$root/project"
mount --bind -o ro "$toolchain" "$root/rust"
mkdir -p "$root/cargo/registry"
mount --bind "$cargo_home/registry" "$root/cargo/registry"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
cp --dereference /etc/resolv.conf "$root/etc/resolv.conf"
exec chroot "$root" env -i HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
  PATH=/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/cargo CARGO_TARGET_DIR=/target \
  bash -euo pipefail -s -- "$@" <<'INSIDE'
cd /project
scripts/setup.sh test </dev/null
echo "test-debian: Debian $(cat /etc/debian_version), GStreamer $(pkg-config --modversion gstreamer-1.0), $(rustc --version)"
cargo test --locked --all-features "$@" </dev/null
INSIDE
MOUNTS
