#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Builds the plugin and its Debian package for 64-bit ARM on a PC, and runs a pipeline of 90 frames
# with it under qemu's user mode:
#   scripts/cross-arm64.sh [--in FOLDER] [--suite SUITE] [--debian-rust]
# Debian's packages for ARM are unpacked in FOLDER (/var/tmp/dronetee-arm64), nothing of ARM is
# installed on this machine. SUITE (bookworm) is the oldest Debian that the plugin is to run on.
# --debian-rust takes the compiler of Debian 13, unpacked as well, where rustup can not get the
# standard library for ARM.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=/var/tmp/dronetee-arm64
suite=bookworm
debian_rust=
while [ $# -gt 0 ]; do
  case $1 in
    --in) folder=${2:?--in takes a folder} && shift ;;
    --suite) suite=${2:?--suite takes a suite of Debian} && shift ;;
    --debian-rust) debian_rust=yes ;;
    -h | --help)
      sed -n '3,10s/^# \{0,1\}//p' "$0"
      exit
      ;;
    *)
      echo "cross-arm64: '$1' is no option, see --help" >&2
      exit 2
      ;;
  esac
  shift
done
scripts/setup.sh arm64

target=aarch64-unknown-linux-gnu
triplet=aarch64-linux-gnu
root=$folder/$suite
built=${CARGO_TARGET_DIR:-target}/$target/release
mkdir -p "$folder"

fail() {
  echo "cross-arm64: $*" >&2
  exit 1
}

# Which package each library is of, as lines "NAME PACKAGE VERSION" in libraries.
# shellcheck disable=SC2016 # mmdebstrap's shell expands it
note_libraries='for deb in "$1"/var/cache/apt/archives/*.deb; do
  package=$(dpkg-deb --show --showformat="\${Package} \${Version}" "$deb")
  dpkg-deb --fsys-tarfile "$deb" | tar --list |
    sed -n "s#.*/\(lib[^/]*\.so\.[0-9]*\)\$#\1 $package#p" >>"$1/libraries"
done'

# Unpacks packages with all that they depend on, once: unpack NAME SUITE ARCHITECTURES PACKAGES.
unpack() {
  [ ! -e "$folder/$1.complete" ] || return 0
  echo "cross-arm64: unpacking Debian's packages ($2, $3) in $folder/$1" >&2
  rm -rf --one-file-system "${folder:?}/$1"
  mmdebstrap --quiet --variant=extract --architectures="$3" --include="$4" --skip=check/qemu \
    --extract-hook="$note_libraries" "$2" "$folder/$1" http://deb.debian.org/debian
  touch "$folder/$1.complete"
}

# A compiler with the standard library for ARM.
provide_rust() {
  if [ -n "$debian_rust" ]; then
    unpack rust trixie amd64,arm64 rustc-web,libstd-rust-web-dev:amd64,libstd-rust-web-dev:arm64
    local rust=$folder/rust wrapper=$folder/rustc
    # With the C library that it was built for, which may be newer than this machine's.
    cat >"$wrapper" <<EOW
#!/bin/sh
exec '$rust/usr/lib64/ld-linux-x86-64.so.2' \\
  --library-path '$rust/usr/lib/x86_64-linux-gnu:$rust/usr/lib' \\
  '$rust/usr/bin/rustc' --sysroot '$rust/usr' "\$@"
EOW
    chmod +x "$wrapper"
    export RUSTC=$wrapper
  elif [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
    command -v rustup >/dev/null ||
      fail "rustc has no standard library for $target: install Debian's libstd-rust-dev:arm64, or --debian-rust"
    rustup target add "$target" || fail "rustup can not get it: try --debian-rust"
  fi
}

unpack "$suite" "$suite" arm64 libc6-dev,libgcc-12-dev,libgstreamer1.0-dev,libgstreamer-plugins-base1.0-dev,gstreamer1.0-tools,gstreamer1.0-plugins-base
provide_rust

export PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_SYSROOT_DIR=$root
export PKG_CONFIG_LIBDIR=$root/usr/lib/$triplet/pkgconfig:$root/usr/share/pkgconfig
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$triplet-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-Clink-arg=--sysroot=$root"
cargo build --locked --release --lib --target "$target"
file=$built/libgstdronetee.so
$triplet-readelf --file-header "$file" | grep -q AArch64 || fail "$file is not for ARM"

# The packages of the libraries that it needs, of this suite or newer.
dependencies() {
  local library name package version list=()
  while read -r library; do
    read -r name package version <<<"$(grep -m 1 "^${library//./\\.} " "$root/libraries")"
    [ -n "$name" ] || fail "no package of $suite has $library"
    version=${version#*:}
    list+=("$package (>= ${version%-*})")
  done < <($triplet-readelf --dynamic --wide "$file" |
    sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | grep -v '^ld-linux' | sort -u)
  printf '%s\n' "${list[@]}" | sort -u | paste --serial --delimiters=, | sed 's/,/, /g'
}

# cargo-deb asks the dpkg of this machine for the libraries, which knows none of ARM.
make_package() {
  command -v cargo-deb >/dev/null || fail 'cargo-deb is missing: cargo install --locked cargo-deb'
  local package content=$folder/content
  package=$(cargo deb --locked --quiet --no-build --no-strip --target "$target" --multiarch=same \
    --output "$folder" 2>/dev/null | tail -n 1)
  rm -rf "$content"
  dpkg-deb --raw-extract "$package" "$content"
  $triplet-strip --strip-unneeded "$content/usr/lib/$triplet/gstreamer-1.0/libgstdronetee.so"
  sed -i -e '/^Depends:/d' -e "/^Architecture:/a Depends: $(dependencies)" "$content/DEBIAN/control"
  (cd "$content" && find usr -type f -exec md5sum {} +) >"$content/DEBIAN/md5sums"
  dpkg-deb --root-owner-group --build "$content" "$package" >/dev/null
  rm -rf "$content"
  echo "$package"
}

# As on a drone: the package's plugin, and the GStreamer of the suite, on an emulated processor.
run_pipeline() {
  local try=$folder/try plugins=usr/lib/$triplet/gstreamer-1.0
  rm -rf "$try"
  dpkg-deb --extract "$1" "$try"
  GST_PLUGIN_SYSTEM_PATH=$root/$plugins GST_PLUGIN_PATH=$try/$plugins GST_REGISTRY=$folder/registry.bin \
    GST_REGISTRY_FORK=no LD_LIBRARY_PATH='' \
    qemu-aarch64-static -L "$root" "$root/usr/bin/gst-launch-1.0" -m \
    videotestsrc num-buffers=90 ! video/x-raw,width=160,height=120,framerate=30/1 ! dronetee name=t depth=90 \
    t.src_detection_client ! fakesink t.src_telemetry ! fakesink >"$folder/log"
  [ "$(grep -c 'dronetee-summary.* in=(guint64)90' "$folder/log")" = 2 ] || fail "see $folder/log"
}

package=$(make_package)
dpkg-deb --info "$package" | sed -n 's/^ \(Package\|Architecture\|Depends\)/cross-arm64: \1/p'
if command -v lintian >/dev/null; then
  lintian --allow-root --fail-on error "$package"
fi
run_pipeline "$package"
echo "cross-arm64: 90 frames went through the plugin on an emulated ARM"
echo "$package"
