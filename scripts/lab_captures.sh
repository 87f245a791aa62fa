#!/bin/sh
# Plays every scenario once and keeps what was captured at each host, the timeline, and what was expected.
# usage: scripts/lab_captures.sh TCPFLOW FOLDER
set -eu
tcpflow=$1
folder=$2

mkdir -p "$folder"
rm -f "$folder"/*.pcapng.gz "$folder"/*.txt
"$tcpflow" demo --list --lang en --color never | sed -n 's/^  \([a-z0-9-]*\) .*/\1/p' | while read -r name; do
    [ "$name" != echo ] || continue
    if "$tcpflow" demo "$name" --lang en --color never --width 120 --save "$folder/$name.pcapng" \
        > "$folder/$name.txt" 2> "$folder/messages"; then
        continue
    fi
    cat "$folder/messages" "$folder/$name.txt"
    grep -q "cannot be played: this kernel has no" "$folder/messages" || exit 1
    # What this kernel lacks is said in place of the timeline.
    mv "$folder/messages" "$folder/$name.txt"
done
rm -f "$folder/messages"
gzip -9 -n "$folder"/*.pcapng
size=$(du -sk "$folder" | cut -f1)
echo "$folder has $(ls "$folder" | wc -l) files, $size KiB"
[ "$size" -lt 10240 ]
