//! Every case kept for the fuzz targets does what the targets ask: the seeds in `fuzz/seeds`, what fuzzing found in `tests/found`, and the corpora in `fuzz/corpora`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tcpflow::calls::{
    Call, CallId, Errno, Kept, MessageFlags, Op, Process, Receiving, Returned, Role, Sending, SocketId, SocketUse,
    Thread, ThreadId, Threads,
};
use tcpflow::capture::{PointId, SeenAt};
use tcpflow::flow::Side;
use tcpflow::kernel::{Answer, TcpInfo, Timer, TimerKind};
use tcpflow::script::LinkAct;
use tcpflow::story::{LinkRecord, Passing, Point, PointSighting, Sense};
use tcpflow::tcp::State;
use tcpflow::time::{Span, Timestamp};

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own for the fuzz targets")]
mod targets;

#[test]
fn the_file_reader_stands_every_case() {
    each_case("file_reader", targets::file_reader);
}

#[test]
fn the_decoder_stands_every_case() {
    each_case("decoder", targets::decoder);
}

#[test]
fn the_flow_engine_stands_every_case() {
    each_case("flow", targets::flow);
}

#[test]
fn nested_tunnels_and_aggregates_stand_every_seed() {
    nested_seeds().iter().for_each(|(_, case)| targets::nested(case));
}

/// Beside the cases kept: every stack of two kinds of header, as deep as is followed and deeper, and some at random.
#[test]
fn however_headers_are_nested_each_is_decoded_once() {
    for inner in [0, 1] {
        for depth in [1, 2, 8, 15, 16, 17, 39] {
            for (one, other) in (0..64).flat_map(|one| (0..8).map(move |other| (one, other))) {
                let layers = (0..depth).map(|layer| if layer % 2 == 0 { one } else { other });
                targets::nested(&std::iter::once(inner).chain(layers).collect::<Vec<_>>());
            }
        }
    }
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let case: Vec<u8> = (0..12)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        targets::nested(&case);
    }
}

#[test]
fn kept_calls_stand_every_case() {
    each_case("kept", targets::kept);
}

/// The seeds, and each of them with one of its octets or lines left out.
#[test]
fn scripts_stand_what_is_left_out() {
    for (_, whole) in script_seeds() {
        targets::script(&whole);
        for place in 0..whole.len() {
            targets::script(&[&whole[..place], &whole[place + 1..]].concat());
        }
        let lines: Vec<&[u8]> = whole.split_inclusive(|octet| *octet == b'\n').collect();
        for place in 0..lines.len() {
            targets::script(&[lines[..place].concat(), lines[place + 1..].concat()].concat());
        }
    }
}

/// The seeds are made by this file: with `TCPFLOW_BLESS=1` they are written, otherwise they must be what it makes.
#[test]
fn the_seeds_are_those_made_here() {
    let bless = std::env::var_os("TCPFLOW_BLESS").is_some();
    for (target, seeds) in [
        ("file_reader", file_reader_seeds()),
        ("decoder", decoder_seeds()),
        ("flow", flow_seeds()),
        ("kept", kept_seeds()),
        ("nested", nested_seeds()),
        ("script", script_seeds()),
    ] {
        let folder = root().join("fuzz/seeds").join(target);
        for (name, octets) in seeds {
            let path = folder.join(name);
            if bless {
                fs::create_dir_all(&folder).expect("a folder for seeds");
                fs::write(&path, &octets).expect("a seed is written");
            }
            let kept = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(kept == octets, "{}: TCPFLOW_BLESS=1 cargo test --test found writes it anew", path.display());
        }
    }
}

/// A corpus is kept as one file; with `TCPFLOW_CORPUS=pack` it is made of the cases in `fuzz/corpus`, with `unpack` it becomes cases there.
#[test]
fn the_corpora_can_be_fuzzed_on() {
    let wish = std::env::var("TCPFLOW_CORPUS").unwrap_or_default();
    for target in ["file_reader", "decoder", "flow", "kept"] {
        let folder = root().join("fuzz/corpus").join(target);
        if wish == "pack" {
            let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let mut paths: Vec<_> = entries.map(|entry| entry.expect("a folder can be read").path()).collect();
            paths.sort();
            let cases = paths.iter().map(|path| fs::read(path).expect("a case can be read")).collect::<Vec<_>>();
            fs::create_dir_all(root().join("fuzz/corpora")).expect("a folder for corpora");
            fs::write(packed(target), pack(&cases)).expect("a corpus is written");
            assert_eq!(corpus(target), cases);
        } else if wish == "unpack" {
            fs::create_dir_all(&folder).expect("a folder for cases");
            for (number, case) in corpus(target).iter().enumerate() {
                fs::write(folder.join(format!("kept-{number:05}")), case).expect("a case is written");
            }
        }
        assert!(corpus(target).len() > 200, "{target}: TCPFLOW_CORPUS=pack cargo test --test found makes its corpus");
    }
}

fn packed(target: &str) -> PathBuf {
    root().join("fuzz/corpora").join(target).with_extension("zst")
}

/// Each case behind its length, all of it compressed.
fn pack(cases: &[Vec<u8>]) -> Vec<u8> {
    let lengths = cases.iter().map(|case| (case.len() as u32).to_le_bytes());
    let octets: Vec<u8> = lengths.zip(cases).flat_map(|(length, case)| [&length[..], case].concat()).collect();
    zstd::bulk::compress(&octets, 19).expect("memory takes everything")
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let path = packed(target);
    let packed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let octets = zstd::stream::decode_all(&packed[..]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut rest, mut cases) = (&octets[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let (case, others) = after.split_at(u32::from_le_bytes(*length) as usize);
        cases.push(case.to_vec());
        rest = others;
    }
    cases
}

fn each_case(target: &str, check: fn(&[u8])) {
    for (number, case) in corpus(target).iter().enumerate() {
        println!("{target}: case {number} of its corpus");
        check(case);
    }
    let mut cases = Vec::new();
    for folder in [root().join("fuzz/seeds").join(target), root().join("tests/found").join(target)] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        cases.extend(entries.map(|entry| entry.expect("a folder can be read").path()));
    }
    assert!(!cases.is_empty(), "no case for {target}");
    cases.sort();
    for case in cases {
        let octets = fs::read(&case).expect("a case can be read");
        println!("{}", case.display());
        check(&octets);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

type Seeds = Vec<(String, Vec<u8>)>;

fn file_reader_seeds() -> Seeds {
    let frames: Vec<Vec<u8>> = handshake().iter().map(|datagram| ethernet(0x0800, datagram)).collect();
    let little = pcap(&frames, 0xa1b2_c3d4, u32::to_le_bytes, u16::to_le_bytes);
    let blocks = pcapng(&frames);
    let mut seeds = vec![
        ("micros".to_owned(), little.clone()),
        ("nanos".to_owned(), pcap(&frames, 0xa1b2_3c4d, u32::to_le_bytes, u16::to_le_bytes)),
        ("big-endian".to_owned(), pcap(&frames, 0xa1b2_c3d4, u32::to_be_bytes, u16::to_be_bytes)),
        ("cut".to_owned(), little[..little.len() - 9].to_vec()),
        ("blocks".to_owned(), blocks.clone()),
        ("two-sections".to_owned(), [&blocks[..], &blocks[..]].concat()),
        ("blocks-big-endian".to_owned(), blocks_big_endian(&frames[0])),
        ("attachment".to_owned(), [&blocks[..], &attachment(b"half a ", 1), &attachment(b"record", 0)].concat()),
        ("empty".to_owned(), Vec::new()),
    ];
    let (half, rest) = little.split_at(little.len() / 2);
    for (name, parts) in [("micros", &[&little[..]][..]), ("blocks", &[&blocks]), ("members", &[half, rest])] {
        for (ending, compressed) in [("gz", gzip as fn(&[u8]) -> Vec<u8>), ("zst", zstd), ("lz4", lz4)] {
            seeds.push((format!("{name}.{ending}"), parts.iter().flat_map(|part| compressed(part)).collect()));
        }
    }
    seeds
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    member.write_all(plain).expect("memory takes everything");
    member.finish().expect("memory takes everything")
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).expect("memory takes everything")
}

fn lz4(plain: &[u8]) -> Vec<u8> {
    let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
    frame.write_all(plain).expect("memory takes everything");
    frame.finish().expect("memory takes everything")
}

/// A classic capture with a magic number, in a byte order.
fn pcap(frames: &[Vec<u8>], magic: u32, word: fn(u32) -> [u8; 4], half: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut file = [&word(magic)[..], &half(2), &half(4), &[0; 8], &word(65_535), &word(1)].concat();
    for (number, frame) in frames.iter().enumerate() {
        for field in [1_700_000_000, number as u32 * 100, frame.len() as u32, frame.len() as u32] {
            file.extend_from_slice(&word(field));
        }
        file.extend_from_slice(frame);
    }
    file
}

/// A section with two interfaces and every kind of block that is read.
fn pcapng(frames: &[Vec<u8>]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let total = (12 + body.len().div_ceil(4) * 4) as u32;
        let mut block = [&kind.to_le_bytes()[..], &total.to_le_bytes(), body].concat();
        block.resize(total as usize - 4, 0);
        block.extend_from_slice(&total.to_le_bytes());
        block
    };
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let frame = &frames[0];
    let len = frame.len() as u32;
    let padded = |head: &[u32], rest: &[u8]| {
        let mut body = [&words(head)[..], frame].concat();
        body.resize(body.len().div_ceil(4) * 4, 0);
        [&body[..], rest].concat()
    };
    let comment = [&[1, 0, 5, 0][..], b"hello\0\0\0", &[0; 4]].concat();
    let resolution =
        [&words(&[1, 65_535])[..], &[9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]];
    [
        block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX])),
        block(1, &resolution.concat()),
        block(1, &words(&[101, 0])),
        block(6, &padded(&[0, 0x0017_9000, 7, len, len], &comment)),
        block(3, &padded(&[len], &[])),
        block(2, &padded(&[1, 0x0017_9000, 9, len, len], &[])),
        block(5, &[&words(&[0, 0, 0])[..], &[5, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat()),
        block(4, &[0, 0, 0, 0]),
        block(0xbad, &[&words(&[32_473])[..], b"anything"].concat()),
    ]
    .concat()
}

/// A section in the other byte order, with a binary resolution, an offset and the drops of its interface.
fn blocks_big_endian(frame: &[u8]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let total = ((12 + body.len()) as u32).to_be_bytes();
        [&kind.to_be_bytes()[..], &total, body, &total].concat()
    };
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let mut packet = [&words(&[0, 0x0017_9000, 7, frame.len() as u32, 1_500])[..], frame].concat();
    packet.resize(packet.len().next_multiple_of(4), 0);
    let clock = [0, 9, 0, 1, 0x8a, 0, 0, 0, 0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 14, 16, 0, 0, 0, 0];
    [
        block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 0x0001_0000, u32::MAX, u32::MAX])),
        block(1, &[&words(&[0x0001_0000, 96])[..], &clock].concat()),
        block(6, &packet),
        block(5, &[&words(&[0, 0, 0])[..], &[0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0]].concat()),
    ]
    .concat()
}

/// Interface statistics with a piece of a record that rides in the capture.
fn attachment(piece: &[u8], more: u8) -> Vec<u8> {
    let mut value = [&32_473u32.to_le_bytes()[..], b"tcpflow\x01", &[more], piece].concat();
    let head = [&2989u16.to_le_bytes()[..], &(value.len() as u16).to_le_bytes()].concat();
    value.resize(value.len().next_multiple_of(4), 0);
    let total = ((12 + 12 + head.len() + value.len() + 4) as u32).to_le_bytes();
    [&5u32.to_le_bytes()[..], &total, &[0; 12], &head, &value, &[0; 4], &total].concat()
}

fn decoder_seeds() -> Seeds {
    let syn = handshake().remove(0);
    let six = ipv6(6, &tcp());
    let wlan = [&[0x08, 0x01, 0, 0][..], &[2; 18], &[0, 0], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &syn].concat();
    let udp = |port: u16, payload: &[u8]| {
        let len = 8 + payload.len() as u16;
        ipv4(17, &[&port.to_be_bytes()[..], &port.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat())
    };
    let inner = ethernet(0x0800, &syn);
    let tagged = |tags: &[u16]| {
        let tags: Vec<u8> = tags.iter().flat_map(|tag| tag.to_be_bytes()).collect();
        [&[2; 12][..], &tags, &[8, 0], &syn].concat()
    };
    let halves = fragments(&syn);
    let refused = |datagram: &[u8]| [&[3, 3, 0, 0, 0, 0, 0, 0][..], &datagram[..28]].concat();
    let links: Vec<(&str, u16, Vec<Vec<u8>>)> = vec![
        ("ethernet", 1, handshake().iter().map(|datagram| ethernet(0x0800, datagram)).collect()),
        ("ethernet-ipv6", 1, vec![ethernet(0x86dd, &six)]),
        ("vlan", 1, vec![tagged(&[0x8100, 5]), tagged(&[0x88a8, 5, 0x8100, 6])]),
        ("mpls", 1, vec![[&[2; 12][..], &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64], &syn].concat()]),
        ("pppoe", 1, vec![[&[2; 12][..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 66, 0, 0x21], &syn].concat()]),
        ("snap", 1, vec![[&[2; 12][..], &[0, 72, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &syn].concat()]),
        ("null", 0, vec![[&[2, 0, 0, 0][..], &syn].concat(), [&[30, 0, 0, 0][..], &six].concat()]),
        ("raw", 101, vec![syn.clone(), six.clone()]),
        ("ppp", 9, vec![[&[0xff, 3, 0, 0x21][..], &syn].concat(), [&[0x57][..], &six].concat()]),
        ("cooked", 113, vec![[&[0, 0, 0, 1, 0, 6][..], &[2; 8], &[8, 0], &syn].concat()]),
        ("cooked2", 276, vec![[&[8, 0][..], &[0; 6], &[0, 1, 0, 6], &[2; 8], &syn].concat()]),
        ("wlan", 105, vec![wlan.clone()]),
        ("radiotap", 127, vec![[&[0, 0, 8, 0, 0, 0, 0, 0][..], &wlan].concat()]),
        ("ppi", 192, vec![[&[0, 0, 8, 0, 1, 0, 0, 0][..], &inner].concat()]),
        ("nflog", 239, vec![[&[2, 0, 0, 0][..], &(4 + syn.len() as u16).to_le_bytes(), &[9, 0], &syn].concat()]),
        ("frame-relay", 107, vec![[&[0x18, 0x41, 3, 0xcc][..], &syn].concat()]),
        ("gre", 101, vec![ipv4(47, &[&[0, 0, 8, 0][..], &syn].concat())]),
        ("gre-keyed-bridge", 101, vec![ipv4(47, &[&[0x20, 0, 0x65, 0x58, 0, 0, 0, 7][..], &inner].concat())]),
        ("pptp", 101, vec![ipv4(47, &[&[0x30, 1, 0x88, 0x0b, 0, 68, 0, 1, 0, 0, 0, 1, 0, 0x21][..], &syn].concat())]),
        ("ip-in-ip", 101, vec![ipv4(4, &syn), ipv4(41, &six), ipv6(4, &syn)]),
        ("vxlan", 101, vec![udp(4789, &[&[8, 0, 0, 0, 0, 0, 5, 0][..], &inner].concat())]),
        ("geneve", 101, vec![udp(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 5, 0][..], &inner].concat())]),
        ("gtp-u", 101, vec![udp(2152, &[&[0x30, 0xff, 0, 64, 0, 0, 0, 9][..], &syn].concat())]),
        ("teredo", 101, vec![udp(3544, &six)]),
        ("quoted", 101, vec![ipv4(1, &refused(&syn)), ipv6(58, &[&[1, 4, 0, 0, 0, 0, 0, 0][..], &six].concat())]),
        ("fragments", 101, halves.clone()),
        ("fragments-late", 101, vec![halves[1].clone(), halves[0].clone()]),
        ("fragments-ipv6", 101, fragments6()),
        ("hop-by-hop", 101, vec![ipv6(0, &[&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp()].concat())]),
        ("authentication", 101, vec![ipv4(51, &[&[6, 4][..], &[0; 22], &tcp()].concat())]),
    ];
    links
        .into_iter()
        .map(|(name, link, frames)| {
            let place = targets::LINKS.iter().position(|known| *known == link);
            let mut seed = vec![place.expect("a link type that is decoded") as u8];
            for frame in frames {
                seed.extend_from_slice(&(frame.len() as u16).to_be_bytes());
                seed.extend_from_slice(&[0, 0]);
                seed.extend_from_slice(&frame);
            }
            (name.to_owned(), seed)
        })
        .collect()
}

/// Two ends that meet, speak and part.
fn flow_seeds() -> Seeds {
    let (client, server) = (0, 32);
    let opening = [client, server + 1, 0, client + 2];
    let talk = [client + 3, 1, 0, server + 2, server + 3, 4, 0, client + 2];
    let closing = [client + 5, 0, server + 2, server + 5, 0, client + 2];
    // Connect and accept, send and receive, and both close; each with how long it took and how much it moved.
    let calls = [
        28,
        5,
        20,
        0,
        28 + server,
        6,
        30,
        0,
        28,
        7,
        1,
        26,
        28 + server,
        8,
        200,
        26,
        28,
        11,
        0,
        0,
        28 + server,
        11,
        0,
        0,
        31,
        10,
        4,
    ];
    let troubles: &[(&str, &[u8])] = &[
        ("life", &[]),
        ("retransmission", &[15, 3, 20, 1, 0, 15, 3]),
        ("late", &[client + 3, 0, 50, 18, client + 3, 0, 60, server + 11, server + 11, 19]),
        ("lost", &[13, 0, 90, client + 3, 0, 9, server + 12, 10, 12, server + 14]),
        ("zero-window", &[server + 10, 0, 0, client + 9, server + 10, 0, 0, server + 10, 9, 9]),
        ("keep-alive", &[21, 200, 0, client + 8, 1, server + 11]),
        ("copies", &[16, client + 3, 0, 7, 16, 16]),
        ("reset", &[server + 7, 0]),
        ("wild", &[24, 255, 0, 9, 0, 9, 5, 24, 3, 255, 0, 255, 0, 5, 25, 9, 9, 9, 9, 0, 5]),
        ("options", &[26, 12, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 26, 3, 2, 0, 9]),
        ("cut", &[client + 3, 2, 0, 27, 30]),
        ("calls", &calls),
        ("port-reuse", &[21, 9, 9, 23, 0, 9, 0, 9, client, server + 1, 0, client + 2]),
        ("another-port", &[23, 0x80, 9, 0, 9, client, server + 1, 0, client + 2, 21, 255, 0]),
        ("quoted", &[30, 0, 28, client + 13, 0, 9, 30, 3, 8, 23, 0x80, 7, 0, 0, 0, 18, 30, 0, 40, 19]),
        ("backwards", &[22, 3, 0, client + 3, 0, 9, 22, 200, 0]),
    ];
    let mut seeds = Vec::new();
    for (name, trouble) in troubles {
        for kind in [0, 0x97] {
            let script = [&[kind][..], &opening, &talk, trouble, &talk, &closing, &calls].concat();
            seeds.push((format!("{name}-{kind}"), script));
        }
    }
    let other = |octets: &[u8], which: u8| octets.iter().map(|octet| octet | (which << 6)).collect::<Vec<u8>>();
    seeds.push((
        "same-ends".to_owned(),
        [&[0][..], &other(&opening, 3), &[192 + 3, 0, 9, 224 + 5, 0, 192 + 6]].concat(),
    ));
    seeds
}

/// An innermost packet, TCP or not, and the headers around it from the inside out.
fn nested_seeds() -> Seeds {
    let layers: [(&str, &[u8]); 6] = [
        ("gtp", &[0; 15]),
        ("vxlan", &[1; 5]),
        ("gre-and-ip", &[2, 3, 4, 5, 6, 2, 3]),
        ("aggregate", &[255]),
        ("aggregates-in-each-other", &[127, 127, 63]),
        ("aggregate-of-tunnels", &[0, 0, 0, 1, 1, 247]),
    ];
    let kinds = [("tcp", 0), ("other", 1)];
    let seed = |(name, layers): (&str, &[u8])| {
        kinds.map(|(kind, inner)| (format!("{name}-{kind}"), [&[inner], layers].concat()))
    };
    layers.into_iter().flat_map(seed).collect()
}

fn script_seeds() -> Seeds {
    let whole = "\
C = 127.0.0.1:50000
10us..35us S: accept() = 5 in ESTABLISHED
15us..34us C: connect(to S) = 0
20us C > S: S 100(0) win 1000 mss 1460 ws 7 sackok ts 5:0
22us S > C: S. 300(0) ack 101
C > S: . 101(0) ack 301
link: drop 2nd data C>S
40us..45us C: send(10, MSG_DONTWAIT) = 10
C > S: P. 101(10) ack 301
250ms C > S: P. 101(10) ack 301 = retransmission
S > C: . 301(0) ack 111 sack 121-131,141-151 vni 7
S: setsockopt(SO_LINGER, 0)
after C waits in recv, S: close()
S > C: R. 301(0) ack 111 lost
1s.. C: recv() = -ECONNRESET
kernel: C TIME-WAIT for 60s
expect: C CLOSED
expect: finding retransmission
";
    let scenario =
        "# no numbers\nS: listen()\nC: connect()\nC > S: SYN\nS > C: SYN,ACK\nC > S: ACK\nlink: delay 5ms ACK S>C\n";
    let seeds = [("whole", whole), ("scenario", scenario), ("fault", "C: send(ten)\n")];
    seeds.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
}

fn kept_seeds() -> Seeds {
    let at = Timestamp::from_nanos(1_700_000_000_000_000_001);
    let end = |text: &str| text.parse().expect("an address");
    let mut threads = Threads::default();
    let process = threads.add_process(Process { pid: 7, comm: "echo \u{1b}[1m".into() });
    let thread = threads.add(Thread { process, tid: 8, comm: "echo \u{1b}[1m".into() });
    let on = SocketUse {
        local: Some(end("127.0.0.1:40000")),
        peer: Some(end("[::1]:3000")),
        ..SocketUse::of(SocketId(1), 3, Role::On)
    };
    let call = Call {
        id: CallId { thread, n: 0 },
        entered: at,
        op: Op::Send { by: Sending::SendMsg, len: Some(10), flags: MessageFlags::MSG_NOSIGNAL },
        sockets: vec![on, SocketUse::of(SocketId(2), 4, Role::Passed)],
        returned: Some(Returned {
            at: at.after(Span(5_000)),
            result: Ok(10),
            octets: Some(10),
            preview: b"helloworld".to_vec(),
        }),
        stack: Default::default(),
    };
    let refused = Call {
        id: CallId { thread, n: 1 },
        op: Op::Connect { address: Some(end("127.0.0.1:1")) },
        returned: Some(Returned { at, result: Err(Errno::ECONNREFUSED), octets: None, preview: Vec::new() }),
        ..call.clone()
    };
    let evidence = Answer {
        asked: at,
        answered: at,
        local: end("127.0.0.1:40000"),
        peer: end("127.0.0.1:3000"),
        state: Some(State::TimeWait),
        timer: Some(Timer { kind: TimerKind::TimeWait, remaining: Span::from_millis(60_000) }),
        inode: 9,
        uid: 1_000,
    };
    let kept = Kept {
        threads,
        calls: vec![call, refused],
        evidence: vec![evidence],
        kernel: Vec::new(),
        notices: vec!["a \u{202e}word".into()],
        lost: 0,
    };
    let mut seeds = vec![("all".to_owned(), kept.to_bytes()), ("none".to_owned(), Kept::default().to_bytes())];
    // Sends of an octet whose octets are sent again and again, listeners that come and go, words that nothing fits.
    let moving = [send(1), receive(1)].into_iter().cycle();
    let ops = [Op::Connect { address: None }, send(1), receive(1)].into_iter().chain(moving).take(200);
    let calls = ops.zip(0..).map(|(op, number)| bare(op, number)).collect();
    seeds.push(("many-sends".to_owned(), Kept { calls, ..one_thread() }.to_bytes()));
    let ops = [Op::Listen { backlog: 1 }, Op::Close].into_iter().cycle().take(120);
    let listening = ops.zip(0..).map(|(op, number)| {
        let mut call = bare(op, number);
        let (asked, answered) = (Timestamp::from_nanos(0), call.entered);
        call.sockets[0].info = TcpInfo::from_bytes(&[5], asked, answered);
        call
    });
    let calls = listening.collect();
    seeds.push(("many-listeners".to_owned(), Kept { calls, ..one_thread() }.to_bytes()));
    seeds.push(("link".to_owned(), link_record().to_bytes()));
    seeds
}

/// What a link knew of a handshake and of octets that it lost.
fn link_record() -> LinkRecord {
    let seen = |point, frame, number: i64, sense| PointSighting {
        seen: SeenAt { point: PointId(point), ..SeenAt::default() },
        frame,
        at: Some(Timestamp::from_nanos(number * 7_000)),
        sense,
    };
    let carried = |from: u32, frames: [u64; 2], number: i64| Passing {
        passage: vec![
            seen(from, frames[from as usize], number, Sense::Leaves),
            seen(1 - from, frames[1 - from as usize], number + 1, Sense::Arrives),
        ],
        ..Passing::default()
    };
    let lost = Passing {
        sense: Sense::Leaves,
        acts: vec![LinkAct::Dropped, LinkAct::Delayed(Span(5))],
        passage: vec![seen(0, 4, 4, Sense::Leaves)],
    };
    let point = |side| Point { side: Some(side), ..Point::live("eth0") };
    let passing = [carried(0, [1, 1], 1), carried(1, [2, 2], 2), carried(0, [3, 3], 3), lost];
    let points = vec![point(Side::Client), point(Side::Server)];
    LinkRecord { points, passing: (1..).zip(passing).collect(), rto_min: None }
}

fn one_thread() -> Kept {
    let mut kept = Kept::default();
    let process = kept.threads.add_process(Process { pid: 7, comm: String::new() });
    kept.threads.add(Thread { process, tid: 8, comm: String::new() });
    kept
}

fn send(len: u64) -> Op {
    Op::Send { by: Sending::Send, len: Some(len), flags: MessageFlags::empty() }
}

fn receive(len: u64) -> Op {
    Op::Receive { by: Receiving::Recv, len: Some(len), flags: MessageFlags::empty() }
}

/// A call of one socket with nothing that need not be there.
fn bare(op: Op, number: u64) -> Call {
    let entered = Timestamp::from_nanos(1_700_000_000_000_000_000).after(Span(number as i64));
    let octets = matches!(op, Op::Send { .. } | Op::Receive { .. }).then_some(1);
    let role = if op == Op::Close { Role::Released } else { Role::On };
    let (local, peer) = (Some("10.0.0.1:40000".parse().unwrap()), Some("10.0.0.2:80".parse().unwrap()));
    Call {
        id: CallId { thread: ThreadId(0), n: number },
        entered,
        op,
        sockets: vec![SocketUse { local, peer, ..SocketUse::of(SocketId(1), 3, role) }],
        returned: Some(Returned { at: entered, result: Ok(1), octets, preview: Vec::new() }),
        stack: Default::default(),
    }
}

/// SYN, SYN-ACK, ACK and two octets of an IPv4 connection.
fn handshake() -> Vec<Vec<u8>> {
    let segment = |from: u16, to: u16, seq: u32, ack: u32, flags: u8, payload: &[u8]| {
        let mut octets = [&from.to_be_bytes()[..], &to.to_be_bytes(), &seq.to_be_bytes(), &ack.to_be_bytes()].concat();
        octets.extend_from_slice(&[0xb0, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        octets.extend_from_slice(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7, 5, 2, 0, 0]);
        octets.extend_from_slice(payload);
        ipv4(6, &octets)
    };
    vec![
        segment(50_000, 80, 1_000, 0, 2, b""),
        segment(80, 50_000, 9_000, 1_001, 18, b""),
        segment(50_000, 80, 1_001, 9_001, 16, b""),
        segment(50_000, 80, 1_001, 9_001, 24, b"hi"),
    ]
}

fn tcp() -> Vec<u8> {
    handshake()[3][20..].to_vec()
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind.to_be_bytes(), payload].concat()
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = 20 + payload.len() as u16;
    [&[0x45, 0][..], &len.to_be_bytes(), &[0, 7, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], payload].concat()
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u16;
    [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[next, 64], &[0xfd; 16], &[0xfe; 16], payload].concat()
}

/// An IPv4 packet in two fragments.
fn fragments(datagram: &[u8]) -> Vec<Vec<u8>> {
    let piece = |from: usize, to: usize, more: u8| {
        let mut piece = [&datagram[..20], &datagram[20 + from..20 + to]].concat();
        let len = (piece.len() as u16).to_be_bytes();
        piece[2..4].copy_from_slice(&len);
        piece[6..8].copy_from_slice(&[more, (from / 8) as u8]);
        piece
    };
    vec![piece(0, 24, 0x20), piece(24, datagram.len() - 20, 0)]
}

fn fragments6() -> Vec<Vec<u8>> {
    let whole = tcp();
    let piece = |from: usize, to: usize, more: u8| {
        ipv6(44, &[&[6, 0, 0, from as u8 | more, 0, 0, 0, 1][..], &whole[from..to]].concat())
    };
    vec![piece(0, 24, 1), piece(24, whole.len(), 0)]
}
