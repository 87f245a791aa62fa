//! Why each segment was sent: the calls whose octets it carries or that asked for it, or what the kernel did by itself.

use super::matching::{CallIndex, EndCalls, Joined, is_entered};
use super::{Evidence, Join, Mechanism, Observed, Trace, Unwatched, Why};
use crate::calls::Call;
use crate::flow::{Range, Side};
use crate::tcp::Finding;
use crate::time::Span;
use crate::wire::Flags;

/// The cause of one segment, by indices into the calls and into the trace's segments.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) calls: Vec<CallIndex>,
    pub(super) kernel: Option<Mechanism>,
    pub(super) of: Option<usize>,
    /// Whether calls wrote octets that it carries.
    pub(super) writes: bool,
    pub(super) why: Option<Why>,
    /// Whether no call of the sender was watched.
    pub(super) unwatched: bool,
}

impl Found {
    /// On what it rests, being the cause of a segment with these flags.
    pub(super) fn evidence(&self, flags: Flags) -> Evidence {
        match self.kernel {
            Some(mechanism) if mechanism.is_joined() => Evidence::Joined(Join::Kernel(mechanism)),
            Some(mechanism) => Evidence::Inferred(Join::Kernel(mechanism)),
            None if flags.contains(Flags::RST) => Evidence::Joined(Join::Abort),
            None if flags.contains(Flags::SYN) => Evidence::Joined(Join::Connect),
            None => Evidence::Joined(if self.writes { Join::Octets } else { Join::Close }),
        }
    }
}

/// Walks the segments of one connection in order and finds the cause of each.
pub(super) struct Causes<'a> {
    trace: &'a Trace,
    calls: &'a [Call],
    ends: [Option<&'a EndCalls>; 2],
    sides: [Sent; 2],
}

/// What one end has sent so far.
#[derive(Default)]
struct Sent {
    /// Its first SYN (or SYN-ACK).
    syn: Option<usize>,
    /// Its first SYN-ACK.
    syn_ack: Option<usize>,
    /// Its first FIN.
    fin: Option<usize>,
    /// Its segments that took sequence space, ascending by end: (relative end, position in the trace).
    ends: Vec<(i64, usize)>,
    /// Octets sent for the first time, ascending: (positions, position in the trace).
    octets: Vec<(Range, usize)>,
    /// The last segment it sent.
    last: Option<usize>,
    /// Whether it answered the peer's SYN-ACK.
    finished_handshake: bool,
    /// The acknowledgement number it sent last, relative.
    acked: Option<i64>,
    /// The shortest time that an answer of it took to pass the place of capture: the path there and back, and nothing held back.
    quickest: Option<Span>,
}

impl<'a> Causes<'a> {
    pub(super) fn new(trace: &'a Trace, calls: &'a [Call], joined: &'a Joined) -> Self {
        let end = |side| joined.ends.get(&(trace.id, side)).filter(|end| !end.all.is_empty());
        Self { trace, calls, ends: [end(Side::Client), end(Side::Server)], sides: [Sent::default(), Sent::default()] }
    }

    /// The cause of segment `index`; to be called for every segment once, in order.
    pub(super) fn of(&mut self, index: usize) -> Found {
        let observed = &self.trace.segments[index];
        let side = self.trace.sender(&observed.segment);
        let mut found = self.find(index, observed, side);
        found.writes = observed.step.stream.is_some();
        found.unwatched = found.calls.is_empty() && self.ends[slot(side)].is_none();
        self.remember(index, observed, side);
        found
    }

    fn find(&self, index: usize, observed: &Observed, side: Side) -> Found {
        let flags = observed.segment.flags;
        let findings = observed.step.findings;
        if flags.contains(Flags::RST) {
            return self.reset(observed, side);
        }
        if flags.contains(Flags::SYN) {
            return self.syn(observed, side);
        }
        if findings.contains(Finding::KeepAlive) && self.has_no_room(side.peer()) {
            return kernel(Mechanism::ZeroWindowProbe, self.sent(side.peer()).last, Why::NoRoomOldOctet);
        }
        if findings.contains(Finding::KeepAlive) {
            return kernel(Mechanism::KeepAlive, self.sent(side).last, Why::Idle);
        }
        if findings.contains(Finding::ZeroWindowProbe) {
            let mut found = kernel(Mechanism::ZeroWindowProbe, self.sent(side.peer()).last, Why::NoRoom);
            found.calls = observed.step.stream.map(|range| self.writers(side, range)).unwrap_or_default();
            return found;
        }
        if flags.contains(Flags::FIN) || observed.step.stream.is_some() {
            return self.octets_or_fin(index, observed, side);
        }
        self.acknowledgement(observed, side)
    }

    fn syn(&self, observed: &Observed, side: Side) -> Found {
        let answers = observed.segment.flags.contains(Flags::ACK);
        let own = self.sent(side);
        if let Some(first) = if answers { own.syn_ack } else { own.syn } {
            let mut found = kernel(Mechanism::RetransmissionTimeout, Some(first), Why::SynUnanswered);
            found.calls = if answers { Vec::new() } else { self.connect(side) };
            return found;
        }
        if answers && own.syn.is_some() {
            let crossed = self.sent(side.peer()).syn.or(own.syn);
            return kernel(Mechanism::Handshake, crossed, Why::SynsCrossed);
        }
        if answers {
            return kernel(Mechanism::Handshake, self.sent(side.peer()).syn, Why::Listening);
        }
        let calls = self.connect(side);
        let why = calls.is_empty().then_some(Why::Unwatched(Unwatched::Connect));
        let unknown = calls.is_empty().then_some(Mechanism::Unknown);
        Found { calls, kernel: unknown, why, ..Found::default() }
    }

    /// Octets for the first time or again, with or without a FIN, or a FIN alone.
    fn octets_or_fin(&self, index: usize, observed: &Observed, side: Side) -> Found {
        let fin = observed.segment.flags.contains(Flags::FIN);
        let mut calls = observed.step.stream.map(|range| self.writers(side, range)).unwrap_or_default();
        let asked_by = calls.clone();
        if fin {
            calls.extend(self.closing(side, observed));
        }
        if let Some(first) = self.sent_before(observed, side) {
            let (mechanism, why) = self.again(index, observed, side, first);
            return Found { calls, kernel: Some(mechanism), of: Some(first), why: Some(why), ..Found::default() };
        }
        let late = self.why_late(observed, side, &asked_by);
        let (kernel, why) = match (calls.is_empty(), fin, self.ends[slot(side)].is_some()) {
            (false, ..) => (None, late),
            (true, true, true) => (Some(Mechanism::Exit), Some(Why::ProcessEnded)),
            (true, true, false) => (Some(Mechanism::Unknown), Some(Why::Unwatched(Unwatched::Close))),
            (true, false, true) => (Some(Mechanism::Unknown), Some(Why::NotWritten)),
            (true, false, false) => (Some(Mechanism::Unknown), Some(Why::Unwatched(Unwatched::Send))),
        };
        Found { calls, kernel, why, ..Found::default() }
    }

    /// Why octets left the host only after the calls that wrote them had returned.
    fn why_late(&self, observed: &Observed, side: Side, writers: &[CallIndex]) -> Option<Why> {
        let at = observed.segment.at?;
        let writer = &self.calls[*writers.last()?];
        if at <= writer.returned_at()? {
            return None;
        }
        let released = &self.trace.segments[self.sent(side.peer()).last?].segment;
        // What came before the octets were written cannot have let them go.
        released.at.filter(|at| *at >= writer.entered)?;
        Some(Why::Waited { released_by: released.frame })
    }

    /// The first transmission of what this segment carries, if it was sent before.
    fn sent_before(&self, observed: &Observed, side: Side) -> Option<usize> {
        let sent = self.sent(side);
        match observed.step.stream {
            Some(range) => {
                let start = sent.octets.partition_point(|(known, _)| known.to <= range.from);
                let known = sent.octets.get(start).filter(|(known, _)| known.overlaps(range)).map(|(_, index)| *index);
                // A segment that brings something new is no repetition, though it may begin with old octets.
                let highest = sent.octets.last().map_or(0, |(known, _)| known.to);
                known.filter(|_| range.to <= highest)
            }
            None => sent.fin,
        }
    }

    fn again(&self, index: usize, observed: &Observed, side: Side, first: usize) -> (Mechanism, Why) {
        let findings = observed.step.findings;
        let waited = match (observed.segment.at, self.trace.segments[first].segment.at) {
            (Some(now), Some(then)) => now.since(then),
            _ => Span(0),
        };
        let told = self.trace.segments[first..]
            .iter()
            .take(LOOK_BACK)
            .take_while(|later| later.segment.frame < observed.segment.frame)
            .filter(|later| self.trace.sender(&later.segment) != side)
            .any(|later| later.step.findings.contains(Finding::DuplicateAck) || later.segment.options.sack_blocks > 0);
        if findings.contains(Finding::FastRetransmission) || (told && waited < MINIMUM_RTO) {
            return (Mechanism::FastRetransmit, Why::LossReported);
        }
        let tail = observed.segment.flags.contains(Flags::FIN)
            || observed
                .step
                .stream
                .is_some_and(|range| self.sent(side).octets.last().is_some_and(|(known, _)| known.to == range.to));
        if tail && (waited < MINIMUM_RTO || self.probes_the_tail(index, side, first, waited)) {
            return (Mechanism::TailLossProbe, Why::TailUnacknowledged);
        }
        (Mechanism::RetransmissionTimeout, Why::TimerExpired)
    }

    /// Whether the last segment, sent again after `waited`, is a tail loss probe though a timeout could have come by then.
    ///
    /// A timeout sends the oldest segment without an acknowledgement first, and each doubles the time to the next; a probe does neither.
    fn probes_the_tail(&self, index: usize, side: Side, first: usize, waited: Span) -> bool {
        let segments = &self.trace.segments;
        let seq = segments[index].step.seq;
        let same = |other: &&Observed| {
            other.step.seq == seq && other.segment.seq_len() > 0 && self.trace.sender(&other.segment) == side
        };
        if segments[first + 1..index].iter().rev().take(LOOK_BACK).any(|other| same(&other)) {
            return false;
        }
        if self.sent(side.peer()).acked.is_some_and(|acked| acked < segments[first].step.seq) {
            return true;
        }
        let next = segments[index + 1..].iter().take(LOOK_BACK).find(same).and_then(|next| next.segment.at);
        next.zip(segments[index].segment.at)
            .is_some_and(|(next, now)| next.since(now).as_nanos() < waited.as_nanos() / 2 * 3)
    }

    fn acknowledgement(&self, observed: &Observed, side: Side) -> Found {
        let findings = observed.step.findings;
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        if !observed.segment.flags.contains(Flags::ACK) {
            return kernel(Mechanism::Unknown, None, Why::Empty);
        }
        if let Some(syn_ack) = peer.syn_ack.filter(|_| own.syn.is_some() && !own.finished_handshake)
            && observed.step.ack == Some(1)
        {
            return kernel(Mechanism::Handshake, Some(syn_ack), Why::EndsHandshake);
        }
        if findings.contains(Finding::WindowUpdate) {
            let mut found = kernel(Mechanism::WindowUpdate, None, Why::RoomMade);
            found.calls = self.reading(side, observed).into_iter().collect();
            return found;
        }
        // The number that was sent before acknowledges nothing new: something came that has to be answered all the same.
        let repeats = observed.step.ack == own.acked;
        let advances = observed.step.ack > own.acked;
        let of = if repeats { peer.last } else { self.acknowledged(observed, peer) };
        let Some(of) = of else {
            return kernel(Mechanism::Ack, peer.last, Why::NotCaptured);
        };
        let late = advances
            && self.is_worth_a_delay(observed, of, side)
            && own.quickest.zip(self.took(observed, of)).is_some_and(|(quickest, took)| {
                took.as_nanos().saturating_sub(quickest.as_nanos()) >= DELAYED.as_nanos()
            });
        let found = |mechanism, why| Found { kernel: Some(mechanism), of: Some(of), why, ..Found::default() };
        if late {
            return found(Mechanism::DelayedAck, Some(Why::HeldBack));
        }
        let answered = &self.trace.segments[of];
        let end = answered.step.seq.saturating_add(i64::from(answered.segment.seq_len()));
        let known = observed.step.ack.is_some_and(|ack| end <= ack);
        let why = match findings.contains(Finding::DuplicateAck) {
            true if answered.segment.seq_len() > 0 && known => Some(Why::ReceivedBefore),
            true if !known => Some(Why::GapBefore),
            _ if !repeats && !advances => Some(Why::Overtaken),
            _ => None,
        };
        found(Mechanism::Ack, why)
    }

    /// Whether an acknowledgement may be held back (RFC 9293 section 3.8.6.3): nothing newer had been sent that would have called it forth, and it is for less than two full segments.
    fn is_worth_a_delay(&self, observed: &Observed, of: usize, side: Side) -> bool {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let newest = peer.ends.last().is_some_and(|(_, last)| *last == of);
        let first = own.acked.unwrap_or_default();
        let octets = observed.step.ack.unwrap_or_default().saturating_sub(first);
        newest && (first >= self.trace.segments[of].step.seq || octets < 2 * SMALLEST_MSS)
    }

    /// The time from a segment of the peer to its answer.
    fn took(&self, answer: &Observed, of: usize) -> Option<Span> {
        answer.segment.at.zip(self.trace.segments[of].segment.at).map(|(now, then)| now.since(then))
    }

    /// Whether an end's last word was that its receive buffer is full.
    fn has_no_room(&self, side: Side) -> bool {
        self.sent(side).last.is_some_and(|last| self.trace.segments[last].step.window == 0)
    }

    /// The newest segment of the peer that this one acknowledges in full.
    fn acknowledged(&self, observed: &Observed, peer: &Sent) -> Option<usize> {
        let ack = observed.step.ack?;
        let acknowledged = peer.ends.partition_point(|(end, _)| *end <= ack);
        peer.ends[..acknowledged].last().map(|(_, index)| *index)
    }

    fn reset(&self, observed: &Observed, side: Side) -> Found {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let at = observed.segment.at;
        if own.syn.is_none()
            && peer.syn.is_some_and(|syn| !self.trace.segments[syn].segment.flags.contains(Flags::ACK))
            && own.last.is_none()
        {
            return kernel(Mechanism::Reset, peer.syn, Why::PortClosed);
        }
        let unanswered = own.last.filter(|last| {
            peer.last < Some(*last)
                && self.trace.segments[*last].step.findings.contains(Finding::KeepAlive)
                && !self.has_no_room(side.peer())
        });
        let gives_up = unanswered.map(|last| kernel(Mechanism::KeepAlive, Some(last), Why::KeepAlivesUnanswered));
        let Some(end) = self.ends[slot(side)] else {
            if let Some(gives_up) = gives_up {
                return gives_up;
            }
            // Linux aborts a socket with RST and ACK; what finds no socket is answered with its own number, and no ACK.
            return match observed.segment.flags.contains(Flags::ACK) {
                true => kernel(Mechanism::Unknown, peer.last, Why::Unwatched(Unwatched::Abort)),
                false => kernel(Mechanism::Reset, peer.last, Why::NoSocket),
            };
        };
        let Some(closing) = end.closed_by(self.calls, at) else {
            let refuses = || kernel(Mechanism::Reset, peer.last, Why::NotAcceptable);
            return gives_up.unwrap_or_else(refuses);
        };
        let during = self.calls[closing].returned_at().is_none_or(|returned| at.is_none_or(|at| at <= returned));
        if during || own.fin.is_none() {
            let lingers = end.linger_zero.is_some_and(|index| is_entered(&self.calls[index], at));
            let arrived = peer.octets.last().map_or(0, |(range, _)| range.to);
            let unread = arrived.saturating_sub(end.received_by(self.calls, at).map_or(0, |(read, _)| read.to));
            let why = match (lingers, unread) {
                (true, _) => Why::LingerZero,
                (false, 0) => Why::UnreadOnTheWay,
                (false, unread) => Why::Unread(unread),
            };
            return Found { calls: vec![closing], why: Some(why), ..Found::default() };
        }
        kernel(Mechanism::Reset, peer.last, Why::SocketClosed)
    }

    fn writers(&self, side: Side, range: Range) -> Vec<CallIndex> {
        self.ends[slot(side)].map(|end| end.writers(range).collect()).unwrap_or_default()
    }

    fn connect(&self, side: Side) -> Vec<CallIndex> {
        self.ends[slot(side)].and_then(|end| end.connect).into_iter().collect()
    }

    /// The call that closed the sending direction: the first shutdown, close or exit before the FIN.
    fn closing(&self, side: Side, fin: &Observed) -> Option<CallIndex> {
        let first = *self.ends[slot(side)]?.closings.first()?;
        is_entered(&self.calls[first], fin.segment.at).then_some(first)
    }

    /// The receive that was under way, or had just ended, when this segment was sent.
    fn reading(&self, side: Side, observed: &Observed) -> Option<CallIndex> {
        self.ends[slot(side)]?.received_by(self.calls, observed.segment.at).map(|(_, index)| index)
    }

    fn sent(&self, side: Side) -> &Sent {
        // A socket that is connected to itself is its own peer.
        let side = if self.trace.client == self.trace.server { Side::Client } else { side };
        &self.sides[slot(side)]
    }

    fn remember(&mut self, index: usize, observed: &Observed, side: Side) {
        let flags = observed.segment.flags;
        let peer = self.sent(side.peer());
        let peer_synced = peer.syn.is_some();
        let repeats = observed.step.ack == self.sent(side).acked;
        let answered =
            if flags.contains(Flags::SYN) || repeats { peer.last } else { self.acknowledged(observed, peer) };
        let took = answered.filter(|_| flags.contains(Flags::ACK)).and_then(|of| self.took(observed, of));
        let sent = &mut self.sides[slot(side)];
        sent.last = Some(index);
        if flags.contains(Flags::RST) {
            return;
        }
        sent.quickest = sent.quickest.into_iter().chain(took).min();
        sent.acked = sent.acked.max(observed.step.ack);
        if flags.contains(Flags::SYN | Flags::ACK) {
            sent.syn_ack.get_or_insert(index);
        }
        if flags.contains(Flags::SYN) {
            sent.syn.get_or_insert(index);
        } else if flags.contains(Flags::ACK) && peer_synced {
            sent.finished_handshake = true;
        }
        if flags.contains(Flags::FIN) {
            sent.fin.get_or_insert(index);
        }
        let end = observed.step.seq.saturating_add(i64::from(observed.segment.seq_len()));
        if observed.segment.seq_len() > 0 {
            match sent.ends.binary_search_by_key(&end, |(known, _)| *known) {
                // Sent again: an acknowledgement from now on answers this one.
                Ok(place) => sent.ends[place].1 = index,
                Err(place) if place == sent.ends.len() => sent.ends.push((end, index)),
                Err(_) => {}
            }
        }
        if let Some(range) = observed.step.stream {
            let highest = sent.octets.last().map_or(0, |(known, _)| known.to);
            if range.to > highest {
                sent.octets.push((Range { from: range.from.max(highest), to: range.to }, index));
            }
        }
    }
}

fn kernel(mechanism: Mechanism, of: Option<usize>, why: Why) -> Found {
    Found { kernel: Some(mechanism), of, why: Some(why), ..Found::default() }
}

pub(super) const fn slot(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

/// An acknowledgement that took this much longer than the end's quickest answer was delayed: Linux's shortest delay is 40 ms (TCP_DELACK_MIN, include/net/tcp.h).
const DELAYED: Span = Span::from_millis(36);

/// The largest segment that every end takes without having said so (RFC 9293 section 3.7.1).
const SMALLEST_MSS: i64 = 536;

/// Linux's shortest retransmission timeout (TCP_RTO_MIN, include/net/tcp.h).
const MINIMUM_RTO: Span = Span::from_millis(200);

/// How many segments are looked through for the one that an acknowledgement answers.
const LOOK_BACK: usize = 4096;
