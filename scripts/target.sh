#!/bin/sh
# Prints the folder that cargo builds into: CARGO_TARGET_DIR and cargo's configuration decide, and otherwise it is target/ beside Cargo.toml.
#
# usage: scripts/target.sh
set -eu
cd "$(dirname "$0")/.."
# An empty one is none for make, and an error for cargo.
[ -n "${CARGO_TARGET_DIR:-}" ] || unset CARGO_TARGET_DIR

if metadata=$(${CARGO:-cargo} metadata --format-version 1 --no-deps --offline 2>/dev/null); then
    folder=$(printf '%s\n' "$metadata" | sed -n 's/.*"target_directory":"\(\([^"\\]\|\\.\)*\)".*/\1/p' | sed 's/\\\(["\\]\)/\1/g')
    # Where a machine is named that is built for, cargo makes a folder of its name.
    folder=$folder${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET}
else
    # Root, who installs what a user built, may have no cargo.
    folder=${CARGO_TARGET_DIR:-$PWD/target}${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET}
fi
printf '%s\n' "$folder"
