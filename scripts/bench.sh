#!/bin/sh
# Measures, in one run: how long demo takes from start to the printed timeline, and a megabyte at an MTU of 1500.
#
# usage: scripts/bench.sh TCPFLOW
set -eu
tcpflow=$1

# median NAME RUNS COMMAND...: the median and the longest of the times of RUNS runs.
median() {
    name=$1 runs=$2
    shift 2
    run=0
    while [ "$run" -lt "$runs" ]; do
        start=$(date +%s%N)
        "$@" >/dev/null
        end=$(date +%s%N)
        echo $(((end - start) / 1000))
        run=$((run + 1))
    done | sort -n | awk -v name="$name" '
        { times[NR] = $1 }
        END { printf "%-32s median %7.1f ms   longest %7.1f ms   of %d\n", name, times[int((NR + 1) / 2)] / 1000, times[NR] / 1000, NR }'
}

median 'demo' 20 "$tcpflow" demo
median 'demo --size 1000000 --mtu 1500' 5 "$tcpflow" demo --size 1000000 --mtu 1500
median 'analyze echo-v4.pcapng' 20 "$tcpflow" analyze captures/echo-v4.pcapng
