//! IEEE 802.11, with a radiotap header or without, down to IP.

use super::decoder::{Part, Walk, Way};
use super::{Segment, Skip};

impl<F: FnMut(&Segment, &[u8])> Walk<'_, F> {
    /// A radiotap header, which says its length and whether the 802.11 header is padded.
    pub(super) fn radiotap(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [version, _, low, high, _, _, _, first] = *part.head::<8>()?;
        if version != 0 {
            return Err(Skip::Malformed);
        }
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length < 8 {
            return Err(Skip::Malformed);
        }
        let present = part.octet(4)?;
        // Further words of the presence map stand before the fields.
        let mut fields = 8;
        let mut more = first & 0x80 != 0;
        while more && fields + 4 <= length {
            more = part.octet(fields + 3)? & 0x80 != 0;
            fields += 4;
        }
        // Bit 0 is a time of 8 octets aligned to 8; bit 1 the flags.
        if present & 1 != 0 {
            fields = fields.div_ceil(8) * 8 + 8;
        }
        let flags = if present & 2 != 0 && fields < length { part.octet(fields)? } else { 0 };
        let mut rest = part.after(length)?;
        if flags & RADIOTAP_FCS != 0 {
            rest = rest.limited(rest.len.saturating_sub(4));
        }
        let [control, flags_of_frame] = *rest.head::<2>()?;
        self.wlan_frame(
            control,
            flags_of_frame,
            rest,
            if flags & RADIOTAP_PADDED != 0 { Padding::ToWords } else { Padding::None },
            way,
        )
    }

    /// An 802.11 frame from its frame control on.
    pub(super) fn wlan(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [control, flags] = *part.head::<2>()?;
        self.wlan_frame(control, flags, part, Padding::None, way)
    }

    /// An 802.11 frame whose two octets of frame control changed places, as Cisco's access points send it.
    pub(super) fn wlan_swapped(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [flags, control] = *part.head::<2>()?;
        self.wlan_frame(control, flags, part, Padding::None, way)
    }

    fn wlan_frame(&mut self, control: u8, flags: u8, part: Part<'_>, padding: Padding, way: Way) -> Result<(), Skip> {
        let (kind, subtype) = (control >> 2 & 3, control >> 4);
        if control & 3 != 0 || kind != DATA || subtype & WITHOUT_DATA != 0 || flags & PROTECTED != 0 {
            return Err(Skip::NotTcp);
        }
        let mut header = 24;
        if flags & (TO_DS | FROM_DS) == TO_DS | FROM_DS {
            header += 6;
        }
        let mut aggregated = false;
        if subtype & QOS != 0 {
            aggregated = part.octet(header)? & AGGREGATED != 0;
            header += 2;
            if flags & ORDER != 0 {
                header += 4;
            }
        }
        if padding == Padding::ToWords {
            header = usize::next_multiple_of(header, 4);
        }
        let fragment_number = part.octet(22)? & 0x0f;
        if fragment_number != 0 || flags & MORE_FRAGMENTS != 0 {
            return Err(Skip::Fragment);
        }
        let rest = part.after(header)?;
        if !aggregated {
            return self.llc(rest, way);
        }
        // Subframes: two addresses, a length, the payload, each padded to words.
        let mut result = Err(Skip::NotTcp);
        let mut rest = rest;
        let entered = self.entered();
        let whole = rest.len;
        while rest.len > 14 {
            if whole - rest.len >= LONGEST_AGGREGATE {
                return Err(self.over());
            }
            self.leave(entered);
            self.step()?;
            let Ok(length) = rest.half(12) else { break };
            let length = usize::from(length);
            let Ok(body) = rest.after(14) else { break };
            let found = self.llc(body.limited(length), way);
            if result.is_err() {
                result = found;
            }
            match rest.after((14 + length).next_multiple_of(4)) {
                Ok(next) => rest = next,
                Err(_) => break,
            }
        }
        result
    }
}

/// Whether the 802.11 header is padded before its payload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    None,
    ToWords,
}

/// No A-MSDU is longer (IEEE 802.11-2020 table 9-25).
const LONGEST_AGGREGATE: usize = 11_454;
const DATA: u8 = 2;
const WITHOUT_DATA: u8 = 0x4;
const QOS: u8 = 0x8;
const TO_DS: u8 = 0x01;
const FROM_DS: u8 = 0x02;
const MORE_FRAGMENTS: u8 = 0x04;
const PROTECTED: u8 = 0x40;
const ORDER: u8 = 0x80;
const AGGREGATED: u8 = 0x80;
const RADIOTAP_FCS: u8 = 0x10;
const RADIOTAP_PADDED: u8 = 0x20;
