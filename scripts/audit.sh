#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Checks what the crate is built with: fewer features than the tests', the oldest Rust that it promises, and its
# dependencies' licences, advisories and number of GStreamer bindings. Says what it can not check here.
set -euo pipefail
cd "$(dirname "$0")/.."
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# Nothing is linked: the tests' library stays as it is.
for features in '' serde metrics; do
  cargo clippy --locked --quiet --lib --no-default-features --features "$features" -- -D warnings
done
echo 'audit: the crate builds without its features, and with each alone'

# Clippy's incompatible_msrv, which scripts/test.sh runs, covers the standard library's names.
python3 - "$oldest" <(cargo metadata --locked --all-features --format-version 1) <<'EOP'
import json, sys

def version(text):
    return tuple(int(part) for part in text.split("."))

oldest, metadata = sys.argv[1], json.load(open(sys.argv[2]))
newer = [f"{p['name']} {p['version']} needs Rust {p['rust_version']}" for p in metadata["packages"]
         if p["rust_version"] and version(p["rust_version"]) > version(oldest)]
if newer:
    sys.exit(f"audit: more than the promised Rust {oldest} is needed:\n  " + "\n  ".join(newer))
print(f"audit: no dependency says that it needs more than Rust {oldest}")
EOP

toolchain=
for name in "$oldest" "$oldest.0"; do
  ! cargo "+$name" --version >/dev/null 2>&1 || toolchain=$name
done
if [ -n "$toolchain" ]; then
  CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/oldest \
    cargo "+$toolchain" check --locked --all-targets --all-features
else
  echo "audit: NOT built with Rust $oldest, which is not here (rustup toolchain install $oldest)"
fi

if command -v cargo-deny >/dev/null; then
  cargo deny --locked check licenses bans sources
  # The database is a repository, which not every machine reaches.
  if timeout 120 cargo deny fetch db >/dev/null 2>&1; then
    cargo deny --locked check --disable-fetch advisories
  else
    echo 'audit: advisories NOT checked, their database can not be fetched'
  fi
else
  echo 'audit: licences and advisories NOT checked, cargo-deny is not here (cargo install --locked cargo-deny)'
fi
