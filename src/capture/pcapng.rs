//! The block-structured capture file, pcapng (draft-ietf-opsawg-pcapng).

use std::ops::{ControlFlow, Range};

use super::allowance::Share;
use super::attachment::Joiner;
use super::input::Input;
use super::point::Points;
use super::record::{Damage, MAX_CAPTURED, Record};
use super::{CapturePoint, Heading, LinkType, PointId, SeenAt};
use crate::time::Timestamp;

/// The section that is being read, and what was learnt on the way.
pub(super) struct Pcapng {
    big_endian: bool,
    interfaces: Vec<Interface>,
    points: Points,
    /// Where the packet read last was captured, and which way it was going.
    point: PointId,
    heading: Heading,
    attachments: Joiner,
    /// Drops of the interfaces of sections that are over.
    dropped: Option<u64>,
    /// From when to when the capturing side says that it captured.
    ran: Option<[Timestamp; 2]>,
    /// Where the options of the packet read last lie in the window.
    options: Range<usize>,
    /// After which frame an option first ran past the end of its block.
    overrun: Option<u64>,
}

struct Interface {
    link: LinkType,
    point: PointId,
    snap_len: u32,
    clock: Clock,
    dropped: Option<u64>,
}

/// How an interface counts its time.
#[derive(Clone, Copy)]
struct Clock {
    resolution: Resolution,
    /// Nanoseconds to add.
    offset: i64,
}

#[derive(Clone, Copy)]
enum Resolution {
    /// So many nanoseconds make a tick.
    Coarse(u64),
    /// So many ticks make a nanosecond.
    Fine(u128),
    /// A second has 2^n ticks.
    Binary(u8),
}

impl Pcapng {
    /// Whether a file that begins with these bytes is one of these.
    pub(super) fn recognises(bytes: &[u8]) -> bool {
        bytes.starts_with(&SECTION.to_be_bytes())
            && bytes.get(8..12).is_none_or(|magic| matches!(magic, [0x1a, 0x2b, 0x3c, 0x4d] | [0x4d, 0x3c, 0x2b, 0x1a]))
    }

    /// Begins before the first section; nothing is read yet.
    ///
    /// What is attached to it is taken out of `attachments`, or passed over.
    pub(super) fn new(file: &str, attachments: Option<&Share>) -> Self {
        Self {
            big_endian: false,
            interfaces: Vec::new(),
            points: Points::new(file),
            point: PointId::default(),
            heading: Heading::Unknown,
            attachments: Joiner::new(attachments),
            dropped: None,
            ran: None,
            options: 0..0,
            overrun: None,
        }
    }

    /// Reads on to the next packet, and leaves its bytes in the input's window.
    ///
    /// `number` counts it; and it counts those blocks in between that Wireshark shows as frames of their own.
    #[inline(never)]
    pub(super) fn next(&mut self, input: &mut Input, number: &mut u64) -> Result<Option<Record>, Damage> {
        loop {
            let head = input.peek(BLOCK_HEADER);
            if head.len() < BLOCK_HEADER {
                return if head.is_empty() { Ok(None) } else { Err(Damage::Cut("in the header of the next block")) };
            }
            let kind = word(self.big_endian, head, 0);
            if kind == ENHANCED_PACKET {
                let length = word(self.big_endian, head, 4);
                let whole = self.whole_block(input, length, "an enhanced packet block", 32)?;
                let record = self.enhanced(input, whole)?;
                if self.options.len() >= 4 {
                    self.take_options(input.bytes(self.options.clone()), *number);
                }
                *number += 1;
                input.consume(whole);
                return Ok(Some(record));
            }
            if let Some(record) = self.other_block(input, kind, number)? {
                *number += 1;
                return Ok(Some(record));
            }
        }
    }

    /// The interfaces described so far.
    pub(super) fn points(&self) -> &[CapturePoint] {
        self.points.known()
    }

    /// Where the packet read last was captured.
    #[inline]
    pub(super) fn seen(&self) -> SeenAt {
        SeenAt { point: self.point, heading: self.heading, interface: None }
    }

    /// The comments that the packet read last carries.
    pub(super) fn comments(&self, input: &Input) -> Vec<String> {
        let mut comments = Vec::new();
        _ = each_option(self.big_endian, input.bytes(self.options.clone()), |code, value| {
            if code == OPT_COMMENT {
                comments.push(String::from_utf8_lossy(value).into_owned());
            }
        });
        comments
    }

    /// What was put into the capture by its writer, as far as it was read.
    pub(super) fn attachments(&self) -> &[Vec<u8>] {
        self.attachments.whole()
    }

    /// Gives away what was put into the capture by its writer, as far as it was read.
    pub(super) fn take_attachments(&mut self) -> Vec<Vec<u8>> {
        self.attachments.take()
    }

    /// How many packets the capturing side says it dropped, as far as it was read.
    pub(super) fn dropped(&self) -> Option<u64> {
        self.interfaces.iter().map(|interface| interface.dropped).fold(self.dropped, sum)
    }

    /// From when to when the capturing side says that it captured, as far as it was read.
    pub(super) fn ran(&self) -> Option<[Timestamp; 2]> {
        self.ran
    }

    /// After which frame an option first ran past the end of its block, if one did: it and those after it in its block are left out.
    pub(super) fn overrun(&self) -> Option<u64> {
        self.overrun
    }

    /// Takes note of options that run past the end of their block, after frame `number`.
    fn check(&mut self, options: &[u8], number: u64) {
        if self.overrun.is_none() && each_option(self.big_endian, options, |_, _| {}).is_break() {
            self.overrun = Some(number);
        }
    }

    /// Takes note which way a packet was going, by its options, and of those that run past the end of their block.
    fn take_options(&mut self, options: &[u8], number: u64) {
        let big_endian = self.big_endian;
        let whole = each_option(big_endian, options, |code, value| {
            if let (EPB_FLAGS, Some(flags)) = (code, value.first_chunk::<4>()) {
                self.heading = match word(big_endian, flags, 0) & 3 {
                    1 => Heading::Inbound,
                    2 => Heading::Outbound,
                    _ => Heading::Unknown,
                };
            }
        });
        if whole.is_break() {
            self.overrun.get_or_insert(number);
        }
    }

    /// Makes the whole block lie in the window, and checks its two lengths; yields its length, padding and all.
    #[inline]
    fn whole_block(&self, input: &mut Input, length: u32, what: &str, least: usize) -> Result<usize, Damage> {
        let padded = padded(length);
        if padded < least || padded > MAX_BLOCK {
            return Err(Damage::Impossible(format!("{what} claims a length of {length} octets")));
        }
        let block = input.peek(padded);
        if block.len() < padded {
            return Err(Damage::Cut("within the next block"));
        }
        let trailer = word(self.big_endian, block, padded - 4);
        if trailer != length && self::padded(trailer) != padded {
            return Err(Damage::Impossible(format!(
                "{what} claims {length} octets at its beginning and {trailer} at its end"
            )));
        }
        Ok(padded)
    }

    #[inline]
    fn enhanced(&mut self, input: &mut Input, whole: usize) -> Result<Record, Damage> {
        let block = input.peek(whole);
        let field = |at| word(self.big_endian, block, at);
        let (index, high, low, captured, original) = (field(8), field(12), field(16), field(20), field(24));
        let interface = self.interface(index)?;
        let ticks = u64::from(high) << 32 | u64::from(low);
        let (link, point, at) = (interface.link, interface.point, interface.clock.moment(ticks));
        self.packet(input, whole, 28, (link, point), Some(at), captured, original)
    }

    /// Lengths that fit, and the place of the packet's bytes and options.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "one for each field of the block")]
    fn packet(
        &mut self,
        input: &Input,
        whole: usize,
        fixed: usize,
        (link, point): (LinkType, PointId),
        at: Option<Timestamp>,
        captured: u32,
        original: u32,
    ) -> Result<Record, Damage> {
        if captured > MAX_CAPTURED {
            return Err(Damage::oversized(captured));
        }
        let room = whole - fixed - 4;
        if captured as usize > room {
            return Err(Damage::Impossible(format!(
                "the next one claims {captured} captured octets, and its block has room for {room}"
            )));
        }
        let begin = input.position() + fixed;
        let options = begin + (captured as usize).next_multiple_of(4).min(room);
        self.options = options..begin + room;
        (self.point, self.heading) = (point, Heading::Unknown);
        Ok(Record { at, link, begin, captured, wire_len: original.max(captured) })
    }

    fn interface(&self, index: u32) -> Result<&Interface, Damage> {
        self.interfaces.get(index as usize).ok_or_else(|| {
            Damage::Impossible(format!(
                "the next one names interface {index}, and there are {} in its section",
                self.interfaces.len()
            ))
        })
    }

    /// Anything but an enhanced packet block.
    #[inline(never)]
    fn other_block(&mut self, input: &mut Input, kind: u32, number: &mut u64) -> Result<Option<Record>, Damage> {
        if kind == SECTION {
            self.section(input, *number)?;
            return Ok(None);
        }
        let length = word(self.big_endian, input.peek(BLOCK_HEADER), 4);
        let (what, least) = match kind {
            INTERFACE => ("an interface description block", 20),
            PACKET => ("an obsolete packet block", 32),
            SIMPLE_PACKET => ("a simple packet block", 16),
            STATISTICS => ("an interface statistics block", 24),
            _ => return self.skip_block(input, kind, length, number).map(|()| None),
        };
        let whole = self.whole_block(input, length, what, least)?;
        let block = input.peek(whole);
        let options = match kind {
            INTERFACE => 16..whole - 4,
            STATISTICS => 20..whole - 4,
            _ => 0..0,
        };
        self.check(&block[options], *number);
        let field = |at| word(self.big_endian, block, at);
        let record = match kind {
            INTERFACE => {
                let mut interface = Interface::read(self.big_endian, &block[8..whole - 4]);
                if self.interfaces.len() >= MAX_INTERFACES {
                    return Err(Damage::Impossible(format!("it describes more than {MAX_INTERFACES} interfaces")));
                }
                let [name, description] = Interface::names(self.big_endian, &block[8..whole - 4]);
                interface.point = self.points.number(self.interfaces.len(), interface.link, name, description);
                self.interfaces.push(interface);
                None
            }
            PACKET => {
                let index = if self.big_endian { field(8) >> 16 } else { field(8) & 0xffff };
                let (high, low, captured, original) = (field(12), field(16), field(20), field(24));
                let interface = self.interface(index)?;
                let at = interface.clock.moment(u64::from(high) << 32 | u64::from(low));
                let place = (interface.link, interface.point);
                let record = self.packet(input, whole, 28, place, Some(at), captured, original)?;
                self.take_options(input.bytes(self.options.clone()), *number);
                Some(record)
            }
            SIMPLE_PACKET => {
                let original = field(8);
                let interface = self.interface(0)?;
                let snap_len = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
                // Its padding is not to be told from its bytes where even the snap length does not say.
                let captured = original.min(snap_len).min((whole - 16) as u32);
                let place = (interface.link, interface.point);
                let mut record = self.packet(input, whole, 12, place, None, captured, original)?;
                record.wire_len = original.max(captured);
                self.options = 0..0;
                Some(record)
            }
            _ => {
                let index = field(8) as usize;
                let mut drops = None;
                let mut moments = [None; 2];
                let big_endian = self.big_endian;
                let attachments = &mut self.attachments;
                let mut too_large = false;
                _ = each_option(self.big_endian, &block[20..whole - 4], |code, value| match code {
                    ISB_IFDROP | ISB_OSDROP => {
                        if let Some(value) = value.first_chunk::<8>() {
                            let count = double(self.big_endian, value);
                            drops = sum(drops, Some(count));
                        }
                    }
                    ISB_STARTTIME | ISB_ENDTIME if value.len() >= 8 => {
                        let ticks = u64::from(word(big_endian, value, 0)) << 32 | u64::from(word(big_endian, value, 4));
                        moments[usize::from(code == ISB_ENDTIME)] = Some(ticks);
                    }
                    OPT_CUSTOM_BINARY if value.len() >= 4 && word(self.big_endian, value, 0) == EXAMPLE_ENTERPRISE => {
                        too_large |= attachments.add(&value[4..]).is_err();
                    }
                    _ => {}
                });
                if too_large {
                    return Err(Damage::Impossible(
                        "it carries more attached records than tcpflow ever writes, or than --memory leaves room for"
                            .into(),
                    ));
                }
                if let Some(interface) = self.interfaces.get_mut(index) {
                    interface.dropped = drops.or(interface.dropped);
                    for at in moments.into_iter().flatten().map(|ticks| interface.clock.moment(ticks)) {
                        let [began, ended] = self.ran.unwrap_or([at; 2]);
                        self.ran = Some([began.min(at), ended.max(at)]);
                    }
                }
                None
            }
        };
        input.consume(whole);
        Ok(record)
    }

    /// Begins a section, which may have another byte order than the one before.
    fn section(&mut self, input: &mut Input, number: u64) -> Result<(), Damage> {
        let head = input.peek(28);
        if head.len() < 28 {
            return Err(Damage::Cut("in a section header"));
        }
        self.big_endian = match head[8..12] {
            [0x1a, 0x2b, 0x3c, 0x4d] => true,
            [0x4d, 0x3c, 0x2b, 0x1a] => false,
            _ => return Err(Damage::Impossible("a section header does not say its byte order".into())),
        };
        let length = word(self.big_endian, head, 4);
        let version = word(self.big_endian, head, 12);
        let (major, minor) =
            if self.big_endian { (version >> 16, version & 0xffff) } else { (version & 0xffff, version >> 16) };
        if major != 1 || !matches!(minor, 0 | 2) {
            return Err(Damage::Impossible(format!("a section has version {major}.{minor}, and 1.0 is what is known")));
        }
        let whole = self.whole_block(input, length, "a section header", 28)?;
        self.check(&input.peek(whole)[24..whole - 4], number);
        self.dropped = self.dropped();
        self.interfaces.clear();
        input.consume(whole);
        Ok(())
    }

    /// Passes over a block of another kind, however long it is.
    fn skip_block(&self, input: &mut Input, kind: u32, length: u32, number: &mut u64) -> Result<(), Damage> {
        let whole = padded(length);
        if whole < BLOCK_HEADER + 4 {
            return Err(Damage::Impossible(format!("a block of type {kind:#x} claims a length of {length} octets")));
        }
        let mut left = whole;
        while left > 0 {
            let step = left.min(SKIP_STEP);
            if input.peek(step).len() < step {
                return Err(Damage::Cut("within the next block"));
            }
            input.consume(step);
            left -= step;
        }
        // As Wireshark has it: custom blocks, the journal's, and those of system calls are frames; others are not.
        if matches!(kind, 0x0bad | 0x4000_0bad | 0x9 | 0x204 | 0x216 | 0x221) {
            *number += 1;
        }
        Ok(())
    }
}

impl Interface {
    fn read(big_endian: bool, body: &[u8]) -> Self {
        let link = if big_endian { word(true, body, 0) >> 16 } else { word(false, body, 0) & 0xffff };
        let mut resolution = Resolution::Coarse(1_000);
        let mut offset = 0i64;
        _ = each_option(big_endian, &body[8..], |code, value| match (code, value) {
            (IF_TSRESOL, &[exponent, ..]) => resolution = Resolution::of(exponent),
            (IF_TSOFFSET, value) if value.len() >= 8 => {
                let seconds = value.first_chunk::<8>().map_or(0, |value| double(big_endian, value)) as i64;
                offset = seconds.saturating_mul(1_000_000_000);
            }
            _ => {}
        });
        Self {
            link: LinkType(link as u16),
            point: PointId::default(),
            snap_len: word(big_endian, body, 4),
            clock: Clock { resolution, offset },
            dropped: None,
        }
    }

    /// Its name and its description, empty where there is none.
    fn names(big_endian: bool, body: &[u8]) -> [&[u8]; 2] {
        let [mut name, mut description]: [&[u8]; 2] = [&[], &[]];
        _ = each_option(big_endian, &body[8..], |code, value| match code {
            IF_NAME => name = value,
            IF_DESCRIPTION => description = value,
            _ => {}
        });
        [name, description]
    }
}

impl Resolution {
    fn of(exponent: u8) -> Self {
        match exponent {
            0..=9 => Self::Coarse(10u64.pow(9 - u32::from(exponent))),
            // Beyond 10^19 to a nanosecond, no count of ticks makes one.
            10..=0x7f => Self::Fine(10u128.saturating_pow(u32::from(exponent) - 9)),
            _ => Self::Binary(exponent & 0x7f),
        }
    }
}

impl Clock {
    #[inline]
    fn moment(self, ticks: u64) -> Timestamp {
        let nanos = match self.resolution {
            Resolution::Coarse(nanos) => ticks.saturating_mul(nanos),
            Resolution::Fine(ticks_of_one) => (u128::from(ticks) / ticks_of_one) as u64,
            Resolution::Binary(bits) => u64::try_from((u128::from(ticks) * 1_000_000_000) >> bits).unwrap_or(u64::MAX),
        };
        let nanos = i128::from(nanos) + i128::from(self.offset);
        Timestamp::from_nanos(nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }
}

/// Calls `each` for every option up to the list's end; breaks off at the first that runs past it.
fn each_option<'a>(big_endian: bool, mut list: &'a [u8], mut each: impl FnMut(u16, &'a [u8])) -> ControlFlow<()> {
    while let Some(head) = list.first_chunk::<4>() {
        let head = word(big_endian, head, 0);
        let (code, length) = if big_endian { (head >> 16, head & 0xffff) } else { (head & 0xffff, head >> 16) };
        let Some(value) = list.get(4..4 + length as usize) else { return ControlFlow::Break(()) };
        if code == 0 {
            break;
        }
        each(code as u16, value);
        list = list.get(4 + (length as usize).next_multiple_of(4)..).unwrap_or(&[]);
    }
    ControlFlow::Continue(())
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}

/// A block's length rounded up to whole words, as sloppy writers leave it to their readers to do.
#[inline]
fn padded(length: u32) -> usize {
    (length as usize).next_multiple_of(4)
}

#[inline]
fn word(big_endian: bool, bytes: &[u8], at: usize) -> u32 {
    let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

fn double(big_endian: bool, bytes: &[u8; 8]) -> u64 {
    if big_endian { u64::from_be_bytes(*bytes) } else { u64::from_le_bytes(*bytes) }
}

pub(super) const SECTION: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
pub(super) const SIMPLE_PACKET: u32 = 3;
pub(super) const STATISTICS: u32 = 5;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const OPT_COMMENT: u16 = 1;
pub(super) const OPT_CUSTOM_BINARY: u16 = 2989;
const EPB_FLAGS: u16 = 2;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
pub(super) const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;
pub(super) const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;
pub(super) const ISB_STARTTIME: u16 = 2;
pub(super) const ISB_ENDTIME: u16 = 3;
/// The private enterprise number that RFC 5612 keeps for examples; what is tcpflow's has a mark of its own besides.
pub(super) const EXAMPLE_ENTERPRISE: u32 = 32_473;
const BLOCK_HEADER: usize = 8;
const MAX_BLOCK: usize = 16 << 20;
const MAX_INTERFACES: usize = 1 << 16;
const SKIP_STEP: usize = 64 << 10;
