//! One direction's octets, and Wireshark's judgement of each segment against all that both directions sent before.

use super::{Finding, FindingSet};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Oddities, Segment, Seq};

/// Which of a connection's two directions a segment takes; the table says which end that is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
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
    first: Stream,
    second: Stream,
    /// When the latest SYN without ACK was captured.
    syn_at: Option<Timestamp>,
    initial_rtt: Option<Span>,
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
    pub duplicate: u32,
}

impl Conversation {
    /// Judges `segment`, which travels in `direction`, and remembers it.
    pub fn observe(&mut self, direction: Direction, segment: &Segment) -> Judgement {
        let (fwd, rev) = match direction {
            Direction::First => (&mut self.first, &mut self.second),
            Direction::Second => (&mut self.second, &mut self.first),
        };
        let flags = segment.flags;
        let now = segment.at.map_or(0, Timestamp::as_nanos);

        fwd.meet(segment);
        if flags.contains(Flags::ACK) {
            rev.meet_by_ack(segment.ack);
        }

        let mut findings = oddities(segment);
        let rtt = self.initial_rtt.map_or(0, Span::as_nanos);
        let since_advance = segment.at.and(fwd.advanced_at).map(|at| Span(now.wrapping_sub(at.as_nanos())));
        if rev.refuses_reset(fwd, segment) {
            findings.insert(Finding::ResetOutOfWindow);
        }
        judge(fwd, rev, segment, now, rtt, &mut findings);
        let duplicate = fwd.duplicate_acks;
        if fwd.copies.saw_before(segment, now) {
            findings.insert(Finding::CapturedTwice);
        }
        fwd.count(segment, findings);

        let position = fwd.octets.take(segment);
        fwd.rtt.sent(segment, !is_repeat(findings));
        if flags.contains(Flags::ACK) {
            rev.octets.acknowledged(segment.ack);
            rev.rtt.acknowledged(segment);
        }
        let judgement = Judgement {
            findings,
            // The SYN takes the number before the first octet's, which is 1.
            seq: position + i64::from(!flags.contains(Flags::SYN)),
            ack: flags.contains(Flags::ACK).then(|| rev.octets.position(segment.ack) + 1),
            window: fwd.scaled(segment),
            position,
            in_order: fwd.octets.in_order(),
            in_flight: fwd.in_flight(rev),
            since_advance,
            duplicate,
        };

        remember_scale(fwd, rev, segment);
        self.time_handshake(segment);
        judgement
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
        match direction {
            Direction::First => &self.first,
            Direction::Second => &self.second,
        }
    }

    /// From the latest SYN to the first segment with ACK and without SYN; `None` while one of them lacks.
    pub fn initial_rtt(&self) -> Option<Span> {
        self.initial_rtt
    }

    fn time_handshake(&mut self, segment: &Segment) {
        let syn_ack = segment.flags & (Flags::SYN | Flags::ACK);
        if syn_ack == Flags::SYN {
            self.syn_at = segment.at;
        } else if syn_ack == Flags::ACK
            && self.initial_rtt.is_none_or(|rtt| rtt == Span(0))
            && let (Some(syn), Some(ack)) = (self.syn_at, segment.at)
        {
            self.initial_rtt = Some(ack.since(syn));
        }
    }
}

/// One direction of a connection: what was sent, what was seen of it, and how it was judged.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The highest sequence number after a segment; 0 while none is known.
    next: Seq,
    /// When `next` last advanced.
    advanced_at: Option<Timestamp>,
    /// The end of what was sent without a gap, which an acknowledgement may not pass; 0 while none is known.
    acceptable: Seq,
    /// The acknowledgement field of the last segment, whether ACK was set or not.
    last_ack: Seq,
    /// When that was.
    last_ack_at: i64,
    /// The window field of the last segment; `NO_WINDOW` before the first.
    window: u32,
    /// How often the last acknowledgement was repeated; `UNSEEN` once this direction's octets were acknowledged without having been captured.
    duplicate_acks: u32,
    /// The initial sequence number, guessed as one before the first octet where no SYN was seen.
    base: Seq,
    scale: Scale,
    marks: Marks,
    mss: u16,
    announced_scale: u8,
    octets: Octets,
    rtt: Rtt,
    copies: Copies,
    counts: Counts,
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
    }
}

/// How a direction's window field is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scale {
    /// The handshake was not seen.
    Unknown,
    /// Not negotiated: the field counts octets.
    None,
    /// The field is shifted left by so many bits.
    Shift(u8),
}

/// How often each thing was seen in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Segments.
    pub segments: u64,
    /// Sum of payload lengths.
    pub octets: u64,
    /// Segments with SYN.
    pub syn: u32,
    /// Segments with FIN.
    pub fin: u32,
    /// Segments with RST.
    pub rst: u32,
    /// By finding, in the order of [`COUNTED`].
    findings: [u32; COUNTED.len()],
}

impl Counts {
    /// How many segments had `finding`; 0 for one that is not counted.
    pub fn of(&self, finding: Finding) -> u64 {
        COUNTED.iter().position(|counted| *counted == finding).map_or(0, |at| u64::from(self.findings[at]))
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            next: Seq(0),
            advanced_at: None,
            acceptable: Seq(0),
            last_ack: Seq(0),
            last_ack_at: 0,
            window: NO_WINDOW,
            duplicate_acks: 0,
            base: Seq(0),
            scale: Scale::Unknown,
            marks: Marks::default(),
            mss: 0,
            announced_scale: 0,
            octets: Octets::default(),
            rtt: Rtt::default(),
            copies: Copies::default(),
            counts: Counts::default(),
        }
    }
}

impl Stream {
    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Octets seen, each position once.
    pub fn unique_octets(&self) -> u64 {
        self.octets.unique
    }

    /// The first initial sequence number sent, of a SYN or SYN-ACK; `None` when none was seen.
    pub fn isn(&self) -> Option<Seq> {
        self.marks.contains(Marks::SYN).then_some(self.octets.isn)
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
        self.octets.fin.map(|fin| self.octets.seq(fin + 1))
    }

    /// Learns where the direction begins, from a segment of its own.
    fn meet(&mut self, segment: &Segment) {
        let flags = segment.flags;
        if flags.contains(Flags::SYN) {
            if self.marks.contains(Marks::BASE) {
                if !flags.contains(Flags::ACK) && segment.seq == self.base {
                    // A RST may have moved it to whatever its sender had acknowledged.
                    self.next = self.acceptable;
                } else if flags.contains(Flags::ACK) {
                    self.base = segment.seq;
                }
            }
            if !self.marks.contains(Marks::SYN) {
                self.octets.isn = segment.seq;
                self.marks |= Marks::SYN;
            }
            self.marks.set(Marks::UNSCALED, true);
        }
        if !self.marks.contains(Marks::BASE) {
            self.base = if flags.contains(Flags::SYN) { segment.seq } else { segment.seq.minus(1) };
            self.marks |= Marks::BASE;
        }
        self.octets.meet(segment);
    }

    /// Learns where the direction begins, from the first acknowledgement of it.
    fn meet_by_ack(&mut self, ack: Seq) {
        if !self.marks.contains(Marks::BASE) {
            self.base = ack.minus(1);
            self.marks |= Marks::BASE;
            self.octets.meet_by_ack(ack);
        }
    }

    fn count(&mut self, segment: &Segment, findings: FindingSet) {
        let counts = &mut self.counts;
        counts.segments += 1;
        counts.octets += u64::from(segment.len);
        let flags = segment.flags;
        if flags.intersects(Flags::SYN | Flags::FIN | Flags::RST) {
            counts.syn = counts.syn.saturating_add(flags.contains(Flags::SYN).into());
            counts.fin = counts.fin.saturating_add(flags.contains(Flags::FIN).into());
            counts.rst = counts.rst.saturating_add(flags.contains(Flags::RST).into());
        }
        if !findings.is_empty() {
            for (at, finding) in COUNTED.iter().enumerate() {
                counts.findings[at] = counts.findings[at].saturating_add(findings.contains(*finding).into());
            }
        }
    }

    /// The window field of a segment of this direction, in octets.
    fn scaled(&self, segment: &Segment) -> u32 {
        match self.scale {
            Scale::Shift(shift) if !segment.flags.contains(Flags::SYN) => u32::from(segment.window) << shift,
            _ => u32::from(segment.window),
        }
    }

    /// The room this direction's sender announced last, in octets.
    fn room(&self) -> u32 {
        match self.scale {
            Scale::Shift(shift) if !self.marks.contains(Marks::UNSCALED) => self.window.wrapping_shl(shift.into()),
            _ => self.window,
        }
    }

    /// Octets of this direction past the last acknowledgement of `rev`.
    fn in_flight(&self, rev: &Self) -> u32 {
        if self.next == Seq(0) || !rev.marks.contains(Marks::ACKED) {
            return 0;
        }
        u32::try_from(self.next.since(rev.last_ack)).unwrap_or(0)
    }

    /// Whether the end that sends in this direction ignores `segment`, a RST from `peer`: it is out of its window (RFC 9293 section 3.10.7.4, RFC 5961).
    fn refuses_reset(&self, peer: &Self, segment: &Segment) -> bool {
        if !segment.flags.contains(Flags::RST) || !self.marks.contains(Marks::ACKED) {
            return false;
        }
        // What the receiver will have acknowledged when the RST arrives may be more than was captured: up to all that the peer sent.
        let expected = self.last_ack;
        let room = if self.window == NO_WINDOW { u32::from(u16::MAX) } else { self.room().max(1) };
        let furthest = if peer.next == Seq(0) || peer.next.is_before(expected) { expected } else { peer.next };
        segment.seq.is_before(expected) || segment.seq.since(expected) as u32 > room && segment.seq.is_after(furthest)
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
    let window = u32::from(segment.window);
    let controls = flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
    let takes_control = flags.intersects(Flags::SYN | Flags::FIN);
    let known = fwd.next != Seq(0);

    let probe = len == 1 && seq == fwd.next && rev.window == 0;
    if probe {
        findings.insert(Finding::ZeroWindowProbe);
    } else {
        if window == 0 && !controls {
            findings.insert(Finding::ZeroWindow);
        }
        if known && seq.is_after(fwd.next) && !flags.contains(Flags::RST) {
            findings.insert(Finding::LostSegment);
        }
        if len <= 1 && seq == fwd.next.minus(1) && !controls {
            findings.insert(Finding::KeepAlive);
        }
        if len > 0 && !controls && rev.scale != Scale::Unknown && segment.seq.plus(len) == rev.last_ack.plus(rev.room())
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

    if flags.contains(Flags::ACK) && rev.acceptable != Seq(0) && ack.is_after(rev.acceptable) {
        // One lost segment is told once: by what came after it, or else until rev acknowledges something new.
        if rev.next.is_after(rev.acceptable) {
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
        if end.is_after(fwd.next) || !known {
            fwd.next = end;
            fwd.advanced_at = segment.at;
        }
        if seq == fwd.acceptable || fwd.acceptable == Seq(0) {
            fwd.acceptable = fwd.next;
        }
    }
    fwd.window = window;
    fwd.last_ack = ack;
    fwd.last_ack_at = now;
    if flags.contains(Flags::ACK) {
        fwd.marks |= Marks::ACKED;
    }
    fwd.marks.set(Marks::KEEP_ALIVE, findings.contains(Finding::KeepAlive));
    fwd.marks.set(Marks::PROBE, probe);
}

/// The rules for a segment without octets at nextseq that acknowledges nothing new.
fn judge_repeated_ack(fwd: &mut Stream, rev: &Stream, window: u32, findings: &mut FindingSet) {
    if window != fwd.window {
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
        fwd.duplicate_acks = if fwd.duplicate_acks == UNSEEN { 1 } else { fwd.duplicate_acks.saturating_add(1) };
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
    let since_ack = now.wrapping_sub(rev.last_ack_at) as u64;
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

/// Learns window scales, maximum segment size and what else the SYNs announce.
fn remember_scale(fwd: &mut Stream, rev: &mut Stream, segment: &Segment) {
    let flags = segment.flags;
    let options = &segment.options;
    if let Some(shift) = options.window_scale {
        // RFC 7323 section 2.3: more than 14 counts as 14.
        fwd.scale = Scale::Shift(shift.min(14));
    }
    if !flags.contains(Flags::SYN) {
        if flags.contains(Flags::ACK) {
            fwd.marks.remove(Marks::UNSCALED);
        }
        return;
    }
    if !segment.oddities.contains(Oddities::HEADER_CUT) {
        if fwd.scale == Scale::Unknown {
            fwd.scale = Scale::None;
            rev.scale = Scale::None;
        } else if flags.contains(Flags::ACK) && rev.scale == Scale::None {
            fwd.scale = Scale::None;
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

/// Whether a segment repeats sequence space, so that a time measured on it would be ambiguous.
fn is_repeat(findings: FindingSet) -> bool {
    findings.contains(Finding::Retransmission)
        || findings.contains(Finding::FastRetransmission)
        || findings.contains(Finding::SpuriousRetransmission)
        || findings.contains(Finding::OutOfOrder)
        || findings.contains(Finding::KeepAlive)
}

/// Which octets of one direction were seen, by their position in the stream.
///
/// Positions count from the octet after the SYN, or from the first one that is known of, and go on past 2^32.
#[derive(Clone, Debug, Default)]
struct Octets {
    isn: Seq,
    /// The highest sequence number a segment began with, and its position: others are placed by their distance to it.
    top: Seq,
    top_position: i64,
    /// Whether `top` holds, and whether a segment of this direction set it.
    begun: Begun,
    /// The interval that grew last: the only one, mostly.
    hot: (i64, i64),
    /// The other intervals, ascending, neither touching each other nor `hot`.
    others: Option<Box<Intervals>>,
    unique: u64,
    in_order: i64,
    /// The position of the FIN.
    fin: Option<i64>,
}

/// Intervals of positions, the end not included.
#[derive(Clone, Debug, Default)]
struct Intervals(Vec<(i64, i64)>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Begun {
    #[default]
    No,
    ByAck,
    Seen,
}

impl Octets {
    fn seq(&self, position: i64) -> Seq {
        self.top.plus((position - self.top_position) as u32)
    }

    fn position(&self, seq: Seq) -> i64 {
        self.top_position + i64::from(seq.since(self.top))
    }

    fn in_order(&self) -> Seq {
        let fin = i64::from(self.fin.is_some_and(|fin| fin <= self.in_order));
        self.seq(self.in_order + fin)
    }

    fn meet(&mut self, segment: &Segment) {
        let start = segment.data_seq();
        let is_syn = segment.flags.contains(Flags::SYN);
        if self.begun == Begun::No || is_syn && self.unique == 0 && self.fin.is_none() {
            (self.top, self.top_position, self.in_order) = (start, 0, 0);
        } else if self.begun == Begun::ByAck {
            (self.top_position, self.top) = (self.position(start), start);
        }
        self.begun = Begun::Seen;
    }

    fn meet_by_ack(&mut self, ack: Seq) {
        if self.begun == Begun::No {
            (self.top, self.top_position, self.in_order) = (ack, 0, 0);
            self.begun = Begun::ByAck;
        }
    }

    /// Takes the octets of a segment, and says where they begin.
    fn take(&mut self, segment: &Segment) -> i64 {
        let start = segment.data_seq();
        let from = self.position(start);
        let bare_reset = segment.flags.contains(Flags::RST) && segment.len == 0;
        if !bare_reset && from > self.top_position {
            (self.top, self.top_position) = (start, from);
        }
        let to = from + i64::from(segment.len);
        if segment.len > 0 {
            self.insert(from, to);
            if from <= self.in_order && self.in_order < to {
                self.in_order = self.end_of(to);
            }
        }
        if segment.flags.contains(Flags::FIN) && self.fin.is_none() {
            self.fin = Some(to);
        }
        from
    }

    /// The receiver acknowledged up to `ack`: what was not captured before it has arrived all the same.
    fn acknowledged(&mut self, ack: Seq) {
        if self.begun == Begun::No {
            return;
        }
        let position = self.position(ack);
        let end =
            self.hot.1.max(self.others.as_ref().and_then(|others| others.0.last()).map_or(i64::MIN, |last| last.1));
        if position > self.in_order && position <= end {
            self.in_order = self.end_of(position);
        }
    }

    /// The end of the interval that holds or touches `position`, or `position` where none does.
    fn end_of(&self, position: i64) -> i64 {
        if self.hot.0 <= position && position <= self.hot.1 {
            return self.hot.1;
        }
        let Some(Intervals(others)) = self.others.as_deref() else { return position };
        let at = others.partition_point(|interval| interval.1 < position);
        others.get(at).filter(|interval| interval.0 <= position).map_or(position, |interval| interval.1)
    }

    fn insert(&mut self, from: i64, to: i64) {
        if self.hot.0 == self.hot.1 {
            self.hot = (from, to);
            self.unique += (to - from) as u64;
        } else if from >= self.hot.0 && from <= self.hot.1 && self.others.is_none() {
            if to > self.hot.1 {
                self.unique += (to - self.hot.1) as u64;
                self.hot.1 = to;
            }
        } else {
            self.insert_apart(from, to);
        }
    }

    #[cold]
    fn insert_apart(&mut self, from: i64, to: i64) {
        let Intervals(others) = &mut **self.others.get_or_insert_default();
        if from >= self.hot.0 && from <= self.hot.1 {
            let after = others.partition_point(|interval| interval.0 < self.hot.0);
            if others.get(after).is_none_or(|next| next.0 > to) {
                if to > self.hot.1 {
                    self.unique += (to - self.hot.1) as u64;
                    self.hot.1 = to;
                }
                return;
            }
        }
        let at = others.partition_point(|interval| interval.0 < self.hot.0);
        others.insert(at, self.hot);
        // All intervals that overlap or touch the new one become one with it.
        let first = others.partition_point(|interval| interval.1 < from);
        let last = others.partition_point(|interval| interval.0 <= to);
        let (mut low, mut high, mut known) = (from, to, 0);
        for interval in &others[first..last] {
            known += interval.1 - interval.0;
            low = low.min(interval.0);
            high = high.max(interval.1);
        }
        others.drain(first..last);
        self.unique += (high - low - known) as u64;
        self.hot = (low, high);
        if others.len() > MOST_INTERVALS {
            let second = others.remove(1);
            others[0].1 = second.1;
        }
        if others.is_empty() {
            self.others = None;
        }
    }
}

/// Times from a segment to its acknowledgement, one segment at a time, never one that was sent twice (Karn's rule).
#[derive(Clone, Copy, Debug, Default)]
struct Rtt {
    /// The segment whose acknowledgement is waited for: the sequence number after it, and when it was captured.
    timed: Option<(Seq, Timestamp)>,
    shortest: i64,
    longest: i64,
    sum: i64,
    samples: u32,
}

impl Rtt {
    fn sent(&mut self, segment: &Segment, is_new: bool) {
        if segment.seq_len() == 0 || segment.flags.contains(Flags::RST) {
            return;
        }
        match self.timed {
            None if is_new => self.timed = segment.at.map(|at| (segment.end(), at)),
            Some((end, _)) if !is_new && segment.seq.is_before(end) => self.timed = None,
            _ => {}
        }
    }

    fn acknowledged(&mut self, segment: &Segment) {
        let Some((end, sent)) = self.timed else { return };
        if segment.ack.is_before(end) {
            return;
        }
        self.timed = None;
        let Some(at) = segment.at else { return };
        let Span(time) = at.since(sent);
        if time < 0 {
            return;
        }
        self.shortest = if self.samples == 0 { time } else { self.shortest.min(time) };
        self.longest = self.longest.max(time);
        self.sum = self.sum.saturating_add(time);
        self.samples = self.samples.saturating_add(1);
    }

    fn summary(&self) -> Option<(Span, Span, Span)> {
        (self.samples > 0).then(|| (Span(self.shortest), Span(self.sum / i64::from(self.samples)), Span(self.longest)))
    }
}

/// The last few segments of one direction, to know a frame that was captured a second time.
///
/// A copy has the same header, checksum and IP identification; a segment that was sent again is another datagram with another identification.
/// Where there is none to compare (IPv6, or a host that always writes 0), only a copy within half a millisecond counts, and only of a segment that takes sequence space.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    /// A digest in the upper bits, the low bits of the time in units of 2^19 ns (about half a millisecond) in the lower ones; 0 is empty.
    recent: [u32; 4],
    next: u8,
}

impl Copies {
    fn saw_before(&mut self, segment: &Segment, now: i64) -> bool {
        let digest = digest(segment) & !TICKS | 1 << TICKS.count_ones();
        let tick = (now >> 19) as u32 & TICKS;
        let identified = segment.ip_id.is_some_and(|id| id != 0);
        let longest = if identified { IDENTIFIED } else { 1 };
        let is_copy = (identified || segment.seq_len() > 0)
            && self.recent.iter().any(|seen| *seen & !TICKS == digest && tick.wrapping_sub(*seen) & TICKS <= longest);
        if !is_copy {
            self.recent[usize::from(self.next & 3)] = digest | tick;
            self.next = self.next.wrapping_add(1);
        }
        is_copy
    }
}

fn digest(segment: &Segment) -> u32 {
    let (sent, echoed) = segment.options.timestamps.unwrap_or_default();
    let mut digest = 0u64;
    for part in [
        u64::from(segment.seq.0) << 32 | u64::from(segment.ack.0),
        u64::from(sent) << 32 | u64::from(echoed),
        u64::from(segment.checksum) << 48 | u64::from(segment.ip_id.unwrap_or(0)) << 32 | u64::from(segment.len),
        u64::from(segment.window) << 16 | u64::from(segment.flags.bits()),
    ] {
        digest = (digest ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        digest ^= digest >> 32;
    }
    digest as u32
}

/// The findings that are counted for each direction.
const COUNTED: [Finding; 14] = [
    Finding::Retransmission,
    Finding::FastRetransmission,
    Finding::SpuriousRetransmission,
    Finding::OutOfOrder,
    Finding::DuplicateAck,
    Finding::LostSegment,
    Finding::AckedUnseen,
    Finding::ZeroWindow,
    Finding::WindowFull,
    Finding::WindowUpdate,
    Finding::KeepAlive,
    Finding::ZeroWindowProbe,
    Finding::CapturedTwice,
    Finding::BadChecksum,
];

/// The window of a direction that sent nothing yet: larger than any.
const NO_WINDOW: u32 = u32::MAX;
/// A count of duplicate acknowledgements that is above all others, as Wireshark's −1 in an unsigned number is.
const UNSEEN: u32 = u32::MAX;
/// How soon after the last duplicate acknowledgement a retransmission is a fast one, in nanoseconds.
const FAST: u64 = 20_000_000;
/// How soon after the stream advanced a late segment counts as out of order where the initial RTT is not known, in nanoseconds.
const REORDERING: u64 = 3_000_000;
/// How many separate intervals of octets are kept for a direction; past that the two lowest become one.
const MOST_INTERVALS: usize = 4096;
/// The bits of an entry of [`Copies`] that hold time.
const TICKS: u32 = 0xfff;
/// How long after a frame its copy may come, in ticks, where the IP identification tells the two apart from a retransmission: about a second.
const IDENTIFIED: u32 = 1907;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::script::{self, From};

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

    fn direction(from: From) -> Direction {
        if from == From::Client { Direction::First } else { Direction::Second }
    }

    fn opened(script: &str) -> Conversation {
        check(&format!(
            "
            0   < S  100(0)         win 1000 ws 0
            10  > S. 300(0) ack 101 win 1000 ws 0
            20  < .  101(0) ack 301 win 1000
            {script}"
        ))
    }

    // ---- retransmissions -----------------------------------------------------------------------------------------

    #[test]
    fn octets_sent_again_late_are_a_retransmission() {
        let conversation = opened(
            "30   < P. 101(10) ack 301
             240  < P. 101(10) ack 301 = retransmission
             250  > .  301(0)  ack 111",
        );
        let stream = conversation.stream(Direction::First);
        assert_eq!((stream.counts().octets, stream.unique_octets()), (20, 10));
        assert_eq!(stream.counts().of(Finding::Retransmission), 1);
    }

    #[test]
    fn octets_sent_again_after_they_were_acknowledged_are_spurious() {
        opened(
            "30   < P. 101(10) ack 301
             31   > .  301(0)  ack 111
             240  < P. 101(10) ack 301 = spurious_retransmission",
        );
    }

    #[test]
    fn the_segment_asked_for_by_two_duplicate_acks_is_a_fast_retransmission() {
        opened(
            "30   < P. 101(10) ack 301
             30.1 < P. 111(10) ack 301
             30.2 < P. 121(10) ack 301
             40   > .  301(0)  ack 101 = duplicate_ack
             40.1 > .  301(0)  ack 101 = duplicate_ack
             41   < P. 101(10) ack 301 = fast_retransmission",
        );
    }

    #[test]
    fn older_octets_within_the_initial_rtt_are_out_of_order() {
        let conversation = opened(
            "30   < P. 111(10) ack 301 = lost_segment
             31   < P. 101(10) ack 301 = out_of_order",
        );
        assert_eq!(conversation.stream(Direction::First).unique_octets(), 20);
    }

    #[test]
    fn a_repeated_syn_and_a_repeated_fin_are_retransmissions() {
        check(
            "0     < S  100(0)
             1000  < S  100(0)         = retransmission
             1010  > S. 300(0) ack 101
             1020  < .  101(0) ack 301
             1030  < F. 101(0) ack 301
             2030  < F. 101(0) ack 301 = retransmission",
        );
    }

    #[test]
    fn one_old_octet_at_the_edge_is_a_keep_alive_and_more_of_them_are_new() {
        opened(
            "30   < P. 101(10) ack 301
             31   > .  301(0)  ack 111
             5000 < .  110(1)  ack 301 = keep_alive
             5001 > .  301(0)  ack 111 = keep_alive_ack
             6000 < .  110(11) ack 301",
        );
    }

    // ---- acknowledgements and windows ----------------------------------------------------------------------------

    #[test]
    fn a_repeated_ack_is_a_duplicate_only_without_octets_and_with_the_same_window() {
        opened(
            "30   < P. 101(10) ack 301
             31   > P. 301(5)  ack 101
             32   > .  306(0)  ack 101 = duplicate_ack
             33   > .  306(0)  ack 101 win 900 = window_update
             34   > P. 306(5)  ack 101 win 900",
        );
    }

    #[test]
    fn a_zero_window_is_probed_and_opens_again() {
        opened(
            "30   < P. 101(1000) ack 301 = window_full
             31   > .  301(0)  ack 1101 win 0 = zero_window
             231  < .  1101(1) ack 301 = zero_window_probe
             232  > .  301(0)  ack 1101 win 0 = zero_window zero_window_probe_ack
             300  > .  301(0)  ack 1101 win 1000 = window_update",
        );
    }

    #[test]
    fn a_window_is_full_by_its_scale() {
        check(
            "0   < S  100(0)         win 1000 ws 2
             10  > S. 300(0) ack 101 win 1000 ws 3
             20  < .  101(0) ack 301 win 1000
             25  > .  301(0) ack 101 win 200 = window_update
             30  < P. 101(1000) ack 301
             31  < P. 1101(600) ack 301 = window_full",
        );
    }

    #[test]
    fn an_ack_of_what_was_not_captured_is_told_once() {
        opened(
            "30   < P. 101(10) ack 301
             31   > .  301(0)  ack 131 = acked_unseen
             32   > P. 301(10) ack 131
             33   < P. 131(10) ack 301 = lost_segment
             34   > .  311(0)  ack 141 = acked_unseen
             35   < P. 141(10) ack 311
             36   > .  311(0)  ack 151",
        );
    }

    // ---- captured twice ------------------------------------------------------------------------------------------

    #[test]
    fn the_copy_of_a_frame_keeps_the_rules_verdict_and_gets_ours_beside_it() {
        opened(
            "30    < P. 101(10) ack 301 id 77
             30.01 < P. 101(10) ack 301 id 77 = retransmission captured_twice
             31    > .  301(0)  ack 111 id 78
             31.01 > .  301(0)  ack 111 id 78 = duplicate_ack captured_twice",
        );
    }

    #[test]
    fn another_datagram_with_the_same_octets_is_no_copy() {
        opened(
            "30    < P. 101(10) ack 301 id 77
             240   < P. 101(10) ack 301 id 79 = retransmission",
        );
    }

    #[test]
    fn without_an_identification_only_a_copy_at_once_counts() {
        opened(
            "30    < P. 101(10) ack 301 id -
             30.01 < P. 101(10) ack 301 id - = retransmission captured_twice
             240   < P. 101(10) ack 301 id - = retransmission",
        );
    }

    // ---- resets --------------------------------------------------------------------------------------------------

    #[test]
    fn a_reset_outside_the_window_is_ignored_by_its_receiver() {
        opened(
            "30   > P. 301(10) ack 101
             31   < .  101(0)  ack 311
             40   > R  5000(0)         = reset_out_of_window
             41   > R  301(0)          = reset_out_of_window
             42   > R. 311(0)  ack 101",
        );
    }

    // ---- octets and times ----------------------------------------------------------------------------------------

    #[test]
    fn octets_that_ride_with_a_syn_or_a_fin_count() {
        let conversation = check(
            "0   < S  100(5)
             10  > S. 300(0) ack 106
             20  < F. 106(7) ack 301",
        );
        let stream = conversation.stream(Direction::First);
        assert_eq!((stream.counts().octets, stream.unique_octets()), (12, 12));
        assert_eq!(stream.fin_end(), Some(Seq(114)));
    }

    #[test]
    fn positions_go_on_where_sequence_numbers_wrap() {
        let mut conversation = Conversation::default();
        let script = "0  < S  4294967290(0)
                      10 > S. 300(0) ack 4294967291
                      20 < P. 4294967291(10) ack 301
                      30 < P. 5(10) ack 301";
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
            "30   < P. 101(10) ack 301
             33   > .  301(0)  ack 111
             40   < P. 111(10) ack 301
             240  < P. 111(10) ack 301 = retransmission
             241  > .  301(0)  ack 121
             250  < P. 121(10) ack 301
             255  > .  301(0)  ack 131",
        );
        let (shortest, mean, longest) = conversation.stream(Direction::First).round_trips().expect("three samples");
        assert_eq!((shortest.0, mean.0, longest.0), (3_000_000, 6_000_000, 10_000_000));
        assert_eq!(conversation.initial_rtt(), Some(Span(20_000_000)));
    }

    #[test]
    fn what_came_in_order_ends_at_a_hole_until_it_is_filled_or_acknowledged() {
        let mut conversation = Conversation::default();
        let script = "0  < S  100(0)          = 101
                      10 > S. 300(0)  ack 101 = 301
                      20 < P. 111(10) ack 301 = 101
                      21 < F. 121(0)  ack 301 = 101
                      22 < P. 101(10) ack 301 = 122
                      30 > P. 311(10) ack 122 = 301
                      31 < .  122(0)  ack 321 = 122
                      32 > .  321(0)  ack 122 = 321";
        for (from, segment, expected) in script::read(script) {
            let judged = conversation.observe(direction(from), &segment);
            assert_eq!(judged.in_order.to_string(), expected, "frame {}", segment.frame);
        }
    }

    fn octets(pieces: &[(u32, u32)], start: Seq) -> Octets {
        let mut octets = Octets::default();
        let (_, mut segment, _) = script::read("0 < . 0(0)").next().expect("a segment");
        segment.seq = start;
        octets.meet(&segment);
        for &(from, len) in pieces {
            (segment.seq, segment.len) = (start.plus(from), len);
            octets.take(&segment);
        }
        octets
    }

    proptest! {
        /// However a stream is cut and in whatever order the pieces come, each octet counts once.
        #[test]
        fn octets_are_conserved(
            start: u32,
            mut pieces in proptest::collection::vec((0u32..5_000, 0u32..300), 1..60),
        ) {
            let octets = octets(&pieces, Seq(start));
            let mut seen = vec![false; 6_000];
            for &(from, len) in &pieces {
                seen[from as usize..(from + len) as usize].fill(true);
            }
            prop_assert_eq!(octets.unique, seen.iter().filter(|seen| **seen).count() as u64);
            let contiguous = seen.iter().position(|seen| !seen).unwrap_or(seen.len());
            prop_assert_eq!(octets.in_order(), Seq(start).plus(contiguous as u32));
            pieces.reverse();
            prop_assert_eq!(tests::octets(&pieces, Seq(start)).unique, octets.unique);
        }

        /// The same octets, cut in any way, take the same positions.
        #[test]
        fn positions_do_not_depend_on_the_cut(start: u32, cuts in proptest::collection::vec(1u32..2_000, 1..200)) {
            let mut conversation = Conversation::default();
            let (_, mut segment, _) = script::read("0 < S 0(0)").next().expect("a segment");
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
