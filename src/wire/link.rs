//! Link layers: whatever a frame begins with, down to IP.

use super::datagram::{self, Ip};
use super::decoder::{Walk, Way};
use super::part::Part;
use super::{Segment, Skip, TunnelKind};
use crate::capture::LinkType;

impl<F: FnMut(&Segment, &[u8])> Walk<'_, F> {
    /// A frame of this link type (numbers of the LINKTYPE_ registry, and the DLT_ numbers that differ from it).
    pub(super) fn link(&mut self, link: LinkType, part: Part<'_>, way: Way) -> Result<(), Skip> {
        match link {
            LinkType::ETHERNET => self.ethernet(part, way),
            LinkType::LINUX_SLL => self.cooked(part, way),
            _ => self.other_link(link, part, way),
        }
    }

    /// An Ethernet frame from its destination address on.
    pub(super) fn ethernet(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let way = self.deeper(way)?;
        let (kind, rest) = datagram::ethernet(part)?;
        self.ethertype(kind.0, rest, way)
    }

    /// What follows an EtherType, or an 802.3 length in its place.
    pub(super) fn ethertype(&mut self, mut kind: u16, mut part: Part<'_>, way: Way) -> Result<(), Skip> {
        loop {
            match kind {
                IPV4 => return self.ipv4(part, way),
                IPV6 => return self.ipv6(part, way),
                0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                    kind = part.half(2)?;
                    self.enter(TunnelKind::Vlan, Some(u32::from(part.half(0)? & 0x0fff)), None);
                    part = part.after(4)?;
                }
                0..=1500 => return self.llc(part.limited(usize::from(kind)), way),
                0x8847 | 0x8848 => return self.mpls(part, way),
                0x8864 => return self.pppoe(part, way),
                // Provider backbone bridging: an instance tag, then a whole Ethernet header.
                0x88e7 => {
                    let rest = part.after(4)?;
                    self.enter(TunnelKind::Pbb, Some(part.word(0)? & 0x00ff_ffff), None);
                    let way = self.deeper(way)?;
                    return self.ethernet(rest, way);
                }
                // MACsec, where it protects without encrypting: tag control, packet number, perhaps a channel identifier.
                0x88e5 => {
                    let control = part.octet(0)?;
                    if control & 0x0c != 0 {
                        return Err(Skip::NotTcp);
                    }
                    let header = if control & 0x20 != 0 { 14 } else { 6 };
                    kind = part.half(header)?;
                    part = part.after(header + 2)?;
                }
                // VN-Tag.
                0x8926 => {
                    kind = part.half(4)?;
                    part = part.after(6)?;
                }
                0x22f3 => {
                    let options = usize::from(part.half(0)? >> 6 & 0x1f) * 4;
                    return self.ethernet(part.after(6 + options)?, way);
                }
                0x894f => return self.service_header(part, way),
                // FabricPath: a forwarding tag and a time to live, then a whole frame.
                0x8903 => {
                    let rest = part.after(2)?;
                    self.enter(TunnelKind::FabricPath, Some(u32::from(part.half(0)? >> 6)), None);
                    return self.ethernet(rest, way);
                }
                // HSR: path and size, sequence number, then the EtherType.
                0x892f => {
                    kind = part.half(4)?;
                    part = part.after(6)?;
                }
                // Cisco metadata: version, length, option, then the EtherType.
                0x8909 => {
                    kind = part.half(6)?;
                    part = part.after(8)?;
                }
                TRANSPARENT_ETHERNET => return self.ethernet(part, way),
                _ => return Err(Skip::NotTcp),
            }
        }
    }

    /// An 802.2 header: of the service access points, the subnetwork one and IP's own are followed.
    pub(super) fn llc(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        match part.head::<3>()? {
            [0xaa, 0xaa, 0x03] => {
                let [_, _, _, vendor @ .., high, low] = part.head::<8>()?;
                let kind = u16::from_be_bytes([*high, *low]);
                let rest = part.after(8)?;
                match vendor {
                    // RFC 1042, and the bridge tunnel of 802.1H; Cisco's own numbers are no EtherTypes.
                    [0, 0, 0] | [0, 0, 0xf8] if kind > 1500 => self.ethertype(kind, rest, way),
                    // RFC 2684: bridged Ethernet, with its check sequence or without; two octets of padding before it.
                    [0, 0x80, 0xc2] if matches!(kind, 1 | 7) => self.ethernet(rest.after(2)?, way),
                    _ => Err(Skip::NotTcp),
                }
            }
            [0x06, 0x06, 0x03] => self.ipv4(part.after(3)?, way),
            _ => Err(Skip::NotTcp),
        }
    }

    /// Labels to the bottom of the stack; what follows tells itself by its first four bits, as RFC 4928 has it.
    pub(super) fn mpls(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        self.labelled(None, part, way)
    }

    /// The same, in IP or not.
    pub(super) fn labelled(&mut self, ip: Option<&Ip>, mut part: Part<'_>, way: Way) -> Result<(), Skip> {
        loop {
            let (bottom, entry) = (part.octet(2)? & 1 != 0, part.word(0));
            part = part.after(4)?;
            if bottom {
                self.enter(TunnelKind::Mpls, entry.ok().map(|entry| entry >> 12), ip);
                break;
            }
        }
        match part.octet(0)? >> 4 {
            4 => self.ipv4(part, way),
            6 => self.ipv6(part, way),
            0 => self.ethernet(part.after(4)?, way),
            _ => Err(Skip::NotTcp),
        }
    }

    /// A PPPoE session header, which has a length of its own.
    pub(super) fn pppoe(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [version, code, session @ .., high, low] = part.head::<6>()?;
        if *version != 0x11 || *code != 0 {
            return Err(Skip::NotTcp);
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        self.enter(TunnelKind::Pppoe, Some(u16::from_be_bytes(*session).into()), None);
        self.ppp(part.after(6)?.limited(length), way)
    }

    /// PPP from its protocol field on, or from the address and control octets of HDLC framing.
    pub(super) fn ppp(&mut self, mut part: Part<'_>, way: Way) -> Result<(), Skip> {
        if part.octet(0)? == 0xff {
            if part.octet(1)? != 0x03 {
                return Err(Skip::NotTcp);
            }
            part = part.after(2)?;
        }
        // A protocol below 256 may be compressed to one octet, which is then odd.
        let first = part.octet(0)?;
        let (protocol, rest) =
            if first & 1 != 0 { (u16::from(first), part.after(1)?) } else { (part.half(0)?, part.after(2)?) };
        match protocol {
            0x0021 => self.ipv4(rest, way),
            0x0057 => self.ipv6(rest, way),
            0x0281 | 0x0283 => self.mpls(rest, way),
            // Bridged frames: flags, MAC type, then Ethernet if that is the type.
            0x0031 if rest.octet(1)? == 1 => self.ethernet(rest.after(2)?, way),
            // Multilink: whole packets only; the four bits say first and last fragment.
            0x003d => match rest.octet(0)? {
                flags if flags & 0xc0 == 0xc0 => {
                    let way = self.deeper(way)?;
                    self.ppp(rest.after(4)?, way)
                }
                _ => Err(Skip::Fragment),
            },
            _ => Err(Skip::NotTcp),
        }
    }

    /// The first Linux cooked header: packet type, hardware type, address, protocol.
    #[inline]
    pub(super) fn cooked(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let (hardware, protocol) = (part.half(2)?, part.half(14)?);
        self.cooked_payload(hardware, protocol, part.after(16)?, way)
    }

    fn cooked_payload(&mut self, hardware: u16, protocol: u16, part: Part<'_>, way: Way) -> Result<(), Skip> {
        match (hardware, protocol) {
            (ARPHRD_RADIOTAP, _) => self.radiotap(part, way),
            (_, IPV4) => self.ipv4(part, way),
            // 802.3 frames: Novell's without a header, and those with one.
            (_, 0x0001) => Err(Skip::NotTcp),
            (_, 0x0004) => self.llc(part, way),
            (_, kind) if kind > 1500 => self.ethertype(kind, part, way),
            _ => Err(Skip::NotTcp),
        }
    }

    #[inline(never)]
    fn other_link(&mut self, link: LinkType, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let way = self.deeper(way)?;
        match link.0 {
            // Symantec's firewall: an address, an EtherType, and what is not known.
            99 => self.ethertype(part.half(6)?, part.after(44)?, way),
            // BSD loopback: the address family in the byte order of the capturing host, or in network order.
            0 | 108 => {
                let family = u32::from_le_bytes(*part.head::<4>()?);
                let family = if family > 0xffff { family.swap_bytes() } else { family };
                let rest = part.after(4)?;
                match family {
                    2 => self.ipv4(rest, way),
                    // Linux, NetBSD and OpenBSD, FreeBSD, macOS each gave IPv6 a number.
                    10 | 24 | 28 | 30 => self.ipv6(rest, way),
                    _ => Err(Skip::NotTcp),
                }
            }
            // IEEE 802.5: access and frame control, two addresses, a route if the source address says so.
            6 => {
                let routed = part.octet(8)? & 0x80 != 0;
                let route = if routed { usize::from(part.octet(14)? & 0x1f) } else { 0 };
                self.llc(part.after(14 + route)?, way)
            }
            7 => self.arcnet(part, 3, way),
            129 => self.arcnet(part, 5, way),
            // SLIP with the octets that the drivers of old prepended; or bare.
            8 => self.ip(if matches!(part.octet(0)?, 0 | 1) { part.after(16)? } else { part }, way),
            102 | 103 => self.ip(part.after(24)?, way),
            9 => self.ppp(part, way),
            50 => match part.bytes {
                [0x0f | 0x8f, ..] => self.cisco_hdlc(part, way),
                _ => self.ppp(part, way),
            },
            51 => self.pppoe(part, way),
            // FDDI: frame control and two addresses; only frames of the LLC class.
            10 => match part.octet(0)? & 0xf8 {
                0x50 => self.llc(part.after(13)?, way),
                _ => Err(Skip::NotTcp),
            },
            11 | 100 => self.llc(part, way),
            // Classical IP over ATM, with an LLC header or without.
            106 => match part.octet(0)? {
                0xaa => self.llc(part, way),
                _ => self.ip(part, way),
            },
            // What is said to be IPv4 alone is IPv6 where its version says so, as Wireshark has it.
            12 | 14 | 101 | 228 => self.ip(part, way),
            104 => self.cisco_hdlc(part, way),
            105 => self.wlan(part, way),
            107 => self.frame_relay(part, way),
            // OpenBSD's enc: address family, SPI, flags.
            109 => self.ip(part.after(12)?, way),
            // PF's log: a header that begins with its own length, padded to words.
            117 => {
                let header = usize::from(part.octet(0)?).div_ceil(4) * 4;
                self.ip(part.after(header)?, way)
            }
            // Prism and AVS headers before 802.11.
            119 => {
                let [_, _, _, _, a, b, c, d] = *part.head::<8>()?;
                let header = match (part.octet(0)?, part.octet(1)?) {
                    (0x80, 0x21) => u32::from_be_bytes([a, b, c, d]),
                    _ => u32::from_le_bytes([a, b, c, d]),
                };
                self.wlan(part.after(header as usize)?, way)
            }
            163 => {
                let [_, _, _, _, length @ ..] = *part.head::<8>()?;
                self.wlan(part.after(u32::from_be_bytes(length) as usize)?, way)
            }
            127 => self.radiotap(part, way),
            // IP over Fibre Channel, and over IEEE 1394.
            122 => self.llc(part.after(16)?, way),
            // SunATM: the traffic's type, two identifiers of the circuit.
            123 => match part.octet(0)? & 0x0f {
                2 => self.llc(part.after(4)?, way),
                _ => Err(Skip::NotTcp),
            },
            138 => self.ethertype(part.half(16)?, part.after(18)?, way),
            // PPP with what pppd or a driver says of the direction.
            166 => self.ppp(if matches!(part.octet(0)?, 0 | 1) { part.after(1)? } else { part }, way),
            178 => self.juniper_ethernet(part, way),
            197 => self.erf(part, way),
            204 => self.ppp(part.after(1)?, way),
            // Per-packet information: a header with its length and the real link type.
            192 => {
                let [_, _, low, high, link @ ..] = *part.head::<8>()?;
                let link = u16::try_from(u32::from_le_bytes(link)).unwrap_or(u16::MAX);
                self.link(LinkType(link), part.after(usize::from(u16::from_le_bytes([low, high])))?, way)
            }
            229 => self.ipv6(part, way),
            239 => self.nflog(part, way),
            // netANALYZER: four octets before the frame, and for the transparent kind its preamble.
            240 => self.ethernet(part.after(4)?, way),
            241 => self.ethernet(part.after(12)?, way),
            // Apple's PKTAP: a header with its length and the real link type.
            149 | 258 => {
                let [a, b, c, d, _, _, _, _, link @ ..] = *part.head::<12>()?;
                let link = u16::try_from(u32::from_le_bytes(link)).unwrap_or(u16::MAX);
                self.link(LinkType(link), part.after(u32::from_le_bytes([a, b, c, d]) as usize)?, way)
            }
            // IP over InfiniBand: a global routing header, then an EtherType and two reserved octets (RFC 4391).
            242 => self.ethertype(part.half(40)?, part.after(44)?, way),
            // 802.3br: preamble and start delimiter before the frame.
            274 => self.ethernet(part.after(8)?, way),
            276 => {
                let (protocol, hardware) = (part.half(0)?, part.half(8)?);
                self.cooked_payload(hardware, protocol, part.after(20)?, way)
            }
            _ => Err(Skip::LinkType),
        }
    }

    /// Network service header (RFC 8300): its length in words, and what follows.
    pub(super) fn service_header(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [_, length, _, next] = *part.head::<4>()?;
        let rest = part.after(usize::from(length & 0x3f) * 4)?;
        match next {
            1 => self.ipv4(rest, way),
            2 => self.ipv6(rest, way),
            3 => self.ethernet(rest, way),
            5 => self.mpls(rest, way),
            _ => Err(Skip::NotTcp),
        }
    }

    /// Juniper's header before Ethernet: a magic number, flags, and perhaps extensions with their length.
    fn juniper_ethernet(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [0x4d, 0x47, 0x43, flags] = *part.head::<4>()? else { return Err(Skip::Malformed) };
        let extensions = if flags & 0x80 != 0 { 2 + usize::from(part.half(4)?) } else { 0 };
        match flags & 0x02 {
            0 => self.ethernet(part.after(4 + extensions)?, way),
            _ => Err(Skip::NotTcp),
        }
    }

    /// Endace's record: a time, a type, lengths, perhaps extension headers; of the types, Ethernet and HDLC.
    fn erf(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let mut header = 16;
        let mut more = part.octet(8)? & 0x80 != 0;
        while more {
            more = part.octet(header)? & 0x80 != 0;
            header += 8;
        }
        match part.octet(8)? & 0x7f {
            2 | 11 | 16 => self.ethernet(part.after(header + 2)?, way),
            1 | 5 | 10 | 15 => {
                let rest = part.after(header)?;
                match rest.bytes {
                    [0x0f | 0x8f, ..] => self.cisco_hdlc(rest, way),
                    _ => self.ppp(rest, way),
                }
            }
            _ => Err(Skip::NotTcp),
        }
    }

    fn cisco_hdlc(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        self.ethertype(part.half(2)?, part.after(4)?, way)
    }

    /// Q.922 address, then RFC 2427: a network-layer protocol number, or the EtherType of a SNAP header.
    fn frame_relay(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let mut header = 0;
        while part.octet(header)? & 1 == 0 {
            header += 1;
        }
        let part = part.after(header + 1)?;
        // Cisco's encapsulation has the EtherType at once.
        if part.half(0)? == IPV4 {
            return self.ipv4(part.after(2)?, way);
        }
        let mut part = part.after(1)?;
        if part.octet(0)? == 0 {
            part = part.after(1)?;
        }
        match part.octet(0)? {
            0xcc => self.ipv4(part.after(1)?, way),
            0x8e => self.ipv6(part.after(1)?, way),
            // SNAP: an EtherType, or bridged Ethernet.
            0x80 => match (part.head::<6>()?, part.after(6)?) {
                ([_, 0, 0, 0, high, low], rest) => self.ethertype(u16::from_be_bytes([*high, *low]), rest, way),
                ([_, 0, 0x80, 0xc2, 0, 1 | 7], rest) => self.ethernet(rest, way),
                _ => Err(Skip::NotTcp),
            },
            _ => Err(Skip::NotTcp),
        }
    }

    /// ARCNET with its type at the end of a header of `header` octets (RFC 1201, and RFC 1051 before it).
    fn arcnet(&mut self, part: Part<'_>, header: usize, way: Way) -> Result<(), Skip> {
        let kind = part.octet(header - 1)?;
        let rest = part.after(header)?;
        if matches!(kind, 240 | 241) {
            return if kind == 240 { self.ipv4(rest, way) } else { Err(Skip::NotTcp) };
        }
        // A split flag and a sequence number; the exception flag repeats all of it.
        let flag = rest.octet(0)?;
        let rest = match flag {
            0xff => rest.after(7)?,
            0 => rest.after(3)?,
            _ => return Err(Skip::Fragment),
        };
        match kind {
            212 => self.ipv4(rest, way),
            196 => self.ipv6(rest, way),
            _ => Err(Skip::NotTcp),
        }
    }

    /// Netfilter's log: attributes, of which one is the packet.
    fn nflog(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let family = part.octet(0)?;
        let mut rest = part.after(4)?;
        while rest.len >= 4 {
            let [length_low, length_high, kind_low, kind_high] = *rest.head::<4>()?;
            let length = usize::from(u16::from_le_bytes([length_low, length_high]));
            if length < 4 {
                return Err(Skip::Malformed);
            }
            // The two upper bits are flags of netlink.
            if u16::from_le_bytes([kind_low, kind_high]) & 0x3fff == NFULA_PAYLOAD {
                let packet = rest.after(4)?.limited(length - 4);
                return match family {
                    2 => self.ipv4(packet, way),
                    10 => self.ipv6(packet, way),
                    _ => Err(Skip::NotTcp),
                };
            }
            rest = rest.after(length.div_ceil(4) * 4)?;
        }
        Err(Skip::NotTcp)
    }
}

pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const TRANSPARENT_ETHERNET: u16 = 0x6558;
const ARPHRD_RADIOTAP: u16 = 803;
const NFULA_PAYLOAD: u16 = 9;
