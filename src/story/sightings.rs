//! What the sighting of a segment says: of its connection, of its sender, of its receiver, and of calls.

use super::connection::{Header, PerConnection, Place, Seen};
use super::events::{Events, Order};
use super::ground::Ground;
use super::path::Moved;
use super::timeline::{Timeline, sorted};
use super::{
    Cause, EventId, EventKind, Evidence, Fate, Join, Observed, PointSighting, SegmentEvent, Sense, Sighting, Why,
};
use crate::flow::{ConnectionId, Detail, FindingAt, Side};
use crate::kernel::Witness;
use crate::tcp::{Finding, Move, Rule, State};
use crate::wire::{Flags, Oddities, Segment, Seq, Tunnel};

impl Timeline {
    /// Takes in that a segment was seen.
    pub(super) fn sighted(&mut self, sighting: Sighting) {
        let Sighting { observed, ends, sense, acts, passage } = sighting;
        let id = observed.step.connection;
        self.know(id, ends, observed.segment.at);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let segment = observed.segment;
        let from = if segment.from() == connection.client { Side::Client } else { Side::Server };
        let step = observed.step;
        if step.findings.contains(Finding::CapturedTwice) && connection.is_seen_again(&mut self.events, from, &observed)
        {
            return;
        }
        let mut findings = step.findings;
        if connection.strays(from, &observed.tunnel, segment.frame) {
            findings.insert(Finding::OtherTunnel);
        }
        let timing = connection.stopwatch.measure(from, &segment, step.findings);
        let latest = connection.seen.last().and_then(|seen| seen.latest).max(segment.at);
        let order = Order::of_frame(latest, segment.frame);
        let unknown = Cause {
            calls: Vec::new(),
            kernel: None,
            of: None,
            link: None,
            evidence: Evidence::Joined(Join::Octets),
            why: None,
            unwatched: false,
        };
        let kind = EventKind::Segment(Box::new(SegmentEvent {
            from,
            segment,
            seq: step.seq,
            ack: step.ack,
            window: step.window,
            stream: step.stream,
            findings,
            timing,
            cause: unknown,
            fate: passage.iter().any(|seen| seen.sense == Sense::Arrives).then_some(Fate::Arrived),
            seen: observed.seen,
            sense,
            passage,
            preview: observed.preview,
            tunnel: observed.tunnel,
        }));
        let event = self.events.push(order, segment.at, Some(id), kind);
        let place = connection.seen.len();
        connection.events.push(event);
        connection.joined.grow();
        if connection.seen.is_empty() {
            // Of many connections one segment is all there is.
            connection.seen.reserve_exact(1);
        }
        connection.seen.push(Seen {
            is_lost: sense == Sense::Leaves,
            event,
            frame: segment.frame,
            from,
            at: segment.at,
            latest,
            flags: segment.flags,
            seq: step.seq,
            ack: step.ack,
            len: segment.len,
            seq_len: segment.seq_len(),
            window: step.window,
            stream: step.stream,
            findings: step.findings,
            first_block: first_block(&segment, step.ack),
            permits_sack: segment.options.sack_permitted,
            opens_fast: segment.options.fast_open || segment.len > 0,
            stamp: segment.options.timestamps.map(|(sent, _)| sent),
            echo: segment.options.timestamps.map(|(_, echo)| echo).filter(|_| segment.flags.contains(Flags::ACK)),
            header: Header::of(&segment),
            ground: Ground::Copy { of: None },
            confirmed: None,
            joins: 0,
            act: None,
            moves: Vec::new(),
        });
        if let Some(stream) = step.stream.filter(|_| segment.flags.contains(Flags::URG) && segment.urgent > 0) {
            // Linux's pointer is to the octet after the urgent one (RFC 793).
            connection.ends[from as usize].urgent.insert(stream.from + u64::from(segment.urgent) - 1);
        }
        let ground = connection.classify(place);
        connection.seen[place].ground = ground;
        connection.stale.push(place);
        connection.note_explicable(place);
        connection.expect(&mut self.events, place);
        self.stale.insert(id);
        for act in acts {
            self.acted_on(id, place, order, (act, segment));
        }
        if !self.unseen.is_empty() {
            self.expect_act(id, place);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if step.findings.contains(Finding::CapturedTwice) {
            return;
        }
        // What did not arrive let no call return.
        if sense != Sense::Leaves {
            let answers = connection.ends[from as usize].answers.see(segment.flags, place);
            let completes = answers && from == Side::Client && connection.is_completed_by(place);
            let ends = [connection.client, connection.server];
            connection.be_read(&mut self.events, place);
            let to = connection.other(from);
            if answers && !connection.ends[to as usize].unanswered.is_empty() {
                let calls = std::mem::take(&mut connection.ends[to as usize].unanswered);
                calls.into_iter().for_each(|call| self.complete(id, to, call));
            }
            if completes && !self.calls.lives.is_empty() && !self.has_life(id, Side::Server) {
                self.queues.complete(id, ends, segment.at);
            }
        }
        // With Fast Open a connection can be accepted before its handshake is over, once its SYN is answered (tcp_try_fastopen).
        let Some(connection) = self.connections.get(&id) else { return };
        if segment.flags.contains(Flags::SYN | Flags::ACK)
            && from == Side::Server
            && connection.asks_for_fast_open()
            && !self.calls.lives.is_empty()
            && !self.has_life(id, Side::Server)
        {
            self.queues.complete(id, [connection.client, connection.server], segment.at);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let sender = &mut connection.ends[from as usize];
        if segment.flags.contains(Flags::FIN) {
            sender.fin = Some(event);
        }
        if segment.flags.contains(Flags::SYN | Flags::ACK) {
            sender.syn_ack = Some(event);
        }
        let is_needless = connection.is_needless_fin(from, segment.flags, &step.moves);
        let made_up = connection.made_up_for(from, segment.flags, step.ack).map(|step| (from.peer(), step));
        let answers_older = connection.answers_older_connection(place);
        if place == 0 && segment.flags.contains(Flags::SYN) {
            self.reuse(id, event);
        }
        if answers_older {
            self.reset_older(id, from, event);
        }
        // What a lost acknowledgement would have done, the next one that arrives does: they are cumulative.
        let arrives = sense != Sense::Leaves;
        let overdue = match self.connections.get_mut(&id) {
            Some(connection) if arrives && segment.flags.contains(Flags::ACK) => {
                std::mem::take(&mut connection.ends[from.peer() as usize].overdue)
            }
            _ => Vec::new(),
        };
        for step in overdue {
            self.move_by_segment(id, from.peer(), step, order, event);
        }
        if sense == Sense::Arrives
            && let Some(connection) = self.connections.get_mut(&id)
        {
            connection.ends[from.peer() as usize].has_own_capture = true;
        }
        let mut stays = [false; 2];
        for (side, step) in made_up.into_iter().chain(step.moves.into_iter().flatten()) {
            let is_senders = side == from;
            if is_needless && !is_senders {
                continue;
            }
            let stayed = &mut stays[side as usize];
            *stayed |= self.connections.get(&id).is_some_and(|connection| connection.has_heard(side, step));
            if *stayed {
                continue;
            }
            let shows = match sense {
                Sense::Passes => true,
                Sense::Leaves => is_senders,
                Sense::Arrives => !is_senders,
            };
            let controls = segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
            if shows {
                self.move_by_segment(id, side, step, order, event);
            } else if !arrives
                && !controls
                && let Some(connection) = self.connections.get_mut(&id)
            {
                connection.ends[side as usize].overdue.push(step);
            }
        }
    }

    /// Makes a connection known, or says anew which of its ends is the client.
    fn know(&mut self, id: ConnectionId, ends: [std::net::SocketAddr; 2], at: Option<crate::time::Timestamp>) {
        let Some(connection) = self.connections.get_mut(&id) else {
            self.connections.insert(id, Box::new(PerConnection::new(id, ends, self.rto_min)));
            self.ends.add(id, ends, at);
            self.is_seen(id, ends);
            self.join_openers(id, ends, at);
            self.hear_early(id, ends, at);
            return;
        };
        if [connection.client, connection.server] == ends || connection.client == connection.server {
            return;
        }
        self.ends.remove(id);
        self.queues.take(id);
        self.ends.add(id, ends, connection.began());
        connection.exchange_ends();
        for event in connection.events.clone() {
            match &mut self.events.event_mut(event).kind {
                EventKind::Call(call) => call.side = call.side.map(Side::peer),
                EventKind::Segment(segment) => segment.from = segment.from.peer(),
                EventKind::Transition(transition) => transition.side = transition.side.peer(),
                EventKind::Timer(timer) => timer.side = timer.side.peer(),
                EventKind::Icmp(icmp) => icmp.side = icmp.side.peer(),
                EventKind::Link(link) => link.from = link.from.peer(),
                EventKind::Kernel(kernel) => kernel.side = kernel.side.peer(),
            }
        }
        self.calls.exchange_ends(&connection.lives);
    }

    /// A segment moves an end.
    fn move_by_segment(&mut self, id: ConnectionId, side: Side, step: Move, order: Order, event: EventId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(place) = connection.seen.len().checked_sub(1) else { return };
        let at = connection.seen[place].at;
        // A server takes a SYN when it answers it.
        let cause = match step.rule {
            Rule::SynTaken => connection.first_syn().unwrap_or(event),
            // What a later segment proves to have arrived arrived before it.
            Rule::FinTaken | Rule::FinsCrossed | Rule::LastFinTaken => {
                connection.ends[connection.other(side) as usize].fin.unwrap_or(event)
            }
            Rule::SynAckTaken => connection.ends[side.peer() as usize].syn_ack.unwrap_or(event),
            Rule::FinAcked => *connection.ends[side as usize].fin_acked_by.get_or_insert(event),
            _ => event,
        };
        let by = Some(Witness::Segments);
        let moved = connection.step_by_segment(&mut self.events, Moved { side, step, order, at, cause, by });
        connection.seen[place].moves.extend(moved);
        let waits = step.to == State::TimeWait;
        if waits || step.from == Some(State::TimeWait) {
            let port = [connection.client, connection.server][side as usize].port();
            let ends = sorted([connection.client, connection.server]);
            if waits {
                self.waits.begin(side, port, id, order.at);
                self.time_waits.insert(ends, (id, side));
            } else {
                self.waits.end(side, port, id, order.at);
            }
        }
    }

    /// A connection that takes over the 4-tuple of one in TIME-WAIT has ended that state.
    fn reuse(&mut self, id: ConnectionId, by: EventId) {
        let Some(connection) = self.connections.get(&id) else { return };
        let ends = sorted([connection.client, connection.server]);
        let Some((earlier, side)) = self.time_waits.get(&ends).copied().filter(|(earlier, _)| *earlier != id) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&earlier) else { return };
        let segment = self.events.segment(by).segment;
        let is_waiting = connection.ends[side as usize].path.last() == Some(State::TimeWait);
        if !is_waiting || !connection.gives_way(&self.events, side, &segment) {
            return;
        }
        let (at, order) = (segment.at, Order::of_frame(segment.at, segment.frame));
        let step = Move { from: Some(State::TimeWait), to: State::Closed, rule: Rule::TimeWaitReused };
        let moved = Moved { side, step, order, at, cause: by, by: Some(Witness::Segments) };
        connection.step(&mut self.events, moved);
        self.time_waits.remove(&ends);
        let port = [connection.client, connection.server][side as usize].port();
        self.waits.end(side, port, earlier, at);
        self.stale.insert(earlier);
    }

    /// An end that opens a connection has reset the one before it between the same ends, of which its peer still had the state
    /// (RFC 9293 section 3.5.1).
    fn reset_older(&mut self, id: ConnectionId, from: Side, by: EventId) {
        let Some(connection) = self.connections.get(&id) else { return };
        let ends = [connection.client, connection.server];
        let older = self
            .connections
            .range_mut(..id)
            .rev()
            .take(LOOKED_BACK)
            .find(|(_, older)| sorted([older.client, older.server]) == sorted(ends));
        let Some((older, connection)) = older else { return };
        let opener = if connection.client == ends[from as usize] { Side::Client } else { Side::Server };
        let segment = &self.events.segment(by).segment;
        let (at, order) = (segment.at, Order::of_frame(segment.at, segment.frame));
        for (side, rule) in [(opener, Rule::Aborted), (opener.peer(), Rule::Reset)] {
            let from = connection.ends[side as usize].path.last();
            if from.is_some_and(|state| !matches!(state, State::Closed | State::Listen)) {
                let step = Move { from, to: State::Closed, rule };
                connection
                    .step(&mut self.events, Moved { side, step, order, at, cause: by, by: Some(Witness::Segments) });
            }
            if from == Some(State::TimeWait) {
                let port = [connection.client, connection.server][side as usize].port();
                self.time_waits.remove(&sorted(ends));
                self.waits.end(side, port, *older, at);
            }
        }
        self.stale.insert(*older);
    }
}

impl PerConnection {
    /// Whether the RST at `place` answers an acknowledgement of an older connection, while its sender waits for the answer to its SYN.
    fn answers_older_connection(&self, place: Place) -> bool {
        let seen = &self.seen[place];
        let Ground::Reset(reset) = seen.ground else { return false };
        let answered = reset.of.map(|of| &self.seen[of]).filter(|answered| answered.ack == Some(seen.seq));
        let is_older =
            |answered: &Seen| matches!(answered.ground, Ground::Kernel { why: Some(Why::OlderConnection), .. });
        !seen.flags.contains(Flags::ACK) && answered.is_some_and(is_older)
    }

    /// Whether an end that waits in TIME-WAIT gives way to this SYN: it sends it itself, or the SYN lies past the peer's old
    /// numbers or timestamps (RFC 9293 section 3.10.7.4, RFC 6191).
    fn gives_way(&self, events: &Events, waits: Side, syn: &Segment) -> bool {
        let own = if waits == Side::Client { self.client } else { self.server };
        if syn.from() == own {
            return true;
        }
        let peer = self.sent(waits.peer());
        let Some(last) = peer.last_word.map(|place| &self.seen[place]) else { return true };
        let highest = peer.highest().map_or(last.end(), |highest| highest.max(last.end()));
        // The same number as the segments have it.
        let end = Seq(events.segment(last.event).segment.seq.0.wrapping_add((highest - last.seq) as u32));
        let is_newer =
            syn.options.timestamps.zip(peer.stamp).is_some_and(|((sent, _), before)| Seq(sent).is_after(Seq(before)));
        syn.seq.is_after(end) || is_newer
    }

    /// Whether a frame that was captured before is another sighting of the same segment: it was seen at another point, or on
    /// its way in and out again at the same one. A copy that the same point took twice says nothing of the way, and is shown.
    fn is_seen_again(&mut self, events: &mut Events, from: Side, observed: &Observed) -> bool {
        let header = Header::of(&observed.segment);
        let place = match observed.segment.oddities.contains(Oddities::SEEN_ELSEWHERE) {
            // The one that this point has not had: the first of those that are the same.
            true => self.sent(from).recent.iter().copied().find(|place| {
                let known = &self.seen[*place];
                let is_here = |seen: &PointSighting| seen.seen.point == observed.seen.point;
                known.header.is_elsewhere_of(&header)
                    && !events.segment(known.event).sightings().any(|seen| is_here(&seen))
            }),
            false => self.newest_like(from, &header),
        };
        let Some(place) = place else { return false };
        let first = events.segment(self.seen[place].event);
        let known: Vec<PointSighting> = first.sightings().collect();
        if known.len() >= MOST_SIGHTINGS || known.iter().any(|known| known.seen == observed.seen) {
            return false;
        }
        let sighting = PointSighting {
            seen: observed.seen,
            frame: observed.segment.frame,
            at: observed.segment.at,
            sense: Sense::Passes,
        };
        let passage = &mut events.segment_mut(self.seen[place].event).passage;
        *passage = known;
        passage.push(sighting);
        passage.sort_by_key(|seen| (seen.at, seen.frame));
        // Frames come in order, so that it is the last one.
        let at = self.seen_again.partition_point(|frame| *frame < observed.segment.frame);
        self.seen_again.insert(at, observed.segment.frame);
        true
    }

    /// Whether the first segment of an end was in another tunnel; told of once.
    fn strays(&mut self, side: Side, tunnel: &[Tunnel], frame: u64) -> bool {
        let first = self.ends[side as usize].tunnel.get_or_insert_with(|| tunnel.into());
        let is_same = first.len() == tunnel.len() && first.iter().zip(tunnel).all(|(first, tunnel)| first.is(tunnel));
        if is_same || self.strayed.is_some() {
            return false;
        }
        let detail = Detail::Tunnels(Box::new([tunnel.into(), first.clone()]));
        self.strayed = Some(FindingAt { finding: Finding::OtherTunnel, frame: Some(frame), side, detail });
        true
    }

    /// The event of the first SYN without ACK.
    fn first_syn(&self) -> Option<EventId> {
        self.first_syn.map(|place| self.seen[place].event)
    }

    /// Tells the receives that the newest segment brought octets, if they are known already.
    fn be_read(&mut self, events: &mut Events, place: usize) {
        let seen = &self.seen[place];
        if seen.flags.contains(Flags::SYN) && !seen.flags.contains(Flags::ACK) {
            self.first_syn.get_or_insert(place);
        }
        let (Some(range), false) = (seen.stream, self.is_one_end()) else { return };
        let reader = &self.ends[seen.from.peer() as usize].calls;
        if reader.reads_on(seen.at) {
            let most = self.joined.most();
            let readers: Vec<_> = reader.readers(range, seen.at).take(most).collect();
            for (call, wanted) in self.joined.take(0, readers.into_iter()) {
                let call = events.call_mut(call);
                call.brought_by.push(seen.event);
                if range.from <= wanted && wanted < range.to {
                    call.completed_by.get_or_insert(seen.event);
                }
            }
        }
    }
}

/// The first SACK block, relative to the peer's first number.
fn first_block(segment: &Segment, ack: Option<i64>) -> Option<(i64, i64)> {
    let (from, to) = segment.options.sack_edges().first()?;
    let relative = |edge: &Seq| Some(ack?.saturating_add(i64::from(edge.0.wrapping_sub(segment.ack.0).cast_signed())));
    Some((relative(from)?, relative(to)?))
}

/// Among how many connections before it the one is looked for whose ports a connection uses again.
pub(super) const LOOKED_BACK: usize = 256;
/// How many sightings of one segment are told as such; further ones are shown as copies.
pub(super) const MOST_SIGHTINGS: usize = 16;
