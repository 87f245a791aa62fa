#!/usr/bin/env python3
"""Holds `tcpflow analyze --breakdown` against the kernel's own account of real connections, and against known waits.

usage: breakdown_check.py [--bin TCPFLOW] [--connections N] [--seconds T] [--seed N] [--keep DIR] [--again DIR] [--table FILE]

Makes N varied connections in two network namespaces, joined by a relay of ours (TUN) that delays, limits the rate and
loses what a connection's kind says. Both ends are captured, and each capture is analyzed by itself. The truth of a connection:

  kernel    TCP_INFO of the sender when its octets were acknowledged: tcpi_busy_time, tcpi_rwnd_limited, tcpi_sndbuf_limited
  program   how long each program slept before it went on, by its own clock
  relay     when a segment was lost, and when its repetition passed

A connection agrees where each figure that its kind has a truth for is right within 10 % of its duration.
--table writes the table of agreement between the marks in FILE (docs/breakdown.md). --again analyzes what --keep left.
Needs root, /dev/net/tun, iproute2, tcpdump and Python 3.11. Exit status: 0 where 95 % agree and at most 5 % of the time is unknown.
"""
import argparse, collections, ctypes, fcntl, heapq, json, os, random, select, signal, socket, statistics, struct
import subprocess, sys, tempfile, threading, time

LIBC = ctypes.CDLL(None, use_errno=True)
CLIENT, SERVER = "10.95.7.1", "10.95.7.2"
PORTS = 12000
INFO = {"busy": 168, "rwnd": 176, "sndbuf": 184}
CLASSES = ["handshake", "client_program", "server_program", "sender_program", "receiver_window", "zero_window", "network",
           "timeout", "fast_recovery", "delayed_ack", "closing", "idle", "unknown"]
# How long a connection may take, at most.
LONGEST = 60
IN_FLIGHT = ["sender_program", "receiver_window", "zero_window", "network", "timeout", "fast_recovery", "delayed_ack"]
KINDS = ["network", "receiver_window", "zero_window", "send_buffer", "server_thinks", "client_thinks", "both_think", "trickle",
         "lost_tail", "lost_middle", "lost_request", "nagle", "idle", "late_close", "lost_syn", "mixed"]


# ---- what is to happen -------------------------------------------------------------------------------------------

def specs(rnd, count, seconds):
    """One dictionary for each connection; all chance is in here."""
    made = []
    for i in range(count):
        kind = KINDS[i % len(KINDS)]
        delay = rnd.choice([.002, .005, .01, .02, .04])
        s = dict(i=i, kind=kind, port=PORTS + i, delay=delay, start=rnd.uniform(.1, seconds), upload=rnd.random() < .5,
                 rate=0, queue=60000, lose=[], think=rnd.choice([.2, .4, .7, 1.2]), rounds=rnd.randint(1, 4),
                 request=rnd.choice([100, 1200, 5000]), answer=rnd.choice([300, 3000, 20000]),
                 size=rnd.choice([150_000, 300_000, 500_000]), congestion=rnd.choice(["cubic", "reno"]))
        if kind == "network":
            s["rate"] = rnd.choice([150_000, 300_000])
            s["queue"] = rnd.choice([30_000, 100_000])
        if kind in ("receiver_window", "send_buffer"):
            s["delay"], s["buffer"] = rnd.choice([.02, .03, .04]), rnd.choice([8_000, 16_000, 24_000])
        if kind == "send_buffer":
            s["size"], s["pace"] = rnd.choice([1_500_000, 2_500_000]), rnd.choice([3_000_000, 6_000_000])
        if kind == "trickle":
            s["size"], s["pause"] = rnd.choice([30_000, 50_000]), rnd.choice([.05, .1])
        if kind == "zero_window":
            s["stall"], s["buffer"] = rnd.choice([.3, .8, 1.5]), 10_000
        if kind == "lost_tail":
            s["lose"] = ["tail"]
        if kind == "lost_middle":
            s["lose"], s["delay"] = ["middle"], rnd.choice([.02, .04])
        if kind == "lost_request":
            s["lose"] = ["request"]
        if kind == "lost_syn":
            s["lose"] = ["syn"]
        if kind == "mixed":
            s["lose"] = rnd.choice([[], ["tail"]])
        made.append(s)
    return made


# ---- the programs ------------------------------------------------------------------------------------------------

class End:
    """One end of a connection; what it measures is its part of the truth."""

    def __init__(self, spec, side, out):
        self.s, self.side, self.out, self.truth, self.listener = spec, side, out, collections.Counter(), None
        if side == "server":
            self.listener = self.socket()
            self.listener.bind((SERVER, spec["port"]))
            self.listener.listen(4)

    def run(self):
        try:
            getattr(self, self.side)()
        except OSError as error:
            self.truth["error"] = f"{self.side}: {error}"
        self.out.write(json.dumps({"i": self.s["i"], "side": self.side, **self.truth}) + "\n")
        self.out.flush()

    def socket(self):
        k = socket.socket()
        k.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        k.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, self.s["congestion"].encode())
        s, sends = self.s, self.sends()
        if s["kind"] in ("receiver_window", "zero_window") and not sends:
            k.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, s["buffer"])
        if s["kind"] == "send_buffer" and sends:
            # The kernel counts what a full buffer costs only where something else than the call empties its queue: a pace does.
            k.setsockopt(socket.SOL_SOCKET, 47, s["pace"])
            k.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, s["buffer"])
        if s["kind"] != "nagle":
            k.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return k

    def sends(self):
        return self.s["upload"] == (self.side == "client")

    def client(self):
        k = self.socket()
        k.connect((SERVER, self.s["port"]))
        self.talk(k)

    def server(self):
        k, _ = self.listener.accept()
        self.listener.close()
        self.talk(k)

    def wait(self, seconds, who):
        began = time.monotonic()
        time.sleep(seconds)
        self.truth[who] += time.monotonic() - began

    def talk(self, k):
        s, kind, mine = self.s, self.s["kind"], f"{self.side}_program"
        if kind in ("network", "receiver_window", "send_buffer", "zero_window", "trickle", "lost_middle"):
            self.transfer(k, mine)
        elif kind in ("idle", "late_close"):
            self.answer(k, 1, 0, 0)
            if self.side == "client":
                if kind == "idle":
                    self.wait(s["think"], "idle")
                k.shutdown(socket.SHUT_WR)
                read(k, None)
            else:
                read(k, None)
                if kind == "late_close":
                    self.wait(s["think"], "closing")
        elif kind == "nagle":
            for _ in range(s["rounds"] + 2):
                if self.side == "client":
                    k.sendall(b"h" * 40)
                    k.sendall(b"b" * 60)
                    read(k, 50)
                else:
                    got = len(k.recv(100))
                    began = time.monotonic()
                    if got < 100:
                        read(k, 100 - got)
                        self.truth["held"] += max(0, time.monotonic() - began - 2 * s["delay"])
                    k.sendall(b"a" * 50)
        else:
            think = {"server_thinks": (0, 1), "client_thinks": (1, 0), "both_think": (.7, 1), "mixed": (.5, 1)}.get(kind, (0, 0))
            self.answer(k, s["rounds"], s["think"] * think[0], s["think"] * think[1])
        k.close()

    def transfer(self, k, mine):
        """One end sends, the other reads and says that it has all."""
        s = self.s
        if self.sends():
            if s["kind"] == "trickle":
                # So little that neither window ever holds it up.
                for _ in range(s["size"] // 2000):
                    k.sendall(b"x" * 2000)
                    self.wait(s["pause"], "pause")
            else:
                k.sendall(b"x" * s["size"])
            read(k, 2)
            self.ask(k)
            return
        else:
            left = size = s["size"]
            stalls = 2 if s["kind"] == "zero_window" else 0
            while left:
                if stalls and left < size * (stalls + 1) / 4:
                    stalls -= 1
                    self.wait(s["stall"], "stalled")
                left -= len(read(k, min(left, 4096)))
            k.sendall(b"ok")
            # Who sends closes first, so that no octets are under way while it is closed.
            read(k, None)

    def answer(self, k, rounds, client_thinks, server_thinks):
        s = self.s
        for n in range(rounds):
            if self.side == "client":
                if n and client_thinks:
                    self.wait(client_thinks, "client_program")
                k.sendall(b"q" * s["request"])
                read(k, s["answer"])
            else:
                read(k, s["request"])
                if server_thinks:
                    self.wait(server_thinks, "server_program")
                k.sendall(b"a" * s["answer"])

    def ask(self, k):
        info = k.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        for name, at in INFO.items():
            self.truth["kernel_" + name] = struct.unpack_from("Q", info, at)[0] / 1e6


def read(k, octets):
    got = b""
    while octets is None or len(got) < octets:
        part = k.recv(65536 if octets is None else octets - len(got))
        if not part:
            if octets is None:
                return got
            raise ConnectionError("closed early")
        got += part
    return got


def programs(made, side, space, out_path, began, ready):
    enter(space)
    # What other work of the machine delays is no wait that a program or its kernel has counted.
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    sys.setswitchinterval(.0005)
    with open(out_path, "w") as out:
        ends = [End(s, side, out) for s in made]
        os.write(ready, b"x")

        def one(end):
            if side == "client":
                time.sleep(max(0, began + end.s["start"] - time.time()))
            end.run()
        threads = [threading.Thread(target=one, args=(end,)) for end in ends]
        [t.start() for t in threads]
        [t.join() for t in threads]


# ---- the relay ---------------------------------------------------------------------------------------------------

def relay(tuns, made, log_path):
    """Carries packets between the namespaces as each connection's specification says."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
    by_port = {s["port"]: s for s in made}
    state = {s["port"]: {"free": [0, 0], "seen": [0, 0], "lost": {}, "todo": set(s["lose"])} for s in made}
    heap, n, log = [], 0, open(log_path, "w")
    while True:
        now = time.time()
        while heap and heap[0][0] <= now:
            _, _, to, packet = heapq.heappop(heap)
            os.write(tuns[to], packet)
        ready, _, _ = select.select(tuns, [], [], max(0, min(.5, heap[0][0] - time.time())) if heap else .5)
        for fd in ready:
            packet, way = os.read(fd, 2000), tuns.index(fd)
            if packet[0] >> 4 != 4 or packet[9] != 6:
                continue
            at, head = time.time(), (packet[0] & 15) * 4
            ports, seq = struct.unpack_from("!HH", packet, head), struct.unpack_from("!I", packet, head + 4)[0]
            flags, octets = packet[head + 13], len(packet) - head - (packet[head + 12] >> 4) * 4
            port = ports[1 - way]
            s, t = by_port.get(port), state.get(port)
            if s is None:
                continue
            key = (way, seq)
            if key in t["lost"]:
                log.write(json.dumps({"port": port, "what": t["lost"][key][0], "took": at - t["lost"].pop(key)[1]}) + "\n")
                log.flush()
            elif (what := due(s, t, way, flags, octets)):
                t["todo"].discard(what)
                t["lost"][key] = (what, at)
                continue
            t["seen"][way] += octets
            leaves = at
            if s["rate"]:
                start = max(at, t["free"][way])
                if (start - at) * s["rate"] > s["queue"]:
                    continue
                t["free"][way] = leaves = start + len(packet) / s["rate"]
            n += 1
            heapq.heappush(heap, (leaves + s["delay"], n, 1 - way, packet))


def due(s, t, way, flags, octets):
    """What of a connection's losses is due with this segment."""
    sender = 0 if s["upload"] else 1
    if "syn" in t["todo"] and flags & 2 and way == 0:
        return "syn"
    if "request" in t["todo"] and way == 0 and octets and t["seen"][0] == 0 and s["request"] <= 1400:
        return "request"
    if "tail" in t["todo"] and way == 1 and octets and t["seen"][1] + octets == s["answer"]:
        return "tail"
    if "middle" in t["todo"] and way == sender and octets and t["seen"][way] > s["size"] / 3:
        return "middle"
    return None


# ---- namespaces --------------------------------------------------------------------------------------------------

def sh(*command):
    subprocess.run(command, check=True, capture_output=True)


def enter(space):
    with open(f"/run/netns/{space}") as f:
        if LIBC.setns(f.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")


def with_parent():
    LIBC.prctl(1, signal.SIGKILL)


def tun(space, name, address):
    """A TUN device, made in the namespace by a child that hands its descriptor over."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    if os.fork() == 0:
        try:
            enter(space)
            fd = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH", name.encode(), 0x1001))
            sh("ip", "addr", "add", f"{address}/24", "dev", name)
            sh("ip", "link", "set", name, "mtu", "1500", "up")
            sh("ip", "link", "set", "lo", "up")
            socket.send_fds(there, [b"x"], [fd])
            os._exit(0)
        except BaseException as error:
            print(f"{space}: {error}", file=sys.stderr)
            os._exit(1)
    _, status = os.wait()
    if status:
        sys.exit(2)
    return socket.recv_fds(here, 1, 1)[1][0]


def batch(made, folder, seconds):
    tag = f"bd{os.getpid()}"
    spaces, devices = [tag + "a", tag + "b"], [tag[:12] + "a", tag[:12] + "b"]
    children = []
    try:
        for space in spaces:
            sh("ip", "netns", "add", space)
        tuns = [tun(space, device, address) for space, device, address in zip(spaces, devices, (CLIENT, SERVER))]
        captures = []
        for space, device, name in zip(spaces, devices, "ab"):
            dump = subprocess.Popen(["ip", "netns", "exec", space, "tcpdump", "-i", device, "-s", "128", "-B", "8192", "-U",
                                     "--immediate-mode", "-w", f"{folder}/{name}.pcap", "tcp"],
                                    stderr=subprocess.PIPE, text=True, preexec_fn=with_parent)
            while "listening on" not in (line := dump.stderr.readline()):
                if not line:
                    sys.exit("tcpdump did not begin")
            captures.append(dump)
            children.append(dump.pid)
        began = time.time() + 2
        said, ready = os.pipe()

        def child(work):
            pid = os.fork()
            if pid == 0:
                with_parent()
                try:
                    work()
                finally:
                    os._exit(0)
            children.append(pid)
            return pid
        child(lambda: relay(tuns, made, f"{folder}/relay.jsonl"))
        ends = []
        for side, space in zip(("server", "client"), reversed(spaces)):
            # Each server listens before there is a client.
            ends.append(child(lambda: programs(made, side, space, f"{folder}/{side}.jsonl", began, ready)))
            os.read(said, 1)
        latest = began + seconds + LONGEST
        while ends and time.time() < latest:
            ends = [pid for pid in ends if os.waitpid(pid, os.WNOHANG)[0] == 0]
            select.select([], [], [], .2)
        if ends:
            sys.exit(f"the programs did not end within {LONGEST} s after the last began: see {folder}/*.jsonl")
        # The last acknowledgements are on their way for no longer than the longest delay.
        for dump in captures:
            drained(f"{folder}", dump)
    finally:
        for pid in children:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)


def drained(folder, dump):
    """Ends a capture once its file has not grown for a second."""
    sizes = None
    while (now := [os.path.getsize(f"{folder}/{name}.pcap") for name in "ab"]) != sizes:
        sizes = now
        select.select([], [], [], 1)
    dump.terminate()
    dump.wait()


# ---- judging -----------------------------------------------------------------------------------------------------

def truths(folder, made):
    """For each connection what is known of it: classes, or sums of classes, and how long they took."""
    found = {s["i"]: collections.Counter() for s in made}
    for side in ("client", "server"):
        for line in open(f"{folder}/{side}.jsonl"):
            told = json.loads(line)
            i = told.pop("i")
            told.pop("side")
            for name, value in told.items():
                found[i][name] = value if name == "error" else found[i][name] + value
    by_port = {s["port"]: s["i"] for s in made}
    for line in open(f"{folder}/relay.jsonl"):
        told = json.loads(line)
        found[by_port[told["port"]]]["lost_" + told["what"]] += told["took"]
    return found


def expected(s, known, parts, place):
    """Pairs of what was measured and what tcpflow says, by name, in seconds.

    What was lost before a place of capture is not in the capture: there it is not compared.
    """
    hidden = known.keys() & {"lost_request", "lost_syn"} and place == "b" or "lost_tail" in known and place == "a"
    total, kind = parts["total"], s["kind"]
    way = parts["client_to_server" if s["upload"] else "server_to_client"]
    of = lambda part, *names: sum(part[name + "_ns"] for name in names) / 1e9
    pairs = {}
    # Where a download is captured at its receiver, the first segment comes a round trip after the handshake's last, which is the path's time.
    path = 2 * s["delay"] if place == "a" and not s["upload"] else 0
    if "kernel_busy" in known:
        if kind != "trickle":
            pairs["tcpi_busy_time"] = known["kernel_busy"] + path, of(total, *IN_FLIGHT)
        if kind != "lost_middle":
            pairs["tcpi_rwnd_limited"] = known["kernel_rwnd"], of(way, "receiver_window", "zero_window")
        if kind not in ("trickle", "lost_middle"):
            pairs["tcpi_sndbuf_limited"] = known["kernel_sndbuf"], of(way, "sender_program")
            limited = known["kernel_busy"] + path - known["kernel_rwnd"] - known["kernel_sndbuf"]
            pairs["busy, not limited"] = limited, of(total, "network", "timeout", "fast_recovery", "delayed_ack")
    if kind == "trickle":
        pairs["pauses of the sender"] = known["pause"], of(total, "sender_program", "client_program", "server_program")
    for who in ("client_program", "server_program"):
        if not hidden and kind in ("server_thinks", "client_thinks", "both_think", "mixed", "lost_tail", "lost_request", "lost_syn", "idle",
                    "late_close", "nagle"):
            pairs[who.replace("_", "'s ")] = known[who], of(total, who)
    for what, names in {"lost_tail": ["timeout", "fast_recovery"], "lost_request": ["timeout", "fast_recovery"], "lost_middle": ["timeout", "fast_recovery"]}.items():
        if what in known and (what == "lost_middle" or place == ("b" if what == "lost_tail" else "a")):
            pairs["repair of a loss"] = known[what], of(total, *names)
    if "lost_syn" in known and place == "a":
        pairs["handshake"] = known["lost_syn"] + 2 * s["delay"], of(total, "handshake")
    if kind == "nagle":
        pairs["delayed ACK"] = known["held"], of(total, "delayed_ack")
    if "idle" in known:
        pairs["idle"] = known["idle"], of(total, "idle")
    if "closing" in known:
        pairs["closing"] = known["closing"] + 2 * s["delay"], of(total, "closing")
    return pairs


def judge(binary, folder, made):
    known = truths(folder, made)
    by_port = {s["port"]: s for s in made}
    rows, unknown, duration = [], 0, 0
    for place in "ab":
        out = subprocess.run([binary, "analyze", "--breakdown", "--format", "jsonl", f"{folder}/{place}.pcap"],
                             check=True, capture_output=True, text=True).stdout
        for line in map(json.loads, out.splitlines()):
            if line["type"] != "connection":
                continue
            parts, whole = line["breakdown"], line["duration_ns"]
            for way, part in parts.items():
                assert sum(part.values()) == whole, (line["id"], way)
                assert set(part) == {name + "_ns" for name in CLASSES}
            s = by_port[line["server"]["port"]]
            truth = known[s["i"]]
            if "error" in truth:
                sys.exit(f"connection {s['i']} ({s['kind']}): {truth['error']}")
            unknown += parts["total"]["unknown_ns"]
            duration += whole
            for name, (true, told) in expected(s, truth, parts, place).items():
                rows.append(dict(s=s, place=place, id=line["id"], name=name, true=true, told=told, whole=whole / 1e9,
                                 error=abs(true - told) / (whole / 1e9), parts=parts))
    return rows, unknown / max(duration, 1)


def report(rows, unknown, verbose):
    text = ["| kind | figure | connections | agree | median error | largest |", "|---|---|---|---|---|---|"]
    groups = collections.defaultdict(list)
    for row in rows:
        groups[KINDS.index(row["s"]["kind"]), row["s"]["kind"], row["name"]].append(row)
    for (_, kind, name), of in sorted(groups.items()):
        errors = [row["error"] for row in of]
        agree = sum(error <= .1 for error in errors)
        text.append(f"| {kind} | {name} | {len(of)} | {agree} | {statistics.median(errors):.1%} | {max(errors):.1%} |")
    each = collections.defaultdict(list)
    for row in rows:
        each[row["s"]["i"], row["place"]].append(row["error"] <= .1)
    share = sum(map(all, each.values())) / len(each)
    text.append(f"\n{sum(map(all, each.values()))} of {len(each)} agree in all of their figures: {share:.1%}. Unknown: {unknown:.2%} of the time.")
    if verbose:
        for row in rows:
            if row["error"] > .1:
                s = row["s"]
                spent = {way: {k[:-3]: round(v / 1e9, 3) for k, v in part.items() if v} for way, part in row["parts"].items()}
                print(f"{s['kind']} {s['i']} {row['place']} id {row['id']} {row['name']}: true {row['true']:.3f} told {row['told']:.3f} "
                      f"of {row['whole']:.3f} delay {s['delay']} upload {s['upload']}\n   {spent}", file=sys.stderr)
    return "\n".join(text), share


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", help="the program; without it, the release build")
    options.add_argument("--connections", type=int, default=160)
    options.add_argument("--seconds", type=float, default=40)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options.add_argument("--keep")
    options.add_argument("--again")
    options.add_argument("--table")
    options.add_argument("--verbose", action="store_true")
    options = options.parse_args()
    if options.bin is None:
        here = os.path.dirname(os.path.abspath(__file__))
        folder = subprocess.run([f"{here}/target.sh"], check=True, capture_output=True, text=True).stdout.strip()
        options.bin = f"{folder}/release/tcpflow"
    folder = options.again or options.keep or tempfile.mkdtemp(prefix="breakdown")
    if options.again:
        made = json.load(open(f"{folder}/specs.json"))
    else:
        os.makedirs(folder, exist_ok=True)
        print(f"seed {options.seed}", file=sys.stderr)
        made = specs(random.Random(options.seed), options.connections, options.seconds)
        json.dump(made, open(f"{folder}/specs.json", "w"))
        batch(made, folder, options.seconds)
    rows, unknown = judge(options.bin, folder, made)
    text, share = report(rows, unknown, options.verbose)
    print(text)
    if options.table:
        kept = open(options.table).read()
        before, rest = kept.split("<!-- agreement -->\n", 1)
        _, after = rest.split("<!-- /agreement -->", 1)
        open(options.table, "w").write(f"{before}<!-- agreement -->\n{text}\n<!-- /agreement -->{after}")
    sys.exit(0 if share >= .95 and unknown <= .05 else 1)


if __name__ == "__main__":
    main()
