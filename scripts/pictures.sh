#!/bin/sh
# Draws a demo and two analyzed captures at four widths, on black and on white, for someone to look at.
#
# usage: scripts/pictures.sh TCPFLOW FOLDER
#
# They are SVG, and PNG too where rsvg-convert (Debian: librsvg2-bin) is there.
set -eu
tcpflow=$(realpath "$1")
cd "$(dirname "$0")/.."
mkdir -p "$2"
folder=$(realpath "$2")
export LC_ALL=C.UTF-8

command -v rsvg-convert >/dev/null 2>&1 || echo "pictures: rsvg-convert is not there, so they are SVG alone" >&2

# draw NAME ARGUMENT...: what tcpflow says with these arguments, in eight pictures.
draw() {
    name=$1
    shift
    for width in 80 100 128 160; do
        "$tcpflow" "$@" --color always --width "$width" >"$folder/$name.ansi"
        for ground in black white; do
            picture=$folder/$name-$width-$ground
            python3 scripts/picture.py --ground "$ground" "tcpflow $* --width $width" <"$folder/$name.ansi" >"$picture.svg"
            if command -v rsvg-convert >/dev/null 2>&1; then
                rsvg-convert "$picture.svg" -o "$picture.png"
            fi
        done
        rm "$folder/$name.ansi"
    done
}

draw demo demo
draw rebind demo --rebind
draw analyze analyze -t captures/server-closes-first.pcapng
draw table analyze captures/three-clients.pcapng captures/refused.pcapng
"$tcpflow" demo --rounds 3 --save "$folder/rounds.pcap" >/dev/null 2>&1
draw rounds analyze -t "$folder/rounds.pcap"
echo "pictures: they are in $folder" >&2
