#!/bin/sh
# Writes the evidence of the profile `strict`, ../need/strict: needs gcc, rustc, strace, and musl-gcc for musl's part.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

record() { # NAME WHAT PROGRAM
    mkdir "$work/$1.dir"
    echo input | strace -f -qq -o "$work/trace" "$3" "$work/$1.dir"
    { echo "# $2"; sed -nE 's/^[0-9]+ +([a-z0-9_]+)\(.*/\1/p' "$work/trace" | LC_ALL=C sort -u; } > "$here/../need/strict/$1.txt"
}

gcc -static -O1 -o "$work/glibc" "$here/ordinary.c"
record c-glibc "A static C program with glibc: tests/programs/strict/ordinary.c." "$work/glibc"
${MUSL_GCC:-musl-gcc} -static -O1 -o "$work/musl" "$here/ordinary.c"
record c-musl "The same program with musl." "$work/musl"
rustc --edition 2024 -O -C target-feature=+crt-static -o "$work/rust" "$here/ordinary.rs"
record rust "A static Rust program: tests/programs/strict/ordinary.rs." "$work/rust"
