#!/usr/bin/env python3
"""Measures how long each command goes on after Ctrl-C, and misses no mark silently.

    scripts/interrupt_check.py [--bin PROGRAM] [--rounds 3] [--seconds 0.2] [PART...]

Each case starts the command, lets it work for a moment, sends SIGINT, and measures the time until the first octets that are told
after it, until the process has ended, and how long the process computed for that.
Prints the middle one of the first, the least, the middle and the most of the second, the middle one of the third, the share of the
machine that was busy meanwhile, and what missed the mark; a PART chooses the cases whose names have it.

Exit status 1 where the middle one missed: of the time until the end, or where all that was seen is told (`run`, whose command Ctrl-C
ends, and which then tells as ever), of the time until telling begins.

What needs root (live, demo without a namespace) is left to root, and said. The captures that it makes take 60 MB in a temporary folder.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SYN, ACK, PSH, FIN = 2, 16, 8, 1


def built():
    """The release build, where cargo puts it."""
    folder = subprocess.run([Path(__file__).with_name("target.sh")], capture_output=True, text=True, check=True).stdout
    return f"{folder.strip()}/release/tcpflow"


def segment(sport, dport, seq, ack, flags, octets, reverse=False, number=0):
    ends = (b"\x0a\x00\x00\x02", b"\x0a\x00\x00\x01") if reverse else (b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02")
    if reverse:
        sport, dport = dport, sport
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 65535, 0, 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40 + octets, number & 0xFFFF, 0x4000, 64, 6, 0) + ends[0] + ends[1]
    return head + tcp + bytes(octets)


def capture(path, frames, link=101):
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link))
        for number, frame in enumerate(frames):
            at = number * 7
            file.write(struct.pack("<IIII", 1_700_000_000 + at // 1_000_000, at % 1_000_000, len(frame), len(frame)))
            file.write(frame)


def connections(count, rounds):
    """Connections with some requests each, all at the same time: much to follow, and much to tell."""
    for port in range(count):
        yield segment(1024 + port, 443, 0, 0, SYN, 0)
        yield segment(1024 + port, 443, 0, 1, SYN | ACK, 0, True)
        yield segment(1024 + port, 443, 1, 1, ACK, 0)
    for round in range(rounds):
        for port in range(count):
            yield segment(1024 + port, 443, 1 + 10 * round, 1 + 20 * round, PSH | ACK, 10, number=round)
            yield segment(1024 + port, 443, 1 + 20 * round, 11 + 10 * round, PSH | ACK, 20, True, number=round)


def nested():
    """GTP-U of version 0 on both of its ports in each other, with nothing inside that ends the search."""
    frame = bytearray(segment(40000, 443, 0, 0, ACK, 0))
    frame[9] = 250
    frame = bytes(frame)
    for _ in range(14):
        gtp = b"\x1e\xff" + bytes(18) + frame
        udp = struct.pack("!HHHH", 2152, 3386, 8 + len(gtp), 0) + gtp
        frame = bytes([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]) + udp
    return frame


class Traffic:
    """Short connections on loopback, as fast as they go, while a capture runs."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.goes_on = True
        self.thread = threading.Thread(target=self.talk, daemon=True)
        self.thread.start()

    def talk(self):
        while self.goes_on:
            client = socket.create_connection(self.server.getsockname())
            peer, _ = self.server.accept()
            client.sendall(b"helloworld")
            peer.recv(10)
            client.close()
            peer.close()

    def end(self):
        self.goes_on = False
        self.thread.join(2)
        self.server.close()


class Case:
    def __init__(self, name, words, feed=None, after=0.5, needs_root=False, traffic=False, tells_all=False,
                 statuses=(0, 2, 130, -signal.SIGINT)):
        self.name, self.words, self.feed, self.after = name, words, feed, after
        self.needs_root, self.traffic, self.tells_all, self.statuses = needs_root, traffic, tells_all, statuses

    def measure(self, binary):
        """Seconds from the signal until something is told, to the end, and of work; `None` where it had ended before."""
        traffic = Traffic() if self.traffic else None
        words = [word.replace("PORT", str(traffic.port)) if traffic else word for word in self.words]
        said = tempfile.TemporaryFile()
        child = subprocess.Popen(
            [binary, *words], stdin=subprocess.PIPE if self.feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=said, start_new_session=True,
        )
        told = []
        reader = threading.Thread(target=self.read, args=(child.stdout, told), daemon=True)
        reader.start()
        if self.feed:
            feeder = threading.Thread(target=self.fill, args=(child.stdin,), daemon=True)
            feeder.start()
        time.sleep(self.after * random.uniform(0.7, 1.3))
        # It stays to be waited for: poll() would take its status.
        ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        worked = computed(child.pid)
        begun = time.monotonic()
        if not ended:
            # As a terminal does: to all that run in the foreground.
            os.killpg(child.pid, signal.SIGINT)
        watchdog = threading.Timer(20, child.kill)
        watchdog.start()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        took = time.monotonic() - begun
        worked = computed(child.pid) - worked
        status = child.wait()
        watchdog.cancel()
        reader.join(2)
        if traffic:
            traffic.end()
        said.seek(0)
        self.said = said.read().decode("utf-8", "replace")
        if status not in self.statuses or "panicked" in self.said:
            sys.exit(f"{self.name}: status {status}: {self.said}")
        first = next((at - begun for at in told if at > begun), took)
        return None if ended else (min(first, took), took, worked)

    def read(self, pipe, told):
        while os.read(pipe.fileno(), 1 << 16):
            told.append(time.monotonic())

    def fill(self, pipe):
        try:
            self.feed(pipe)
        except (BrokenPipeError, ValueError):
            pass


def stalls(path):
    """Half of a capture, and then nothing, though the pipe stays open."""
    def feed(pipe):
        octets = path.read_bytes()
        pipe.write(octets[: len(octets) // 2])
        pipe.flush()
        time.sleep(30)
    return feed


def endless(frame, link):
    """A capture that never ends."""
    def feed(pipe):
        pipe.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link))
        record = struct.pack("<IIII", 1_700_000_000, 0, len(frame), len(frame)) + frame
        while True:
            pipe.write(record * 256)
    return feed


def computed(pid):
    """How long a process has computed, in all its threads."""
    try:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy():
    """The time that all processors worked, and that they had."""
    fields = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--bin", help="tcpflow; by default the release build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2, help="the mark")
    options = parser.parse_args()
    binary = os.path.abspath(options.bin or built())

    folder = Path(tempfile.mkdtemp(prefix="tcpflow-interrupt-"))
    folder.chmod(0o755)
    missed = []
    try:
        for case in cases(folder, binary):
            if options.parts and not any(part in case.name for part in options.parts):
                continue
            if case.needs_root and os.geteuid() != 0:
                print(f"{case.name:34} left to root")
                continue
            before = busy()
            took = [case.measure(binary) for _ in range(options.rounds)]
            after = busy()
            share = 100 * (after[0] - before[0]) / max(1, after[1] - before[1])
            if None in took:
                print(case.said[:300])
                print(f"{case.name:34} ended before the signal: not measured", flush=True)
                missed.append(case.name)
                continue
            firsts, ends, works = zip(*took)
            middle = statistics.median(firsts if case.tells_all else ends)
            why = "" if middle <= options.seconds else "  MISSED"
            if why:
                missed.append(case.name)
            first, end, work = (statistics.median(times) for times in (firsts, ends, works))
            print(f"{case.name:34} told from {first:6.3f}, ended {min(ends):6.3f} {end:6.3f} {max(ends):6.3f} s, "
                  f"worked {work:5.2f}  busy {share:3.0f} %{why}", flush=True)
    finally:
        shutil.rmtree(folder)
    print(f"{len(missed)} missed the mark of {options.seconds} s" + (f": {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


def cases(folder, binary):
    """All cases, with the captures that they need."""
    wide, tunnels = folder / "wide.pcap", nested()
    capture(wide, connections(20_000, 14))
    for name, options in [
        ("table", []), ("jsonl", ["--format", "jsonl"]), ("csv", ["--format", "csv"]), ("findings", ["--findings"]),
        ("summary", ["--summary"]), ("breakdown", ["--breakdown"]), ("timeline", ["--timeline"]),
        ("timeline jsonl", ["--timeline", "--format", "jsonl"]), ("sorted", ["--sort", "duration_ns"]),
    ]:
        # The same file again and again, so that there is work for long enough.
        yield Case(f"analyze {name}", ["analyze", *options, *[str(wide)] * 20])
    tables = ["analyze", "--format", "parquet", "-o", str(folder / "a.parquet")]
    trial = ["analyze", "--format", "parquet", "-o", str(folder / "trial.parquet"), str(wide)]
    without = subprocess.run([binary, *trial], capture_output=True, text=True).stderr
    if "is not in this tcpflow" not in without:
        yield Case("analyze parquet", [*tables, *[str(wide)] * 20])
    else:
        print(f"{'analyze parquet':34} this binary was built without parquet")
    for name, options in [("table", []), ("jsonl", ["--format", "jsonl"]), ("timeline", ["--timeline"])]:
        yield Case(f"analyze {name}, a pipe that stalls", ["analyze", *options, "-"], feed=stalls(wide), after=1)
    yield Case("analyze table, nested tunnels", ["analyze", "-"], feed=endless(tunnels, 101))
    yield Case("analyze timeline, nested tunnels", ["analyze", "--timeline", "-"], feed=endless(tunnels, 101))
    yield Case("analyze two captures", ["analyze", "--client-side", str(wide), "--server-side", str(wide)])
    yield Case("analyze two captures, jsonl", [
        "analyze", "--format", "jsonl", "--client-side", str(wide), "--server-side", str(wide)])
    for name, options in [("text", []), ("jsonl", ["--format", "jsonl"]), ("timeline", ["--timeline"])]:
        yield Case(f"live {name}", ["live", "-i", "lo", *options, "tcp port PORT"], needs_root=True, traffic=True, after=1)
    yield Case("live -w", ["live", "-i", "lo", "-w", str(folder / "a.pcapng"), "tcp port PORT"], needs_root=True,
               traffic=True, after=1)
    yield Case("demo", ["demo", "--rounds", "10000"], after=1)
    yield Case("demo --follow", ["demo", "--follow", "--rounds", "10000"], after=0.4)
    yield Case("demo --wait", ["demo", "--wait"], after=1.5)
    yield Case("demo, MTU 1500", ["demo", "--mtu", "1500", "--rounds", "10000"], after=0.5)
    sleeper = ["--", "sleep", "60"]
    yield Case("run", ["run", "--isolated", *sleeper], after=1)
    yield Case("run --follow", ["run", "--isolated", "--follow", *sleeper], after=1)
    script = folder / "talk.py"
    script.write_text(
        "import os, signal, socket\nsignal.signal(signal.SIGINT, lambda *_: os._exit(0))\n"
        "server = socket.create_server(('127.0.0.1', 0))\nwhile True:\n"
        "    client = socket.create_connection(server.getsockname()); peer, _ = server.accept()\n"
        "    client.sendall(b'helloworld'); peer.recv(10); client.close(); peer.close()\n"
    )
    talker = ["--", sys.executable, str(script)]
    yield Case("run, short connections", ["run", "--isolated", *talker], after=1.5, tells_all=True)
    yield Case("run --follow, short connections", ["run", "--isolated", "--follow", *talker], after=1.5, tells_all=True)
    yield Case("run --follow jsonl, short ones", ["run", "--isolated", "--follow", "--format", "jsonl", "-o", "-", *talker], after=1.5, tells_all=True)
    for scenario in ["recovery-cubic", "zero-window"]:
        yield Case(f"demo {scenario}", ["demo", scenario], after=0.6)


if __name__ == "__main__":
    sys.exit(main())
