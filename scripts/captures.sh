#!/bin/sh
# Makes the captures in captures/ anew, each with its stored timeline, summary and JSON lines, and their index.
#
# usage: scripts/captures.sh TCPFLOW FOLDER
#
# All is made in a folder beside FOLDER and put in place at the end, so that FOLDER is never half made.
set -eu
tcpflow=$(realpath "$1")
folder=$2
export LC_ALL=C.UTF-8
unset COLUMNS

new=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$new"' EXIT
chmod 755 "$new"

cat >"$new/INDEX.md" <<'END'
# Captures

Each was made by tcpflow itself, from real sockets on a real kernel, by the command beside it; `make captures` makes them all anew.
Beside each file stand its outputs, which a test holds `tcpflow analyze` to: `.summary.txt` (the table, `--width 160`), `.timeline.txt` (`--timeline --width 120`), `.breakdown.txt` (`--breakdown --width 100`) and `.jsonl` (`--timeline --format jsonl`).

| file | what it shows | made by |
|---|---|---|
END

# capture FILE SENTENCE OPTION...: one demo, its capture and its outputs.
capture() {
    file=$1 sentence=$2
    shift 2
    echo "captures: $file" >&2
    case $file in
    *.gz)
        "$tcpflow" demo "$@" --save "$new/${file%.gz}" >/dev/null
        gzip -n -9 "$new/${file%.gz}"
        ;;
    *) "$tcpflow" demo "$@" --save "$new/$file" >/dev/null ;;
    esac
    (
        cd "$new"
        "$tcpflow" analyze --color never --width 160 "$file" >"$file.summary.txt"
        "$tcpflow" analyze --color never --width 120 --timeline "$file" >"$file.timeline.txt"
        "$tcpflow" analyze --color never --width 100 --breakdown "$file" >"$file.breakdown.txt"
        "$tcpflow" analyze --timeline --format jsonl "$file" >"$file.jsonl"
    )
    echo "| \`$file\` | $sentence | \`tcpflow demo $*\` |" | sed 's/ `tcpflow demo ` / `tcpflow demo` /' >>"$new/INDEX.md"
}

capture echo-v4.pcapng "A connection's whole life over IPv4: handshake, ten octets each way, the client closes first."
capture echo-v6.pcapng "The same over IPv6." --ipv6
capture server-closes-first.pcapng "The server closes first, and so it is the one that waits in TIME-WAIT; a second server on its port fails." --first-close server --rebind
capture megabyte-mtu1500.pcapng.gz "A megabyte and its echo in textbook-sized segments: sends and segments and receives are many-to-many." --size 1000000 --mtu 1500
capture three-clients.pcapng "Three clients at once: one listening socket, three connections." --clients 3
capture refused-then-connected.pcapng "A socket that is refused, as nobody listens yet, and connects again: two connections of one socket." --retry same
capture descriptor-used-again.pcapng "The same with a new socket, which has the descriptor of the first: each connection has its own calls." --retry new
capture refused.pcapng "Nobody listens: the SYN is answered with RST, and connect fails with ECONNREFUSED." --refused

mkdir -p "$folder"
for made in "$new"/*; do
    mv -f "$made" "$folder/"
done
