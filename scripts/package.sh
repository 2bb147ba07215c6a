#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Builds the Debian package, checks it with lintian, and tries it in clean Debian systems:
#   scripts/package.sh [--package FILE] [--in FOLDER] [SUITE]…   (without a suite: bookworm trixie)
# FILE is a package that is there already. In FOLDER (/var/tmp) the systems are made and removed.
# DEBFULLNAME and DEBEMAIL are the maintainer's, as for Debian's own tools.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=/var/tmp
package=
suites=()
while [ $# -gt 0 ]; do
  case $1 in
    --in) folder=${2:?--in takes a folder} && shift ;;
    --package) package=${2:?--package takes a file} && shift ;;
    -h | --help)
      sed -n '3,6s/^# //p' "$0"
      exit
      ;;
    -*)
      echo "package: '$1' is no option, see --help" >&2
      exit 2
      ;;
    *) suites+=("$1") ;;
  esac
  shift
done
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)

scripts/setup.sh package
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)

if [ -z "$package" ]; then
  command -v cargo-deb >/dev/null || {
    echo 'package: cargo-deb is missing: cargo install --locked cargo-deb' >&2
    exit 1
  }
  maintainer=()
  [ -z "${DEBEMAIL:-}" ] || maintainer=(--maintainer "${DEBFULLNAME:-$DEBEMAIL} <$DEBEMAIL>")
  package=$(cargo deb --locked --multiarch=same --strip "${maintainer[@]}" | tail -n 1)
fi
echo "package: $package"
lintian --allow-root --fail-on error "$package"

# What a user would do, inside the clean system.
try() {
  local root=$1
  "${as_root[@]}" cp "$package" "$root/tmp/dronetee.deb"
  "${as_root[@]}" chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive sh -eu <<'INSIDE'
apt-get update -qq
apt-get install -qq -o Dpkg::Use-Pty=0 --no-install-recommends /tmp/dronetee.deb >/dev/null
plugin=$(dpkg -L gstreamer1.0-dronetee | grep 'libgstdronetee\.so$')
apt-get install -qq -o Dpkg::Use-Pty=0 --no-install-recommends gstreamer1.0-tools gstreamer1.0-plugins-base >/dev/null
gst-inspect-1.0 dronetee | grep -F "${plugin#/usr}"
gst-launch-1.0 -m videotestsrc num-buffers=90 ! video/x-raw,framerate=30/1 ! dronetee name=t \
  t.src_detection_client ! fakesink t.src_telemetry ! fakesink >/tmp/log
test "$(grep -c 'dronetee-summary.* in=(guint64)90' /tmp/log)" = 2
apt-get remove -qq -o Dpkg::Use-Pty=0 gstreamer1.0-dronetee >/dev/null
test ! -e "$plugin"
! gst-inspect-1.0 dronetee >/dev/null 2>&1
INSIDE
}

clean_up() {
  [ -z "${root:-}" ] || "${as_root[@]}" rm -rf --one-file-system "$root"
}
trap clean_up EXIT
for suite in "${suites[@]}"; do
  root=$(mktemp -d "$folder/dronetee-$suite.XXXXXX")
  echo "package: making a clean $suite in $root"
  "${as_root[@]}" chmod 755 "$root"
  "${as_root[@]}" debootstrap --variant=minbase "$suite" "$root" >"$root.log" 2>&1 || {
    tail -n 5 "$root.log" >&2
    exit 1
  }
  rm "$root.log"
  try "$root"
  echo "package: installed, run and removed on $suite"
  clean_up
  root=
done
