#!/bin/bash
# Installs what is missing of the packages listed in image/packages.txt (or in the files named as
# arguments), and a Rust toolchain from Debian when there is no cargo at all. Touches nothing else.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

wanted() {
    sed -e 's/#.*//' "$@" | awk 'NF { print $1 }'
}

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
while read -r package; do
    installed "$package" || missing+=("$package")
done < <(wanted "${@:-$here/packages.txt}")
command -v cargo >/dev/null || missing+=(rustc-web cargo-web)
[ ${#missing[@]} -gt 0 ] || exit 0

echo "packages: installing ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "packages: run as root: apt-get install ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# A plain --yes may remove a package that conflicts (a backported qemu-utils breaks Debian 12's own
# qemu-system-x86): apt names it in its output, and so do we.
install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes \
        --no-install-recommends "${missing[@]}" >"$log" 2>&1
}

# The package lists may be absent or too old to still be downloadable; refresh them only then.
if ! install; then
    echo "packages: refreshing the package lists"
    "${as_root[@]}" apt-get update >/dev/null
    install || {
        cat "$log" >&2
        echo "packages: apt-get could not install: ${missing[*]}" >&2
        exit 1
    }
fi
grep '^Removing ' "$log" || true
