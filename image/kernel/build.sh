#!/bin/bash
# Builds Gabion's kernel from Debian's linux-source-6.12 and prints, as its last line, the directory
# that holds `bzImage` and `config`. The result is kept in a cache, named by the hash of everything
# that goes into it, so that it is built once per configuration. Installs nothing, runs as anybody.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
fragment=$here/gabion.config
tarball=${KERNEL_TARBALL:-/usr/src/linux-source-6.12.tar.xz}
cache=${GABION_CACHE:-$HOME/.cache/gabion}/kernel

say() { echo "kernel: $*" >&2; }
die() { say "$*"; exit 1; }

[ -r "$tarball" ] || die "no $tarball; run: make packages"
source_version=$(dpkg-query -W -f='${Version}' linux-source-6.12 2>/dev/null || sha256sum <"$tarball")
compiler=$(gcc -dumpfullversion)
key=$(cat "$fragment" "$0" - <<<"$source_version $compiler" | sha256sum | cut -c1-64)
out=$cache/$key
if [ -s "$out/bzImage" ]; then
    echo "$out"
    exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ -s "$out/bzImage" ]; then
    echo "$out"
    exit 0
fi
work=$cache/build
tree=$work/linux-source-6.12

# The tree of an earlier configuration of the same source is kept: a changed fragment then costs
# minutes instead of a quarter of an hour.
if [ "$(cat "$work/source" 2>/dev/null)" != "$source_version" ]; then
    say "unpacking $tarball ($source_version)"
    rm -rf "$work"
    mkdir -p "$work"
    tar -xf "$tarball" -C "$work"
    echo "$source_version" >"$work/source"
fi

# The build must not know when, where or by whom it was run.
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 2026'
export KBUILD_BUILD_USER=gabion KBUILD_BUILD_HOST=gabion KBUILD_BUILD_VERSION=1
export LC_ALL=C
kmake() { make -s -C "$tree" ARCH=x86 "$@"; }

say "configuring"
kmake tinyconfig >"$work/log" 2>&1
(cd "$tree" && ./scripts/kconfig/merge_config.sh -m .config "$fragment") >>"$work/log" 2>&1
kmake olddefconfig >>"$work/log" 2>&1

# Kconfig drops what it cannot satisfy without a word; a hardened setting must not vanish like that.
lost=$(while read -r line; do
    case $line in
    CONFIG_*=n) name=${line%%=*}; grep -q "^$name=" "$tree/.config" && echo "  $line" ;;
    CONFIG_*) grep -qxF -- "$line" "$tree/.config" || echo "  $line" ;;
    "# CONFIG_"*" is not set")
        name=${line#\# }
        grep -q "^${name%% *}=" "$tree/.config" && echo "  $line" ;;
    esac
done <"$fragment" || true)
[ -z "$lost" ] || die "these lines of gabion.config did not survive:"$'\n'"$lost"
if [ "${1:-}" = --config-only ]; then
    say "the configuration is consistent"
    exit 0
fi

say "compiling with $(nproc) jobs; about 15 minutes of processor time, once"
start=$SECONDS
make -C "$tree" ARCH=x86 -j"$(nproc)" bzImage >>"$work/log" 2>&1 &
compiler_pid=$!
trap 'kill $compiler_pid 2>/dev/null || true' INT TERM
while kill -0 $compiler_pid 2>/dev/null; do
    sleep 1
    if [ $(((SECONDS - start) % 20)) -eq 0 ]; then
        say "$((SECONDS - start)) s, $(grep -c '^  CC ' "$work/log" || true) files compiled"
    fi
done
wait $compiler_pid || {
    grep -E 'error|Error' "$work/log" | tail -20 >&2
    die "the compilation failed; all of it is in $work/log"
}

rm -rf "$out.new"
mkdir -p "$out.new"
cp "$tree/arch/x86/boot/bzImage" "$out.new/bzImage"
cp "$tree/.config" "$out.new/config"
rm -rf "$out"
mv "$out.new" "$out"
say "done in $((SECONDS - start)) s: $(stat -c %s "$out/bzImage") bytes"
echo "$out"
