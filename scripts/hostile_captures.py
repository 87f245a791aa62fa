#!/usr/bin/env python3
"""Makes small captures that cost much to read, for scripts/hostile_check.py, the same octets each time.

    scripts/hostile_captures.py FOLDER

They have tunnels of every kind in each other, stacks of tags, aggregates, fragments, quotations, options, holes, copies, blocks without a
frame, and interfaces without end. Each is compressed, and takes from some kilobytes to 6 MB; zstd (the command) must be there.
"""

import random
import struct
import subprocess
import sys
from pathlib import Path

A, B = b"\x0a\0\0\1", b"\x0a\0\0\2"
SYN, RST, ACK, PSH = 2, 4, 16, 8


def tcp(sport, dport, seq, ack, flags, octets=0, options=b""):
    offset = (20 + len(options)) // 4 << 4
    head = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset, flags, 65535, 0, 0)
    return head + options + bytes(octets)


def ip4(inside, protocol=6, source=A, target=B, number=0, fragment=0x4000):
    length = (20 + len(inside)) & 0xFFFF
    return struct.pack("!BBHHHBBH", 0x45, 0, length, number & 0xFFFF, fragment, 64, protocol, 0) + source + target + inside


def ip6(inside, protocol):
    ends = b"\xfd" + bytes(14) + b"\1" + b"\xfd" + bytes(14) + b"\2"
    return struct.pack("!IHBB", 0x60000000, len(inside) & 0xFFFF, protocol, 64) + ends + inside


def udp(sport, dport, inside):
    return ip4(struct.pack("!HHHH", sport, dport, (8 + len(inside)) & 0xFFFF, 0) + inside, 17)


def ethernet(inside, kind=0x800):
    return bytes(12) + struct.pack("!H", kind) + inside


def host(number):
    """Ends of their own for so many connections: an address and a port."""
    return struct.pack("!I", 0x0A000000 + number // 60000), 1024 + number % 60000


TUNNELS = {
    "ip in ip": lambda f: ip4(f, 4),
    "gre": lambda f: ip4(struct.pack("!HH", 0, 0x800) + f, 47),
    "gre with a key": lambda f: ip4(struct.pack("!HHII", 0x3000, 0x800, 1, 2) + f, 47),
    "gre bridge": lambda f: ip4(struct.pack("!HH", 0, 0x6558) + ethernet(f), 47),
    "eoip": lambda f: ip4(struct.pack("!HHHH", 0x2001, 0x6400, len(ethernet(f)) & 0xFFFF, 1) + ethernet(f), 47),
    "vxlan": lambda f: udp(1000, 4789, b"\x08\0\0\0\0\0\1\0" + ethernet(f)),
    "vxlan-gpe": lambda f: udp(1000, 4790, b"\x0c\0\0\1\0\0\1\0" + f),
    "geneve": lambda f: udp(1000, 6081, struct.pack("!BBHI", 0, 0, 0x6558, 256) + ethernet(f)),
    "gtp-u": lambda f: udp(2152, 2152, struct.pack("!BBHI", 0x30, 0xFF, len(f) & 0xFFFF, 1) + f),
    "gtp version 0": lambda f: udp(2152, 3386, b"\x1e\xff" + bytes(18) + f),
    "teredo": lambda f: udp(3544, 3544, ip6(f, 4)),
    "mpls in udp": lambda f: udp(1000, 6635, struct.pack("!I", 0x00010140) + f),
    "l2tp": lambda f: udp(1701, 1701, struct.pack("!HHHBBH", 2, 1, 1, 0xFF, 3, 0x21) + f),
    "6in4": lambda f: ip4(ip6(f, 4), 41),
    "ah": lambda f: ip4(struct.pack("!BBHII", 4, 4, 0, 1, 1) + bytes(12) + f, 51),
    "quotation": lambda f: ip4(b"\3\1\0\0\0\0\0\0" + f, 1),
    "hop by hop": lambda f: ip6(b"\4\0\1\4\0\0\0\0" + f, 0),
    "vlan": lambda f: ip4(struct.pack("!HH", 0, 0x6558) + ethernet(struct.pack("!HH", 1, 0x800) + f, 0x8100), 47),
}


def nested(choose, depth, frame):
    for _ in range(depth):
        deeper = choose()(frame)
        if len(deeper) > 65000:
            break
        frame = deeper
    return frame


def tunnels():
    chance = random.Random(1)
    for core in (ip4(bytes(20), 250), ip4(tcp(1, 2, 0, 0, SYN))):
        for wrap in TUNNELS.values():
            for depth in (14, 15, 40, 200):
                yield from [nested(lambda: wrap, depth, core)] * 20
        for _ in range(2000):
            yield nested(lambda: chance.choice(list(TUNNELS.values())), chance.choice((14, 16, 30, 100)), core)


def aggregate(count, first, inside):
    """A frame of 802.11 with so many subframes, as far as there is room."""
    frame = bytearray(b"\x88\1\0\0" + bytes(20) + b"\x80\0")
    for number in range(first, first + count):
        octets = inside(number)
        frame += bytes(12) + struct.pack("!H", 8 + len(octets)) + b"\xaa\xaa\3\0\0\0\x08\0" + octets
        frame += bytes(-(len(frame) - 26) % 4)
    return bytes(frame[:262144])


def syn(number):
    source, port = host(number)
    return ip4(tcp(port, 443, number, 0, SYN), source=source)


def fragments():
    """Packets that are never whole, and ones with tunnels in each other that are."""
    chance = random.Random(2)
    for number in range(30000):
        yield ip4(bytes(1400), number=number, fragment=0x2000 | chance.randrange(8000))
    wrap = TUNNELS["gtp version 0"]
    whole = nested(lambda: wrap, 2000, ip4(bytes(20), 250))[20:]
    for number in range(300):
        for start in range(0, len(whole), 1400):
            part = whole[start : start + 1400]
            more = 0x2000 if start + 1400 < len(whole) else 0
            yield ip4(part, 17, number=number, fragment=more | start // 8)


def quotations():
    for number in range(400000):
        yield ip4(b"\3\3\0\0\0\0\0\0" + syn(number), 1)


def options():
    chance = random.Random(3)
    kinds = [b"\5\x22" + chance.randbytes(32) + b"\1" * 6, b"\1" * 40, b"\x1e\x28" + bytes(38)]
    yield ip4(tcp(7, 443, 0, 0, SYN, 0, b"\4\2\1\1"))
    for number in range(300000):
        yield ip4(tcp(7, 443, 1 + number * 10, 1, ACK, 10, chance.choice(kinds)), number=number)


def holes():
    """In many connections, backwards in one, and in another in any order, each reported."""
    for round in range(12):
        for number in range(60000):
            source, port = host(number)
            yield ip4(tcp(port, 443, round * 50, 1, ACK, 5), source=source)
    for number in range(300000):
        yield ip4(tcp(900, 443, (400000 - number) * 20, 1, ACK, 5), number=number)
    order = list(range(200000))
    random.Random(4).shuffle(order)
    for number, place in enumerate(order):
        report = b"\1\1\5\x0a" + struct.pack("!II", place * 20, place * 20 + 5)
        yield ip4(tcp(901, 443, place * 20, 1, ACK, 5), number=number)
        yield ip4(tcp(443, 901, 1, place * 20, ACK, 0, report), source=B, target=A, number=number)


def repetitions():
    """One frame again and again, one acknowledgement, and SYNs and RSTs with ever new numbers."""
    yield from [ip4(tcp(9, 443, 1, 1, ACK | PSH, 100), number=5)] * 300000
    for number in range(300000):
        yield ip4(tcp(443, 9, 1, 1, ACK), source=B, target=A, number=number)
    for number in range(300000):
        yield ip4(tcp(10, 443, number * 77777, 0, (SYN, RST, SYN | ACK)[number % 3]), number=number)


def pcap(frames, link=101):
    yield struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link)
    for number, frame in enumerate(frames):
        micros = number * 7
        yield struct.pack("<IIII", 1_700_000_000 + micros // 1_000_000, micros % 1_000_000, len(frame), len(frame)) + frame


SECTION = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)


def block(kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack("<II", kind, 12 + len(body)) + body + struct.pack("<I", 12 + len(body))


def interface(number):
    name = struct.pack("<HH", 2, 100) + (b"if%05d" % number).ljust(100, b"x")
    description = struct.pack("<HH", 3, 200) + bytes(200) + bytes(4)
    return block(1, struct.pack("<HHI", 101, 0, 262144) + name + description)


def packet(at, micros, frame, comment=b""):
    head = struct.pack("<IIIII", at, 0, micros, len(frame), len(frame))
    return block(6, head + frame + bytes(-len(frame) % 4) + comment)


def interfaces():
    yield SECTION
    yield from map(interface, range(65000))
    yield from (packet(number, number, syn(number)) for number in range(65000))


def sections():
    for number in range(100000):
        yield SECTION + interface(number) + packet(0, number, syn(number))


def seen_everywhere():
    yield SECTION
    yield from map(interface, range(3000))
    for number in range(100):
        frame = ip4(tcp(9, 443, number * 10, 1, ACK | PSH, 10), number=number + 1)
        yield from (packet(at, number * 1000, frame) for at in range(3000))


def comments():
    yield SECTION + interface(0)
    comment = struct.pack("<HH", 1, 60000) + b"\x1b[31m" * 12000 + bytes(4)
    yield from (packet(0, number, syn(number), comment) for number in range(10000))


def no_frames():
    yield SECTION + interface(0)
    yield from [block(0x77777777, bytes(1 << 20))] * 6000


CAPTURES = {
    "tunnels.pcap": lambda: pcap(tunnels()),
    "vlan-stack.pcap": lambda: pcap([bytes(12) + b"\x81\0" + b"\0\1\x81\0" * 60000] * 300, 1),
    "mpls-stack.pcap": lambda: pcap([bytes(12) + b"\x88\x47" + b"\0\0\0\x40" * 60000] * 300, 1),
    "aggregates.pcap": lambda: pcap((aggregate(4000, number * 4000, syn) for number in range(200)), 105),
    "aggregated-tunnels.pcap": lambda: pcap(
        (aggregate(100, 0, lambda _: nested(lambda: TUNNELS["gtp version 0"], 2, syn(1))) for _ in range(300)), 105),
    "fragments.pcap": lambda: pcap(fragments()),
    "quotations.pcap": lambda: pcap(quotations()),
    "options.pcap": lambda: pcap(options()),
    "holes.pcap": lambda: pcap(holes()),
    "repetitions.pcap": lambda: pcap(repetitions()),
    "interfaces.pcapng": interfaces,
    "sections.pcapng": sections,
    "seen-everywhere.pcapng": seen_everywhere,
    "comments.pcapng": comments,
    "no-frames.pcapng": no_frames,
}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in CAPTURES.items():
        path = folder / f"{name}.zst"
        with subprocess.Popen(["zstd", "-q", "-f", "-6", "-o", path], stdin=subprocess.PIPE) as zstd:
            for part in parts():
                zstd.stdin.write(part)
        print(f"{path.stat().st_size:9} {path.name}", flush=True)


if __name__ == "__main__":
    main()
