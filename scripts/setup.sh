#!/bin/sh
# Sees that a C compiler, libpcap and cargo are there, and fetches what is not; touches nothing where all are.
#
# usage: scripts/setup.sh [--dry-run]
#
# With --dry-run the commands are shown and not run; the exit status is 1 when there would be any.
set -eu
cd "$(dirname "$0")/.."

dry_run=
case "${1-}" in
'') ;;
--dry-run) dry_run=yes ;;
*)
    echo "usage: scripts/setup.sh [--dry-run]" >&2
    exit 2
    ;;
esac

say() { echo "setup: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# Shows a command, then runs it.
run() {
    say "running: $*"
    if [ -n "$dry_run" ]; then
        missing=yes
        return 0
    fi
    "$@"
}

# Runs a command as root: as it is for root, else with sudo or doas, which may ask for a password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        run "$@"
    elif command -v sudo >/dev/null 2>&1; then
        run sudo "$@"
    elif command -v doas >/dev/null 2>&1; then
        run doas "$@"
    else
        die "neither sudo nor doas is here; run this as root, then try again: $*"
    fi
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Whether the C program on standard input compiles and links with these options.
compiles() {
    ${CC:-cc} -x c - -o "$scratch/a.out" "$@" >/dev/null 2>&1
}

has_compiler() {
    echo '#include <stdio.h>
int main(void) { return puts(""); }' | compiles
}

has_libpcap() {
    echo '#include <pcap.h>
int main(void) { return !pcap_lib_version(); }' | compiles ${LIBPCAP_LIBDIR:+"-L$LIBPCAP_LIBDIR"} -lpcap
}

wanted_rust=$(sed -n 's/^rust-version = "\([0-9]*\.[0-9]*\).*/\1/p' Cargo.toml)

has_cargo() {
    version=$(cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$version" ] || return 1
    [ "${version%.*}" -gt "${wanted_rust%.*}" ] ||
        { [ "${version%.*}" -eq "${wanted_rust%.*}" ] && [ "${version#*.}" -ge "${wanted_rust#*.}" ]; }
}

# Installs packages by the names that this system's package manager has for them.
install_packages() {
    case $manager in
    apt-get)
        # The lists of a fresh system are empty or old.
        as_root apt-get install -y --no-install-recommends "$@" ||
            { as_root apt-get update && as_root apt-get install -y --no-install-recommends "$@"; }
        ;;
    dnf) as_root dnf install -y "$@" ;;
    pacman) as_root pacman -Sy --needed --noconfirm "$@" ;;
    apk) as_root apk add "$@" ;;
    zypper) as_root zypper --non-interactive install "$@" ;;
    *) die "no package manager that is known here (apt-get, dnf, pacman, apk, zypper); install $* by hand, then try again" ;;
    esac
}

manager=none
for candidate in apt-get dnf pacman apk zypper; do
    if command -v "$candidate" >/dev/null 2>&1; then
        manager=$candidate
        break
    fi
done

case $manager in
apt-get) compiler='gcc libc6-dev' libpcap=libpcap-dev cargo= ;;
dnf) compiler='gcc glibc-devel' libpcap=libpcap-devel cargo=cargo ;;
pacman) compiler=gcc libpcap=libpcap cargo=rust ;;
apk) compiler='gcc musl-dev' libpcap=libpcap-dev cargo=cargo ;;
zypper) compiler='gcc glibc-devel' libpcap=libpcap-devel cargo=cargo ;;
*) compiler='a C compiler' libpcap='the headers of libpcap' cargo= ;;
esac

missing=
packages=
if ! has_compiler; then
    say "there is no C compiler that works"
    packages=$compiler
fi
# Without a compiler nothing can be told about libpcap; its package is harmless where it is there already.
if [ -n "$packages" ] || ! has_libpcap; then
    say "libpcap, or its headers, are not there"
    packages="$packages $libpcap"
fi
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # a list of names
    install_packages $packages
    if [ -z "$dry_run" ]; then
        has_libpcap || die "libpcap was installed, and still no program links with it; does \`cc -lpcap\` work?"
    fi
fi

if ! has_cargo; then
    say "there is no cargo of version $wanted_rust or newer"
    if command -v rustup >/dev/null 2>&1; then
        run rustup toolchain install stable --profile minimal
        run rustup default stable
    else
        if [ -n "$cargo" ]; then
            install_packages "$cargo"
        fi
        if [ -n "$dry_run" ] || ! has_cargo; then
            if [ -n "$cargo" ]; then
                say "where the system's cargo is too old, rustup brings a newer one into ~/.cargo"
            fi
            if ! command -v curl >/dev/null 2>&1; then
                install_packages curl ca-certificates
            fi
            run curl --proto '=https' --tlsv1.2 -sSfo "$scratch/rustup.sh" https://sh.rustup.rs
            run sh "$scratch/rustup.sh" -y --profile minimal --no-modify-path
        fi
    fi
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    if [ -z "$dry_run" ]; then
        has_cargo || die "cargo is still not there, or older than $wanted_rust; see https://rustup.rs"
    fi
fi

[ -z "$missing" ]
