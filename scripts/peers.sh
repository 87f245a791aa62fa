#!/bin/sh
# Holds `tcpflow analyze` against tshark: on captures/, on what each scenario of `tcpflow demo` puts on the wire, and on a folder of captures with tshark's answers beside them.
#
# usage: scripts/peers.sh
#
# TCPFLOW_CAPTURES names that folder and TCPFLOW_COMPARE the program that compares; what is not there is skipped, and said.
# The debug build is tried, in which every overflow is a panic.
set -eu
cd "$(dirname "$0")/.."

skipped() {
    printf '\n  SKIPPED  %s\n           %s\n\n' "$1" "$2" >&2
}

if command -v tshark >/dev/null 2>&1; then
    ${CARGO:-cargo} test --locked --test peers --test lab_tshark -- --ignored
else
    skipped "comparison of captures/ and of every scenario with tshark" "tshark is not installed"
fi

captures=${TCPFLOW_CAPTURES:-../shared/captures}
compare=${TCPFLOW_COMPARE:-../shared/check/compare_tshark.py}
if [ ! -d "$captures" ]; then
    skipped "comparison with tshark's stored answers" "no folder $captures; TCPFLOW_CAPTURES names one"
elif [ ! -f "$compare" ]; then
    skipped "comparison with tshark's stored answers" "no program $compare; TCPFLOW_COMPARE names one"
elif ! command -v python3 >/dev/null 2>&1; then
    skipped "comparison with tshark's stored answers" "python3 is not installed"
else
    python3 "$compare" --bin "$(scripts/target.sh)/debug/tcpflow" "$captures"
fi
