#!/bin/sh
# Holds `tcpflow live -w` beside `tcpdump -w` while iperf3 sends over loopback as fast as this machine can:
# the drops that the kernel counted for both, and what live told against what its own file and tcpdump's tell afterwards.
#
#   scripts/live_check.sh [SECONDS [TCPFLOW [CPU]]]
#
# IPERF holds more options for its client, such as "--length 64 --no-delay" for many small segments.
# Both captures are stamped, and where two processors deliver at the same moment also ordered, each by itself. So times are never
# compared, and what depends on the order (retransmissions, gaps and the like) only where iperf3 is kept on one CPU.
#
# Exit status: 0 what can be compared agrees; 1 it does not; 2 it could not be tried.
set -eu

seconds=${1:-5}
tcpflow=${2:-$("$(dirname "$0")/target.sh")/release/tcpflow}
cpu=${3:-}
pinned=${cpu:+taskset -c "$cpu"}
snaplen=192
buffer=32768 # KiB

for tool in iperf3 tcpdump "$tcpflow"; do
    command -v "$tool" > /dev/null || { echo "live_check: $tool is missing" >&2; exit 2; }
done
[ "$(id -u)" -eq 0 ] || { echo "live_check: capturing takes root: run it with sudo" >&2; exit 2; }

folder=$(mktemp -d)
started=
# Ends what is left of what was started here, and nothing else.
tidy() {
    for process in $started; do kill "$process" 2> /dev/null || true; done
    rm -rf "$folder"
}
trap tidy EXIT
trap 'exit 2' INT TERM

# Waits until a file holds a text, at most ten seconds.
await() {
    tries=200
    until grep -q "$2" "$1" 2> /dev/null; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "live_check: '$2' was not said within ten seconds:" >&2; cat "$1" >&2; exit 2; }
        sleep 0.05
    done
}

port=$((20000 + $$ % 20000))
filter="tcp port $port"
# shellcheck disable=SC2086 # several words, or none
$pinned iperf3 --server --one-off --port "$port" --forceflush > "$folder/server" 2>&1 &
started="$started $!"
await "$folder/server" "listening"

tcpdump -Z root -i lo -s "$snaplen" -B "$buffer" --time-stamp-precision=nano -w "$folder/tcpdump.pcap" "$filter" 2> "$folder/tcpdump" &
tcpdump=$!
"$tcpflow" live -i lo -s "$snaplen" -B "${buffer}Ki" --linger 3600 --format jsonl -w "$folder/live.pcap" "$filter" \
    > "$folder/live.jsonl" 2> "$folder/live" &
live=$!
started="$started $tcpdump $live"
await "$folder/tcpdump" "listening on"
await "$folder/live" "capturing on"

# shellcheck disable=SC2086
$pinned iperf3 --client 127.0.0.1 --port "$port" --time "$seconds" ${IPERF:-} --json > "$folder/client"

# tcpdump leaves what the kernel has not handed over yet, which it does after a second at most; live takes it.
sleep 2
kill -INT "$live" "$tcpdump"
wait "$live" || { echo "live_check: live ended badly:" >&2; cat "$folder/live" >&2; exit 1; }
wait "$tcpdump" || true

# A number in a line of JSON; in a line of tcpdump's end.
number() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
said() { sed -n "s/^\([0-9]*\) packets\{0,1\} $1.*/\1/p" "$folder/tcpdump"; }
connections() { grep '"type":"connection"' | sort; }
# The lines without their times and findings; without what depends on the order of segments.
timeless() {
    sed -E 's/"(first|last)":"[^"]*",//g; s/"(duration_ns|initial_rtt_ns|rtt_[a-z]+_ns)":[^,}]*,?//g; s/,"findings":.*//'
}
orderless() {
    timeless | sed -E 's/"(fast_|spurious_)?retransmissions":[0-9]+,//g
        s/"(out_of_order|duplicate_acks|lost_segments|acked_unseen|zero_windows|window_fulls|window_updates)":[0-9]+,//g
        s/"(keep_alives|zero_window_probes)":[0-9]+,//g; s/"(first_frame|last_frame)":[0-9]+,//g; s/"history":"[^"]*",//g'
}

totals=$(grep '"type":"totals"' "$folder/live.jsonl")
live_frames=$(echo "$totals" | number frames)
live_dropped=$(echo "$totals" | number dropped)
rate=$(sed -n 's/.*"bits_per_second":[[:space:]]*\([0-9]*\).*/\1/p' "$folder/client" | tail -1)
echo "iperf3 sent $((rate / 1000000)) Mbit/s over lo for $seconds s; snap length $snaplen, buffer $buffer KiB for both"
printf '%-8s %12s %12s\n' '' frames dropped
printf '%-8s %12s %12s\n' tcpdump "$(said captured)" "$(said 'dropped by kernel')"
printf '%-8s %12s %12s\n' live "$live_frames" "$live_dropped"

failed=0
agree() {
    if cmp -s "$2" "$3"; then
        echo "the same: $1"
    else
        echo "NOT the same: $1"
        diff "$2" "$3" | cut -c1-400 | head -4
        failed=1
    fi
}
connections < "$folder/live.jsonl" > "$folder/told"
"$tcpflow" analyze --format jsonl "$folder/live.pcap" | connections > "$folder/own"
agree "what live told, and what its own file tells" "$folder/told" "$folder/own"
if [ "$live_dropped" -eq 0 ] && [ "$(said 'dropped by kernel')" -eq 0 ]; then
    "$tcpflow" analyze --format jsonl "$folder/tcpdump.pcap" | connections > "$folder/other"
    orderless < "$folder/told" > "$folder/told-orderless"
    orderless < "$folder/other" > "$folder/other-orderless"
    agree "what live told, and what tcpdump's file tells: ends, octets, segments, flags, options, states, endings, verdicts" \
        "$folder/told-orderless" "$folder/other-orderless"
    if [ -n "$cpu" ]; then
        timeless < "$folder/told" > "$folder/told-timeless"
        timeless < "$folder/other" > "$folder/other-timeless"
        agree "and retransmissions, gaps, windows, frame numbers" "$folder/told-timeless" "$folder/other-timeless"
    fi
    if [ "$live_frames" -ne "$(said captured)" ]; then
        echo "NOT the same: the numbers of frames, though nothing was dropped"
        failed=1
    fi
else
    echo "packets were dropped: live cannot be compared with tcpdump's file of this run"
fi
exit "$failed"
