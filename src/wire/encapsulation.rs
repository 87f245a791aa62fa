//! Ways into tunnels: GRE and what it carries, and those over UDP.

use super::datagram::Ip;
use super::decoder::{Walk, Way};
use super::link::{IPV4, IPV6, TRANSPARENT_ETHERNET};
use super::part::Part;
use super::{Oddities, Segment, Skip, TunnelKind};

impl<F: FnMut(&Segment, &[u8])> Walk<'_, F> {
    /// GRE (RFC 2784, RFC 2890) in IP or, as `kind` says, in UDP (RFC 8086), and its enhanced version for PPTP (RFC 2637).
    pub(super) fn gre(&mut self, kind: TunnelKind, ip: &Ip, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let (flags, protocol) = (part.half(0)?, part.half(2)?);
        let mut header = 4;
        if flags & (CHECKSUM | ROUTING) != 0 {
            header += 4;
        }
        let mut key = None;
        if flags & KEY != 0 {
            key = part.word(header).ok();
            header += 4;
        }
        if flags & SEQUENCE != 0 {
            header += 4;
        }
        if flags & 7 == 1 && flags & ACKNOWLEDGEMENT != 0 {
            header += 4;
        }
        if flags & ROUTING != 0 {
            // Source route entries: family, offset, length; the list ends with an empty one.
            loop {
                let (family, length) = (part.half(header)?, part.octet(header + 3)?);
                header += 4 + usize::from(length);
                if family == 0 && length == 0 {
                    break;
                }
            }
        }
        let rest = part.after(header)?;
        // MikroTik's EoIP has the frame's length in the upper half, and the tunnel in the lower one, in little endian.
        if (flags & 7, protocol) == (1, EOIP) {
            let [length, tunnel] = key.map(|key| [key >> 16, (key as u16).swap_bytes().into()]).ok_or(Skip::NotTcp)?;
            self.enter(TunnelKind::Eoip, Some(tunnel), Some(ip));
            return self.ethernet(rest.limited(length as usize), way);
        }
        // PPTP has the payload's length in the upper half, and the call in the lower one.
        let id = if flags & 7 == 1 { key.map(|key| key & 0xffff) } else { key };
        self.enter(kind, id, Some(ip));
        match protocol {
            IPV4 => self.ipv4(rest, way),
            IPV6 => self.ipv6(rest, way),
            0x880b => self.ppp(rest, way),
            // ERSPAN: without a sequence number there is no header of its own.
            0x88be if flags & SEQUENCE == 0 => {
                self.enter(TunnelKind::Erspan, None, None);
                self.ethernet(rest, way)
            }
            0x88be | 0x22eb => self.erspan(rest, way),
            // WCCP: a redirect header, unless IPv4 begins at once.
            0x883e => match rest.octet(0)? >> 4 {
                4 => self.ipv4(rest, way),
                _ => self.ipv4(rest.after(4)?, way),
            },
            TRANSPARENT_ETHERNET => self.ethernet(rest, way),
            // Aruba's access points: an 802.11 frame.
            0x8200..=0x8370 if protocol & 0x0f == 0 => self.wlan(rest, way),
            0x8847 | 0x8848 => self.mpls(rest, way),
            0..=1500 => Err(Skip::NotTcp),
            kind => self.ethertype(kind, rest, way),
        }
    }

    /// ERSPAN of type II or III, by the version in its first four bits.
    fn erspan(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let session = part.half(2).ok().map(|session| u32::from(session & 0x03ff));
        self.enter(TunnelKind::Erspan, session, None);
        match part.octet(0)? >> 4 {
            1 => self.ethernet(part.after(8)?, way),
            2 => {
                // The last bit says whether eight octets of platform data follow.
                let platform = if part.octet(11)? & 1 != 0 { 8 } else { 0 };
                self.ethernet(part.after(12 + platform)?, way)
            }
            _ => Err(Skip::NotTcp),
        }
    }

    /// UDP, of which the well-known tunnels are followed.
    pub(super) fn udp(&mut self, ip: &Ip, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [source_high, source_low, destination_high, destination_low, length_high, length_low, _, _] =
            *part.head::<8>()?;
        let (source, destination) =
            (u16::from_be_bytes([source_high, source_low]), u16::from_be_bytes([destination_high, destination_low]));
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let rest = part.after(8)?.limited(length.checked_sub(8).ok_or(Skip::Malformed)?);
        let way = way.with(Oddities::TUNNELLED);
        // The lower port first: the other is likelier to be an ephemeral one.
        let (entered, steps) = (self.entered(), self.steps);
        let first = self.udp_tunnel(ip, source.min(destination), rest, way);
        match first {
            // It is not what that port is for. What was taken for a tunnel and entered is one, whatever it holds:
            // were the other port tried as well, tunnels in each other would be decoded twice at each level.
            Err(Skip::NotTcp) if source != destination && self.steps == steps => {
                self.leave(entered);
                self.udp_tunnel(ip, source.max(destination), rest, way)
            }
            first => first,
        }
    }

    fn udp_tunnel(&mut self, ip: &Ip, port: u16, part: Part<'_>, way: Way) -> Result<(), Skip> {
        match port {
            4789 => self.vxlan(ip, part, way),
            // VXLAN on the port that Linux had before there was an RFC 7348, if it looks so.
            8472 => match part.head::<8>()? {
                [0x08, 0, 0, 0, _, _, _, 0] => self.vxlan(ip, part, way),
                _ => Err(Skip::NotTcp),
            },
            4790 => {
                let way = way.with(Oddities::VXLAN);
                let (next, rest) = (part.octet(3)?, part.after(8)?);
                self.enter(TunnelKind::Vxlan, Some(part.word(4)? >> 8), Some(ip));
                match next {
                    1 => self.ipv4(rest, way),
                    2 => self.ipv6(rest, way),
                    3 => self.ethernet(rest, way),
                    4 => self.service_header(rest, way),
                    _ => Err(Skip::NotTcp),
                }
            }
            6081 => {
                let options = usize::from(part.octet(0)? & 0x3f) * 4;
                let kind = part.half(2)?;
                let rest = part.after(8 + options)?;
                self.enter(TunnelKind::Geneve, Some(part.word(4)? >> 8), Some(ip));
                self.ethertype(kind, rest, way.with(Oddities::GENEVE))
            }
            2152 => self.gtp(ip, part, way.with(Oddities::GTP_U)),
            // Version 0 has one port for all; later ones left it to GTP', which carries charging records and no packets.
            3386 if part.octet(0)? >> 5 == 0 => self.gtp(ip, part, way.with(Oddities::GTP_U)),
            3544 => {
                self.enter(TunnelKind::Teredo, None, Some(ip));
                self.teredo(part, way.with(Oddities::TEREDO))
            }
            1701 => self.l2tp(ip, part, way),
            4341 => {
                // The instance is there if the fifth of the flags says so.
                let rest = part.after(8)?;
                let instance = if part.octet(0)? & 0x08 != 0 { Some(part.word(4)? >> 8) } else { None };
                self.enter(TunnelKind::Lisp, instance, Some(ip));
                self.ip(rest, way)
            }
            6635 => self.labelled(Some(ip), part, way),
            37008 => {
                self.enter(TunnelKind::Tzsp, None, Some(ip));
                self.tzsp(part, way)
            }
            5247 => {
                self.enter(TunnelKind::Capwap, None, Some(ip));
                self.capwap(part, way)
            }
            4754 => self.gre(TunnelKind::GreInUdp, ip, part, way.with(Oddities::GRE)),
            5072 => self.ayiya(ip, part, way),
            _ => Err(Skip::NotTcp),
        }
    }

    /// AYIYA (draft-massar-v6ops-ayiya): the lengths of identity and signature, what it wants, and the protocol it forwards.
    fn ayiya(&mut self, ip: &Ip, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [identity, signature, operation, next] = *part.head::<4>()?;
        if operation & 0x0f != 1 {
            return Err(Skip::NotTcp);
        }
        // The identity's length is a power of two, the signature's counts words; a time stands before them.
        let rest = part.after(8 + (1 << (identity >> 4)) + usize::from(signature >> 4) * 4)?;
        let inside: fn(&mut Self, Part<'_>, Way) -> Result<(), Skip> = match next {
            4 => Self::ipv4,
            41 => Self::ipv6,
            _ => return Err(Skip::NotTcp),
        };
        self.enter(TunnelKind::Ayiya, None, Some(ip));
        inside(self, rest, way)
    }

    /// VXLAN (RFC 7348).
    fn vxlan(&mut self, ip: &Ip, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let rest = part.after(8)?;
        self.enter(TunnelKind::Vxlan, Some(part.word(4)? >> 8), Some(ip));
        self.ethernet(rest, way.with(Oddities::VXLAN))
    }

    /// GTP-U (3GPP TS 29.281), and version 0 before it.
    fn gtp(&mut self, ip: &Ip, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [flags, kind] = *part.head::<2>()?;
        // Without the protocol type bit it is GTP'.
        if kind != 0xff || flags & 0x10 == 0 {
            return Err(Skip::NotTcp);
        }
        let packet = match flags >> 5 {
            0 => {
                self.enter(TunnelKind::GtpU, None, Some(ip));
                part.after(20)?
            }
            1 => {
                self.enter(TunnelKind::GtpU, part.word(4).ok(), Some(ip));
                let mut header = 8;
                if flags & 0x07 != 0 {
                    let mut extension = part.octet(11)?;
                    header = 12;
                    // Extension headers say their length in words, and at their end what follows.
                    while flags & 0x04 != 0 && extension != 0 {
                        let words = usize::from(part.octet(header)?);
                        if words == 0 {
                            return Err(Skip::Malformed);
                        }
                        header += words * 4;
                        extension = part.octet(header - 1)?;
                    }
                }
                part.after(header)?
            }
            _ => return Err(Skip::NotTcp),
        };
        match packet.octet(0)? >> 4 {
            4 => self.ipv4(packet, way),
            6 => self.ipv6(packet, way),
            _ => Err(Skip::NotTcp),
        }
    }

    /// Teredo (RFC 4380): authentication and origin may stand before the IPv6 header.
    fn teredo(&mut self, mut part: Part<'_>, way: Way) -> Result<(), Skip> {
        if part.half(0)? == 1 {
            let (client, value) = (part.octet(2)?, part.octet(3)?);
            part = part.after(4 + usize::from(client) + usize::from(value) + 9)?;
        }
        if part.half(0)? == 0 {
            part = part.after(8)?;
        }
        match part.octet(0)? >> 4 {
            6 => self.ipv6(part, way),
            _ => Err(Skip::NotTcp),
        }
    }

    /// L2TP's data messages (RFC 2661), which carry PPP.
    fn l2tp(&mut self, ip: &Ip, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let flags = part.half(0)?;
        if flags & 0x8000 != 0 || flags & 0x0f != 2 {
            return Err(Skip::NotTcp);
        }
        let mut header = 6;
        let mut part = part;
        if flags & 0x4000 != 0 {
            part = part.limited(usize::from(part.half(2)?));
            header += 2;
        }
        self.enter(TunnelKind::L2tp, part.half(header - 2).ok().map(u32::from), Some(ip));
        if flags & 0x0800 != 0 {
            header += 4;
        }
        if flags & 0x0200 != 0 {
            header += 2 + usize::from(part.half(header)?);
        }
        self.ppp(part.after(header)?, way)
    }

    /// CAPWAP's data channel (RFC 5415): its header's length in words, and whether the frame is Ethernet or 802.11.
    fn capwap(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [preamble, length, binding, flags] = *part.head::<4>()?;
        if preamble != 0 {
            return Err(Skip::NotTcp);
        }
        if flags & 0x80 != 0 {
            return Err(Skip::Fragment);
        }
        let rest = part.after(usize::from(length >> 3) * 4)?;
        match binding & 1 {
            0 => self.ethernet(rest, way),
            _ => self.wlan_swapped(rest, way),
        }
    }

    /// TaZmen sniffer protocol: tagged fields up to an end tag, then the frame.
    fn tzsp(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let protocol = part.half(2)?;
        let mut header = 4;
        loop {
            match part.octet(header)? {
                1 => break,
                0 => header += 1,
                _ => header += 2 + usize::from(part.octet(header + 1)?),
            }
        }
        let rest = part.after(header + 1)?;
        match protocol {
            1 => self.ethernet(rest, way),
            18 => self.wlan(rest, way),
            _ => Err(Skip::NotTcp),
        }
    }
}

const EOIP: u16 = 0x6400;
const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACKNOWLEDGEMENT: u16 = 0x0080;
