//! Wireshark's judgement of a segment against all that both directions sent before, and ours beside it.

use super::stream::{Marks, Scale, Stream};
use super::{Finding, FindingSet};
use crate::time::Timestamp;
use crate::wire::{Flags, Oddities, Segment, Seq};

/// What is odd about a segment by itself.
#[inline]
pub(super) fn oddities(segment: &Segment) -> FindingSet {
    let mut findings = FindingSet::default();
    let controls = (segment.flags & (Flags::SYN | Flags::FIN | Flags::RST)).bits();
    let is_more_than_one = controls & controls.wrapping_sub(1) != 0;
    if is_more_than_one {
        findings.insert(Finding::InconsistentFlags);
    }
    if segment.oddities.contains(Oddities::BAD_CHECKSUM) {
        findings.insert(Finding::BadChecksum);
    }
    findings
}

/// What ECN's flags say of congestion after the handshake.
#[cold]
pub(super) fn judge_congestion(accurate: bool, segment: &Segment, findings: &mut FindingSet) {
    if accurate || segment.flags.contains(Flags::SYN) {
        return;
    }
    if segment.flags.contains(Flags::ECE) {
        findings.insert(Finding::EcnEcho);
    }
    if segment.flags.contains(Flags::CWR) {
        findings.insert(Finding::WindowReduced);
    }
}

/// Wireshark's sequence analysis: the rules of [`Finding`] in its order, and what it remembers for the next segment.
#[inline(always)]
pub(super) fn judge(
    fwd: &mut Stream,
    rev: &mut Stream,
    segment: &Segment,
    now: i64,
    rtt: i64,
    findings: &mut FindingSet,
) {
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
            fwd.date(segment);
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
#[inline]
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
#[inline]
fn judge_repeated_octets(fwd: &Stream, rev: &Stream, segment: &Segment, now: i64, rtt: i64, findings: &mut FindingSet) {
    let Segment { seq, len, .. } = *segment;
    let stale = fwd.next != Seq(0) && seq.is_before(fwd.next) && !(len > 1 && seq == fwd.next.minus(1));
    if len > 0 && rev.last_ack != Seq(0) && !seq.plus(len).is_after(rev.last_ack) {
        findings.insert(Finding::SpuriousRetransmission);
    } else if stale {
        findings.insert(judge_stale_octets(fwd, rev, segment, now, rtt));
    }
}

/// Which of the family it is, of a segment that starts before nextseq and was not acknowledged.
#[cold]
fn judge_stale_octets(fwd: &Stream, rev: &Stream, segment: &Segment, now: i64, rtt: i64) -> Finding {
    let Segment { seq, len, .. } = *segment;
    // A time that ran backwards counts as very long, as it does in unsigned arithmetic.
    let since_ack = now.wrapping_sub(rev.last_at.map_or(0, Timestamp::as_nanos)) as u64;
    if rev.duplicate_acks >= 2 && rev.last_ack == seq && since_ack < FAST {
        return Finding::FastRetransmission;
    }
    let since_advance = now.wrapping_sub(fwd.advanced_at.map_or(0, Timestamp::as_nanos)) as u64;
    let threshold = if rtt == 0 { REORDERING } else { rtt as u64 };
    let control = segment.flags.intersects(Flags::SYN | Flags::FIN);
    if since_advance < threshold && fwd.next != seq.plus(len).plus(control.into()) {
        return Finding::OutOfOrder;
    }
    Finding::Retransmission
}

/// When the segment was sent that advanced a stream last: its IP identification, or the lower half of its timestamp.
#[derive(Clone, Copy)]
pub(super) enum Newest {
    Identification(u16),
    Timestamp(u16),
}

impl Newest {
    pub(super) fn of(stream: &Stream) -> Self {
        if stream.marks.contains(Marks::STAMPED) {
            Self::Timestamp(stream.newest)
        } else {
            Self::Identification(stream.newest)
        }
    }
}

/// Our verdict on late octets where it differs from the rule's: hosts that number their datagrams one by one, or else their
/// timestamps, show what was sent first.
#[cold]
pub(super) fn judge_by_age(newest: Newest, segment: &Segment, brings_octets: bool, findings: &mut FindingSet) {
    let Some(past) = past(newest, segment) else { return };
    // Octets that were there already were not overtaken.
    if brings_octets && (-NEAR..0).contains(&past) && findings.has_retransmission() {
        findings.insert(Finding::Reordered);
    } else if (1..=NEAR).contains(&past) && findings.contains(Finding::OutOfOrder) {
        findings.insert(Finding::SentAgain);
    }
}

/// Whether the IP identification says that a segment was sent no later than the one that advanced the stream last.
#[inline]
pub(super) fn was_sent_before(newest: Newest, segment: &Segment) -> bool {
    matches!(newest, Newest::Identification(_)) && past(newest, segment).is_some_and(|past| (-NEAR..=0).contains(&past))
}

/// How many datagrams after the newest segment's this one was sent, where identifications say it; else 1 or -1 where timestamps say which came first.
#[inline]
fn past(newest: Newest, segment: &Segment) -> Option<i16> {
    match (newest, segment.ip_id.filter(|id| *id != 0)) {
        (Newest::Identification(0), _) | (Newest::Identification(_), None) => None,
        (Newest::Identification(newest), Some(id)) => Some(id.wrapping_sub(newest) as i16),
        // Of one sender either all have an identification or none.
        (Newest::Timestamp(_), Some(_)) => None,
        (Newest::Timestamp(newest), None) => {
            let (sent, _) = segment.options.timestamps?;
            Some((sent as u16).wrapping_sub(newest) as i16).filter(|past| *past != 0).map(i16::signum)
        }
    }
}

/// Whether the first SACK block lies before the acknowledgement or within the second one (RFC 2883 section 4).
pub(super) fn tells_of_duplicates(segment: &Segment) -> bool {
    match *segment.options.sack_edges() {
        [(_, right), ..] if !right.is_after(segment.ack) => true,
        [(left, right), (outer_left, outer_right), ..] => !left.is_before(outer_left) && !right.is_after(outer_right),
        _ => false,
    }
}

/// Learns window scales, maximum segment size and what else the SYNs announce.
#[cold]
pub(super) fn remember_announced(fwd: &mut Stream, rev: &mut Stream, segment: &Segment) {
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
    fwd.marks.set(Marks::ACCURATE_ECN, fwd.marks.contains(Marks::ACCURATE_ECN) || flags.contains(Flags::AE));
    fwd.marks.set(Marks::SACK, fwd.marks.contains(Marks::SACK) || options.sack_permitted);
    fwd.marks.set(Marks::TIMESTAMPS, fwd.marks.contains(Marks::TIMESTAMPS) || options.timestamps.is_some());
}

/// A count of duplicate acknowledgements that is above all others, as Wireshark's −1 in an unsigned number is.
const UNSEEN: u16 = u16::MAX;
/// How far apart two IP identifications may be to tell which datagram was sent first: hosts that draw them at random are seldom so near.
const NEAR: i16 = 256;
/// How soon after the last duplicate acknowledgement a retransmission is a fast one, in nanoseconds.
const FAST: u64 = 20_000_000;
/// How soon after the stream advanced a late segment counts as out of order where the initial RTT is not known, in nanoseconds.
const REORDERING: u64 = 3_000_000;
