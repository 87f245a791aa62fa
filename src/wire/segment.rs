//! One TCP segment as it was seen: header fields, options and what the capture knows of its payload.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::Seq;
use crate::time::Timestamp;

bitflags::bitflags! {
    /// The control bits of a TCP header (RFC 9293 section 3.1, RFC 3168, RFC 9768 for AE).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Flags: u16 {
        /// No more octets from the sender.
        const FIN = 0x001;
        /// Synchronize sequence numbers.
        const SYN = 0x002;
        /// Reset the connection.
        const RST = 0x004;
        /// Push.
        const PSH = 0x008;
        /// The acknowledgement number is significant.
        const ACK = 0x010;
        /// The urgent pointer is significant.
        const URG = 0x020;
        /// ECN echo.
        const ECE = 0x040;
        /// Congestion window reduced.
        const CWR = 0x080;
        /// Accurate ECN (once the nonce sum).
        const AE = 0x100;
    }
}

/// Names joined by commas in the order people say them: `SYN,ACK`, `FIN,ACK`, `PSH,ACK`; `none` without any.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ORDER: [(Flags, &str); 9] = [
            (Flags::SYN, "SYN"),
            (Flags::FIN, "FIN"),
            (Flags::RST, "RST"),
            (Flags::PSH, "PSH"),
            (Flags::ACK, "ACK"),
            (Flags::URG, "URG"),
            (Flags::ECE, "ECE"),
            (Flags::CWR, "CWR"),
            (Flags::AE, "AE"),
        ];
        let mut first = true;
        for (flag, name) in ORDER {
            if self.contains(flag) {
                if !first {
                    f.write_str(",")?;
                }
                first = false;
                f.write_str(name)?;
            }
        }
        if first { f.write_str("none") } else { Ok(()) }
    }
}

bitflags::bitflags! {
    /// What is odd about a segment's bytes, or how it came; none of these hides the segment.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Oddities: u32 {
        /// The frame was cut by the snap length: fewer octets were captured than sent.
        const CUT = 0x001;
        /// The TCP header itself is cut: fields beyond the cut are zero.
        const HEADER_CUT = 0x002;
        /// The TCP checksum is verifiable and wrong.
        const BAD_CHECKSUM = 0x004;
        /// The TCP checksum is right (absent when it could not be verified or was not looked at).
        const GOOD_CHECKSUM = 0x008;
        /// The data offset is below 5 words, or beyond the segment (then with `BAD_OPTIONS`): its receiver drops it.
        const BAD_OFFSET = 0x010;
        /// An option's length is impossible, or the options go on beyond the segment; they are ignored from there on.
        const BAD_OPTIONS = 0x020;
        /// A length in the IP header does not fit the frame.
        const BAD_LENGTH = 0x040;
        /// The segment was put together from IP fragments, in the frame that completed it.
        const FRAGMENTED = 0x080;
        /// The segment came inside a tunnel; those with a name here have their flag set besides, one or several.
        const TUNNELLED = 0x100;
        /// The IP header said Congestion Experienced.
        const CONGESTION_EXPERIENCED = 0x200;
        /// It came in GRE (RFC 2784), or in what GRE carries: PPTP, ERSPAN.
        const GRE = 0x400;
        /// It came in IP within IP: IPv4 or IPv6 in either (RFC 2003, RFC 4213).
        const IP_IN_IP = 0x800;
        /// It came in VXLAN (RFC 7348), or in its extension for other protocols.
        const VXLAN = 0x1000;
        /// It came in GENEVE (RFC 8926).
        const GENEVE = 0x2000;
        /// It came in GTP-U, a mobile network's tunnel.
        const GTP_U = 0x4000;
        /// It came in Teredo (RFC 4380).
        const TEREDO = 0x8000;
        /// Another capture point had it before: the same segment, seen at its next place.
        const SEEN_ELSEWHERE = 0x1_0000;
    }
}

/// The options of a segment that the TCP model reads, `Copy` and of fixed size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size in octets (kind 2).
    pub mss: Option<u16>,
    /// Window scale shift (kind 3).
    pub window_scale: Option<u8>,
    /// SACK permitted (kind 4).
    pub sack_permitted: bool,
    /// Timestamp value and echo reply (kind 8).
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks (kind 5), left and right edge; only the first `sack_blocks` hold.
    pub sack: [(Seq, Seq); 4],
    /// How many entries of `sack` hold.
    pub sack_blocks: u8,
    /// MPTCP subtype (kind 30, RFC 8684): the first one's number.
    pub mptcp: Option<u8>,
    /// Whether a TCP Fast Open option (kind 34, or 254 with magic 0xF989) is present.
    pub fast_open: bool,
    /// The first option kind that is none of the above, nor padding (0, 1).
    pub other: Option<u8>,
}

impl Options {
    /// The SACK blocks in the order they stood.
    pub fn sack_edges(&self) -> &[(Seq, Seq)] {
        &self.sack[..usize::from(self.sack_blocks).min(4)]
    }
}

/// One TCP segment seen on the wire, small and `Copy`; its payload is handed on beside it where somebody wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// When it was captured; `None` when the capture does not say.
    pub at: Option<Timestamp>,
    /// Its frame's number, counted from 1 over all frames of the capture.
    pub frame: u64,
    /// Source address, of the innermost IP header.
    pub src: IpAddr,
    /// Destination address, of the innermost IP header.
    pub dst: IpAddr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first octet, or of the SYN.
    pub seq: Seq,
    /// Acknowledgement number; meaningless without ACK.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Window as it stands in the header, unscaled.
    pub window: u16,
    /// Urgent pointer; meaningless without URG.
    pub urgent: u16,
    /// Checksum as it stands in the header, right or wrong.
    pub checksum: u16,
    /// Identification of the IP datagram that carried it; `None` for IPv6 without a fragment header.
    ///
    /// A copy of a frame has the same one; a segment that was sent again has another, because it is another datagram.
    pub ip_id: Option<u16>,
    /// Time to live, or the hop limit of IPv6, of the datagram that carried it, as it was where the frame was captured.
    ///
    /// A copy of a frame that a router forwarded in between has a lower one.
    pub ttl: u8,
    /// Octets of payload by the IP header's length, whether captured or not (Wireshark's `tcp.len`).
    pub len: u32,
    /// What is odd about it.
    pub oddities: Oddities,
    /// Its options.
    pub options: Options,
}

impl Segment {
    /// Address and port of the sender.
    pub fn from(&self) -> SocketAddr {
        SocketAddr::new(self.src, self.src_port)
    }

    /// Address and port of the receiver.
    pub fn to(&self) -> SocketAddr {
        SocketAddr::new(self.dst, self.dst_port)
    }

    /// The sequence number of the first octet of payload: one past a SYN.
    pub fn data_seq(&self) -> Seq {
        if self.flags.contains(Flags::SYN) { self.seq.plus(1) } else { self.seq }
    }

    /// How much sequence space it takes: its octets, and one each for SYN and FIN.
    pub fn seq_len(&self) -> u32 {
        self.len
            .wrapping_add(u32::from(self.flags.contains(Flags::SYN)))
            .wrapping_add(u32::from(self.flags.contains(Flags::FIN)))
    }

    /// The sequence number after all that it takes.
    pub fn end(&self) -> Seq {
        self.seq.plus(self.seq_len())
    }

    /// Whether its receiver drops it unread, because its data offset cannot be.
    pub fn is_unreadable(&self) -> bool {
        self.oddities.contains(Oddities::BAD_OFFSET)
    }

    /// Whether its receiver drops it because its checksum is wrong.
    #[inline]
    pub fn is_dropped(&self) -> bool {
        self.oddities.contains(Oddities::BAD_CHECKSUM)
    }

    /// Whether its data offset is below 5 words; Wireshark gives up there ("bogus TCP header length") and heeds no flags.
    pub fn has_short_header(&self) -> bool {
        self.oddities & (Oddities::BAD_OFFSET | Oddities::BAD_OPTIONS) == Oddities::BAD_OFFSET
    }

    /// Whether it is an acknowledgement and nothing else: no octets, no SYN, FIN or RST.
    pub fn is_pure_ack(&self) -> bool {
        self.len == 0 && self.flags.contains(Flags::ACK) && !self.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_the_order_people_say_them() {
        assert_eq!((Flags::ACK | Flags::SYN).to_string(), "SYN,ACK");
        assert_eq!((Flags::ACK | Flags::FIN | Flags::PSH).to_string(), "FIN,PSH,ACK");
        assert_eq!(Flags::empty().to_string(), "none");
    }
}
