//! One direction's octets, and Wireshark's judgement of each segment against all that both directions sent before.

use super::copies::{Copies, Earlier};
use super::{Finding, FindingSet};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Oddities, Segment, Seq};

/// Which of a connection's two directions a segment takes; the table says which end that is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Direction {
    #[default]
    /// From the end whose segment was seen first.
    First,
    /// From its peer.
    Second,
}

impl Direction {
    /// The other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Both directions of one connection.
///
/// The rules of [`Finding`] are those of tshark 4.0, in its order and with its corner cases: a sequence number of zero
/// counts as "not yet known", and the acknowledgement field is remembered even where the ACK flag is not set.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    streams: [Stream; 2],
    /// Nanoseconds: the initial round-trip time once it is known, until then the moment of the latest SYN without ACK;
    /// which of them it is, the first direction's [`Marks::ASKED`] and [`Marks::TIMED`] tell.
    opening: i64,
}

/// What one segment means, seen against all before it.
#[derive(Clone, Copy, Debug)]
pub struct Judgement {
    /// What is remarkable about it.
    pub findings: FindingSet,
    /// Sequence number relative to the sender's first (SYN = 0, first octet = 1), beyond 2^32 where the stream is.
    pub seq: i64,
    /// Acknowledgement number relative to the peer's first; `None` without ACK.
    pub ack: Option<i64>,
    /// Window in octets, scaled where the scale is known.
    pub window: u32,
    /// The position in the sender's stream of its first octet, 0 being the octet after the SYN; negative before the first seen.
    pub position: i64,
    /// The sequence number up to which the sender's octets and its FIN have come without a gap, as far as the receiver could have them.
    pub in_order: Seq,
    /// Octets of the sender that are not acknowledged yet, this segment's included (Wireshark's bytes in flight by sequence numbers).
    pub in_flight: u32,
    /// Nanoseconds since the sender's stream last advanced: how long a segment that was sent again had been missing.
    pub since_advance: Option<Span>,
    /// The number of a duplicate acknowledgement among those that repeat the same one, from 1.
    pub duplicate: u16,
}

impl Conversation {
    /// Judges `segment`, which travels in `direction`, and remembers it.
    pub fn observe(&mut self, direction: Direction, segment: &Segment) -> Judgement {
        let rtt = self.initial_rtt().map_or(0, Span::as_nanos);
        let [first, second] = &mut self.streams;
        let (fwd, rev) = match direction {
            Direction::First => (first, second),
            Direction::Second => (second, first),
        };
        let flags = segment.flags;
        let acks = flags.contains(Flags::ACK);
        let now = segment.at.map_or(0, Timestamp::as_nanos);

        fwd.meet(segment);
        if acks && !rev.marks.contains(Marks::BASE) {
            rev.meet_by_ack(segment.ack);
        }

        let mut findings = oddities(segment);
        let since_advance = segment.at.zip(fwd.advanced_at).map(|(at, then)| at.since(then));
        if flags.contains(Flags::RST) && rev.refuses_reset(fwd, segment.seq) {
            findings.insert(Finding::ResetOutOfWindow);
        }
        let (newest_id, next) = (fwd.newest_id, fwd.next);
        judge(fwd, rev, segment, now, rtt, &mut findings);
        let duplicate = fwd.duplicate_acks;
        if !findings.is_empty() && is_repeat(findings) && !findings.contains(Finding::KeepAlive) {
            fwd.irregular.get_or_insert_default();
        }
        let earlier = fwd.irregular.as_mut().map(|irregular| &mut irregular.earlier);
        let is_copy = fwd.copies.saw_before(earlier, segment, now, fwd.next != next);
        let known = if findings.is_empty() { 0 } else { fwd.unique_octets() };
        let position = fwd.octets.take(&mut fwd.irregular, segment);
        if is_copy {
            findings.insert(Finding::CapturedTwice);
            // Whoever captured one frame twice does so with others, of both directions.
            fwd.irregular.get_or_insert_default();
            rev.irregular.get_or_insert_default();
        } else if !findings.is_empty() {
            judge_by_identification(newest_id, segment, fwd.unique_octets() > known, &mut findings);
        }
        if segment.options.sack_blocks > 0 && tells_of_duplicates(segment) {
            findings.insert(Finding::DuplicateSack);
        }
        fwd.count(segment);

        if flags.contains(Flags::FIN) && !fwd.marks.contains(Marks::FIN) {
            fwd.marks |= Marks::FIN;
            fwd.octets.fin_end = segment.end();
        }
        fwd.rtt.sent(segment, findings);
        if acks {
            rev.octets.acknowledged(&mut rev.irregular, segment.ack);
            rev.rtt.acknowledged(segment);
        }
        let judgement = Judgement {
            findings,
            // The SYN takes the number before the first octet's, which is 1.
            seq: position + i64::from(!flags.contains(Flags::SYN)),
            ack: acks.then(|| rev.octets.position(segment.ack) + 1),
            window: fwd.scaled(segment),
            position,
            in_order: fwd.in_order(),
            in_flight: fwd.in_flight(rev),
            since_advance,
            duplicate,
        };

        if flags.contains(Flags::SYN) || segment.options.window_scale.is_some() {
            remember_announced(fwd, rev, segment);
        }
        if acks && !flags.contains(Flags::SYN) {
            fwd.marks.remove(Marks::UNSCALED);
        }
        if !self.streams[0].marks.contains(Marks::TIMED) {
            self.time_opening(segment);
        }
        judgement
    }

    /// Remembers a segment whose data offset cannot be, which its receiver drops.
    ///
    /// As in Wireshark it is counted; one that seems shorter than a header has no flags, and what the sequence analysis
    /// finds in it is not told; one that seems longer than the segment takes no part in the sequence analysis.
    #[cold]
    pub fn observe_unreadable(&mut self, direction: Direction, segment: &Segment) -> Judgement {
        let rtt = self.initial_rtt().map_or(0, Span::as_nanos);
        let [first, second] = &mut self.streams;
        let (fwd, rev) = match direction {
            Direction::First => (first, second),
            Direction::Second => (second, first),
        };
        let short = segment.has_short_header();
        let heeded = if short { Segment { flags: Flags::empty(), ..*segment } } else { *segment };
        if segment.flags.contains(Flags::SYN) {
            fwd.follow_syn(segment);
        }
        if !fwd.marks.contains(Marks::BASE) {
            fwd.begin(heeded.data_seq());
        }
        if short {
            if !fwd.marks.contains(Marks::BASE) {
                fwd.base = if segment.flags.contains(Flags::SYN) { segment.seq } else { segment.seq.minus(1) };
                fwd.marks |= Marks::BASE;
            }
            if segment.flags.contains(Flags::ACK) && !rev.marks.contains(Marks::BASE) {
                rev.meet_by_ack(segment.ack);
            }
            let now = segment.at.map_or(0, Timestamp::as_nanos);
            judge(fwd, rev, segment, now, rtt, &mut FindingSet::default());
        } else if heeded.flags.contains(Flags::SYN) {
            if !fwd.marks.contains(Marks::SYN) {
                fwd.isn = segment.seq;
            }
            fwd.marks |= Marks::SYN | Marks::UNSCALED;
        }
        fwd.last_at = segment.at;
        fwd.count(&heeded);
        let position = fwd.octets.take(&mut fwd.irregular, &heeded);
        let acks = heeded.flags.contains(Flags::ACK);
        let judgement = Judgement {
            findings: oddities(segment),
            seq: position + i64::from(!heeded.flags.contains(Flags::SYN)),
            ack: acks.then(|| rev.octets.position(segment.ack) + 1),
            window: fwd.scaled(segment),
            position,
            in_order: fwd.in_order(),
            in_flight: fwd.in_flight(rev),
            since_advance: None,
            duplicate: 0,
        };
        if heeded.flags.contains(Flags::SYN) || heeded.options.window_scale.is_some() {
            remember_announced(fwd, rev, &heeded);
        }
        if acks && !heeded.flags.contains(Flags::SYN) {
            fwd.marks.remove(Marks::UNSCALED);
        }
        if !self.streams[0].marks.contains(Marks::TIMED) {
            self.time_opening(&heeded);
        }
        judgement
    }

    /// Takes note of a header of a segment in `direction` that an ICMP error quotes: only its SYN means something.
    pub fn quote(&mut self, direction: Direction, quote: &Segment) {
        let stream = &mut self.streams[direction as usize];
        if quote.flags.contains(Flags::SYN) {
            stream.follow_syn(quote);
        }
    }

    /// Whether `segment` is a SYN that cannot belong to this conversation: its initial sequence number is another than before.
    pub fn is_outlived_by(&self, direction: Direction, segment: &Segment) -> bool {
        let fwd = self.stream(direction);
        segment.flags.contains(Flags::SYN)
            && !segment.flags.contains(Flags::ACK)
            && fwd.marks.contains(Marks::BASE)
            && segment.seq != fwd.base
    }

    /// One direction.
    pub fn stream(&self, direction: Direction) -> &Stream {
        &self.streams[direction as usize]
    }

    /// From the latest SYN to the first segment with ACK and without SYN; `None` while one of them lacks, or where the clock did not move.
    pub fn initial_rtt(&self) -> Option<Span> {
        self.streams[0].marks.contains(Marks::TIMED).then_some(Span(self.opening))
    }

    fn time_opening(&mut self, segment: &Segment) {
        let Some(at) = segment.at.map(Timestamp::as_nanos) else { return };
        let syn_ack = segment.flags & (Flags::SYN | Flags::ACK);
        let marks = &mut self.streams[0].marks;
        if syn_ack == Flags::SYN {
            *marks |= Marks::ASKED;
            self.opening = at;
        } else if syn_ack == Flags::ACK && marks.contains(Marks::ASKED) && at != self.opening {
            *marks |= Marks::TIMED;
            self.opening = at.saturating_sub(self.opening);
        }
    }
}

/// One direction of a connection: what was sent, what was seen of it, and how far it was acknowledged; 128 octets.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The highest sequence number after a segment; 0 while none is known.
    next: Seq,
    /// The end of what was sent without a gap, which an acknowledgement may not pass; 0 while none is known.
    acceptable: Seq,
    /// The acknowledgement field of the last segment, whether ACK was set or not.
    last_ack: Seq,
    /// The initial sequence number, guessed as one before the first octet where no SYN was seen.
    base: Seq,
    /// With [`Marks::SYN`]: the first initial sequence number sent.
    isn: Seq,
    /// When `next` last advanced.
    advanced_at: Option<Timestamp>,
    /// When the last segment was captured.
    last_at: Option<Timestamp>,
    /// The window field of the last segment, with [`Marks::WINDOW`].
    window: u16,
    /// The IP identification of the segment that advanced `next` last; 0 where it has none.
    newest_id: u16,
    /// How often the last acknowledgement was repeated; `UNSEEN` once this direction's octets were acknowledged without having been captured.
    duplicate_acks: u16,
    marks: Marks,
    mss: u16,
    syns: u8,
    fins: u8,
    resets: u16,
    scale: Scale,
    announced_scale: u8,
    segments: u32,
    sum: u64,
    octets: Octets,
    irregular: Option<Box<Irregular>>,
    rtt: Rtt,
    copies: Copies,
}

/// What is kept of a direction whose segments did not simply follow one another.
#[derive(Clone, Debug, Default)]
struct Irregular {
    gaps: Option<Gaps>,
    earlier: Earlier,
}

bitflags::bitflags! {
    /// Facts about a direction.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    struct Marks: u16 {
        /// `base` is known or guessed.
        const BASE = 0x001;
        /// A SYN was seen: `isn` holds.
        const SYN = 0x002;
        /// A SYN was seen, and no ACK without SYN since: the window is not scaled yet.
        const UNSCALED = 0x004;
        /// The last segment was a keep-alive.
        const KEEP_ALIVE = 0x008;
        /// The last segment was a zero-window probe.
        const PROBE = 0x010;
        /// It announced a maximum segment size.
        const MSS = 0x020;
        /// It announced a window scale.
        const SCALE = 0x040;
        /// It permitted SACK.
        const SACK = 0x080;
        /// It offered timestamps.
        const TIMESTAMPS = 0x100;
        /// A segment with ACK was seen: `last_ack` is a real one.
        const ACKED = 0x200;
        /// A segment was seen: `window` is a real one.
        const WINDOW = 0x400;
        /// A FIN was seen: `fin_end` holds.
        const FIN = 0x800;
        /// Of the first direction: a SYN without ACK was seen in either.
        const ASKED = 0x1000;
        /// Of the first direction: the initial round-trip time is known.
        const TIMED = 0x2000;
    }
}

/// How a direction's window field is to be read: the shift, or one of two that are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Scale(u8);

impl Scale {
    /// The handshake was not seen.
    const UNKNOWN: Self = Self(0xff);
    /// Not negotiated: the field counts octets.
    const NONE: Self = Self(0xfe);

    /// By how many bits the field is shifted left.
    fn shift(self) -> u32 {
        if self.0 <= Self::LARGEST { self.0.into() } else { 0 }
    }

    /// RFC 7323 section 2.3: more than 14 counts as 14.
    const LARGEST: u8 = 14;
}

impl Default for Scale {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl Stream {
    /// Segments sent.
    pub fn segments(&self) -> u64 {
        self.segments.into()
    }

    /// Sum of the payload lengths.
    pub fn octets(&self) -> u64 {
        self.sum
    }

    /// Segments with SYN, modulo 256.
    pub fn syns(&self) -> u8 {
        self.syns
    }

    /// Segments with FIN, modulo 256.
    pub fn fins(&self) -> u8 {
        self.fins
    }

    /// Segments with RST, modulo 65,536.
    pub fn resets(&self) -> u16 {
        self.resets
    }

    /// Octets seen, each position once.
    pub fn unique_octets(&self) -> u64 {
        self.octets.unique(&self.irregular)
    }

    /// The first initial sequence number sent, of a SYN or SYN-ACK; `None` when none was seen.
    pub fn isn(&self) -> Option<Seq> {
        self.marks.contains(Marks::SYN).then_some(self.isn)
    }

    /// The sequence number of the last SYN or SYN-ACK; `None` when none was seen.
    pub fn last_syn(&self) -> Option<Seq> {
        self.marks.contains(Marks::SYN).then_some(self.base)
    }

    /// When its last segment was captured.
    pub fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// The maximum segment size announced.
    pub fn mss(&self) -> Option<u16> {
        self.marks.contains(Marks::MSS).then_some(self.mss)
    }

    /// The window scale announced, as announced.
    pub fn window_scale(&self) -> Option<u8> {
        self.marks.contains(Marks::SCALE).then_some(self.announced_scale)
    }

    /// Whether SACK was permitted.
    pub fn sack_permitted(&self) -> bool {
        self.marks.contains(Marks::SACK)
    }

    /// Whether timestamps were offered.
    pub fn timestamps(&self) -> bool {
        self.marks.contains(Marks::TIMESTAMPS)
    }

    /// The shortest, mean and longest time to an acknowledgement.
    pub fn round_trips(&self) -> Option<(Span, Span, Span)> {
        self.rtt.summary()
    }

    /// The sequence number after the FIN; `None` when none was sent.
    pub fn fin_end(&self) -> Option<Seq> {
        self.marks.contains(Marks::FIN).then_some(self.octets.fin_end)
    }

    /// Learns where the direction begins, from a segment of its own.
    fn meet(&mut self, segment: &Segment) {
        let flags = segment.flags;
        let is_syn = flags.contains(Flags::SYN);
        if is_syn {
            self.follow_syn(segment);
            if !self.marks.contains(Marks::SYN) {
                self.isn = segment.seq;
            }
            self.marks |= Marks::SYN | Marks::UNSCALED;
            if self.sum == 0 && !self.marks.contains(Marks::FIN) {
                self.begin(segment.data_seq());
            }
        }
        if !self.marks.contains(Marks::BASE) {
            self.base = if is_syn { segment.seq } else { segment.seq.minus(1) };
            self.marks |= Marks::BASE;
            self.begin(segment.data_seq());
        }
    }

    /// What a SYN changes that is not the first thing known of the direction.
    fn follow_syn(&mut self, segment: &Segment) {
        if !self.marks.contains(Marks::BASE) {
            return;
        }
        if segment.flags.contains(Flags::ACK) {
            self.base = segment.seq;
        } else if segment.seq == self.base {
            // A RST may have moved it to whatever its sender had acknowledged.
            self.next = self.acceptable;
        }
    }

    /// Counts the positions of octets from `at`.
    fn begin(&mut self, at: Seq) {
        self.octets = Octets { end: 0, end_seq: at, fin_end: at };
        if let Some(irregular) = &mut self.irregular {
            irregular.gaps = None;
        }
    }

    /// Learns where the direction begins, from the first acknowledgement of it.
    #[cold]
    fn meet_by_ack(&mut self, ack: Seq) {
        self.base = ack.minus(1);
        self.marks |= Marks::BASE;
        self.begin(ack);
    }

    fn count(&mut self, segment: &Segment) {
        self.segments = self.segments.saturating_add(1);
        self.sum += u64::from(segment.len);
        let flags = segment.flags;
        if flags.intersects(Flags::SYN | Flags::FIN | Flags::RST) {
            self.syns = self.syns.wrapping_add(flags.contains(Flags::SYN).into());
            self.fins = self.fins.wrapping_add(flags.contains(Flags::FIN).into());
            self.resets = self.resets.wrapping_add(flags.contains(Flags::RST).into());
        }
    }

    /// The sequence number up to which octets and FIN have come in order.
    fn in_order(&self) -> Seq {
        let octets = self.octets.in_order(&self.irregular);
        let fin_end = self.octets.fin_end;
        if self.marks.contains(Marks::FIN) && octets == fin_end.minus(1) { fin_end } else { octets }
    }

    /// The window field of a segment of this direction, in octets.
    fn scaled(&self, segment: &Segment) -> u32 {
        let shift = if segment.flags.contains(Flags::SYN) { 0 } else { self.scale.shift() };
        u32::from(segment.window) << shift
    }

    /// The room this direction's sender announced last, in octets; before its first segment more than any window.
    fn room(&self) -> u32 {
        let window = if self.marks.contains(Marks::WINDOW) { u32::from(self.window) } else { u32::MAX };
        let shift = if self.marks.contains(Marks::UNSCALED) { 0 } else { self.scale.shift() };
        window.wrapping_shl(shift)
    }

    /// Octets of this direction past the last acknowledgement of `rev`.
    fn in_flight(&self, rev: &Self) -> u32 {
        if self.next == Seq(0) || !rev.marks.contains(Marks::ACKED) {
            return 0;
        }
        u32::try_from(self.next.since(rev.last_ack)).unwrap_or(0)
    }

    /// Whether the end that sends in this direction ignores a RST with `seq` from `peer`: it is out of its window (RFC 9293 section 3.10.7.4, RFC 5961).
    fn refuses_reset(&self, peer: &Self, seq: Seq) -> bool {
        if !self.marks.contains(Marks::ACKED) {
            return false;
        }
        // When the RST arrives the receiver may have acknowledged more than was captured: up to all that the peer sent.
        let expected = self.last_ack;
        let furthest = if peer.next == Seq(0) || peer.next.is_before(expected) { expected } else { peer.next };
        let room = self.room().max(1);
        seq.is_before(expected) || seq.since(expected) as u32 > room && seq.is_after(furthest)
    }
}

/// What is odd about a segment by itself.
fn oddities(segment: &Segment) -> FindingSet {
    let mut findings = FindingSet::default();
    let controls = segment.flags & (Flags::SYN | Flags::FIN | Flags::RST);
    if controls.bits().count_ones() > 1 {
        findings.insert(Finding::InconsistentFlags);
    }
    if segment.oddities.contains(Oddities::BAD_CHECKSUM) {
        findings.insert(Finding::BadChecksum);
    }
    findings
}

/// Wireshark's sequence analysis: the rules of [`Finding`] in its order, and what it remembers for the next segment.
fn judge(fwd: &mut Stream, rev: &mut Stream, segment: &Segment, now: i64, rtt: i64, findings: &mut FindingSet) {
    let Segment { seq, ack, flags, len, .. } = *segment;
    let window = segment.window;
    let controls = flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
    let takes_control = flags.intersects(Flags::SYN | Flags::FIN);
    let known = fwd.next != Seq(0);
    // Comparisons are by `is_before` alone: two numbers exactly 2^31 apart are each before the other, as in Wireshark.

    let probe = len == 1 && seq == fwd.next && rev.window == 0 && rev.marks.contains(Marks::WINDOW);
    if probe {
        findings.insert(Finding::ZeroWindowProbe);
    } else {
        if window == 0 && !controls {
            findings.insert(Finding::ZeroWindow);
        }
        if known && fwd.next.is_before(seq) && !flags.contains(Flags::RST) {
            findings.insert(Finding::LostSegment);
        }
        if len <= 1 && seq == fwd.next.minus(1) && !controls {
            findings.insert(Finding::KeepAlive);
        }
        if len > 0 && !controls && rev.scale != Scale::UNKNOWN && segment.seq.plus(len) == rev.last_ack.plus(rev.room())
        {
            findings.insert(Finding::WindowFull);
        }
        if len == 0 && !controls && seq == fwd.next && ack == fwd.last_ack {
            judge_repeated_ack(fwd, rev, window, findings);
        }
    }
    if ack != fwd.last_ack {
        fwd.duplicate_acks = 0;
    }

    if flags.contains(Flags::ACK) && rev.acceptable != Seq(0) && rev.acceptable.is_before(ack) {
        // One lost segment is told once: by what came after it, or else until rev acknowledges something new.
        if rev.acceptable.is_before(rev.next) {
            rev.acceptable = rev.next;
            findings.insert(Finding::AckedUnseen);
        } else {
            if rev.duplicate_acks == 0 {
                findings.insert(Finding::AckedUnseen);
            }
            rev.duplicate_acks = UNSEEN;
        }
    }

    if (len > 0 || takes_control) && !findings.contains(Finding::KeepAlive) {
        judge_repeated_octets(fwd, rev, segment, now, rtt, findings);
    }

    let end = seq.plus(len).plus(takes_control.into());
    if !probe {
        if fwd.next.is_before(end) || !known {
            fwd.next = end;
            fwd.advanced_at = segment.at;
            fwd.newest_id = segment.ip_id.unwrap_or(0);
        }
        if seq == fwd.acceptable || fwd.acceptable == Seq(0) {
            fwd.acceptable = fwd.next;
        }
    }
    fwd.window = window;
    fwd.last_ack = ack;
    fwd.last_at = segment.at;
    fwd.marks |= Marks::WINDOW;
    if flags.contains(Flags::ACK) {
        fwd.marks |= Marks::ACKED;
    }
    fwd.marks.set(Marks::KEEP_ALIVE, findings.contains(Finding::KeepAlive));
    fwd.marks.set(Marks::PROBE, probe);
}

/// The rules for a segment without octets at nextseq that acknowledges nothing new.
fn judge_repeated_ack(fwd: &mut Stream, rev: &Stream, window: u16, findings: &mut FindingSet) {
    if window != fwd.window || !fwd.marks.contains(Marks::WINDOW) {
        if window != 0 {
            findings.insert(Finding::WindowUpdate);
        }
    } else if window == 0 {
        if rev.marks.contains(Marks::PROBE) {
            findings.insert(Finding::ZeroWindowProbeAck);
        }
    } else if rev.marks.contains(Marks::KEEP_ALIVE) {
        findings.insert(Finding::KeepAliveAck);
    } else {
        fwd.duplicate_acks = if fwd.duplicate_acks == UNSEEN { 1 } else { (fwd.duplicate_acks + 1).min(UNSEEN - 1) };
        findings.insert(Finding::DuplicateAck);
    }
}

/// The rules for a segment that takes sequence space: the family of retransmissions, of which the first that matches holds.
fn judge_repeated_octets(fwd: &Stream, rev: &Stream, segment: &Segment, now: i64, rtt: i64, findings: &mut FindingSet) {
    let Segment { seq, len, .. } = *segment;
    let end = seq.plus(len);
    let stale = fwd.next != Seq(0) && seq.is_before(fwd.next) && !(len > 1 && seq == fwd.next.minus(1));
    if len > 0 && rev.last_ack != Seq(0) && !end.is_after(rev.last_ack) {
        findings.insert(Finding::SpuriousRetransmission);
        return;
    }
    if !stale {
        return;
    }
    // A time that ran backwards counts as very long, as it does in unsigned arithmetic.
    let since_ack = now.wrapping_sub(rev.last_at.map_or(0, Timestamp::as_nanos)) as u64;
    if rev.duplicate_acks >= 2 && rev.last_ack == seq && since_ack < FAST {
        findings.insert(Finding::FastRetransmission);
        return;
    }
    let since_advance = now.wrapping_sub(fwd.advanced_at.map_or(0, Timestamp::as_nanos)) as u64;
    let threshold = if rtt == 0 { REORDERING } else { rtt as u64 };
    let control = segment.flags.intersects(Flags::SYN | Flags::FIN);
    if since_advance < threshold && fwd.next != end.plus(control.into()) {
        findings.insert(Finding::OutOfOrder);
        return;
    }
    findings.insert(Finding::Retransmission);
}

/// Our verdict on late octets where it differs from the rule's: hosts that number their datagrams one by one show what was sent first.
#[cold]
fn judge_by_identification(newest: u16, segment: &Segment, brings_octets: bool, findings: &mut FindingSet) {
    let Some(id) = segment.ip_id.filter(|id| *id != 0 && newest != 0) else { return };
    let past = id.wrapping_sub(newest) as i16;
    let again = [Finding::Retransmission, Finding::FastRetransmission, Finding::SpuriousRetransmission];
    // Octets that were there already were not overtaken.
    if brings_octets && (-NEAR..0).contains(&past) && again.iter().any(|finding| findings.contains(*finding)) {
        findings.insert(Finding::Reordered);
    } else if (1..=NEAR).contains(&past) && findings.contains(Finding::OutOfOrder) {
        findings.insert(Finding::SentAgain);
    }
}

/// Whether the first SACK block lies before the acknowledgement or within the second one (RFC 2883 section 4).
fn tells_of_duplicates(segment: &Segment) -> bool {
    match *segment.options.sack_edges() {
        [(_, right), ..] if !right.is_after(segment.ack) => true,
        [(left, right), (outer_left, outer_right), ..] => !left.is_before(outer_left) && !right.is_after(outer_right),
        _ => false,
    }
}

/// Learns window scales, maximum segment size and what else the SYNs announce.
#[cold]
fn remember_announced(fwd: &mut Stream, rev: &mut Stream, segment: &Segment) {
    let flags = segment.flags;
    let options = &segment.options;
    if let Some(shift) = options.window_scale {
        fwd.scale = Scale(shift.min(Scale::LARGEST));
    }
    if !flags.contains(Flags::SYN) {
        return;
    }
    if !segment.oddities.intersects(Oddities::HEADER_CUT | Oddities::BAD_OFFSET) {
        if fwd.scale == Scale::UNKNOWN {
            fwd.scale = Scale::NONE;
            rev.scale = Scale::NONE;
        } else if flags.contains(Flags::ACK) && rev.scale == Scale::NONE {
            fwd.scale = Scale::NONE;
        }
    }
    if let (Some(mss), false) = (options.mss, fwd.marks.contains(Marks::MSS)) {
        fwd.mss = mss;
        fwd.marks |= Marks::MSS;
    }
    if let (Some(shift), false) = (options.window_scale, fwd.marks.contains(Marks::SCALE)) {
        fwd.announced_scale = shift;
        fwd.marks |= Marks::SCALE;
    }
    fwd.marks.set(Marks::SACK, fwd.marks.contains(Marks::SACK) || options.sack_permitted);
    fwd.marks.set(Marks::TIMESTAMPS, fwd.marks.contains(Marks::TIMESTAMPS) || options.timestamps.is_some());
}

/// Which octets of one direction were seen, by their position in the stream.
///
/// Positions count from the octet after the SYN, or from the first one that is known of, and go on past 2^32.
/// While octets come in order there is one interval, from 0 to `end`; the first that do not make it a list, [`Gaps`].
#[derive(Clone, Debug, Default)]
struct Octets {
    /// Positions are told by their distance to this one, which has the sequence number `end_seq`:
    /// the end of the only interval, or with gaps the highest position at which a segment began.
    end: i64,
    end_seq: Seq,
    /// With [`Marks::FIN`]: the sequence number after the FIN.
    fin_end: Seq,
}

/// The intervals of a stream that has holes, or octets before the first that was seen.
#[derive(Clone, Debug)]
struct Gaps {
    /// The interval that grew last.
    hot: (i64, i64),
    /// The other intervals, ascending, neither touching each other nor `hot`.
    others: Vec<(i64, i64)>,
    unique: u64,
    in_order: i64,
    /// Where the last segment began, if that was further ahead than a window reaches.
    far: Option<i64>,
}

impl Octets {
    fn position(&self, seq: Seq) -> i64 {
        self.end + i64::from(seq.since(self.end_seq))
    }

    fn unique(&self, irregular: &Option<Box<Irregular>>) -> u64 {
        gaps(irregular).map_or(self.end as u64, |gaps| gaps.unique)
    }

    fn in_order(&self, irregular: &Option<Box<Irregular>>) -> Seq {
        match gaps(irregular) {
            None => self.end_seq,
            Some(gaps) => self.end_seq.plus((gaps.in_order - self.end) as u32),
        }
    }

    /// Takes the octets of a segment, and says where they begin.
    fn take(&mut self, irregular: &mut Option<Box<Irregular>>, segment: &Segment) -> i64 {
        let start = segment.data_seq();
        let from = self.position(start);
        if gaps(irregular).is_none() {
            if segment.len == 0 {
                return from;
            }
            let to = from + i64::from(segment.len);
            if (0..=self.end).contains(&from) {
                if to > self.end {
                    self.end_seq = start.plus(segment.len);
                    self.end = to;
                }
                return from;
            }
        }
        self.take_with_gaps(irregular, segment, start, from);
        from
    }

    #[cold]
    fn take_with_gaps(&mut self, irregular: &mut Option<Box<Irregular>>, segment: &Segment, start: Seq, from: i64) {
        let end = self.end;
        let gaps = irregular.get_or_insert_default().gaps.get_or_insert_with(|| Gaps::after(end));
        let bare_reset = segment.flags.contains(Flags::RST) && segment.len == 0;
        if !bare_reset && gaps.is_ahead(from, end) {
            (self.end, self.end_seq) = (from, start);
        }
        if segment.len > 0 {
            let to = from + i64::from(segment.len);
            gaps.insert(from, to);
            if from <= gaps.in_order && gaps.in_order < to {
                gaps.in_order = gaps.end_of(to);
            }
        }
    }

    /// The receiver acknowledged up to `ack`: what was not captured before it has arrived all the same.
    fn acknowledged(&mut self, irregular: &mut Option<Box<Irregular>>, ack: Seq) {
        if let Some(gaps) = irregular.as_mut().and_then(|irregular| irregular.gaps.as_mut()) {
            gaps.acknowledged(self.position(ack));
        }
    }
}

fn gaps(irregular: &Option<Box<Irregular>>) -> Option<&Gaps> {
    irregular.as_ref().and_then(|irregular| irregular.gaps.as_ref())
}

impl Gaps {
    /// Those of a stream whose octets came in order up to `end`.
    fn after(end: i64) -> Self {
        Self { hot: (0, end), others: Vec::new(), unique: end as u64, in_order: end, far: None }
    }

    /// Whether a segment that begins at `from` is the newest, the one before having begun at `end`.
    ///
    /// One further ahead than any window reaches is, only if the one before it was there, too: else its number is wrong,
    /// and those around it would seem to be a whole circle of numbers away.
    fn is_ahead(&mut self, from: i64, end: i64) -> bool {
        let last = self.far.take();
        if from - end <= WIDEST_WINDOW {
            return from > end;
        }
        self.far = Some(from);
        last.is_some_and(|last| (from - last).abs() <= WIDEST_WINDOW)
    }

    fn acknowledged(&mut self, position: i64) {
        let end = self.others.last().map_or(self.hot.1, |last| last.1.max(self.hot.1));
        if position > self.in_order && position <= end {
            self.in_order = self.end_of(position);
        }
    }

    /// The end of the interval that holds or touches `position`, or `position` where none does.
    fn end_of(&self, position: i64) -> i64 {
        if self.hot.0 <= position && position <= self.hot.1 {
            return self.hot.1;
        }
        let at = self.others.partition_point(|interval| interval.1 < position);
        self.others.get(at).filter(|interval| interval.0 <= position).map_or(position, |interval| interval.1)
    }

    fn insert(&mut self, from: i64, to: i64) {
        if from >= self.hot.0 && from <= self.hot.1 {
            let after = self.others.partition_point(|interval| interval.0 < self.hot.0);
            if self.others.get(after).is_none_or(|next| next.0 > to) {
                if to > self.hot.1 {
                    self.unique += (to - self.hot.1) as u64;
                    self.hot.1 = to;
                }
                return;
            }
        }
        if self.hot.0 < self.hot.1 {
            let at = self.others.partition_point(|interval| interval.0 < self.hot.0);
            self.others.insert(at, self.hot);
        }
        // All intervals that overlap or touch the new one become one with it.
        let first = self.others.partition_point(|interval| interval.1 < from);
        let last = self.others.partition_point(|interval| interval.0 <= to);
        let (mut low, mut high, mut known) = (from, to, 0);
        for interval in &self.others[first..last] {
            known += interval.1 - interval.0;
            low = low.min(interval.0);
            high = high.max(interval.1);
        }
        self.others.drain(first..last);
        self.unique += (high - low - known) as u64;
        self.hot = (low, high);
        if self.others.len() > MOST_INTERVALS {
            let second = self.others.remove(1);
            self.others[0].1 = second.1;
        }
    }
}

/// Times from a segment to its acknowledgement, one segment at a time, never one that was sent twice (Karn's rule).
#[derive(Clone, Copy, Debug, Default)]
struct Rtt {
    /// When the segment was captured whose acknowledgement is waited for.
    timed_at: Option<Timestamp>,
    /// The sequence number after it.
    timed_end: Seq,
    samples: u32,
    shortest: Short,
    longest: Short,
    sum: u64,
}

/// A duration in four octets: to the nanosecond below 2.1 s, to about a microsecond up to half an hour, and no more than that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Short(u32);

impl Short {
    fn of(nanos: u64) -> Self {
        match u32::try_from(nanos) {
            Ok(exact) if exact < Self::COARSE => Self(exact),
            _ => Self(Self::COARSE | u32::try_from(nanos >> 10).unwrap_or(u32::MAX).min(Self::COARSE - 1)),
        }
    }

    fn nanos(self) -> i64 {
        if self.0 < Self::COARSE { i64::from(self.0) } else { i64::from(self.0 - Self::COARSE) << 10 }
    }

    const COARSE: u32 = 1 << 31;
}

impl Rtt {
    fn sent(&mut self, segment: &Segment, findings: FindingSet) {
        if segment.seq_len() == 0 || segment.flags.contains(Flags::RST) {
            return;
        }
        let is_repeat = is_repeat(findings);
        if self.timed_at.is_none() {
            if !is_repeat {
                (self.timed_at, self.timed_end) = (segment.at, segment.end());
            }
        } else if is_repeat && segment.seq.is_before(self.timed_end) {
            self.timed_at = None;
        }
    }

    fn acknowledged(&mut self, segment: &Segment) {
        let Some(sent) = self.timed_at else { return };
        if segment.ack.is_before(self.timed_end) {
            return;
        }
        self.timed_at = None;
        let Some(at) = segment.at else { return };
        let Ok(time) = u64::try_from(at.since(sent).0) else { return };
        let short = Short::of(time);
        self.shortest = if self.samples == 0 { short } else { self.shortest.min(short) };
        self.longest = self.longest.max(short);
        // Of what is kept, so that the mean lies between the shortest and the longest.
        self.sum = self.sum.saturating_add(short.nanos().unsigned_abs());
        self.samples = self.samples.saturating_add(1);
    }

    fn summary(&self) -> Option<(Span, Span, Span)> {
        let mean = self.sum.checked_div(self.samples.into())?;
        Some((Span(self.shortest.nanos()), Span(i64::try_from(mean).unwrap_or(i64::MAX)), Span(self.longest.nanos())))
    }
}

fn is_repeat(findings: FindingSet) -> bool {
    REPEATS.iter().any(|repeat| findings.contains(*repeat))
}

/// The findings of a segment that repeats sequence space, so that a time measured on it would be ambiguous.
const REPEATS: [Finding; 5] = [
    Finding::Retransmission,
    Finding::FastRetransmission,
    Finding::SpuriousRetransmission,
    Finding::OutOfOrder,
    Finding::KeepAlive,
];

/// A count of duplicate acknowledgements that is above all others, as Wireshark's −1 in an unsigned number is.
const UNSEEN: u16 = u16::MAX;
/// How far apart two IP identifications may be to tell which datagram was sent first: hosts that draw them at random are seldom so near.
const NEAR: i16 = 256;
/// How soon after the last duplicate acknowledgement a retransmission is a fast one, in nanoseconds.
const FAST: u64 = 20_000_000;
/// How soon after the stream advanced a late segment counts as out of order where the initial RTT is not known, in nanoseconds.
const REORDERING: u64 = 3_000_000;
/// No window is wider (RFC 7323 section 2.3).
const WIDEST_WINDOW: i64 = 1 << 30;
/// How many separate intervals of octets are kept for a direction; past that the two lowest become one.
const MOST_INTERVALS: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::copies::REACH;
    use super::*;
    use crate::script::{self, Actor};

    /// Holds the findings of each line against the names after `=`; returns the conversation.
    fn check(script: &str) -> Conversation {
        let mut conversation = Conversation::default();
        for (from, segment, expected) in script::read(script) {
            let judged = conversation.observe(direction(from), &segment);
            let names: Vec<_> = judged.findings.iter().map(Finding::name).collect();
            assert_eq!(names.join(" "), expected, "frame {}", segment.frame);
        }
        conversation
    }

    fn direction(from: Actor) -> Direction {
        if from == Actor::CLIENT { Direction::First } else { Direction::Second }
    }

    fn opened(script: &str) -> Conversation {
        check(&format!(
            "
            0   C > S: S  100(0)         win 1000 ws 0
            10  S > C: S. 300(0) ack 101 win 1000 ws 0
            20  C > S: .  101(0) ack 301 win 1000
            {script}"
        ))
    }

    // ---- retransmissions -----------------------------------------------------------------------------------------

    #[test]
    fn octets_sent_again_late_are_a_retransmission() {
        let conversation = opened(
            "30   C > S: P. 101(10) ack 301
             240  C > S: P. 101(10) ack 301 = retransmission
             250  S > C: .  301(0)  ack 111",
        );
        let stream = conversation.stream(Direction::First);
        assert_eq!((stream.octets(), stream.unique_octets()), (20, 10));
    }

    #[test]
    fn octets_sent_again_after_they_were_acknowledged_are_spurious() {
        opened(
            "30   C > S: P. 101(10) ack 301
             31   S > C: .  301(0)  ack 111
             240  C > S: P. 101(10) ack 301 = spurious_retransmission",
        );
    }

    #[test]
    fn the_segment_asked_for_by_two_duplicate_acks_is_a_fast_retransmission() {
        opened(
            "30   C > S: P. 101(10) ack 301
             30.1 C > S: P. 111(10) ack 301
             30.2 C > S: P. 121(10) ack 301
             40   S > C: .  301(0)  ack 101 = duplicate_ack
             40.1 S > C: .  301(0)  ack 101 = duplicate_ack
             41   C > S: P. 101(10) ack 301 = fast_retransmission",
        );
    }

    #[test]
    fn older_octets_within_the_initial_rtt_are_out_of_order() {
        let conversation = opened(
            "30   C > S: P. 111(10) ack 301 id 8 = lost_segment
             31   C > S: P. 101(10) ack 301 id 7 = out_of_order",
        );
        assert_eq!(conversation.stream(Direction::First).unique_octets(), 20);
    }

    #[test]
    fn a_repeated_syn_and_a_repeated_fin_are_retransmissions() {
        check(
            "0     C > S: S  100(0)
             1000  C > S: S  100(0)         = retransmission
             1010  S > C: S. 300(0) ack 101
             1020  C > S: .  101(0) ack 301
             1030  C > S: F. 101(0) ack 301
             2030  C > S: F. 101(0) ack 301 = retransmission",
        );
    }

    #[test]
    fn one_old_octet_at_the_edge_is_a_keep_alive_and_more_of_them_are_new() {
        opened(
            "30   C > S: P. 101(10) ack 301
             31   S > C: .  301(0)  ack 111
             5000 C > S: .  110(1)  ack 301 = keep_alive
             5001 S > C: .  301(0)  ack 111 = keep_alive_ack
             6000 C > S: .  110(11) ack 301",
        );
    }

    // ---- acknowledgements and windows ----------------------------------------------------------------------------

    #[test]
    fn a_repeated_ack_is_a_duplicate_only_without_octets_and_with_the_same_window() {
        opened(
            "30   C > S: P. 101(10) ack 301
             31   S > C: P. 301(5)  ack 101
             32   S > C: .  306(0)  ack 101 = duplicate_ack
             33   S > C: .  306(0)  ack 101 win 900 = window_update
             34   S > C: P. 306(5)  ack 101 win 900",
        );
    }

    #[test]
    fn a_zero_window_is_probed_and_opens_again() {
        opened(
            "30   C > S: P. 101(1000) ack 301 = window_full
             31   S > C: .  301(0)  ack 1101 win 0 = zero_window
             231  C > S: .  1101(1) ack 301 = zero_window_probe
             232  S > C: .  301(0)  ack 1101 win 0 = zero_window zero_window_probe_ack
             300  S > C: .  301(0)  ack 1101 win 1000 = window_update",
        );
    }

    #[test]
    fn a_window_is_full_by_its_scale() {
        check(
            "0   C > S: S  100(0)         win 1000 ws 2
             10  S > C: S. 300(0) ack 101 win 1000 ws 3
             20  C > S: .  101(0) ack 301 win 1000
             25  S > C: .  301(0) ack 101 win 200 = window_update
             30  C > S: P. 101(1000) ack 301
             31  C > S: P. 1101(600) ack 301 = window_full",
        );
    }

    #[test]
    fn an_ack_of_what_was_not_captured_is_told_once() {
        opened(
            "30   C > S: P. 101(10) ack 301
             31   S > C: .  301(0)  ack 131 = acked_unseen
             32   S > C: P. 301(10) ack 131
             33   C > S: P. 131(10) ack 301 = lost_segment
             34   S > C: .  311(0)  ack 141 = acked_unseen
             35   C > S: P. 141(10) ack 311
             36   S > C: .  311(0)  ack 151",
        );
    }

    // ---- captured twice ------------------------------------------------------------------------------------------

    #[test]
    fn the_copy_of_a_frame_keeps_the_rules_verdict_and_gets_ours_beside_it() {
        opened(
            "30    C > S: P. 101(10) ack 301 id 77
             30.01 C > S: P. 101(10) ack 301 id 77 = retransmission captured_twice
             31    S > C: .  301(0)  ack 111 id 78
             31.01 S > C: .  301(0)  ack 111 id 78 = duplicate_ack captured_twice",
        );
    }

    #[test]
    fn after_the_first_copy_more_segments_may_come_between() {
        opened(
            "30   C > S: P. 101(10) ack 301 id 77
             30.1 C > S: P. 101(10) ack 301 id 77 = retransmission captured_twice
             31   C > S: P. 111(10) ack 301 id 78
             32   C > S: P. 121(10) ack 301 id 79
             33   C > S: P. 131(10) ack 301 id 80
             33.5 S > C: .  301(0)  ack 141 id 5
             34   C > S: P. 141(10) ack 301 id 81
             35   C > S: P. 111(10) ack 301 id 78 = spurious_retransmission captured_twice
             36   C > S: P. 121(10) ack 301 id 83 = spurious_retransmission
             37   S > C: P. 301(10) ack 141 id 6
             38   S > C: P. 311(10) ack 151 id 7
             39   S > C: P. 321(10) ack 151 id 8
             39.5 S > C: P. 331(10) ack 151 id 9
             40   S > C: .  301(0)  ack 141 id 5 = captured_twice
             41   S > C: P. 301(10) ack 141 id 6 = out_of_order captured_twice",
        );
    }

    #[test]
    fn what_went_before_the_first_copy_is_remembered_too() {
        opened(
            "30   C > S: P. 101(10) ack 301 id 77
             31   C > S: P. 111(10) ack 301 id 78
             62   C > S: P. 101(10) ack 301 id 80 = retransmission
             63   C > S: P. 121(10) ack 301 id 81
             64   C > S: P. 131(10) ack 301 id 82
             64.5 C > S: P. 141(10) ack 301 id 83
             65   C > S: P. 111(10) ack 301 id 78 = out_of_order captured_twice",
        );
    }

    #[test]
    fn only_a_copy_within_a_second_and_within_reach_counts() {
        let mut script = String::from(
            "30 C > S: P. 101(10) ack 301 id 77\n30.1 C > S: P. 101(10) ack 301 id 77 = retransmission captured_twice\n",
        );
        let mut next = 111;
        let mut send = |script: &mut String, count| {
            for _ in 0..count {
                *script += &format!("31 C > S: P. {next}(1) ack 301 id {next}\n");
                next += 1;
            }
        };
        send(&mut script, REACH);
        let in_reach = format!("{script} 32 C > S: P. 111(1) ack 301 id 111 = out_of_order captured_twice");
        opened(&in_reach);
        let late = format!("{script} 2032 C > S: P. 111(1) ack 301 id 111 = retransmission");
        opened(&late);
        send(&mut script, 1);
        opened(&format!("{script} 32 C > S: P. 111(1) ack 301 id 111 = out_of_order"));
    }

    #[test]
    fn another_datagram_with_the_same_octets_is_no_copy() {
        opened(
            "30    C > S: P. 101(10) ack 301 id 77
             240   C > S: P. 101(10) ack 301 id 79 = retransmission",
        );
    }

    #[test]
    fn without_an_identification_only_a_copy_at_once_counts() {
        opened(
            "30    C > S: P. 101(10) ack 301 id -
             30.01 C > S: P. 101(10) ack 301 id - = retransmission captured_twice
             240   C > S: P. 101(10) ack 301 id - = retransmission",
        );
    }

    // ---- better than the rule ------------------------------------------------------------------------------------

    #[test]
    fn identifications_tell_overtaken_octets_from_those_sent_again() {
        opened(
            "30    C > S: P. 101(10) ack 301 id 10
             31    C > S: P. 121(10) ack 301 id 12 = lost_segment
             80    C > S: P. 111(10) ack 301 id 11 = retransmission reordered
             90    C > S: P. 141(10) ack 301 id 15 = lost_segment
             91    C > S: P. 131(10) ack 301 id 16 = out_of_order sent_again",
        );
    }

    #[test]
    fn a_duplicate_sack_tells_of_octets_that_arrived_twice() {
        let mut conversation = Conversation::default();
        let mut tells = |ack: u32, blocks: &[(u32, u32)]| {
            let (_, mut segment, _) = script::read("0 S > C: . 301(0)").next().expect("a segment");
            segment.ack = Seq(ack);
            for (at, (left, right)) in blocks.iter().enumerate() {
                segment.options.sack[at] = (Seq(*left), Seq(*right));
            }
            segment.options.sack_blocks = blocks.len() as u8;
            conversation.observe(Direction::Second, &segment).findings.contains(Finding::DuplicateSack)
        };
        assert!(tells(200, &[(101, 111)]));
        assert!(tells(200, &[(300, 310), (290, 320)]));
        assert!(!tells(200, &[(300, 310)]));
        assert!(!tells(200, &[(300, 310), (400, 420)]));
    }

    // ---- resets --------------------------------------------------------------------------------------------------

    #[test]
    fn a_reset_outside_the_window_is_ignored_by_its_receiver() {
        opened(
            "30   S > C: P. 301(10) ack 101
             31   C > S: .  101(0)  ack 311
             40   S > C: R  5000(0)         = reset_out_of_window
             41   S > C: R  301(0)          = reset_out_of_window
             42   S > C: R. 311(0)  ack 101",
        );
    }

    // ---- octets and times ----------------------------------------------------------------------------------------

    #[test]
    fn octets_that_ride_with_a_syn_or_a_fin_count() {
        let conversation = check(
            "0   C > S: S  100(5)
             10  S > C: S. 300(0) ack 106
             20  C > S: F. 106(7) ack 301",
        );
        let stream = conversation.stream(Direction::First);
        assert_eq!((stream.octets(), stream.unique_octets()), (12, 12));
        assert_eq!(stream.fin_end(), Some(Seq(114)));
    }

    #[test]
    fn positions_go_on_where_sequence_numbers_wrap() {
        let mut conversation = Conversation::default();
        let script = "0  C > S: S  4294967290(0)
                      10 S > C: S. 300(0) ack 4294967291
                      20 C > S: P. 4294967291(10) ack 301
                      30 C > S: P. 5(10) ack 301";
        let judged: Vec<_> =
            script::read(script).map(|(from, segment, _)| conversation.observe(direction(from), &segment)).collect();
        assert_eq!(judged.iter().map(|judged| judged.seq).collect::<Vec<_>>(), [0, 0, 1, 11]);
        assert_eq!(judged[3].position, 10);
        assert!(judged.iter().all(|judged| judged.findings.is_empty()), "{judged:?}");
        assert_eq!(conversation.stream(Direction::First).unique_octets(), 20);
    }

    #[test]
    fn a_segment_that_was_sent_twice_is_not_timed() {
        let conversation = opened(
            "30   C > S: P. 101(10) ack 301
             33   S > C: .  301(0)  ack 111
             40   C > S: P. 111(10) ack 301
             240  C > S: P. 111(10) ack 301 = retransmission
             241  S > C: .  301(0)  ack 121
             250  C > S: P. 121(10) ack 301
             255  S > C: .  301(0)  ack 131",
        );
        let (shortest, mean, longest) = conversation.stream(Direction::First).round_trips().expect("three samples");
        assert_eq!((shortest.0, mean.0, longest.0), (3_000_000, 6_000_000, 10_000_000));
        assert_eq!(conversation.initial_rtt(), Some(Span(20_000_000)));
    }

    #[test]
    fn what_came_in_order_ends_at_a_hole_until_it_is_filled_or_acknowledged() {
        let mut conversation = Conversation::default();
        let script = "0  C > S: S  100(0)          = 101
                      10 S > C: S. 300(0)  ack 101 = 301
                      20 C > S: P. 111(10) ack 301 = 101
                      21 C > S: F. 121(0)  ack 301 = 101
                      22 C > S: P. 101(10) ack 301 = 122
                      30 S > C: P. 311(10) ack 122 = 301
                      31 C > S: .  122(0)  ack 321 = 122
                      32 S > C: .  321(0)  ack 122 = 321";
        for (from, segment, expected) in script::read(script) {
            let judged = conversation.observe(direction(from), &segment);
            assert_eq!(judged.in_order.to_string(), expected, "frame {}", segment.frame);
        }
    }

    fn octets(pieces: &[(u32, u32)], start: Seq) -> Stream {
        let mut stream = Stream::default();
        let (_, mut segment, _) = script::read("0 C > S: . 0(0)").next().expect("a segment");
        segment.seq = start;
        stream.begin(start);
        for &(from, len) in pieces {
            (segment.seq, segment.len) = (start.plus(from), len);
            stream.octets.take(&mut stream.irregular, &segment);
        }
        stream
    }

    #[test]
    fn a_wrong_number_half_a_circle_away_moves_nobody_elses_octets() {
        let half = 1 << 31;
        for wrong in [half - 1448, half, half + 1448] {
            let taken =
                octets(&[(0, 1448), (1448, 1448), (wrong, 1448), (0, 1448), (2896, 1448), (1448, 1448)], Seq(700));
            assert_eq!(taken.unique_octets(), 4 * 1448, "{wrong}");
        }
        // A hole of more than a window is not a wrong number: what follows is there, too.
        let hole = (1 << 30) + 5000;
        let taken =
            octets(&[(0, 1448), (hole, 1448), (hole + 1448, 1448), (hole + (1 << 30), 8), (hole + half, 8)], Seq(700));
        assert_eq!(
            (taken.unique_octets(), taken.octets.position(Seq(700).plus(hole + half))),
            (3 * 1448 + 16, i64::from(hole) + (1 << 31))
        );
    }

    proptest! {
        /// However a stream is cut and in whatever order the pieces come, each octet counts once.
        #[test]
        fn octets_are_conserved(
            start: u32,
            mut pieces in proptest::collection::vec((0u32..5_000, 0u32..300), 1..60),
        ) {
            let taken = octets(&pieces, Seq(start));
            let mut seen = vec![false; 6_000];
            for &(from, len) in &pieces {
                seen[from as usize..(from + len) as usize].fill(true);
            }
            let seen_once = seen.iter().filter(|seen| **seen).count() as u64;
            prop_assert_eq!(taken.unique_octets(), seen_once);
            let contiguous = seen.iter().position(|seen| !seen).unwrap_or(seen.len());
            prop_assert_eq!(taken.in_order(), Seq(start).plus(contiguous as u32));
            pieces.reverse();
            prop_assert_eq!(octets(&pieces, Seq(start)).unique_octets(), seen_once);
        }

        /// The same octets, cut in any way, take the same positions.
        #[test]
        fn positions_do_not_depend_on_the_cut(start: u32, cuts in proptest::collection::vec(1u32..2_000, 1..200)) {
            let mut conversation = Conversation::default();
            let (_, mut segment, _) = script::read("0 C > S: S 0(0)").next().expect("a segment");
            segment.seq = Seq(start);
            conversation.observe(Direction::First, &segment);
            segment.flags = Flags::ACK;
            let mut at = 0;
            for len in cuts {
                (segment.seq, segment.len) = (Seq(start).plus(1 + at), len);
                let judged = conversation.observe(Direction::First, &segment);
                prop_assert_eq!((judged.position, judged.seq), (i64::from(at), i64::from(at) + 1));
                at += len;
            }
            prop_assert_eq!(conversation.stream(Direction::First).unique_octets(), u64::from(at));
        }
    }
}
