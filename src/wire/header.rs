//! The TCP header and its options (RFC 9293 section 3.1).

use std::net::IpAddr;
use std::ops::Range;

use etherparse::checksum::Sum16BitWords;
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::tcp::TcpPacket;

use super::datagram::Ip;
use super::part::Part;
use super::{Flags, Oddities, Options, Segment, Seq, Skip};
use crate::time::Timestamp;

/// Whether TCP checksums are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checksums {
    /// They are not: a sender with checksum offload, and every loopback, hands wrong ones to a capture.
    #[default]
    Ignore,
    /// Those of segments with SYN, FIN or RST are verified, which move states and have few octets.
    ///
    /// What a sender leaves to its network card is not told as wrong: the sum of the pseudo-header, or nothing.
    Controls,
    /// They are verified where the whole segment was captured: [`Oddities::GOOD_CHECKSUM`] or [`Oddities::BAD_CHECKSUM`].
    Verify,
}

/// The frame that a segment is in, and what of the segment is looked at.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) at: Option<Timestamp>,
    pub(super) frame: u64,
    pub(super) checksums: Checksums,
}

/// How much of its IP packet is there, where a segment is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// As much as was captured of a whole one.
    Packet,
    /// The first fragment, which could not be put to the others.
    FirstFragment,
}

impl Origin {
    /// Reads a TCP segment and hands it on, with what was captured of its payload; however odd it is, it is shown as long as all up to its window is there.
    ///
    /// # Errors
    /// Why it is not.
    #[inline(always)]
    pub(super) fn segment(
        self,
        ip: Ip,
        part: Part<'_>,
        mut oddities: Oddities,
        extent: Extent,
        on: impl FnOnce(&Segment, &[u8]),
    ) -> Result<(), Skip> {
        let padded;
        let header = match TcpPacket::new(part.bytes) {
            Some(header) => header,
            None => {
                oddities |= Oddities::HEADER_CUT;
                padded = padded_header(part)?;
                TcpPacket::new(&padded).expect("the copy is as long as a header")
            }
        };
        let header_len = usize::from(header.get_data_offset()) * 4;
        // Its options are read into their place: to copy them there afterwards takes longer than all the rest.
        let mut segment = Segment {
            at: self.at,
            frame: self.frame,
            src: ip.src,
            dst: ip.dst,
            src_port: header.get_source(),
            dst_port: header.get_destination(),
            seq: Seq(header.get_sequence()),
            ack: Seq(header.get_acknowledgement()),
            flags: Flags::from_bits_truncate(u16::from(header.get_flags()) | u16::from(header.get_reserved() & 1) << 8),
            window: header.get_window(),
            urgent: header.get_urgent_ptr(),
            checksum: header.get_checksum(),
            ip_id: ip.id,
            ttl: ip.ttl,
            len: 0,
            oddities,
            options: Options::default(),
        };
        let options = &mut segment.options;
        let mut len = 0;
        let mut payload: &[u8] = &[];
        if header_len < MIN_HEADER {
            oddities |= Oddities::BAD_OFFSET;
        } else if header_len > part.len {
            oddities |= Oddities::BAD_OFFSET | Oddities::BAD_OPTIONS;
            // Nobody heeds such a segment, but what it says is told.
            let _ = parse_options(part.bytes.get(MIN_HEADER..).unwrap_or(&[]), options);
        }
        // How long the payload of a whole packet was, its first fragment alone does not tell.
        if header_len <= part.len && extent == Extent::Packet {
            len = part.len - header_len;
            payload = part.bytes.get(header_len..).unwrap_or(&[]);
        }
        if header_len > MIN_HEADER && !oddities.contains(Oddities::BAD_OFFSET) {
            match part.bytes.get(MIN_HEADER..header_len) {
                Some(bytes) => oddities |= parse_options(bytes, options),
                None => {
                    oddities |= Oddities::HEADER_CUT;
                    // What the cut left of the options holds; the one it went through does not count as malformed.
                    let _ = parse_options(part.bytes.get(MIN_HEADER..).unwrap_or(&[]), options);
                }
            }
        }
        let is_control = segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
        let is_asked = self.checksums == Checksums::Verify || self.checksums == Checksums::Controls && is_control;
        if is_asked && extent == Extent::Packet {
            oddities |= verify(self.checksums, ip, part, oddities);
        }
        if payload.len() < len || extent == Extent::FirstFragment || oddities.contains(Oddities::HEADER_CUT) {
            oddities |= Oddities::CUT;
        }
        if ip.congestion_experienced {
            oddities |= Oddities::CONGESTION_EXPERIENCED;
        }
        segment.len = len as u32;
        segment.oddities = oddities;
        on(&segment, payload);
        Ok(())
    }

    /// The first eight octets of a TCP header, which is all that an ICMP error need quote (RFC 792): ports and sequence number.
    #[cold]
    pub(super) fn quoted_start(&self, ip: &Ip, part: Part<'_>) -> Option<Segment> {
        let (ports, seq) = (part.word(0).ok()?, part.word(4).ok()?);
        Some(Segment {
            at: self.at,
            frame: self.frame,
            src: ip.src,
            dst: ip.dst,
            src_port: (ports >> 16) as u16,
            dst_port: ports as u16,
            seq: Seq(seq),
            ack: Seq(0),
            flags: Flags::empty(),
            window: 0,
            urgent: 0,
            checksum: 0,
            ip_id: ip.id,
            ttl: ip.ttl,
            len: 0,
            oddities: Oddities::HEADER_CUT | Oddities::CUT,
            options: Options::default(),
        })
    }
}

/// What was captured of a header that was cut, with zeros in place of the rest.
#[cold]
fn padded_header(part: Part<'_>) -> Result<[u8; MIN_HEADER], Skip> {
    let mut padded = [0; MIN_HEADER];
    match part.bytes.len() {
        MIN_SHOWN..MIN_HEADER => padded[..part.bytes.len()].copy_from_slice(part.bytes),
        _ => return Err(part.short(MIN_SHOWN)),
    }
    Ok(padded)
}

/// Reads options up to the end of the list, or to the first whose length is impossible.
#[inline]
fn parse_options(mut bytes: &[u8], options: &mut Options) -> Oddities {
    // By far the most common list, as every data segment of a connection with timestamps has it.
    if let &[1, 1, 8, 10, a, b, c, d, e, f, g, h] = bytes {
        options.timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
        return Oddities::empty();
    }
    while let [kind, rest @ ..] = bytes {
        match kind {
            0 => break,
            1 => {
                bytes = rest;
                continue;
            }
            _ => {}
        }
        let Some(value) = rest.first().and_then(|&length| bytes.get(2..usize::from(length))) else {
            return Oddities::BAD_OPTIONS;
        };
        if !read_option(*kind, value, options) {
            return Oddities::BAD_OPTIONS;
        }
        bytes = &bytes[2 + value.len()..];
    }
    Oddities::empty()
}

/// Whether the option has a length that its kind can have; the first of a kind counts.
fn read_option(kind: u8, value: &[u8], options: &mut Options) -> bool {
    let number = |at: usize| u32::from_be_bytes([value[at], value[at + 1], value[at + 2], value[at + 3]]);
    match (kind, value.len()) {
        (2, 2) => {
            options.mss.get_or_insert(u16::from_be_bytes([value[0], value[1]]));
        }
        (3, 1) => {
            options.window_scale.get_or_insert(value[0]);
        }
        (4, 0) => options.sack_permitted = true,
        (5, length) if length % 8 == 0 && length > 0 => {
            for block in 0..length / 8 {
                let Some(place) = options.sack.get_mut(usize::from(options.sack_blocks)) else { break };
                *place = (Seq(number(block * 8)), Seq(number(block * 8 + 4)));
                options.sack_blocks += 1;
            }
        }
        (8, 8) => {
            options.timestamps.get_or_insert((number(0), number(4)));
        }
        (2..=5 | 8, _) => return false,
        (30, length) if length > 0 => {
            options.mptcp.get_or_insert(value[0] >> 4);
        }
        (34, _) => options.fast_open = true,
        (254, _) if value.starts_with(&[0xf9, 0x89]) => options.fast_open = true,
        _ => {
            options.other.get_or_insert(kind);
        }
    }
    true
}

/// What the checksum says, where all that it covers was captured and no offload stands in its way.
fn verify(checksums: Checksums, ip: Ip, part: Part<'_>, oddities: Oddities) -> Oddities {
    let Some(&[high, low]) = part.bytes.get(CHECKSUM) else { return Oddities::empty() };
    if !part.is_whole() || part.len < MIN_HEADER || oddities.contains(Oddities::BAD_LENGTH) {
        return Oddities::empty();
    }
    let pseudo = pseudo_header(ip);
    let with_length = pseudo.clone().add_4bytes((part.len as u32).to_be_bytes());
    if with_length.clone().add_slice(part.bytes).ones_complement() == 0 {
        return Oddities::GOOD_CHECKSUM;
    }
    // What a sender writes that has its network card compute the sum: nothing, or the sum of the pseudo-header, in which the
    // length is missing where the card also cuts the octets into segments. A receiver that put segments together has the same.
    let offloaded = [0, !pseudo.ones_complement(), !with_length.ones_complement()];
    let is_left_to_hardware = offloaded.contains(&u16::from_ne_bytes([high, low]));
    if checksums == Checksums::Controls && is_left_to_hardware { Oddities::empty() } else { Oddities::BAD_CHECKSUM }
}

/// The sum of the pseudo-header but for the length (RFC 9293 section 3.1).
#[inline]
fn pseudo_header(ip: Ip) -> Sum16BitWords {
    let mut sum = Sum16BitWords::new();
    for address in [ip.src, ip.dst] {
        sum = match address {
            IpAddr::V4(address) => sum.add_4bytes(address.octets()),
            IpAddr::V6(address) => sum.add_16bytes(address.octets()),
        };
    }
    sum.add_2bytes([0, IpNextHeaderProtocols::Tcp.0])
}

/// Where the checksum stands in a header.
const CHECKSUM: Range<usize> = 16..18;
const MIN_HEADER: usize = 20;
/// Up to the window: with less, Wireshark shows none either, and what the flags were is not known.
const MIN_SHOWN: usize = 16;
