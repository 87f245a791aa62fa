#!/bin/sh
# Runs `tcpflow analyze` on many captures, several at a time, each for itself, and keeps what each run tells in a folder.
#
#   scripts/many_files.sh [-j JOBS] [-f jsonl|csv|parquet] [-o DIR] FILE|FOLDER... [-- OPTION...]
#
# Folders are searched for captures by their endings; OPTIONs go to every `tcpflow analyze`, such as --where.
# The output of a/b.pcap is DIR/a%2Fb.pcap.jsonl (or .csv, or a folder .parquet), so no two captures share one.
# What is there already, and newer than its capture, is not made again: after Ctrl-C the same command goes on.
# The exit status is 2 if some capture could not be read to its end; what could be read is kept, and the others are done all the same.
# Set TCPFLOW for another tcpflow than the one in PATH.
set -eu

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# One capture; called by xargs with the form, the folder, and after `--` the capture and the options.
if [ "${1-}" = --one ]; then
    form=$2 folder=$3 capture=$5
    shift 5
    # tcpflow tells what it saw until then; that is not all, so it does not get the name that says so.
    trap 'exit 130' INT TERM
    case $capture in -*) capture=./$capture ;; esac
    name=$(printf '%s' "${capture#./}" | sed 's/%/%25/g; s|/|%2F|g')
    told=$folder/$name.$form
    # A name that leaves no room for an ending would be cut by no system, but refused by all.
    [ ${#name} -le 240 ] || { echo "many_files: $capture: the path is too long for a file's name" >&2; exit 1; }
    if [ -e "$told" ] && [ -z "$(find -H "$capture" -newer "$told" 2>/dev/null)" ]; then exit 0; fi
    status=0
    if [ "$form" = parquet ]; then
        "$TCPFLOW" analyze --format parquet --output "$told.part" "$@" "$capture" || status=$?
        rm -rf "$told"
        [ -e "$told.part/findings.parquet" ] || { rm -rf "$told.part"; exit 1; }
    else
        "$TCPFLOW" analyze --format "$form" "$@" "$capture" > "$told.part" || status=$?
    fi
    # Nothing was told: it is no capture, or it cannot be opened.
    if [ ! -d "$told.part" ] && [ ! -s "$told.part" ]; then rm -f "$told.part" "$told"; exit 1; fi
    mv -f "$told.part" "$told"
    # Older than any capture, it is made again, and its damage told again.
    # xargs stops only at 255, so the captures after a damaged one are done, too.
    [ "$status" -eq 0 ] || { touch -d @0 "$told"; exit 1; }
    exit 0
fi

jobs=$(nproc 2>/dev/null || echo 2)
form=jsonl
folder=flows
while getopts j:f:o: option; do
    case $option in
        j) jobs=$OPTARG ;;
        f) form=$OPTARG ;;
        o) folder=$OPTARG ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
case $form in jsonl | csv | parquet) ;; *) usage ;; esac
[ $# -gt 0 ] || usage

TCPFLOW=${TCPFLOW:-tcpflow}
export TCPFLOW
command -v "$TCPFLOW" > /dev/null || { echo "many_files: $TCPFLOW is not in PATH: install it, or set TCPFLOW" >&2; exit 2; }
mkdir -p "$folder"

list=$(mktemp)
trap 'rm -f "$list"' EXIT
trap 'echo "many_files: interrupted; the same command goes on from here" >&2; exit 130' INT TERM

# Captures, each ended by a NUL, whatever else is in a name.
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    if [ -d "$1" ]; then
        case $1 in -*) start=./$1 ;; *) start=$1 ;; esac
        find "$start" -type f \( -name '*.pcap' -o -name '*.pcapng' -o -name '*.cap' -o -name '*.pcap.gz' -o -name '*.pcapng.gz' \
            -o -name '*.cap.gz' -o -name '*.pcap.zst' -o -name '*.pcapng.zst' -o -name '*.pcap.lz4' -o -name '*.pcapng.lz4' \
            \) -print0 >> "$list"
    else
        printf '%s\0' "$1" >> "$list"
    fi
    shift
done
[ "${1-}" != -- ] || shift

status=0
xargs -0 -r -P "$jobs" -I @CAPTURE@ sh "$0" --one "$form" "$folder" -- @CAPTURE@ "$@" < "$list" || status=$?
[ "$status" -eq 0 ] || { echo "many_files: some captures were not read to their end, as told above" >&2; exit 2; }
