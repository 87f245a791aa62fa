//! What the link does to a frame: rules over segments, and the octets that they change; no clock and no socket.

use std::net::{IpAddr, Ipv6Addr};

use super::addresses::{Addresses, End, STRANGERS, mac};
use super::definition::LinkSetting;
use super::watched::matches;
use crate::capture::{Frame, LinkType, SeenAt};
use crate::script::{Actor, Aim, Cable, Deed, Forged, Forgery, Which};
use crate::time::{Span, Timestamp};
use crate::wire::{Decoder, Flags, Segment, Seq};

/// What becomes of a frame.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Fate {
    /// What is done to it, by rule.
    pub(super) deeds: Vec<Deed>,
    /// Whether the next frame of its direction passes it.
    pub(super) waits: bool,
    /// When it arrives, after the link's own delay, with what it is then: once, twice, or never.
    pub(super) copies: Vec<(Span, Vec<u8>)>,
    /// What goes back to its sender: an ICMP error.
    pub(super) answer: Option<Vec<u8>>,
}

/// The rules in force, and what they have counted.
pub(super) struct Rules {
    addresses: Addresses,
    setting: LinkSetting,
    decoder: Decoder,
    rules: Vec<Rule>,
    /// What was seen last of each end, by which a forger knows what to write.
    last: [Option<Last>; 2],
    /// When the cable was cut and mended.
    cables: Vec<(Timestamp, Cable)>,
}

/// A rule, and what it has counted.
struct Rule {
    deed: Deed,
    which: Which,
    /// What came in before is not meant.
    since: Timestamp,
    seen: u32,
}

/// The last segment of an end that has ACK, and where its numbers have come to.
#[derive(Clone)]
struct Last {
    frame: Vec<u8>,
    next: Seq,
    ack: Seq,
}

impl Rules {
    pub(super) fn new(addresses: Addresses, setting: LinkSetting) -> Self {
        let decoder = Decoder::new();
        Self { addresses, setting, decoder, rules: Vec::new(), last: [None, None], cables: Vec::new() }
    }

    /// Has a rule for what comes in since then.
    pub(super) fn add(&mut self, deed: Deed, which: Which, since: Timestamp) {
        self.rules.push(Rule { deed, which, since, seen: 0 });
    }

    /// Cuts or mends the cable at that time.
    pub(super) fn cable(&mut self, at: Timestamp, cable: Cable) {
        self.cables.push((at, cable));
    }

    /// Decides on a frame that an end sent, and that came in at that time; `None` for a frame that is no TCP segment, which passes unless
    /// the cable is cut.
    pub(super) fn decide(&mut self, from: End, at: Timestamp, frame: &[u8]) -> Option<Fate> {
        let segment = self.segment(frame)?;
        let last = &mut self.last[from as usize];
        if segment.flags.contains(Flags::ACK) && !segment.flags.contains(Flags::RST) {
            let end = segment.end();
            let next = last.as_ref().map_or(end, |last| if end.is_after(last.next) { end } else { last.next });
            *last = Some(Last { frame: frame.to_vec(), next, ack: segment.ack });
        }
        let mut fate = Fate::default();
        let (src, dst) = (self.addresses.actor(segment.src_port), self.addresses.actor(segment.dst_port));
        for Rule { deed, which, since, seen } in &mut self.rules {
            if at < *since || !matches(which, src, dst, segment.flags, segment.len) {
                continue;
            }
            *seen += 1;
            if which.nth.is_none_or(|nth| nth == *seen) {
                fate.deeds.push(*deed);
            }
        }
        if self.is_cut(at) {
            fate.deeds.push(Deed::Drop);
        }
        let mut octets = frame.to_vec();
        if segment.flags.contains(Flags::SYN) {
            if let Some(mss) = self.setting.clamp_mss {
                lower_mss(&mut octets, mss);
            }
            if self.setting.strip_window_scale {
                strip_window_scale(&mut octets);
            }
        }
        let too_large = self.setting.path_mtu.is_some_and(|mtu| octets.len() - ETHERNET > mtu as usize);
        if too_large {
            fate.deeds.push(Deed::Drop);
            fate.answer = self.setting.path_mtu.filter(|_| self.setting.icmp).and_then(|mtu| too_big(frame, mtu));
        }
        let mut extra = Span(0);
        let mut replays = Vec::new();
        let mut copies = 1;
        for deed in &fate.deeds {
            match deed {
                Deed::Drop => copies = 0,
                Deed::Double => copies *= 2,
                Deed::Damage => damage(&mut octets),
                Deed::Delay(span) => extra = Span(extra.0 + span.0),
                Deed::Overtake => fate.waits = true,
                Deed::Replay(span) => replays.push(*span),
                Deed::Mark => mark(&mut octets),
            }
        }
        fate.copies = vec![(extra, octets.clone()); copies];
        if copies > 0 {
            fate.copies.extend(replays.into_iter().map(|later| (Span(extra.0 + later.0), octets.clone())));
        }
        Some(fate)
    }

    /// Whether the cable was cut at that time.
    pub(super) fn is_cut(&self, at: Timestamp) -> bool {
        self.cables.iter().rev().find(|(since, _)| *since <= at).is_some_and(|(_, cable)| *cable == Cable::Cut)
    }

    /// Makes up a segment; `None` where nothing was seen yet that could be imitated.
    pub(super) fn forge(&self, forged: &Forged) -> Option<Vec<u8>> {
        let (from, to) = (End::of(forged.from), End::of(forged.to));
        let (own, theirs) = (self.last[from as usize].as_ref()?, self.last[to as usize].as_ref()?);
        let exact = theirs.ack;
        let seq = match forged.place {
            Aim::Exact => exact,
            Aim::Inside => Seq(exact.0.wrapping_add(100)),
            Aim::Outside => Seq(exact.0.wrapping_sub(100_000)),
        };
        let (flags, octets) = match forged.what {
            Forgery::Rst => (Flags::RST, 0),
            Forgery::Syn => (Flags::SYN, 0),
            Forgery::Data(octets) => (Flags::PSH | Flags::ACK, usize::from(octets)),
        };
        let ack = if flags.contains(Flags::ACK) { theirs.next } else { Seq(0) };
        segment_like(&own.frame, seq, ack, flags, &b"forged ".repeat(octets / 7 + 1)[..octets])
    }

    /// Whether a frame is one of the segments that are meant.
    pub(super) fn is(&mut self, which: &Which, frame: &[u8]) -> bool {
        let Some(segment) = self.segment(frame) else { return false };
        let (src, dst) = (self.addresses.actor(segment.src_port), self.addresses.actor(segment.dst_port));
        matches(which, src, dst, segment.flags, segment.len)
    }

    /// The SYN of the n-th host that does not exist (RFC 5737, RFC 3849), to the port of an actor.
    pub(super) fn stranger(&self, nth: u16, to: Actor) -> Option<Vec<u8>> {
        let to_end = End::of(to);
        let at = self.addresses.at(to)?;
        let mut frame = [&mac(to_end)[..], &mac(to_end.peer())].concat();
        let host = nth + 1;
        match at.ip() {
            IpAddr::V4(to) => {
                frame.extend([8, 0, 0x45, 0, 0, 44, 0xba, 0xd0, 0x40, 0, 64, 6, 0, 0]);
                frame.extend([203, 0, 113, host as u8]);
                frame.extend(to.octets());
            }
            IpAddr::V6(to) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 6, 64]);
                frame.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).octets());
                frame.extend(to.octets());
            }
        }
        let tcp = frame.len();
        frame.extend((STRANGERS + nth).to_be_bytes());
        frame.extend(at.port().to_be_bytes());
        frame.extend((1_000_000 * u32::from(host)).to_be_bytes());
        frame.extend([0; 4]);
        // Six words of header, with an MSS of 1460.
        frame.extend([6 << 4, Flags::SYN.bits() as u8, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4]);
        let end = frame.len();
        sum_up(&mut frame, ETHERNET, tcp, end);
        Some(frame)
    }

    fn segment(&mut self, frame: &[u8]) -> Option<Segment> {
        let wire_len = frame.len() as u32;
        let frame =
            Frame { number: 1, at: None, link: LinkType::ETHERNET, bytes: frame, wire_len, seen: SeenAt::default() };
        let mut found = None;
        let _ = self.decoder.decode(&frame, |segment, _| found = Some(*segment));
        found
    }
}

/// Where the headers of a frame with a TCP segment are: IP's and TCP's, and the end of the packet.
fn headers(frame: &[u8]) -> Option<(usize, usize, usize)> {
    let ip = frame.get(ETHERNET..)?;
    let (tcp, len) = match ip.first()? >> 4 {
        4 => (usize::from(ip[0] & 15) * 4, usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]))),
        _ => (40, 40 + usize::from(u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?]))),
    };
    (ip.len() >= len && len >= tcp + 20).then_some((ETHERNET, ETHERNET + tcp, ETHERNET + len))
}

/// The options of a TCP header: the place, kind and length of each.
fn options(frame: &[u8], tcp: usize) -> Vec<(usize, u8, usize)> {
    let end = tcp + usize::from(frame[tcp + 12] >> 4) * 4;
    let (mut place, mut found) = (tcp + 20, Vec::new());
    while place < end.min(frame.len()) {
        let kind = frame[place];
        let len = match kind {
            0 => break,
            1 => 1,
            _ => frame.get(place + 1).map_or(0, |len| usize::from(*len)),
        };
        if len == 0 || place + len > end {
            break;
        }
        found.push((place, kind, len));
        place += len;
    }
    found
}

fn lower_mss(frame: &mut [u8], to: u16) {
    let Some((ip, tcp, end)) = headers(frame) else { return };
    for (place, kind, len) in options(frame, tcp) {
        if kind == 2 && len == 4 && u16::from_be_bytes([frame[place + 2], frame[place + 3]]) > to {
            frame[place + 2..place + 4].copy_from_slice(&to.to_be_bytes());
        }
    }
    sum_up(frame, ip, tcp, end);
}

fn strip_window_scale(frame: &mut [u8]) {
    let Some((ip, tcp, end)) = headers(frame) else { return };
    for (place, kind, len) in options(frame, tcp) {
        if kind == 3 {
            frame[place..place + len].fill(1);
        }
    }
    sum_up(frame, ip, tcp, end);
}

/// Changes an octet without a word to the checksum.
fn damage(frame: &mut [u8]) {
    if let Some((_, tcp, end)) = headers(frame) {
        let payload = tcp + usize::from(frame[tcp + 12] >> 4) * 4;
        // Without octets it is the window that is damaged.
        let place = if payload < end { payload } else { tcp + 14 };
        frame[place] ^= 0x20;
    }
}

/// Marks that the frame has met with congestion (CE), where its sender allows that (ECT, RFC 3168).
fn mark(frame: &mut [u8]) {
    let Some((ip, tcp, end)) = headers(frame) else { return };
    let is_four = frame[ip] >> 4 == 4;
    let ecn = if is_four { frame[ip + 1] & 3 } else { frame[ip + 1] >> 4 & 3 };
    if ecn == 0 {
        return;
    }
    frame[ip + 1] |= if is_four { 3 } else { 0x30 };
    sum_up(frame, ip, tcp, end);
}

/// A segment without octets between two ends of IPv4, as a frame, whose checksums are not filled in.
#[cfg(test)]
pub(super) fn bare_segment(from: std::net::SocketAddr, to: std::net::SocketAddr) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    for end in [from, to] {
        let IpAddr::V4(address) = end.ip() else { panic!("{end} is not of IPv4") };
        frame.extend(address.octets());
    }
    frame.extend(from.port().to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, Flags::ACK.bits() as u8, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

/// A segment with the addresses and ports of another, and nothing else of it.
fn segment_like(frame: &[u8], seq: Seq, ack: Seq, flags: Flags, octets: &[u8]) -> Option<Vec<u8>> {
    let (ip, tcp, _) = headers(frame)?;
    let mut forged = frame[..tcp + 20].to_vec();
    forged[tcp + 4..tcp + 8].copy_from_slice(&seq.0.to_be_bytes());
    forged[tcp + 8..tcp + 12].copy_from_slice(&ack.0.to_be_bytes());
    forged[tcp + 12] = 5 << 4;
    forged[tcp + 13] = flags.bits() as u8;
    forged[tcp + 14..tcp + 16].copy_from_slice(&1024u16.to_be_bytes());
    forged[tcp + 18..tcp + 20].fill(0);
    forged.extend(octets);
    let len = (forged.len() - ip) as u16;
    if forged[ip] >> 4 == 4 {
        forged[ip + 2..ip + 4].copy_from_slice(&len.to_be_bytes());
        // The forger's own counter.
        forged[ip + 4..ip + 6].copy_from_slice(&0xbad0u16.to_be_bytes());
    } else {
        forged[ip + 4..ip + 6].copy_from_slice(&(len - 40).to_be_bytes());
    }
    let end = forged.len();
    sum_up(&mut forged, ip, tcp, end);
    Some(forged)
}

/// An ICMP error that says how large a packet may be (RFC 1191, RFC 4443 section 3.2), from the receiver's address, to the sender.
fn too_big(frame: &[u8], mtu: u32) -> Option<Vec<u8>> {
    let (ip, tcp, end) = headers(frame)?;
    let mut answer = [&frame[6..12], &frame[..6], &frame[12..14]].concat();
    if frame[ip] >> 4 == 4 {
        let quoted = &frame[ip..tcp + 8];
        let len = 20 + 8 + quoted.len();
        answer.extend([0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0, 0, 64, 1, 0, 0]);
        answer.extend(&frame[ip + 16..ip + 20]);
        answer.extend(&frame[ip + 12..ip + 16]);
        let icmp = answer.len();
        answer.extend([3, 4, 0, 0, 0, 0]);
        answer.extend((mtu as u16).to_be_bytes());
        answer.extend(quoted);
        let sum = checksum(&answer[icmp..], 0);
        answer[icmp + 2..icmp + 4].copy_from_slice(&sum.to_be_bytes());
        let sum = checksum(&answer[ETHERNET..icmp], 0);
        answer[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
    } else {
        let quoted = &frame[ip..end.min(ip + 1232 - 48)];
        let len = 8 + quoted.len();
        answer.extend([0x60, 0, 0, 0, (len >> 8) as u8, len as u8, 58, 64]);
        answer.extend(&frame[ip + 24..ip + 40]);
        answer.extend(&frame[ip + 8..ip + 24]);
        let icmp = answer.len();
        answer.extend([2, 0, 0, 0]);
        answer.extend(mtu.to_be_bytes());
        answer.extend(quoted);
        let pseudo = sum_of(&answer[ETHERNET + 8..icmp], 0) + len as u32 + 58;
        let sum = checksum(&answer[icmp..], pseudo);
        answer[icmp + 2..icmp + 4].copy_from_slice(&sum.to_be_bytes());
    }
    Some(answer)
}

/// Writes the checksums anew, of IPv4's header and of the segment.
fn sum_up(frame: &mut [u8], ip: usize, tcp: usize, end: usize) {
    let segment = (end - tcp) as u32;
    let addresses = if frame[ip] >> 4 == 4 {
        frame[ip + 10..ip + 12].fill(0);
        let sum = checksum(&frame[ip..tcp], 0);
        frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        ip + 12..ip + 20
    } else {
        ip + 8..ip + 40
    };
    frame[tcp + 16..tcp + 18].fill(0);
    let pseudo = sum_of(&frame[addresses], 0) + segment + 6;
    let sum = checksum(&frame[tcp..end], pseudo);
    frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
}

fn sum_of(octets: &[u8], before: u32) -> u32 {
    octets
        .chunks(2)
        .fold(before, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
}

/// The internet checksum (RFC 1071).
fn checksum(octets: &[u8], before: u32) -> u16 {
    let mut sum = sum_of(octets, before);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The length of an Ethernet header.
const ETHERNET: usize = 14;
