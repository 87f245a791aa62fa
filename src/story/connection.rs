//! What a timeline knows of one connection while it grows: its segments, and both its ends.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::answers::Answers;
use super::end_calls::{EndCalls, Explains, Unclaimed};
use super::events::Events;
use super::fanout::Joins;
pub(super) use super::ground::Place;
use super::ground::{Ground, Heard, Sent, is_older};
use super::path::Path;
use super::phases::{Bounds, set_phases};
use super::timing::Stopwatch;
use super::{EventId, Why};
use crate::calls::Lifetime;
use crate::flow::{
    Connection, ConnectionId, Ending, FindingAt, Left, Problem, ProblemKind, Range, ResetKind, Side, Verdict,
};
use crate::kernel::Congestion;
use crate::script::LinkAct;
use crate::tcp::{Basis, FindingSet, Move, State};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment, Seq, Tunnel};

/// What is known of one connection.
#[derive(Clone, Debug)]
pub(super) struct PerConnection {
    pub(super) id: ConnectionId,
    /// What the retransmission timers of its ends are never shorter than, where that is known.
    pub(super) rto_min: Option<Span>,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) seen: Vec<Seen>,
    pub(super) ends: [PerEnd; 2],
    /// The first SYN without ACK.
    pub(super) first_syn: Option<Place>,
    /// Its events.
    pub(super) events: Vec<EventId>,
    pub(super) stopwatch: Stopwatch,
    pub(super) joined: Joins,
    pub(super) bounds: Bounds,
    /// Whether these have changed since its events got their phases.
    pub(super) bounds_moved: bool,
    /// How many of its events have got their phases.
    pub(super) phased: usize,
    /// Events that were put to another time since.
    pub(super) moved: Vec<EventId>,
    /// The segments whose cause has to be found, or found again.
    pub(super) stale: Vec<Place>,
    /// The frames that are further sightings of a segment, ascending.
    pub(super) seen_again: Vec<u64>,
    /// Where a witness disagrees with the segments.
    pub(super) disagreements: Vec<FindingAt>,
    pub(super) disagreements_omitted: u64,
    /// The first segment that came in another tunnel than the first of its end.
    pub(super) strayed: Option<FindingAt>,
    /// Its summary, once it has ended.
    pub(super) summary: Option<Box<Connection>>,
    /// The lives of sockets that are its ends.
    pub(super) lives: Vec<Lifetime>,
    /// The kernel has no socket of it any more, and no segment has shown its end.
    pub(super) is_gone: bool,
}

/// What is known of one end.
#[derive(Clone, Debug, Default)]
pub(super) struct PerEnd {
    pub(super) sent: Sent,
    pub(super) calls: EndCalls,
    pub(super) path: Path,
    pub(super) answers: Answers,
    /// Its calls that returned because of a segment that was not seen yet.
    pub(super) unanswered: Vec<EventId>,
    /// The tunnel of its first segment.
    pub(super) tunnel: Option<Box<[Tunnel]>>,
    /// Its segments whose octets were not all written by calls that are known.
    pub(super) unwritten: Unclaimed,
    /// Its segments whose octets were not all read by calls that are known.
    pub(super) unread: Unclaimed,
    /// Its segments that calls other than sends may explain.
    syns: Vec<Place>,
    fins: Vec<Place>,
    resets: Vec<Place>,
    updates: Vec<Place>,
    syns_are_stale: bool,
    fins_are_stale: bool,
    /// Since when calls have become known that may explain RSTs, and window updates.
    resets_since: Option<Timestamp>,
    updates_since: Option<Timestamp>,
    /// The positions of octets that its segments called urgent.
    pub(super) urgent: BTreeSet<u64>,
    /// What the kernel said it sends, and that was not captured yet.
    pub(super) expected: VecDeque<Awaited>,
    /// What a segment that is known to be lost would have moved it to, until another one brings the same.
    pub(super) overdue: Vec<Move>,
    /// Its last FIN, and its last SYN-ACK: what a move of the peer rests on that a later segment proves.
    pub(super) fin: Option<EventId>,
    pub(super) syn_ack: Option<EventId>,
    /// What its FIN was acknowledged by first.
    pub(super) fin_acked_by: Option<EventId>,
    /// A move that a segment would have made that did not arrive.
    pub(super) undone: Option<Undone>,
    /// Whether it is known of what comes to it that it came, as it was captured at its own place.
    pub(super) has_own_capture: bool,
    /// The congestion state that its kernel told last, and whether nothing was sent again since.
    pub(super) congestion: Option<(Congestion, bool)>,
    /// The last ICMP error that came to it.
    pub(super) heard: Option<Heard>,
    /// The TIME-WAIT timer that was seen running.
    pub(super) timer: Option<EventId>,
    /// Whether its kernel had no socket in TIME-WAIT where there should have been one.
    pub(super) has_no_time_wait: bool,
}

/// What the kernel said that it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    /// Octets or a FIN that were sent before; in which congestion state, where it was told, and whether for the first time in it.
    Retransmission(Option<(Congestion, bool)>),
    /// A SYN or a SYN-ACK that was sent before.
    SynAgain,
    /// A RST, for that reason.
    Reset(Option<Why>),
}

/// What the kernel said that it sends, before that was captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) at: Timestamp,
    pub(super) what: Expected,
    /// The kernel's word.
    pub(super) said: EventId,
}

/// A move of the receiver of a segment that did not arrive; the next one that says the same makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undone {
    pub(super) step: Move,
    /// What the segment said: whether it had a FIN, and what it acknowledged.
    pub(super) fin: bool,
    pub(super) ack: Option<i64>,
}

/// A segment, as far as the joins need it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Whether it is known not to have arrived.
    pub(super) is_lost: bool,
    pub(super) event: EventId,
    pub(super) frame: u64,
    pub(super) from: Side,
    pub(super) at: Option<Timestamp>,
    /// The latest time of the connection's segments so far.
    pub(super) latest: Option<Timestamp>,
    pub(super) flags: Flags,
    pub(super) seq: i64,
    pub(super) ack: Option<i64>,
    pub(super) len: u32,
    pub(super) seq_len: u32,
    pub(super) window: u32,
    pub(super) stream: Option<Range>,
    pub(super) findings: FindingSet,
    /// Its first SACK block, relative.
    pub(super) first_block: Option<(i64, i64)>,
    /// Whether it is a SYN that permits SACK.
    pub(super) permits_sack: bool,
    /// Whether, as a SYN, it may ask for Fast Open.
    pub(super) opens_fast: bool,
    /// Its timestamp.
    pub(super) stamp: Option<u32>,
    /// The peer's timestamp that it repeats.
    pub(super) echo: Option<u32>,
    pub(super) header: Header,
    pub(super) ground: Ground,
    /// What the kernel said of its being sent.
    pub(super) confirmed: Option<Expected>,
    /// What the link did to it.
    pub(super) act: Option<(EventId, LinkAct)>,
    /// How many sends are joined to it.
    pub(super) joins: usize,
    /// What it did to the states of its ends.
    pub(super) moves: Vec<EventId>,
}

/// What a copy of a frame has in common with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    seq: Seq,
    ack: Seq,
    flags: Flags,
    len: u32,
    window: u16,
    checksum: u16,
    ip_id: Option<u16>,
}

impl Header {
    pub(super) fn of(segment: &Segment) -> Self {
        let Segment { seq, ack, flags, len, window, checksum, ip_id, .. } = *segment;
        Self { seq, ack, flags, len, window, checksum, ip_id }
    }

    /// Whether it is of the same segment as another one that was seen elsewhere, where a network card may not have filled in the checksum yet.
    pub(super) fn is_elsewhere_of(&self, other: &Self) -> bool {
        Self { checksum: other.checksum, ..*self } == *other
    }

    /// Whether its datagram has an identification of its own: then an equal one is a copy.
    pub(super) fn is_identified(&self) -> bool {
        self.ip_id.is_some_and(|id| id != 0)
    }

    /// How many datagrams after that of `other` its own was made, by their identifications: of ends that count them up by one.
    pub(super) fn datagrams_after(&self, other: &Self) -> Option<i16> {
        let [id, before] = [self.ip_id, other.ip_id].map(|id| id.filter(|id| *id != 0));
        id.zip(before).map(|(id, before)| id.wrapping_sub(before).cast_signed())
    }

    /// Whether it is, as far as its number says, that of a segment.
    pub(super) fn has_number_of_segment(&self, segment: &Segment) -> bool {
        self.seq == segment.seq
    }

    /// Whether its datagram is that of a segment.
    pub(super) fn has_identification_of(&self, segment: &Segment) -> bool {
        self.ip_id == segment.ip_id
    }

    /// Whether both have the same sequence number.
    pub(super) fn has_number_of(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}

impl Seen {
    /// The relative number after its last octet, SYN or FIN.
    pub(super) fn end(&self) -> i64 {
        self.seq.saturating_add(i64::from(self.seq_len))
    }

    /// Whether timestamps, or else the identifications of datagrams, say that it was sent before another segment of its end.
    pub(super) fn was_sent_before(&self, other: &Self) -> bool {
        match self.stamp.zip(other.stamp) {
            Some((stamp, others)) if stamp != others => is_older(stamp, others),
            _ => self.header.datagrams_after(&other.header).is_some_and(|past| (-NEAR..0).contains(&past)),
        }
    }
}

impl PerConnection {
    pub(super) fn new(id: ConnectionId, [client, server]: [SocketAddr; 2], rto_min: Option<Span>) -> Self {
        Self {
            id,
            rto_min,
            client,
            server,
            // Most connections of a scan have no second segment.
            seen: Vec::with_capacity(1),
            ends: Default::default(),
            first_syn: None,
            events: Vec::new(),
            stopwatch: Stopwatch::default(),
            joined: Joins::default(),
            bounds: Bounds::default(),
            bounds_moved: false,
            phased: 0,
            moved: Vec::new(),
            stale: Vec::new(),
            seen_again: Vec::new(),
            disagreements: Vec::new(),
            disagreements_omitted: 0,
            strayed: None,
            summary: None,
            lives: Vec::new(),
            is_gone: false,
        }
    }

    /// Adds to its summary what only the timeline knows.
    ///
    /// What the table found in a frame that is another sighting of a segment is no finding of that segment.
    pub(super) fn complete_summary(&self, summary: &mut Connection) {
        let again = &self.seen_again;
        summary.findings.retain(|found| found.frame.is_none_or(|frame| again.binary_search(&frame).is_err()));
        self.tell_injected(summary);
        self.tell_given_up(summary);
        self.tell_no_time_wait(summary);
        summary.findings.splice(0..0, self.strayed.clone());
        summary.findings.extend(self.disagreements.iter().cloned());
        summary.findings_omitted += self.disagreements_omitted;
    }

    /// Says that the kernel of an end has closed its socket, though no segment tells it.
    fn tell_given_up(&self, summary: &mut Connection) {
        if self.is_gone && matches!(summary.ending, Ending::Open | Ending::HalfClosed) {
            summary.verdict = Verdict::Gone;
            return;
        }
        let is_closed = |side: Side| self.ends[side as usize].path.last() == Some(State::Closed);
        let by = match (is_closed(Side::Client), is_closed(Side::Server)) {
            (true, false) => Side::Client,
            (false, true) => Side::Server,
            _ => return,
        };
        if matches!(summary.verdict, Verdict::Established | Verdict::Open) {
            summary.verdict = Verdict::GivenUp { by };
        }
    }

    /// Says that no end waits whose kernel has no socket in TIME-WAIT.
    fn tell_no_time_wait(&self, summary: &mut Connection) {
        let lacks = |side: Side| self.ends[side as usize].has_no_time_wait;
        for side in [Side::Client, Side::Server].into_iter().filter(|side| lacks(*side)) {
            let known = (Some(State::Closed), Some(Basis::Kernel));
            match side {
                Side::Client => (summary.client_state, summary.client_state_basis) = known,
                Side::Server => (summary.server_state, summary.server_state_basis) = known,
            }
        }
        match &mut summary.verdict {
            Verdict::Closed { first, left } if *left == Left::TimeWait && lacks(*first) => *left = Left::Nothing,
            Verdict::ClosedTogether { waiting } => {
                for side in [Side::Client, Side::Server] {
                    waiting[side as usize] &= !lacks(side);
                }
            }
            _ => {}
        }
    }

    /// Says what the link between the ends made up, and that a RST of it was no end's.
    fn tell_injected(&self, summary: &mut Connection) {
        let is_injected = |seen: &&Seen| matches!(seen.act, Some((_, LinkAct::Injected)));
        // What was refused did no harm.
        let did_harm =
            |seen: &&Seen| if seen.flags.contains(Flags::RST) { !seen.moves.is_empty() } else { seen.len > 0 };
        let injected = || self.seen.iter().filter(is_injected).filter(did_harm);
        let Some(first) = injected().next() else { return };
        let its = || injected().filter(|seen| seen.from == first.from);
        let octets = its().map(|seen| u64::from(seen.len)).sum();
        let (since, last) = (first.at, its().next_back().and_then(|seen| seen.at));
        summary.problem = Some(Box::new(Problem {
            since,
            lasted: since.zip(last).map(|(since, last)| last.since(since).max(Span(0))),
            segments: Some(its().count() as u64),
            octets: Some(octets),
            ..Problem::new(ProblemKind::Injected, first.from)
        }));
        let ended = self.seen.iter().find(|seen| seen.flags.contains(Flags::RST) && !seen.moves.is_empty());
        let by = ended.filter(is_injected).map(|seen| seen.from);
        match (by, summary.verdict) {
            (Some(by), Verdict::Refused) => summary.verdict = Verdict::Reset { by, kind: ResetKind::Forged },
            (Some(forged), Verdict::Reset { by, .. }) if forged == by => {
                summary.verdict = Verdict::Reset { by, kind: ResetKind::Forged };
            }
            _ => return,
        }
        // Neither end ended it.
        summary.closed_by = None;
    }

    /// When its first segment was captured.
    pub(super) fn began(&self) -> Option<Timestamp> {
        self.seen.first().and_then(|seen| seen.at)
    }

    /// Gives its events their phases: those that are new, or all where the bounds have changed; tells whether they have.
    pub(super) fn set_phases(&mut self, events: &mut Events) -> bool {
        let changed = std::mem::take(&mut self.bounds_moved);
        if changed {
            self.phased = 0;
        }
        set_phases(events, &self.events[self.phased..], self.bounds);
        self.phased = self.events.len();
        set_phases(events, &std::mem::take(&mut self.moved), self.bounds);
        changed
    }

    /// The end to which an end speaks: of a socket that is connected to itself, the same.
    pub(super) fn other(&self, side: Side) -> Side {
        if self.is_one_end() { side } else { side.peer() }
    }

    /// Whether a segment of the client is the one that ends the handshake.
    pub(super) fn is_completed_by(&self, place: Place) -> bool {
        let [client, server] = [Side::Client, Side::Server].map(|side| self.ends[side as usize].answers);
        client.ack == Some(place) && server.syn_ack.is_some() && !self.seen[place].flags.contains(Flags::RST)
    }

    /// Whether the server may hand it to an accept before the handshake is over.
    pub(super) fn asks_for_fast_open(&self) -> bool {
        let syn = self.ends[Side::Client as usize].sent.syn;
        syn.is_some_and(|syn| self.seen[syn].opens_fast)
    }

    /// Whether it is a socket that is connected to itself.
    pub(super) fn is_one_end(&self) -> bool {
        self.client == self.server
    }

    /// Notes which calls may explain the newest segment.
    pub(super) fn note_explicable(&mut self, place: Place) {
        let seen = &self.seen[place];
        let end = &mut self.ends[seen.from as usize];
        match &seen.ground {
            Ground::Copy { .. } => return,
            Ground::Syn | Ground::SynAgain { .. } => end.syns.push(place),
            Ground::WindowUpdate => end.updates.push(place),
            Ground::Reset(_) => end.resets.push(place),
            Ground::Octets { .. } if seen.flags.contains(Flags::FIN) => end.fins.push(place),
            Ground::Octets { .. } | Ground::Probe { .. } | Ground::Kernel { .. } | Ground::LateAck { .. } => {}
        }
        let (from, claims) = (seen.from, Self::claims(seen));
        if let Some((range, is_written)) = claims {
            if is_written && self.ends[from as usize].calls.is_watched() {
                self.ends[from as usize].unwritten.add(range, place);
            }
            let is_lost = self.seen[place].is_lost;
            if !is_lost && !self.is_one_end() && self.ends[from.peer() as usize].calls.is_watched() {
                self.ends[from as usize].unread.add(range, place);
            }
        }
    }

    /// The positions of a segment that calls may have written or read; whether sends may have written them.
    fn claims(seen: &Seen) -> Option<(Range, bool)> {
        let is_written = matches!(seen.ground, Ground::Octets { .. } | Ground::Probe { .. });
        seen.stream.filter(|_| !matches!(seen.ground, Ground::Copy { .. })).map(|range| (range, is_written))
    }

    /// The first call of an end is known: from now on its segments wait for sends, and those of its peer for receives.
    fn begin_claims(&mut self, side: Side) {
        let peer = side.peer();
        // A socket that is connected to itself is not told what brought its octets.
        let is_read = !self.is_one_end();
        for (place, seen) in self.seen.iter().enumerate() {
            let Some((range, is_written)) = Self::claims(seen) else { continue };
            if seen.from == side && is_written {
                self.ends[side as usize].unwritten.add(range, place);
            }
            if seen.from == peer && is_read && !seen.is_lost {
                self.ends[peer as usize].unread.add(range, place);
            }
        }
    }

    /// Notes that a call has become known which may explain segments of an end.
    pub(super) fn explained_by(&mut self, side: Side, explains: Explains) {
        if explains == Explains::All {
            self.begin_claims(side);
        }
        let end = &mut self.ends[side as usize];
        let earliest = |known: Option<Timestamp>, at: Timestamp| known.into_iter().chain([at]).min();
        match explains {
            Explains::Nothing => {}
            Explains::All => {
                let own = self.seen.iter().enumerate().filter(|(_, seen)| seen.from == side);
                self.stale.extend(own.map(|(place, _)| place));
            }
            Explains::Syns => end.syns_are_stale = true,
            Explains::Closing(entered) => {
                end.fins_are_stale = true;
                end.resets_since = earliest(end.resets_since, entered);
            }
            Explains::Reading(entered) => {
                end.updates_since = earliest(end.updates_since, entered);
                end.resets_since = earliest(end.resets_since, entered);
            }
        }
    }

    /// The segments whose cause has to be found, or found again, in order.
    pub(super) fn take_stale(&mut self) -> Vec<Place> {
        let mut stale = std::mem::take(&mut self.stale);
        for end in &mut self.ends {
            stale.extend(end.unwritten.newly_claimed());
            for (list, is_stale) in [(&end.syns, &mut end.syns_are_stale), (&end.fins, &mut end.fins_are_stale)] {
                if std::mem::take(is_stale) {
                    stale.extend(list);
                }
            }
            for (list, since) in [(&end.resets, &mut end.resets_since), (&end.updates, &mut end.updates_since)] {
                let Some(since) = since.take() else { continue };
                // Untimed ones may be of any time; times may go back and forth, the latest so far does not.
                let first = list.partition_point(|place| self.seen[*place].latest.is_some_and(|at| at < since));
                stale.extend(&list[first..]);
            }
        }
        stale.sort_unstable();
        stale.dedup();
        stale
    }

    /// The last segment that had been captured by `moment`.
    pub(super) fn last_by(&self, moment: Timestamp) -> Option<u64> {
        let before = self.seen.partition_point(|seen| seen.latest <= Some(moment));
        self.seen[..before].last().map(|seen| seen.frame)
    }

    /// Exchanges both ends: what was taken for the client is the server.
    pub(super) fn exchange_ends(&mut self) {
        std::mem::swap(&mut self.client, &mut self.server);
        self.ends.swap(0, 1);
        for seen in &mut self.seen {
            seen.from = seen.from.peer();
        }
    }
}

/// How far apart two identifications may be to say which datagram was made first: hosts that draw them at random are seldom so near.
const NEAR: i16 = 256;
