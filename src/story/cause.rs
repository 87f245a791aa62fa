//! Why each segment was sent: first what the segments before it say, then the calls whose octets it carries or that asked for it.

use super::calls::EndCalls;
use super::connection::{PerConnection, Place};
use super::samples::Expected;
use super::{EventId, Evidence, Join, Mechanism, Unwatched, Why};
use crate::flow::{Range, Side};
use crate::kernel::Witness;
use crate::tcp::Finding;
use crate::time::{Span, Timestamp};
use crate::wire::Flags;

/// The cause of one segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) calls: Vec<EventId>,
    pub(super) kernel: Option<Mechanism>,
    pub(super) of: Option<Place>,
    pub(super) why: Option<Why>,
    pub(super) evidence: Option<Evidence>,
    /// Whether no call of the sender was watched.
    pub(super) unwatched: bool,
}

/// What a segment is by the segments before it; what calls have to do with it comes later, and may come again.
#[derive(Clone, Debug)]
pub(super) enum Ground {
    /// The same frame as an earlier one.
    Copy { of: Option<Place> },
    /// What the kernel did, whatever was called.
    Kernel { mechanism: Mechanism, of: Option<Place>, why: Option<Why> },
    /// A SYN that opens the connection.
    Syn,
    /// A SYN, or a SYN-ACK, that was sent before.
    SynAgain { first: Place, with_ack: bool },
    /// An octet that probes a zero window.
    Probe { of: Option<Place> },
    /// Octets, or a FIN, or both.
    Octets { again: Option<Box<Again>>, released: Option<Place> },
    /// It announces room.
    WindowUpdate,
    /// A RST.
    Reset(Box<Reset>),
}

/// What was sent before is sent again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    pub(super) first: Place,
    mechanism: Mechanism,
    why: Why,
    /// How long after the first transmission, where the next one decides whether it is a probe.
    undecided: Option<Span>,
}

/// A RST, and what went before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    /// The SYN that it refuses.
    refuses: Option<Place>,
    /// The last keep-alive, unanswered.
    unanswered: Option<Place>,
    /// The peer's last segment.
    of: Option<Place>,
    after_own_fin: bool,
    /// How far octets of the peer had come.
    arrived: u64,
}

/// What one end has sent so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Its first SYN (or SYN-ACK).
    syn: Option<Place>,
    /// Its first SYN-ACK.
    syn_ack: Option<Place>,
    /// Its first FIN.
    fin: Option<Place>,
    /// Its segments that took sequence space, ascending by end: (relative end, place).
    ends: Vec<(i64, Place)>,
    /// Octets sent for the first time, ascending: (positions, place).
    octets: Vec<(Range, Place)>,
    /// By the number at which they begin, the last of the segments that were sent again.
    again: std::collections::HashMap<i64, Place>,
    /// The last segment it sent.
    last: Option<Place>,
    /// Whether it answered the peer's SYN-ACK.
    finished_handshake: bool,
    /// The acknowledgement number it sent last, relative.
    acked: Option<i64>,
    /// The shortest time that an answer of it took to pass the place of capture: the path there and back, and nothing held back.
    quickest: Option<Span>,
    /// Where it reported a loss last: a duplicate acknowledgement, or a SACK block.
    reported: Option<Place>,
}

impl PerConnection {
    /// What the segment at `place`, the newest one, is by those before it; returns another one about which it decides, too.
    pub(super) fn classify(&mut self, place: Place) -> (Ground, Option<Place>) {
        let side = self.seen[place].from;
        let ground = self.ground(place, side);
        let mut decided = None;
        if !matches!(ground, Ground::Copy { .. }) {
            if let Ground::Octets { again: Some(_), .. } = ground {
                decided = self.decide(place, side);
            }
            self.remember(place, side, &ground);
        }
        (ground, decided)
    }

    fn ground(&self, place: Place, side: Side) -> Ground {
        let seen = &self.seen[place];
        let (flags, findings) = (seen.flags, seen.findings);
        if findings.contains(Finding::CapturedTwice) {
            let is_original = |earlier: &Place| {
                let earlier = &self.seen[*earlier];
                (earlier.from, earlier.header) == (side, seen.header) && !matches!(earlier.ground, Ground::Copy { .. })
            };
            return Ground::Copy { of: (0..place).rev().take(REACH).find(is_original) };
        }
        if flags.contains(Flags::RST) {
            return Ground::Reset(Box::new(self.reset(side)));
        }
        if flags.contains(Flags::SYN) {
            return self.syn(side, flags.contains(Flags::ACK));
        }
        let last_of_peer = self.sent(side.peer()).last;
        if findings.contains(Finding::KeepAlive) && self.has_no_room(side.peer()) {
            return kernel(Mechanism::ZeroWindowProbe, last_of_peer, Why::NoRoomOldOctet);
        }
        if findings.contains(Finding::KeepAlive) {
            return kernel(Mechanism::KeepAlive, self.sent(side).last, Why::Idle);
        }
        if findings.contains(Finding::ZeroWindowProbe) {
            return Ground::Probe { of: last_of_peer };
        }
        if flags.contains(Flags::FIN) || seen.stream.is_some() {
            let again = self.sent_before(place, side).map(|first| Box::new(self.again(place, side, first)));
            return Ground::Octets { again, released: last_of_peer };
        }
        self.acknowledgement(place, side)
    }

    fn syn(&self, side: Side, with_ack: bool) -> Ground {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        if let Some(first) = if with_ack { own.syn_ack } else { own.syn } {
            return Ground::SynAgain { first, with_ack };
        }
        match (with_ack, own.syn) {
            (true, Some(syn)) => kernel(Mechanism::Handshake, peer.syn.or(Some(syn)), Why::SynsCrossed),
            (true, None) => kernel(Mechanism::Handshake, peer.syn, Why::Listening),
            (false, _) => Ground::Syn,
        }
    }

    /// The first transmission of what this segment carries, if it was sent before.
    fn sent_before(&self, place: Place, side: Side) -> Option<Place> {
        let sent = self.sent(side);
        match self.seen[place].stream {
            Some(range) => {
                let start = sent.octets.partition_point(|(known, _)| known.to <= range.from);
                let known = sent.octets.get(start).filter(|(known, _)| known.overlaps(range)).map(|(_, place)| *place);
                // A segment that brings something new is no repetition, though it may begin with old octets.
                let highest = sent.octets.last().map_or(0, |(known, _)| known.to);
                known.filter(|_| range.to <= highest)
            }
            None => sent.fin,
        }
    }

    fn again(&self, place: Place, side: Side, first: Place) -> Again {
        let (seen, sent) = (&self.seen[place], self.sent(side));
        let waited = self.between(first, place).unwrap_or(Span(0));
        // Of a socket that is connected to itself the peer has sent nothing.
        let reported = self.ends[side.peer() as usize].sent.reported.is_some_and(|place| place >= first);
        let by = |mechanism, why, undecided| Again { first, mechanism, why, undecided };
        if seen.findings.contains(Finding::FastRetransmission) || (reported && waited < MINIMUM_RTO) {
            return by(Mechanism::FastRetransmit, Why::LossReported, None);
        }
        let is_tail = seen.flags.contains(Flags::FIN)
            || seen.stream.is_some_and(|range| sent.octets.last().is_some_and(|(known, _)| known.to == range.to));
        if !is_tail {
            return by(Mechanism::RetransmissionTimeout, Why::TimerExpired, None);
        }
        // A timeout sends the oldest segment without an acknowledgement first, and each doubles the time to the next; a probe does neither.
        let was_repeated = sent.again.get(&seen.seq).is_some_and(|place| *place > first);
        let passes_over = self.sent(side.peer()).acked.is_some_and(|acked| acked < self.seen[first].seq);
        if waited < MINIMUM_RTO || (!was_repeated && passes_over) {
            return by(Mechanism::TailLossProbe, Why::TailUnacknowledged, None);
        }
        by(Mechanism::RetransmissionTimeout, Why::TimerExpired, (!was_repeated).then_some(waited))
    }

    /// Decides about the last repetition of what the segment at `place` repeats once more: it was a probe if this one did not wait longer.
    fn decide(&mut self, place: Place, side: Side) -> Option<Place> {
        let earlier = *self.sent(side).again.get(&self.seen[place].seq)?;
        let between = self.between(earlier, place)?;
        let Ground::Octets { again: Some(again), .. } = &mut self.seen[earlier].ground else { return None };
        let waited = again.undecided.take()?;
        if between.as_nanos() >= waited.as_nanos() / 2 * 3 {
            return None;
        }
        (again.mechanism, again.why) = (Mechanism::TailLossProbe, Why::TailUnacknowledged);
        Some(earlier)
    }

    fn acknowledgement(&self, place: Place, side: Side) -> Ground {
        let seen = &self.seen[place];
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        if !seen.flags.contains(Flags::ACK) {
            return kernel(Mechanism::Unknown, None, Why::Empty);
        }
        if let Some(syn_ack) = peer.syn_ack.filter(|_| own.syn.is_some() && !own.finished_handshake)
            && seen.ack == Some(1)
        {
            return kernel(Mechanism::Handshake, Some(syn_ack), Why::EndsHandshake);
        }
        if seen.findings.contains(Finding::WindowUpdate) {
            return Ground::WindowUpdate;
        }
        // The number that was sent before acknowledges nothing new: something came that has to be answered all the same.
        let repeats = seen.ack == own.acked;
        let advances = seen.ack > own.acked;
        let of = if repeats { peer.last } else { self.acknowledged(seen.ack, side.peer()) };
        let Some(of) = of else {
            return kernel(Mechanism::Ack, peer.last, Why::NotCaptured);
        };
        let late = advances
            && self.is_worth_a_delay(seen.ack, of, side)
            && own.quickest.zip(self.between(of, place)).is_some_and(|(quickest, took)| {
                took.as_nanos().saturating_sub(quickest.as_nanos()) >= DELAYED.as_nanos()
            });
        if late {
            return kernel(Mechanism::DelayedAck, Some(of), Why::HeldBack);
        }
        let answered = &self.seen[of];
        let known = seen.ack.is_some_and(|ack| answered.end() <= ack);
        let why = match seen.findings.contains(Finding::DuplicateAck) {
            true if answered.len > 0 && known => Some(Why::ReceivedBefore),
            true if !known => Some(Why::GapBefore),
            _ if !repeats && !advances => Some(Why::Overtaken),
            _ => None,
        };
        Ground::Kernel { mechanism: Mechanism::Ack, of: Some(of), why }
    }

    /// Whether an acknowledgement may be held back (RFC 9293 section 3.8.6.3): nothing newer had been sent that would have called it forth, and it is for less than two full segments.
    fn is_worth_a_delay(&self, ack: Option<i64>, of: Place, side: Side) -> bool {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let newest = peer.ends.last().is_some_and(|(_, last)| *last == of);
        let first = own.acked.unwrap_or_default();
        let octets = ack.unwrap_or_default().saturating_sub(first);
        newest && (first >= self.seen[of].seq || octets < 2 * SMALLEST_MSS)
    }

    /// The time from one segment to another.
    fn between(&self, from: Place, to: Place) -> Option<Span> {
        self.seen[to].at.zip(self.seen[from].at).map(|(now, then)| now.since(then))
    }

    /// Whether an end's last word was that its receive buffer is full.
    fn has_no_room(&self, side: Side) -> bool {
        self.sent(side).last.is_some_and(|last| self.seen[last].window == 0)
    }

    /// The newest segment of an end that this number acknowledges in full.
    fn acknowledged(&self, ack: Option<i64>, of: Side) -> Option<Place> {
        let (ack, ends) = (ack?, &self.sent(of).ends);
        ends[..ends.partition_point(|(end, _)| *end <= ack)].last().map(|(_, place)| *place)
    }

    fn reset(&self, side: Side) -> Reset {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let refuses = peer
            .syn
            .filter(|syn| own.syn.is_none() && own.last.is_none() && !self.seen[*syn].flags.contains(Flags::ACK));
        let unanswered = own.last.filter(|last| {
            peer.last < Some(*last)
                && self.seen[*last].findings.contains(Finding::KeepAlive)
                && !self.has_no_room(side.peer())
        });
        let arrived = peer.octets.last().map_or(0, |(range, _)| range.to);
        Reset { refuses, unanswered, of: peer.last, after_own_fin: own.fin.is_some(), arrived }
    }

    fn sent(&self, side: Side) -> &Sent {
        // A socket that is connected to itself is its own peer.
        let side = if self.is_one_end() { Side::Client } else { side };
        &self.ends[side as usize].sent
    }

    fn remember(&mut self, place: Place, side: Side, ground: &Ground) {
        let seen = &self.seen[place];
        let (flags, stream, ack) = (seen.flags, seen.stream, seen.ack);
        let (seq, end, takes_space) = (seen.seq, seen.end(), seen.seq_len > 0);
        let reports = seen.findings.contains(Finding::DuplicateAck) || seen.has_sack;
        let peer = self.sent(side.peer());
        let peer_synced = peer.syn.is_some();
        let repeats = ack == self.sent(side).acked;
        let answered =
            if flags.contains(Flags::SYN) || repeats { peer.last } else { self.acknowledged(ack, side.peer()) };
        let took = answered.filter(|_| flags.contains(Flags::ACK)).and_then(|of| self.between(of, place));
        let sent = &mut self.ends[side as usize].sent;
        sent.last = Some(place);
        if flags.contains(Flags::RST) {
            return;
        }
        if reports {
            sent.reported = Some(place);
        }
        sent.quickest = sent.quickest.into_iter().chain(took).min();
        sent.acked = sent.acked.max(ack);
        if flags.contains(Flags::SYN | Flags::ACK) {
            sent.syn_ack.get_or_insert(place);
        }
        if flags.contains(Flags::SYN) {
            sent.syn.get_or_insert(place);
        } else if flags.contains(Flags::ACK) && peer_synced {
            sent.finished_handshake = true;
        }
        if flags.contains(Flags::FIN) {
            sent.fin.get_or_insert(place);
        }
        if takes_space {
            match sent.ends.binary_search_by_key(&end, |(known, _)| *known) {
                // Sent again: an acknowledgement from now on answers this one.
                Ok(at) => sent.ends[at].1 = place,
                Err(at) if at == sent.ends.len() => sent.ends.push((end, place)),
                Err(_) => {}
            }
        }
        if let Ground::Octets { again: Some(_), .. } = ground {
            sent.again.insert(seq, place);
        }
        if let Some(range) = stream {
            let highest = sent.octets.last().map_or(0, |(known, _)| known.to);
            if range.to > highest {
                sent.octets.push((Range { from: range.from.max(highest), to: range.to }, place));
            }
        }
    }

    /// The cause of the segment at `place`, as far as it is known now.
    pub(super) fn explain(&mut self, place: Place) -> Found {
        let seen = &self.seen[place];
        let (side, ground, at) = (seen.from, seen.ground.clone(), seen.at);
        let calls = &self.ends[side as usize].calls;
        let is_watched = calls.is_watched();
        let mut found = match ground {
            Ground::Copy { of } => {
                return Found { of, evidence: Some(Evidence::Joined(Join::SameFrame)), ..Found::default() };
            }
            Ground::Kernel { mechanism, of, why } => Found { kernel: Some(mechanism), of, why, ..Found::default() },
            Ground::Syn => match calls.connect {
                Some(connect) => Found { calls: vec![connect], ..Found::default() },
                None => by_kernel(Mechanism::Unknown, None, Why::Unwatched(Unwatched::Connect)),
            },
            Ground::SynAgain { first, with_ack } => {
                let calls = calls.connect.filter(|_| !with_ack).into_iter().collect();
                Found { calls, ..by_kernel(Mechanism::RetransmissionTimeout, Some(first), Why::SynUnanswered) }
            }
            Ground::Probe { of } => {
                let calls = self.writers(place);
                Found { calls, ..by_kernel(Mechanism::ZeroWindowProbe, of, Why::NoRoom) }
            }
            Ground::WindowUpdate => {
                let calls = calls.received_by(at).map(|(_, call)| call).into_iter().collect();
                Found { calls, ..by_kernel(Mechanism::WindowUpdate, None, Why::RoomMade) }
            }
            Ground::Octets { again, released } => self.octets(place, again.map(|again| *again), released),
            Ground::Reset(reset) => by_reset(&reset, at, self.seen[place].flags, calls),
        };
        found.unwatched = found.calls.is_empty() && !is_watched;
        let seen = &self.seen[place];
        found.evidence = Some(evidence(found.kernel, seen.flags, seen.stream.is_some()));
        if let Some(said) = seen.confirmed {
            overrule(&mut found, said);
        }
        found
    }

    /// The calls that wrote what the segment at `place` carries, as many as may be joined to it.
    fn writers(&mut self, place: Place) -> Vec<EventId> {
        let seen = &self.seen[place];
        let Some(range) = seen.stream else { return Vec::new() };
        let writers = self.ends[seen.from as usize].calls.writers(range);
        let joined = self.joined.take(seen.joins, writers);
        self.seen[place].joins = joined.len();
        joined
    }

    /// The cause of octets for the first time or again, with or without a FIN, or of a FIN alone.
    fn octets(&mut self, place: Place, again: Option<Again>, released: Option<Place>) -> Found {
        let mut calls = self.writers(place);
        let written = calls.len();
        let seen = &self.seen[place];
        let own = &self.ends[seen.from as usize].calls;
        let fin = seen.flags.contains(Flags::FIN);
        if fin {
            calls.extend(own.first_closing(seen.at));
        }
        if let Some(Again { first, mechanism, why, .. }) = again {
            return Found { calls, ..by_kernel(mechanism, Some(first), why) };
        }
        let (kernel, why) = match (calls.is_empty(), fin, own.is_watched()) {
            (false, ..) => (None, self.why_late(place, written, released)),
            (true, true, true) => (Some(Mechanism::Exit), Some(Why::ProcessEnded)),
            (true, true, false) => (Some(Mechanism::Unknown), Some(Why::Unwatched(Unwatched::Close))),
            (true, false, true) => (Some(Mechanism::Unknown), Some(Why::NotWritten)),
            (true, false, false) => (Some(Mechanism::Unknown), Some(Why::Unwatched(Unwatched::Send))),
        };
        Found { calls, kernel, why, ..Found::default() }
    }

    /// Why octets left the host only after the calls that wrote them had returned.
    fn why_late(&self, place: Place, writers: usize, released: Option<Place>) -> Option<Why> {
        let seen = &self.seen[place];
        let last = writers.checked_sub(1)?;
        let (entered, returned) = self.ends[seen.from as usize].calls.interval_of_writer(seen.stream?, last)?;
        let released = &self.seen[released?];
        // What came before the octets were written cannot have let them go.
        let waited = seen.at? > returned && released.at? >= entered;
        waited.then_some(Why::Waited { released_by: released.frame })
    }
}

/// The cause of a RST of an end with these calls.
fn by_reset(reset: &Reset, at: Option<Timestamp>, flags: Flags, calls: &EndCalls) -> Found {
    if let Some(syn) = reset.refuses {
        return by_kernel(Mechanism::Reset, Some(syn), Why::PortClosed);
    }
    let gives_up = reset.unanswered.map(|last| by_kernel(Mechanism::KeepAlive, Some(last), Why::KeepAlivesUnanswered));
    if !calls.is_watched() {
        // Linux aborts a socket with RST and ACK; what finds no socket is answered with its own number, and no ACK.
        return gives_up.unwrap_or_else(|| match flags.contains(Flags::ACK) {
            true => by_kernel(Mechanism::Unknown, reset.of, Why::Unwatched(Unwatched::Abort)),
            false => by_kernel(Mechanism::Reset, reset.of, Why::NoSocket),
        });
    }
    let Some((closing, returned)) = calls.closed_by(at) else {
        return gives_up.unwrap_or_else(|| by_kernel(Mechanism::Reset, reset.of, Why::NotAcceptable));
    };
    let during = returned.is_none_or(|returned| at.is_none_or(|at| at <= returned));
    if during || !reset.after_own_fin {
        let unread = reset.arrived.saturating_sub(calls.received_by(at).map_or(0, |(read, _)| read.to));
        let why = match (calls.lingers_zero(at), unread) {
            (true, _) => Why::LingerZero,
            (false, 0) => Why::UnreadOnTheWay,
            (false, unread) => Why::Unread(unread),
        };
        return Found { calls: vec![closing], why: Some(why), ..Found::default() };
    }
    by_kernel(Mechanism::Reset, reset.of, Why::SocketClosed)
}

/// What the kernel said of a segment goes before what was concluded.
fn overrule(found: &mut Found, said: Expected) {
    found.evidence = Some(Evidence::Witnessed(Witness::Kernel));
    match said {
        // What it was sent again for is concluded still; that it was is known, though the first transmission was not captured.
        Expected::Retransmission if found.kernel.is_none_or(|kernel| kernel == Mechanism::Unknown) => {
            (found.kernel, found.why) = (Some(Mechanism::Recovery), None);
        }
        Expected::Reset(Some(why)) if !(why == Why::UnreadOnTheWay && matches!(found.why, Some(Why::Unread(_)))) => {
            found.why = Some(why);
            if found.calls.is_empty() && found.kernel.is_none_or(|kernel| kernel == Mechanism::Unknown) {
                found.kernel = Some(Mechanism::Reset);
            }
        }
        Expected::Retransmission | Expected::Reset(_) => {}
    }
}

/// On what a cause rests that no witness spoke of.
fn evidence(kernel: Option<Mechanism>, flags: Flags, has_octets: bool) -> Evidence {
    match kernel {
        Some(mechanism) if mechanism.is_joined() => Evidence::Joined(Join::Kernel(mechanism)),
        Some(mechanism) => Evidence::Inferred(Join::Kernel(mechanism)),
        None if flags.contains(Flags::RST) => Evidence::Joined(Join::Abort),
        None if flags.contains(Flags::SYN) => Evidence::Joined(Join::Connect),
        None => Evidence::Joined(if has_octets { Join::Octets } else { Join::Close }),
    }
}

fn by_kernel(mechanism: Mechanism, of: Option<Place>, why: Why) -> Found {
    Found { kernel: Some(mechanism), of, why: Some(why), ..Found::default() }
}

fn kernel(mechanism: Mechanism, of: Option<Place>, why: Why) -> Ground {
    Ground::Kernel { mechanism, of, why: Some(why) }
}

/// An acknowledgement that took this much longer than the end's quickest answer was delayed: Linux's shortest delay is 40 ms (TCP_DELACK_MIN, include/net/tcp.h).
const DELAYED: Span = Span::from_millis(36);

/// The largest segment that every end takes without having said so (RFC 9293 section 3.7.1).
const SMALLEST_MSS: i64 = 536;

/// Linux's shortest retransmission timeout (TCP_RTO_MIN, include/net/tcp.h).
const MINIMUM_RTO: Span = Span::from_millis(200);

/// Among how many segments the original of a copied frame is looked for: those before it of both ends.
const REACH: usize = 64;
