#!/bin/sh
# Builds a program of this tree, static, as those on the device are: program.sh PACKAGE PROGRAM. It lands in build/ of the app.
set -eu
target=x86_64-unknown-linux-gnu
tree=$(cd "$(dirname "$0")/../.." && pwd)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$tree/target}"
export CARGO_ENCODED_RUSTFLAGS=-Ctarget-feature=+crt-static
cargo build --manifest-path "$tree/Cargo.toml" --quiet --profile release --target "$target" -p "$1"
mkdir -p build
cp "$CARGO_TARGET_DIR/$target/release/$2" "build/$2"
