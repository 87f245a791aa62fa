#!/bin/sh
# Holds the dependencies to deny.toml: licences, duplicate versions, sources, and known vulnerabilities where their database can be reached.
#
# usage: scripts/deny.sh
#
# cargo-deny is built into cargo's home where it is not there, which takes some minutes once.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
version=0.20.2

if ! "$cargo" deny --version >/dev/null 2>&1; then
    echo "deny: building cargo-deny $version with \`cargo install\`" >&2
    # Without the profile of whoever calls: a variable may ask for a debug build.
    "$cargo" install --locked --version "$version" cargo-deny
fi

"$cargo" deny --all-features --locked check --deny unmatched-skip bans licenses sources

# Only the database comes from elsewhere than the registry, and not every machine may go there.
if why=$("$cargo" deny --all-features --locked fetch db 2>&1); then
    "$cargo" deny --all-features --locked check --disable-fetch advisories
else
    printf '\n  SKIPPED  %s\n           %s\n%s\n\n' "known vulnerabilities of the dependencies" \
        "the advisory database could not be fetched:" "$(printf '%s\n' "$why" | sed 's/^/           /')" >&2
fi
