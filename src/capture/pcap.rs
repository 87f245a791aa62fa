//! The classic capture file of libpcap, in its variants.

use super::LinkType;
use super::file::{Broken, MAX_CAPTURED, Record};
use super::input::Input;
use crate::time::Timestamp;

/// What the file header said about the records that follow.
pub(super) struct Pcap {
    big_endian: bool,
    /// Nanoseconds in one unit of a record's fraction of a second.
    fraction: i64,
    record_header: usize,
    lengths: Lengths,
    link: LinkType,
}

/// In which order a record names its captured and its original length.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    /// Files before version 2.3, and version 543 (DG/UX).
    OriginalFirst,
    /// Version 2.3, written either way: the smaller one is what was captured.
    Either,
}

impl Pcap {
    /// Whether a file that begins with these bytes is one of these.
    pub(super) fn recognises(bytes: &[u8]) -> bool {
        bytes.first_chunk::<4>().is_some_and(|magic| variant(*magic).is_some())
    }

    /// Reads the file header.
    pub(super) fn open(input: &mut Input) -> Result<Self, Broken> {
        let header = input.peek(FILE_HEADER);
        if header.len() < FILE_HEADER {
            return Err(Broken::Cut("in its file header"));
        }
        let (magic, rest) = header.split_first_chunk::<4>().expect("the header is longer");
        let Some((big_endian, variant)) = variant(*magic) else {
            return Err(Broken::Damaged("it does not begin as a capture".into()));
        };
        let half = |at: usize| {
            let bytes = [rest[at], rest[at + 1]];
            if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
        };
        let (major, minor) = (half(0), half(2));
        let lengths = match (major, minor) {
            (2, 3) => Lengths::Either,
            (2, 0..3) | (0..2 | 543, _) => Lengths::OriginalFirst,
            _ => Lengths::CapturedFirst,
        };
        let network = word(big_endian, rest, 16);
        // The upper bits tell of frame check sequences; IP's own length leaves those out of a payload.
        let mut link = u16::try_from(network & 0x03ff_ffff).unwrap_or(u16::MAX);
        let mut fraction = if variant == Variant::Nanoseconds { 1 } else { 1_000 };
        if (major, minor) == (2, 2)
            && let Some(real) = aix_link(link)
        {
            link = real;
            fraction = 1;
        }
        let record_header = if variant == Variant::Modified { 24 } else { 16 };
        input.consume(FILE_HEADER);
        Ok(Self { big_endian, fraction, record_header, lengths, link: LinkType(link) })
    }

    /// How its frames begin.
    pub(super) fn link(&self) -> LinkType {
        self.link
    }

    /// Reads the next record into `record`, and leaves its bytes in the input's window; whether there was one.
    ///
    /// Inlined, the record stays in registers: taken out of a `Result` it would be written to memory and read again, for every packet.
    #[inline(always)]
    pub(super) fn next(&self, input: &mut Input, record: &mut Record) -> Result<bool, Broken> {
        let header = input.peek(self.record_header);
        if header.len() < self.record_header {
            return if header.is_empty() { Ok(false) } else { Err(Broken::Cut("in the header of the next one")) };
        }
        let header = header.first_chunk::<16>().expect("a record's header is longer");
        let seconds = word(self.big_endian, header, 0);
        let fraction = word(self.big_endian, header, 4);
        let (first, second) = (word(self.big_endian, header, 8), word(self.big_endian, header, 12));
        let (captured, original) = match self.lengths {
            Lengths::CapturedFirst => (first, second),
            Lengths::OriginalFirst => (second, first),
            Lengths::Either => (first.min(second), first.max(second)),
        };
        if captured > MAX_CAPTURED {
            return Err(Broken::oversized(captured));
        }
        let whole = self.record_header + captured as usize;
        if input.peek(whole).len() < whole {
            return Err(Broken::Cut("within the next one"));
        }
        let begin = input.position() + self.record_header;
        input.consume(whole);
        input.look_ahead();
        *record = Record {
            at: Some(Timestamp::from_nanos(i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * self.fraction)),
            link: self.link,
            begin,
            captured,
            wire_len: original.max(captured),
        };
        Ok(true)
    }
}

/// What a file's first four octets tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Microseconds,
    Nanoseconds,
    /// Alexey Kuznetzov's modified libpcap: eight octets more in each record's header.
    Modified,
}

fn variant(magic: [u8; 4]) -> Option<(bool, Variant)> {
    let known = |number| match number {
        0xa1b2_c3d4 => Some(Variant::Microseconds),
        0xa1b2_3c4d => Some(Variant::Nanoseconds),
        0xa1b2_cd34 => Some(Variant::Modified),
        _ => None,
    };
    known(u32::from_be_bytes(magic))
        .map(|variant| (true, variant))
        .or_else(|| known(u32::from_le_bytes(magic)).map(|variant| (false, variant)))
}

/// AIX writes interface types of RFC 1573 where link types belong, and nanoseconds: Ethernet, token ring, FDDI, loopback.
fn aix_link(link: u16) -> Option<u16> {
    match link {
        6 => Some(1),
        9 => Some(6),
        15 => Some(10),
        24 => Some(0),
        _ => None,
    }
}

#[inline]
fn word(big_endian: bool, bytes: &[u8], at: usize) -> u32 {
    let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

const FILE_HEADER: usize = 24;
