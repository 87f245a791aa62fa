//! Capture files of every format and variant, whole, damaged and random.

use std::io::{self, Cursor, Read, Write};
use std::path::Path;

use proptest::prelude::*;

use super::compression::decompressed;
use super::{CaptureError, FileSource, FrameSource, Heading, LinkType, SeenAt};
use crate::time::Timestamp;

/// A frame's number, its nanoseconds, its link type, its bytes, and its length on the wire.
type FrameTold = (u64, Option<i64>, u16, Vec<u8>, u32);

/// What was read of a capture, and what was said when it ended.
#[derive(Debug, PartialEq)]
struct Told {
    frames: Vec<FrameTold>,
    error: Option<String>,
}

fn open(bytes: &[u8]) -> Result<FileSource, CaptureError> {
    FileSource::from_reader("test", Box::new(Cursor::new(bytes.to_vec())))
}

fn drain(source: &mut FileSource) -> Told {
    let mut frames = Vec::new();
    loop {
        match source.next_frame() {
            Ok(Some(frame)) => {
                let at = frame.at.map(Timestamp::as_nanos);
                frames.push((frame.number, at, frame.link.0, frame.bytes.to_vec(), frame.wire_len));
            }
            Ok(None) => return Told { frames, error: None },
            Err(error) => {
                assert!(source.next_frame().unwrap().is_none(), "nothing follows an error");
                return Told { frames, error: Some(error.message) };
            }
        }
    }
}

fn read(bytes: &[u8]) -> Told {
    match open(bytes) {
        Ok(mut source) => drain(&mut source),
        Err(error) => Told { frames: Vec::new(), error: Some(error.message) },
    }
}

/// The error that reading ends with.
fn error(bytes: &[u8]) -> String {
    read(bytes).error.expect("reading ends with an error")
}

/// Writes numbers in one byte order.
#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn words(self, words: &[u32]) -> Vec<u8> {
        words
            .iter()
            .flat_map(|word| match self {
                Self::Big => word.to_be_bytes(),
                Self::Little => word.to_le_bytes(),
            })
            .collect()
    }

    fn halves(self, halves: &[u16]) -> Vec<u8> {
        halves
            .iter()
            .flat_map(|half| match self {
                Self::Big => half.to_be_bytes(),
                Self::Little => half.to_le_bytes(),
            })
            .collect()
    }

    fn pcap(self, magic: u32, version: (u16, u16), network: u32) -> Vec<u8> {
        let version = self.halves(&[version.0, version.1]);
        [self.words(&[magic]), version, self.words(&[0, 0, 65_535, network])].concat()
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = self.words(&[body.len() as u32 + 12]);
        [&self.words(&[kind])[..], &length, &body, &length].concat()
    }

    fn section(self) -> Vec<u8> {
        self.block(0x0a0d_0d0a, &[self.words(&[0x1a2b_3c4d]), self.halves(&[1, 0]), vec![0xff; 8]].concat())
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut option = self.halves(&[code, value.len() as u16]);
        option.extend_from_slice(value);
        option.resize(option.len().next_multiple_of(4), 0);
        option
    }

    fn interface(self, link: u16, snap_len: u32, options: &[u8]) -> Vec<u8> {
        self.block(1, &[&self.halves(&[link, 0])[..], &self.words(&[snap_len]), options].concat())
    }

    fn packet(self, interface: u32, ticks: u64, bytes: &[u8], wire_len: u32, options: &[u8]) -> Vec<u8> {
        let head = self.words(&[interface, (ticks >> 32) as u32, ticks as u32, bytes.len() as u32, wire_len]);
        let mut body = [head, bytes.to_vec()].concat();
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend_from_slice(options);
        self.block(6, &body)
    }
}

const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;
const MODIFIED: u32 = 0xa1b2_cd34;

/// Two frames, one of them cut.
fn two_frames() -> Vec<u8> {
    let order = Order::Little;
    [
        order.pcap(MICRO, (2, 4), 1),
        order.words(&[100, 7, 5, 5]),
        b"first".to_vec(),
        order.words(&[101, 8, 6, 60]),
        b"second".to_vec(),
    ]
    .concat()
}

fn two_frames_in_blocks() -> Vec<u8> {
    let order = Order::Big;
    [
        order.section(),
        order.interface(1, 0, &[]),
        order.packet(0, 100_000_007, b"first", 5, &order.option(1, b"a comment")),
        order.packet(0, 101_000_008, b"second", 60, &[]),
    ]
    .concat()
}

fn as_two_frames() -> Told {
    Told {
        frames: vec![
            (1, Some(100_000_007_000), 1, b"first".to_vec(), 5),
            (2, Some(101_000_008_000), 1, b"second".to_vec(), 60),
        ],
        error: None,
    }
}

// ---- pcap ----

#[test]
fn pcap_is_read_in_both_byte_orders_and_resolutions() {
    for order in [Order::Big, Order::Little] {
        for (magic, nanos) in [(MICRO, 1_000_007_000), (NANO, 1_000_000_007)] {
            let bytes = [order.pcap(magic, (2, 4), 101), order.words(&[1, 7, 3, 9]), b"abc".to_vec()].concat();
            assert_eq!(read(&bytes).frames, [(1, Some(nanos), 101, b"abc".to_vec(), 9)]);
        }
    }
    assert_eq!(read(&two_frames()), as_two_frames());
}

#[test]
fn pcap_variants_are_read() {
    let order = Order::Little;
    let frame = vec![(1, Some(1_000_007_000), 1, b"abc".to_vec(), 9)];
    let with = |magic, version, network, lengths: [u32; 2], more: usize| {
        let header = order.words(&[1, 7, lengths[0], lengths[1]]);
        read(&[order.pcap(magic, version, network), header, vec![0; more], b"abc".to_vec()].concat()).frames
    };
    assert_eq!(with(MODIFIED, (2, 4), 1, [3, 9], 8), frame, "eight octets more in each header");
    assert_eq!(with(MICRO, (2, 2), 1, [9, 3], 0), frame, "the lengths the other way round");
    assert_eq!(with(MICRO, (2, 3), 1, [9, 3], 0), frame, "the lengths either way");
    assert_eq!(with(MICRO, (2, 3), 1, [3, 9], 0), frame, "the lengths either way");
    assert_eq!(with(MICRO, (543, 0), 1, [9, 3], 0), frame, "DG/UX");
    assert_eq!(with(MICRO, (2, 4), 0xf400_0001, [3, 9], 0), frame, "the length of a check sequence beside the type");
    assert_eq!(with(MICRO, (2, 2), 6, [9, 3], 0), [(1, Some(1_000_000_007), 1, b"abc".to_vec(), 9)], "AIX");
    assert_eq!(with(MICRO, (2, 4), 0x0001_0001, [3, 9], 0)[0].2, u16::MAX, "no known link type");
}

#[test]
fn a_fraction_beyond_a_second_and_times_to_2106_are_kept() {
    let order = Order::Big;
    let bytes = [order.pcap(MICRO, (2, 4), 1), order.words(&[u32::MAX, u32::MAX, 0, 0])].concat();
    assert_eq!(read(&bytes).frames[0].1, Some(u32::MAX as i64 * 1_000_000_000 + u32::MAX as i64 * 1_000));
}

// ---- pcapng ----

#[test]
fn pcapng_is_read_over_sections_of_both_byte_orders() {
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for (number, order) in [(1, Order::Big), (2, Order::Little), (3, Order::Big)] {
        bytes.extend(order.section());
        bytes.extend(order.interface(1, 0, &[]));
        bytes.extend(order.interface(101, 0, &[]));
        bytes.extend(order.packet(1, 7 << 32, b"abc", 9, &[]));
        expected.push((number, Some((7 << 32) * 1_000), 101, b"abc".to_vec(), 9));
    }
    assert_eq!(read(&bytes), Told { frames: expected, error: None });
    assert_eq!(read(&two_frames_in_blocks()), as_two_frames());
}

#[test]
fn each_interface_has_its_clock() {
    let order = Order::Little;
    let at = |resolution: u8, offset: i64, ticks: u64| {
        let options = [order.option(9, &[resolution]), order.option(14, &offset.to_le_bytes())].concat();
        let bytes = [order.section(), order.interface(1, 0, &options), order.packet(0, ticks, b"", 0, &[])].concat();
        read(&bytes).frames[0].1.unwrap()
    };
    assert_eq!(at(0, 0, 7), 7_000_000_000);
    assert_eq!(at(6, 0, 7), 7_000);
    assert_eq!(at(9, 0, 7), 7);
    assert_eq!(at(12, 0, 7_999), 7);
    assert_eq!(at(0x7f, 0, u64::MAX), 0);
    assert_eq!(at(0x80, 0, 7), 7_000_000_000);
    assert_eq!(at(0x80 | 20, 0, 3 << 19), 1_500_000_000);
    assert_eq!(at(0xff, 0, u64::MAX), 0);
    assert_eq!(at(9, 3, 7), 3_000_000_007);
    assert_eq!(at(9, -3, 7), -2_999_999_993);
    assert_eq!(at(0, i64::MAX, u64::MAX), i64::MAX);
    assert_eq!(at(0, i64::MIN, 0), i64::MIN + 1);
}

#[test]
fn each_packet_says_where_it_was_seen() {
    for order in [Order::Big, Order::Little] {
        let flags = |bits| order.option(2, &order.words(&[bits]));
        let named = |link, name: &[u8]| {
            order.interface(link, 0, &[order.option(2, name), order.option(3, b"of a host")].concat())
        };
        let old = [order.halves(&[1, 0]), order.words(&[0, 0, 1, 1]), b"a\0\0\0".to_vec(), flags(1)].concat();
        let cooked = [8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 4, 6];
        let section = [
            order.section(),
            named(1, b"eth0"),
            order.interface(276, 0, &[]),
            order.packet(0, 0, b"a", 1, &flags(0x8000_0001)),
            order.packet(0, 0, b"b", 1, &[order.option(1, b"a comment"), flags(2)].concat()),
            order.packet(1, 0, &cooked, 12, &[]),
            order.block(2, &old),
        ]
        .concat();
        let bytes =
            [section.clone(), section, order.section(), named(1, b"eth1"), order.packet(0, 0, b"c", 1, &[])].concat();
        let mut source = FileSource::from_reader("points.pcapng", Box::new(Cursor::new(bytes))).unwrap();
        let mut seen = Vec::new();
        while let Some(frame) = source.next_frame().unwrap() {
            let SeenAt { point, heading, interface } = frame.seen();
            seen.push((point.0, heading, interface));
        }
        let once = [
            (0, Heading::Inbound, None),
            (0, Heading::Outbound, None),
            (1, Heading::Outbound, Some(7)),
            (1, Heading::Inbound, None),
        ];
        assert_eq!(seen, [&once[..], &once, &[(2, Heading::Unknown, None)]].concat());
        let points: Vec<_> = source
            .points()
            .iter()
            .map(|point| (point.interface.as_deref(), point.description.as_deref(), point.link.0))
            .collect();
        assert_eq!(
            points,
            [(Some("eth0"), Some("of a host"), 1), (None, None, 276), (Some("eth1"), Some("of a host"), 1)]
        );
        assert!(source.points().iter().all(|point| point.file.as_deref() == Some("points.pcapng")));
    }
}

#[test]
fn a_classic_capture_is_one_point() {
    let mut source = FileSource::from_reader("one.pcap", Box::new(Cursor::new(two_frames()))).unwrap();
    assert_eq!(source.next_frame().unwrap().unwrap().seen(), SeenAt::default());
    let [point] = source.points() else { panic!("{:?}", source.points()) };
    assert_eq!((point.file.as_deref(), &point.interface, point.link), (Some("one.pcap"), &None, LinkType::ETHERNET));
}

#[test]
fn simple_and_obsolete_packet_blocks_are_read() {
    let order = Order::Big;
    let obsolete = [&order.halves(&[1, 9])[..], &order.words(&[0, 7, 3, 9]), b"abc"].concat();
    let bytes = [
        order.section(),
        order.interface(1, 4, &[]),
        order.interface(101, 0, &[]),
        order.block(3, &[&order.words(&[3])[..], b"xyz"].concat()),
        order.block(3, &[&order.words(&[90])[..], b"wxyz"].concat()),
        order.block(2, &obsolete),
    ]
    .concat();
    assert_eq!(
        read(&bytes).frames,
        [
            (1, None, 1, b"xyz".to_vec(), 3),
            (2, None, 1, b"wxyz".to_vec(), 90),
            (3, Some(7_000), 101, b"abc".to_vec(), 9),
        ]
    );
}

#[test]
fn other_blocks_are_passed_over_and_custom_ones_counted() {
    let order = Order::Little;
    let packet = order.packet(0, 0, b"x", 1, &[]);
    let bytes = [
        order.section(),
        order.interface(1, 0, &[]),
        packet.clone(),
        order.block(0x1234_5678, &[7; 300_000]),
        order.block(4, &[0; 4]),
        packet.clone(),
        order.block(0x0bad, b"\0\0\0\0abc"),
        order.block(0x4000_0bad, b"\0\0\0\0"),
        packet,
    ]
    .concat();
    let told = read(&bytes);
    assert_eq!(told.frames.iter().map(|frame| frame.0).collect::<Vec<_>>(), [1, 2, 5]);
    assert_eq!(told.error, None);
}

#[test]
fn drops_are_the_last_word_of_each_interface_over_all_sections() {
    let order = Order::Big;
    let statistics = |interface, code, count: u64| {
        order.block(5, &[order.words(&[interface, 0, 0]), order.option(code, &count.to_be_bytes())].concat())
    };
    let section = [order.section(), order.interface(1, 0, &[]), order.interface(1, 0, &[])].concat();
    let mut source = open(&section).unwrap();
    assert_eq!(drain(&mut source).frames, []);
    assert_eq!(source.dropped(), None);
    let bytes = [
        &section[..],
        &statistics(0, 5, 1),
        &statistics(0, 5, 10),
        &statistics(1, 7, 100),
        &section,
        &statistics(1, 5, 1000),
        &statistics(9, 5, 1),
    ]
    .concat();
    let mut source = open(&bytes).unwrap();
    drain(&mut source);
    assert_eq!(source.dropped(), Some(1110));
}

#[test]
fn comments_are_those_of_the_last_frame() {
    let mut source = open(&two_frames_in_blocks()).unwrap();
    source.next_frame().unwrap().unwrap();
    assert_eq!(source.comments(), ["a comment"]);
    source.next_frame().unwrap().unwrap();
    assert_eq!(source.comments(), [""; 0]);
}

// ---- compression, and streams ----

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let blocks = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(blocks, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_captures_are_told_by_their_content() {
    let bytes = two_frames();
    let (front, back) = bytes.split_at(40);
    assert_eq!(read(&gzip(&bytes)), as_two_frames());
    assert_eq!(read(&[gzip(front), gzip(b""), gzip(back)].concat()), as_two_frames());
    assert_eq!(read(&[gzip(&bytes), vec![0; 512]].concat()), as_two_frames(), "padding after gzip is no error");
    assert_eq!(read(&zstd(&bytes)), as_two_frames());
    assert_eq!(read(&[zstd(front), zstd(back)].concat()), as_two_frames());
    assert_eq!(read(&lz4(&bytes)), as_two_frames());
    assert_eq!(read(&[lz4(front), lz4(b""), lz4(back)].concat()), as_two_frames());
    assert_eq!(read(&gzip(&two_frames_in_blocks())), as_two_frames());
}

#[test]
fn damage_to_the_compression_is_told_after_the_frames_before_it() {
    // Octets that do not compress, so that there are many blocks, and the cut comes late.
    let mut noise = 1u32;
    let mut bytes = Order::Little.pcap(MICRO, (2, 4), 1);
    for _ in 0..100 {
        bytes.extend(Order::Little.words(&[1, 2, 5_000, 5_000]));
        bytes.extend((0..5_000).map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        }));
    }
    for (name, mut compressed) in [("gzip", gzip(&bytes)), ("zstd", zstd(&bytes)), ("lz4", lz4(&bytes))] {
        compressed.truncate(compressed.len() - 1);
        let told = read(&compressed);
        assert!(!told.frames.is_empty());
        let error = told.error.unwrap();
        let expected = format!("test is cut short after frame {}, within its compressed data", told.frames.len());
        assert!(error.starts_with(&expected), "{name}: {error}");
        // In the midst of the noise.
        let place = compressed.len() / 2;
        compressed[place..place + 9].fill(0xee);
        let error = read(&compressed).error.unwrap();
        assert!(error.starts_with("test is ") && error.contains(" after frame "), "{name}: {error}");
    }
    let mut wrong_checksum = gzip(&two_frames());
    let place = wrong_checksum.len() - 6;
    wrong_checksum[place] ^= 1;
    let told = read(&wrong_checksum);
    assert_eq!(told.frames, as_two_frames().frames);
    assert!(told.error.unwrap().starts_with("test is damaged after frame 2: what gzip's checksum is of"));
}

/// Wherever compressed data is cut, somebody hears of it: also between two blocks, and where only a checksum is missing.
#[test]
fn no_cut_of_compressed_data_is_taken_for_its_end() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    // Three blocks of lz4, the first of which ends in the midst of a frame.
    let bytes = [two_frames(), [Order::Little.words(&[102, 0, 150_000, 150_000]), vec![0; 150_000]].concat()].concat();
    let whole = read(&bytes);
    assert_eq!((whole.frames.len(), &whole.error), (3, &None));
    let framed = |frame: FrameInfo| {
        let mut encoder = FrameEncoder::with_frame_info(frame.block_size(BlockSize::Max64KB), Vec::new());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let with_checksum = {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let all = [
        ("gzip", gzip(&bytes)),
        ("zstd", zstd(&bytes)),
        ("zstd with a checksum", with_checksum),
        ("lz4", framed(FrameInfo::new())),
        ("lz4 with checksums", framed(FrameInfo::new().content_checksum(true).block_checksums(true))),
        ("lz4 of linked blocks", framed(FrameInfo::new().block_mode(BlockMode::Linked).content_checksum(true))),
        ("lz4 with its length", framed(FrameInfo::new().content_size(Some(bytes.len() as u64)))),
    ];
    for (name, compressed) in all {
        assert_eq!(read(&compressed), whole, "{name}");
        for length in 4..compressed.len() {
            let told = read(&compressed[..length]);
            let error = told.error.unwrap_or_else(|| panic!("{name} cut to {length}: nobody is told"));
            assert!(error.starts_with("test is cut short "), "{name} cut to {length}: {error}");
        }
    }
    // And where a part came whole before it, as `cat` puts them together.
    let (header, rest) = bytes.split_at(24);
    for form in [gzip, zstd, lz4] {
        let two = [form(header), form(rest)].concat();
        assert_eq!(read(&two), whole);
        assert!(error(&two[..two.len() - 1]).starts_with("test is cut short "));
    }
}

/// A stream that hands out no more than so many octets at a time.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = into.len().min(self.1);
        self.0.read(&mut into[..room])
    }
}

/// What compressed octets hold before their end or their damage, and what is said of that,
/// where they come in pieces of one size and are asked for in pieces of another.
fn decompressed_in_pieces(compressed: &[u8], come: usize, asked: usize) -> (Vec<u8>, Option<String>) {
    let mut octets = Vec::new();
    let mut reader = match decompressed(Box::new(Pieces(Cursor::new(compressed.to_vec()), come))) {
        Ok(reader) => reader,
        Err(error) => return (octets, Some(format!("{:?}: {error}", error.kind()))),
    };
    let mut piece = vec![0; asked];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return (octets, None),
            Ok(read) => octets.extend_from_slice(&piece[..read]),
            Err(error) => return (octets, Some(format!("{:?}: {error}", error.kind()))),
        }
    }
}

/// Octets that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut noise = 7u32;
    let octets = (0..length).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    });
    octets.collect()
}

/// Octets of which every other page compresses.
fn half_noise(length: usize) -> Vec<u8> {
    let mut octets = noise(length);
    for (place, octet) in octets.iter_mut().enumerate().filter(|(place, _)| place / 4096 % 2 == 0) {
        *octet = place as u8 / 16;
    }
    octets
}

fn every_compression(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let gzip_level = |level| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd_with = |checksum, length: Option<u64>| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(checksum).unwrap();
        encoder.set_pledged_src_size(length).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let lz4_with = |frame: FrameInfo| {
        let mut encoder = FrameEncoder::with_frame_info(frame.block_size(BlockSize::Max64KB), Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (front, back) = bytes.split_at(bytes.len() / 2);
    vec![
        ("gzip", gzip_level(6)),
        ("gzip, stored", gzip_level(0)),
        ("gzip of two members", [gzip(front), gzip(back)].concat()),
        ("zstd", zstd_with(false, None)),
        ("zstd with a checksum", zstd_with(true, None)),
        ("zstd with its length", zstd_with(false, Some(bytes.len() as u64))),
        ("zstd of two frames", [zstd(front), zstd(back)].concat()),
        ("lz4", lz4_with(FrameInfo::new())),
        ("lz4 with checksums", lz4_with(FrameInfo::new().content_checksum(true).block_checksums(true))),
        ("lz4 of linked blocks", lz4_with(FrameInfo::new().block_mode(BlockMode::Linked))),
        ("lz4 of two frames", [lz4(front), lz4(back)].concat()),
    ]
}

#[test]
fn what_is_before_the_damage_does_not_depend_on_the_size_of_the_pieces() {
    const ALL: usize = 1 << 20;
    let bytes = half_noise(100_000);
    for (name, compressed) in every_compression(&bytes) {
        for (come, asked) in [(ALL, ALL), (ALL, 7), (7, ALL), (64 << 10, 64 << 10)] {
            let told = decompressed_in_pieces(&compressed, come, asked);
            assert!(told == (bytes.clone(), None), "{name}, {come} and {asked}: {:?}", told.1);
        }
        // At the head, at the foot, and here and there between them.
        let length = compressed.len();
        let places = (2..20).chain((1..12).map(|part| length / 12 * part + part)).chain(length - 10..length);
        for place in places {
            let mut flipped = compressed.clone();
            flipped[place] ^= 0x55;
            let mut noisy = compressed.clone();
            noisy[place..(place + 9).min(length)].fill(0xee);
            let cut = &compressed[..place];
            for (what, damaged) in [("flipped", &flipped[..]), ("overwritten", &noisy), ("cut", cut)] {
                let whole = decompressed_in_pieces(damaged, ALL, ALL);
                for (come, asked) in [(ALL, 77), (77, ALL), (64 << 10, 64 << 10), (1, 32 << 10), (5000, 1)] {
                    // One octet at a time takes its time.
                    if (come == 1 || asked == 1) && place % 8 != 0 {
                        continue;
                    }
                    let told = decompressed_in_pieces(damaged, come, asked);
                    assert!(
                        told == whole,
                        "{name} {what} at {place}, {come} and {asked}: {} octets and {:?}, not {} and {:?}",
                        told.0.len(),
                        told.1,
                        whole.0.len(),
                        whole.1,
                    );
                }
            }
        }
    }
}

/// Each of these is made of blocks, and where one begins can be told from the one before: the third of them says what cannot be.
#[test]
fn all_that_is_before_the_damage_is_read() {
    let bytes = noise(300_000);
    let half = |octets: &[u8], at: usize| u16::from_le_bytes([octets[at], octets[at + 1]]) as usize;
    let stored = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut gzip = (stored.clone(), 10, 0);
    for _ in 0..2 {
        let length = half(&stored, gzip.1 + 1);
        (gzip.1, gzip.2) = (gzip.1 + 5 + length, gzip.2 + length);
    }
    // Its length is there twice, once with all bits turned.
    gzip.0[gzip.1 + 3] ^= 1;
    let mut zstd = (zstd(&bytes), 6, 0);
    assert_eq!(zstd.0[4], 0, "a frame that says its window and nothing else");
    for _ in 0..2 {
        let header = half(&zstd.0, zstd.1) | usize::from(zstd.0[zstd.1 + 2]) << 16;
        (zstd.1, zstd.2) = (zstd.1 + 3 + (header >> 3), zstd.2 + (header >> 3));
    }
    // A kind of block that there is none of.
    zstd.0[zstd.1] |= 6;
    let mut lz4 = (lz4(&bytes), 7, 0);
    for _ in 0..2 {
        (lz4.1, lz4.2) = (lz4.1 + 4 + half(&lz4.0, lz4.1) + (usize::from(lz4.0[lz4.1 + 2]) << 16), lz4.2 + (64 << 10));
    }
    // Too long by far.
    lz4.0[lz4.1 + 2] = 0x7f;
    for (name, (damaged, _, before)) in [("gzip", gzip), ("zstd", zstd), ("lz4", lz4)] {
        for (come, asked) in [(1 << 20, 1 << 20), (77, 1 << 20), (1 << 20, 77)] {
            let (octets, error) = decompressed_in_pieces(&damaged, come, asked);
            assert_eq!(error, Some(format!("InvalidData: its {name} data contradicts itself")));
            assert!(octets == bytes[..before], "{name}, {come} and {asked}: {} octets, not {before}", octets.len());
        }
    }
}

#[test]
fn what_follows_compressed_data_is_told() {
    let bytes = two_frames();
    for (name, compressed) in [("gzip", gzip(&bytes)), ("zstd", zstd(&bytes)), ("lz4", lz4(&bytes))] {
        let told = read(&[&compressed[..], b"not compressed"].concat());
        assert_eq!(told.frames, as_two_frames().frames, "{name}");
        let error = told.error.unwrap();
        let expected = format!("test is damaged after frame 2: what follows its {name} data is n");
        assert!(error.starts_with(&expected), "{error}");
    }
    assert_eq!(read(&[gzip(&bytes), vec![0; 100_000]].concat()), as_two_frames());
    let error = read(&[gzip(&bytes), vec![0; 100_000], vec![1]].concat()).error.unwrap();
    assert!(error.contains("neither gzip nor padding"), "{error}");
}

#[test]
fn skippable_frames_are_passed_over() {
    let bytes = two_frames();
    let (front, back) = bytes.split_at(40);
    let skippable =
        |length: usize| [&[0x5a, 0x2a, 0x4d, 0x18][..], &(length as u32).to_le_bytes(), &vec![7; length]].concat();
    for form in [zstd, lz4] {
        let parts = [skippable(4), form(front), skippable(100_000), skippable(0), form(back), skippable(9)];
        assert_eq!(read(&parts.concat()), as_two_frames());
        let cut = parts.concat();
        assert!(error(&cut[..cut.len() - 1]).starts_with("test is cut short after frame 2"));
        assert!(error(&skippable(40)[..47]).contains("cut short before its first frame"));
    }
}

/// `lz4 -l` marks no end: a frame of its ends with the file, or where another begins.
#[test]
fn legacy_frames_of_lz4_end_with_a_block() {
    let bytes = two_frames();
    let (front, back) = bytes.split_at(40);
    let block = |bytes: &[u8]| {
        let block = lz4_flex::block::compress(bytes);
        [&(block.len() as u32).to_le_bytes()[..], &block].concat()
    };
    let legacy = |blocks: &[&[u8]]| {
        let blocks = blocks.iter().flat_map(|octets| block(octets));
        [0x02, 0x21, 0x4c, 0x18].into_iter().chain(blocks).collect::<Vec<u8>>()
    };
    let whole = legacy(&[front, back]);
    assert_eq!(read(&whole), as_two_frames());
    assert_eq!(read(&[legacy(&[front]), legacy(&[back])].concat()), as_two_frames());
    assert_eq!(read(&[legacy(&[front]), lz4(back)].concat()), as_two_frames());
    for length in legacy(&[front]).len() + 1..whole.len() {
        let error = error(&whole[..length]);
        assert!(error.starts_with("test is cut short "), "cut to {length}: {error}");
    }
}

#[test]
fn what_a_decoder_says_is_said_in_other_words() {
    let bytes = two_frames();
    let checked = {
        let frame = lz4_flex::frame::FrameInfo::new().content_checksum(true);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let changed = |place: usize, octet: u8| {
        let mut changed = checked.clone();
        changed[place] = octet;
        error(&changed)
    };
    assert!(changed(6, checked[6] ^ 1).contains("before its first frame: the header of an lz4 frame is not one"));
    assert!(changed(5, 0xff).contains("the header of an lz4 frame is not one"));
    assert!(changed(checked.len() - 1, checked[checked.len() - 1] ^ 1).contains("after frame 2: what lz4's checksum"));
    assert!(changed(10, 0x7f).contains("its lz4 data contradicts itself"));
    let mut descriptor = zstd(&bytes);
    descriptor[4] |= 8;
    let error = error(&descriptor);
    assert!(error.starts_with("test is damaged before its first frame") && !error.contains("parameter"), "{error}");
    // What went wrong below the decoder is no fault of the data.
    for compressed in [gzip(&bytes), zstd(&bytes), lz4(&bytes)] {
        let broken = Box::new(Cursor::new(compressed).chain(Broken));
        let mut source = FileSource::from_reader("test", broken).unwrap();
        assert!(drain(&mut source).error.unwrap().ends_with("after frame 2: the cable is out"));
    }
}

/// A stream that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the cable is out"))
    }
}

/// A stream that hands out one octet at a time, interrupted now and then, as signals do.
struct Dribble(Cursor<Vec<u8>>, u8);

impl Read for Dribble {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1.wrapping_add(1);
        if self.1.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let room = into.len().min(1);
        self.0.read(&mut into[..room])
    }
}

#[test]
fn a_slow_stream_is_read_like_a_file() {
    for bytes in [two_frames(), two_frames_in_blocks(), gzip(&two_frames()), lz4(&two_frames())] {
        let mut source = FileSource::from_reader("slow", Box::new(Dribble(Cursor::new(bytes), 0))).unwrap();
        assert_eq!(drain(&mut source), as_two_frames());
    }
}

#[test]
fn a_frame_is_handed_out_before_the_stream_goes_on() {
    let (receiver, mut sender) = io::pipe().unwrap();
    let bytes = two_frames();
    sender.write_all(&bytes[..24 + 16 + 5]).unwrap();
    let mut source = FileSource::from_reader("pipe", Box::new(receiver)).unwrap();
    assert_eq!(source.next_frame().unwrap().unwrap().bytes, b"first");
    sender.write_all(&bytes[24 + 16 + 5..]).unwrap();
    drop(sender);
    assert_eq!(source.next_frame().unwrap().unwrap().bytes, b"second");
    assert!(source.next_frame().unwrap().is_none());
    assert_eq!(source.bytes_read(), bytes.len() as u64);
}

// ---- errors ----

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let opened = |path: &Path| FileSource::open(path).err().unwrap().message;
    assert!(opened(Path::new("/nonexistent/a.pcap")).starts_with("/nonexistent/a.pcap: there is no such file"));
    assert!(opened(Path::new("/nonexistent/\x1b[31m.pcap")).contains("\\u{1b}[31m"));
    assert!(opened(&std::env::temp_dir()).contains("is a directory"));
    assert!(error(b"").starts_with("test is empty"));
    assert!(error(b"GET / HTTP/1.1").contains("no known format"));
    assert!(error(b"x").contains("no known format"));
    assert!(error(b"\xfd7zXZ\0abcdefgh").contains("xz -dc"));
    assert!(error(b"snoop\0\0\0\0\0\0\x02").contains("editcap"));
    assert!(error(b"\x0a\x0d\x0d\x0a\0\0\0\x1cabcdefgh").contains("byte order"));
    assert!(error(&two_frames()[..13]).contains("cut short before its first frame"));
    assert!(error(&Order::Big.section()[..20]).contains("cut short before its first frame"));
}

#[test]
fn a_capture_that_is_cut_short_yields_the_frames_before_the_cut() {
    for (bytes, first) in [(two_frames(), 24 + 16 + 5), (two_frames_in_blocks(), 28 + 20 + 56)] {
        for length in first + 1..bytes.len() {
            let told = read(&bytes[..length]);
            assert_eq!(told.frames, as_two_frames().frames[..1], "cut to {length}");
            let error = told.error.unwrap();
            assert!(error.starts_with("test is cut short after frame 1"), "cut to {length}: {error}");
        }
        assert_eq!(read(&bytes[..first]).error, None);
    }
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    let order = Order::Little;
    let endless = |start: Vec<u8>| {
        let mut source = FileSource::from_reader("endless", Box::new(Cursor::new(start).chain(io::repeat(0)))).unwrap();
        drain(&mut source).error.unwrap()
    };
    let record = [order.pcap(MICRO, (2, 4), 1), order.words(&[0, 0, 512 << 20, 512 << 20])].concat();
    assert!(endless(record).contains("claims 536870912 captured octets"));
    let block = |length: u32| [order.section(), order.words(&[6, length])].concat();
    assert!(endless(block(u32::MAX)).contains("claims a length of"));
    assert!(endless(block(512 << 20)).contains("claims a length of 536870912"));
    assert!(endless(block(8)).contains("claims a length of 8"));
}

#[test]
fn contradictions_between_blocks_are_told() {
    let order = Order::Little;
    let start = [order.section(), order.interface(1, 0, &[])].concat();
    let after = |block: Vec<u8>| error(&[start.clone(), block].concat());
    assert!(after(order.packet(1, 0, b"", 0, &[])).contains("names interface 1, and there are 1"));
    let mut mismatch = order.packet(0, 0, b"", 0, &[]);
    let place = mismatch.len() - 4;
    mismatch[place] = 99;
    assert!(after(mismatch).contains("at its end"));
    let mut overfull = order.packet(0, 0, b"abcd", 4, &[]);
    overfull[20] = 200;
    assert!(after(overfull).contains("its block has room for 4"));
    let mut version = order.section();
    version[12] = 2;
    assert!(after(version).contains("version 2.0"));
}

/// Frames can be read on where only an option lies; Wireshark stops there.
#[test]
fn an_option_that_overruns_its_block_is_told_after_all_frames() {
    let order = Order::Little;
    let (interface, packet) = (order.interface(1, 0, &[]), order.packet(0, 0, b"abcd", 4, &[]));
    let overrun = [order.halves(&[1, 400]), vec![b'x'; 8]].concat();
    let mut section = order.section();
    section.truncate(24);
    section.extend(&overrun);
    section.extend(order.words(&[section.len() as u32 + 4]));
    section[4] = section.len() as u8;
    let in_section = section;
    let statistics = order.block(5, &[vec![0; 12], overrun.clone()].concat());
    let old = order.block(2, &[order.words(&[0, 0, 0, 4, 4]), b"abcd".to_vec(), overrun.clone()].concat());
    for (place, blocks) in [
        ("before its first frame", [in_section, interface.clone(), packet.clone(), packet.clone()]),
        ("before its first frame", [order.section(), order.interface(1, 0, &overrun), packet.clone(), packet.clone()]),
        (
            "after frame 1",
            [order.section(), interface.clone(), packet.clone(), order.packet(0, 0, b"abcd", 4, &overrun)],
        ),
        ("after frame 1", [order.section(), interface.clone(), packet.clone(), old]),
        ("after frame 2", [order.section(), interface.clone(), [packet.clone(), packet.clone()].concat(), statistics]),
    ] {
        let told = read(&blocks.concat());
        assert_eq!(told.frames.len(), 2, "{place}: {:?}", told.error);
        let error = told.error.unwrap();
        assert!(error.starts_with(&format!("test is damaged {place}: an option claims")), "{place}: {error}");
    }
    // What is less than an option's head is padding.
    assert_eq!(read(&[order.section(), interface, order.packet(0, 0, b"abcde", 5, &[])].concat()).error, None);
}

// ---- whatever comes ----

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..400), start in 0usize..6) {
        let starts = [
            Vec::new(),
            Order::Little.pcap(MICRO, (2, 4), 1),
            Order::Big.pcap(MODIFIED, (2, 3), 1),
            [Order::Big.section(), Order::Big.interface(1, 0, &[])].concat(),
            vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3],
            vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82],
        ];
        read(&[&starts[start][..], &bytes].concat());
    }

    #[test]
    fn no_change_to_a_capture_is_too_odd(
        which in 0usize..5,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let block = Order::Big.block(5, &[&[0; 12], &Order::Big.option(2989, b"\0\0\x7e\xd9tcpflow\x01\0abc")[..]].concat());
        let captures = [
            two_frames(),
            [two_frames_in_blocks(), block].concat(),
            gzip(&two_frames()),
            zstd::encode_all(&two_frames()[..], 1).unwrap(),
            lz4(&two_frames()),
        ];
        let mut bytes = captures[which].clone();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(mut source) = open(&bytes) {
            let told = drain(&mut source);
            source.comments();
            source.dropped();
            prop_assert!(told.frames.len() <= 4);
            prop_assert!(source.attachments().len() <= 1);
        }
    }

    #[test]
    fn what_is_written_reads_back(
        frames in proptest::collection::vec(
            (
                0..4_000_000_000_000_000_000i64,
                proptest::collection::vec(any::<u8>(), 0..100),
                0u32..100,
                proptest::collection::vec("[a-z ]{0,20}", 0..3),
            ),
            0..20,
        ),
        attachments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..4),
        format in 0usize..2,
    ) {
        let folder = std::env::temp_dir();
        let name = format!("tcpflow-round-{}-{:?}.{}", std::process::id(), std::thread::current().id(), ["pcap", "pcapng"][format]);
        let path = folder.join(name);
        let mut writer = super::Writer::create(&path).unwrap();
        for (nanos, bytes, beyond, comments) in &frames {
            let at = Some(Timestamp::from_nanos(*nanos));
            let wire_len = bytes.len() as u32 + beyond;
            writer.write(&super::Frame { number: 1, at, link: LinkType::RAW, bytes, wire_len, seen: SeenAt::default() }, comments).unwrap();
        }
        for attachment in attachments.iter().filter(|_| format == 1) {
            writer.attach(attachment).unwrap();
        }
        writer.finish().unwrap();
        let mut source = FileSource::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for (number, (nanos, bytes, beyond, comments)) in frames.iter().enumerate() {
            let frame = source.next_frame().unwrap().unwrap();
            prop_assert_eq!(frame.number, number as u64 + 1);
            prop_assert_eq!(frame.at.map(Timestamp::as_nanos), Some(*nanos));
            prop_assert_eq!(frame.bytes, &bytes[..]);
            prop_assert_eq!(frame.wire_len, bytes.len() as u32 + beyond);
            if format == 1 {
                prop_assert_eq!(&source.comments(), comments);
            }
        }
        prop_assert!(source.next_frame().unwrap().is_none());
        prop_assert_eq!(source.attachments().len(), if format == 1 { attachments.len() } else { 0 });
        prop_assert!(source.attachments().iter().eq(attachments.iter().filter(|_| format == 1)));
    }
}
