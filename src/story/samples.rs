//! What TCP_INFO, sock_diag and the kernel itself say of the ends of connections.

use std::net::SocketAddr;

use super::connection::{Awaited, Expected, PerConnection, Place};
use super::events::{Events, Order};
use super::ground::Ground;
use super::path::{Moved, Said};
use super::timeline::{Timeline, sorted};
use super::unseen::LONGEST_EARLY;
use super::{EventKind, KernelActEvent, Mechanism, TimerEvent, Why};
use crate::calls::CallId;
use crate::flow::{ConnectionId, Side};
use crate::kernel::{self, KernelAct, KernelEvent, ResetReason, TcpInfo, TimerKind, Witness};
use crate::tcp::{Move, Rule, State};
use crate::time::{Span, Timestamp};
use crate::wire::Flags;

impl Timeline {
    /// Takes in what TCP_INFO said after a call.
    pub(super) fn info(&mut self, call: CallId, info: &TcpInfo) {
        let Some((event, life)) = self.call_of(call) else { return };
        let said = Said {
            by: Witness::TcpInfo,
            left: None,
            state: Some(info.state),
            of_listener: false,
            asked: info.asked,
            answered: info.answered,
            after: Some(event),
        };
        let (connection, side) = (self.events.event(event).connection, self.events.call(event).side);
        match (connection, side) {
            (Some(connection), Some(side)) => self.hear(connection, side, said),
            _ => {
                let Some(life) = life else { return };
                match self.listeners.get_mut(&life) {
                    // What accept made is another socket than the one that listens.
                    Some(_) if self.events.call(event).call.accepted().is_some() => {}
                    Some(path) => path.hear(Said { of_listener: true, ..said }),
                    // Its connection may not be known yet.
                    None => {
                        if let Some(life) = self.calls.lives.get_mut(&life).filter(|life| life.heard.len() < MOST_HEARD)
                        {
                            life.heard.push(said);
                        }
                    }
                }
            }
        }
    }

    pub(super) fn hear(&mut self, id: ConnectionId, side: Side, said: Said) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[side as usize].path.hear(said);
            self.stale.insert(id);
        }
    }

    /// Takes in sock_diag's answer: it confirms a state or contradicts it, and shows the TIME-WAIT timer, and the moment its socket went.
    pub(super) fn answered(&mut self, answer: &kernel::Answer) {
        let said = Said {
            by: Witness::SockDiag,
            left: None,
            state: answer.state,
            of_listener: false,
            asked: answer.asked,
            answered: answer.answered,
            after: None,
        };
        if answer.peer.port() == 0 {
            let life = self.listening.get(&answer.local).copied();
            if let Some(path) = life.and_then(|life| self.listeners.get_mut(&life)) {
                path.hear(Said { of_listener: true, ..said });
            }
            return;
        }
        let Some((id, side)) = self.end_of(answer.local, answer.peer, answer.answered) else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        self.stale.insert(id);
        let end = &mut connection.ends[side as usize];
        let order = Order::of_sample(answer.answered);
        if let (None, Some(timer), Some(State::TimeWait)) = (answer.state, end.timer, end.path.last()) {
            let step = Move { from: Some(State::TimeWait), to: State::Closed, rule: Rule::TimeWaitOver };
            let at = Some(answer.answered);
            let by = Some(Witness::SockDiag);
            connection.step(&mut self.events, Moved { side, step, order, at, cause: timer, by });
            let port = [connection.client, connection.server][side as usize].port();
            self.waits.end(side, port, id, at);
            return;
        }
        if let (None, None, Some(State::TimeWait), Some((entered, Some(since)))) =
            (answer.state, end.timer, end.path.last(), end.path.last_step())
            && (Span(0)..SHORTEST_TIME_WAIT).contains(&answer.asked.since(since))
        {
            let step = Move { from: Some(State::TimeWait), to: State::Closed, rule: Rule::TimeWaitNotKept };
            let cause = self.events.transition(entered).cause.unwrap_or(entered);
            let at = Some(answer.answered);
            let by = Some(Witness::SockDiag);
            end.has_no_time_wait = true;
            connection.step(&mut self.events, Moved { side, step, order, at, cause, by });
            let port = [connection.client, connection.server][side as usize].port();
            self.waits.end(side, port, id, at);
            self.time_waits.remove(&sorted([connection.client, connection.server]));
            return;
        }
        end.path.hear(said);
        let running = answer.timer.filter(|timer| timer.kind == TimerKind::TimeWait);
        if let (Some(running), Some(State::TimeWait), None) = (running, answer.state, end.timer) {
            let closing = end.calls.closing();
            let kind = EventKind::Timer(TimerEvent {
                side,
                kind: running.kind,
                remaining: running.remaining,
                cause: closing,
                owner: closing.map(|call| self.events.call(call).call.thread()),
            });
            let event = self.events.push(order, Some(answer.answered), Some(id), kind);
            end.timer = Some(event);
            connection.events.push(event);
            connection.bounds_moved |= connection.bounds.see_timer(event, order);
        }
    }

    /// The end that has this 4-tuple, of the last connection that began by then.
    pub(super) fn end_of(
        &mut self,
        local: SocketAddr,
        peer: SocketAddr,
        moment: Timestamp,
    ) -> Option<(ConnectionId, Side)> {
        let client = self.ends.latest(local, peer, Some(moment)).map(|id| (id, Side::Client));
        let server = self.ends.latest(peer, local, Some(moment)).map(|id| (id, Side::Server));
        match (client, server) {
            // A connection of a socket to itself has one end.
            (Some(client), Some(server)) => Some(if client.0 >= server.0 { client } else { server }),
            (client, server) => client.or(server),
        }
    }

    /// Takes in what the kernel did: it confirms or makes transitions, and the causes of what it sent.
    pub(super) fn kernel_event(&mut self, event: KernelEvent) {
        let Some((id, side)) = self.end_spoken_of(&event) else {
            // A socket leaves CLOSED before its SYN is on the wire.
            if event.peer.port() != 0 {
                self.early.push(event);
            }
            return;
        };
        self.kernel_event_of(id, side, event);
    }

    /// The end that the kernel speaks of.
    fn end_spoken_of(&mut self, event: &KernelEvent) -> Option<(ConnectionId, Side)> {
        if opens(event) {
            // One that had the same 4-tuple before is over.
            let own = self.ends.since(Some(event.local), event.peer, event.at.after(Span(-AHEAD.0)));
            let is_near = |first: Option<Timestamp>| first.is_none_or(|first| first.since(event.at) <= LONGEST_EARLY);
            // Where both ends open at once, the connection is the one whose SYN came first (RFC 9293 section 3.5).
            let mut crossed =
                || self.ends.since(Some(event.peer), event.local, event.at.after(Span(-LONGEST_CROSSED.0)));
            let found = own.map(|found| (found, Side::Client)).or_else(|| crossed().map(|found| (found, Side::Server)));
            let ((first, id), side) = found?;
            return is_near(first).then_some((id, side));
        }
        self.end_of(event.local, event.peer, event.at.after(AHEAD))
    }

    /// Takes in what the kernel said of a connection before its first segment was seen.
    pub(super) fn hear_early(&mut self, id: ConnectionId, ends: [SocketAddr; 2], at: Option<Timestamp>) {
        if self.early.is_empty() {
            return;
        }
        let ends = ends.map(plain);
        let side = |event: &KernelEvent| {
            let told = [plain(event.local), plain(event.peer)];
            let is_from = |side: Side| {
                let own = ends[side as usize];
                told == [own, ends[side.peer() as usize]]
            };
            [Side::Client, Side::Server].into_iter().find(|side| is_from(*side))
        };
        for event in self.early.take(|event| side(event).is_some(), at) {
            if let Some(side) = side(&event) {
                self.kernel_event_of(id, side, event);
            }
        }
    }

    fn kernel_event_of(&mut self, id: ConnectionId, side: Side, event: KernelEvent) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let KernelEvent { at, socket, what: act, .. } = event;
        let kind = EventKind::Kernel(KernelActEvent { side, act: act.clone(), socket, segment: None });
        let said = self.events.push(Order::of_sample(at), Some(at), Some(id), kind);
        connection.events.push(said);
        self.stale.insert(id);
        let what = match &act {
            KernelAct::State { from, to } => {
                // It changes the state before the segment leaves that says so; a FIN that ends one has come before.
                let ahead = if matches!(from, State::FinWait2 | State::Closing) { AHEAD } else { LAG };
                connection.ends[side as usize].path.hear(Said {
                    by: Witness::Kernel,
                    left: Some(*from),
                    state: Some(*to),
                    of_listener: false,
                    asked: at,
                    answered: at.after(ahead),
                    after: None,
                });
                return;
            }
            // Before the handshake is over nothing else can be sent again.
            KernelAct::Retransmit { state: State::SynSent | State::SynReceived } => Expected::SynAgain,
            KernelAct::Retransmit { .. } => {
                let known = &mut connection.ends[side as usize].congestion;
                let at_that = *known;
                *known = known.map(|(state, _)| (state, false));
                Expected::Retransmission(at_that)
            }
            KernelAct::Congestion { to } => {
                connection.ends[side as usize].congestion = Some((*to, true));
                return;
            }
            KernelAct::ResetSent { reason } => Expected::Reset(reason.as_ref().and_then(why_of)),
            KernelAct::ResetReceived | KernelAct::Probe { .. } | KernelAct::Destroyed => return,
        };
        let awaited = Awaited { at, what, said };
        match connection.last_like(side, what, at) {
            Some(place) => connection.confirm(&mut self.events, place, awaited),
            None => {
                let expected = &mut connection.ends[side as usize].expected;
                if expected.len() == MOST_EXPECTED {
                    expected.pop_front();
                }
                expected.push_back(awaited);
            }
        }
    }
}

/// Whether a socket leaves CLOSED to connect.
fn opens(event: &KernelEvent) -> bool {
    matches!(event.what, KernelAct::State { from: State::Closed, to: State::SynSent })
}

/// An address as it is on the wire.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl PerConnection {
    /// The newest segment of an end that is what the kernel said it sent, and of which it has said nothing yet.
    ///
    /// The kernel says that it has sent a segment again when that is done, and its answer may be there before.
    fn last_like(&self, side: Side, what: Expected, at: Timestamp) -> Option<Place> {
        let newest = self.seen.iter().enumerate().rev().take(LAST_ONES);
        let near = newest.take_while(|(_, seen)| seen.latest.is_none_or(|latest| at.since(latest) <= LAG));
        let mut own = near.filter(|(_, seen)| seen.from == side && seen.confirmed.is_none()).map(|(place, _)| place);
        let last = own.clone().next();
        own.find(|place| self.is_surely_like(*place, what)).or_else(|| {
            let place = last?;
            let is_near = self.seen[place].at.is_some_and(|seen| is_near(seen, at));
            (is_near && self.looks_new(place, what)).then_some(place)
        })
    }

    /// Whether the segments show that it is what the kernel said.
    fn is_surely_like(&self, place: Place, what: Expected) -> bool {
        let is_syn = self.seen[place].flags.contains(Flags::SYN);
        match (&self.seen[place].ground, what) {
            (Ground::Octets { again, .. }, Expected::Retransmission(_)) => again.is_some() && !is_syn,
            (Ground::SynAgain { .. }, Expected::SynAgain) => true,
            // A SYN that comes again has the SYN-ACK sent again, and not a timer.
            (Ground::Kernel { why: Some(Why::SynRepeated), .. }, Expected::SynAgain) => true,
            (Ground::Reset(_), Expected::Reset(_)) => true,
            _ => false,
        }
    }

    /// Whether it may be what the kernel said, had its first transmission not been captured.
    fn looks_new(&self, place: Place, what: Expected) -> bool {
        let is_syn = self.seen[place].flags.contains(Flags::SYN);
        match (&self.seen[place].ground, what) {
            (Ground::Octets { again: None, .. }, Expected::Retransmission(_)) => !is_syn,
            (Ground::Syn | Ground::Kernel { mechanism: Mechanism::Handshake, .. }, Expected::SynAgain) => is_syn,
            _ => false,
        }
    }

    /// Looks whether the kernel said that it sends the newest segment.
    pub(super) fn expect(&mut self, events: &mut Events, place: Place) {
        let (Some(at), side) = (self.seen[place].at, self.seen[place].from as usize) else { return };
        let expected = &mut self.ends[side].expected;
        while expected.front().is_some_and(|awaited| at.since(awaited.at) > LAG) {
            expected.pop_front();
        }
        let is_it = |awaited: &Awaited| {
            awaited.at.since(at) <= AHEAD
                && (self.is_surely_like(place, awaited.what)
                    || (is_near(at, awaited.at) && self.looks_new(place, awaited.what)))
        };
        let found = self.ends[side].expected.iter().position(is_it);
        if let Some(awaited) = found.and_then(|found| self.ends[side].expected.remove(found)) {
            self.confirm(events, place, awaited);
        }
    }

    fn confirm(&mut self, events: &mut Events, place: Place, awaited: Awaited) {
        self.seen[place].confirmed = Some(awaited.what);
        self.stale.push(place);
        if let EventKind::Kernel(said) = &mut events.event_mut(awaited.said).kind {
            said.segment = Some(self.seen[place].event);
        }
    }
}

/// Whether a segment and the kernel's word lie no further apart than clocks do.
fn is_near(seen: Timestamp, said: Timestamp) -> bool {
    said.since(seen).0.abs() <= AHEAD.0
}

/// The kernel's reason for a RST as one of ours; `None` where it says nothing that the segments do not.
fn why_of(reason: &ResetReason) -> Option<Why> {
    Some(match reason {
        ResetReason::NoSocket => Why::NoSocket,
        ResetReason::TcpAbortOnData => Why::SocketClosed,
        ResetReason::TcpAbortOnClose => Why::UnreadOnTheWay,
        ResetReason::TcpAbortOnLinger => Why::LingerZero,
        ResetReason::TcpKeepaliveTimeout => Why::KeepAlivesUnanswered,
        // Of these, the segments do not say what they are about.
        ResetReason::TcpAbortOnMemory | ResetReason::TcpState | ResetReason::TcpDisconnectWithData => return None,
        ResetReason::NotSpecified | ResetReason::Other(_) => return None,
        _ => Why::NotAcceptable,
    })
}

/// Within this time of its beginning no TIME-WAIT is over: on Linux it lasts 60 s (TCP_TIMEWAIT_LEN, include/net/tcp.h).
const SHORTEST_TIME_WAIT: Span = Span::from_millis(50_000);
/// How long after its peer's SYN an end may open the same connection by a SYN of its own.
const LONGEST_CROSSED: Span = Span::from_millis(1000);
/// How much earlier than the segment that it sends, or the state that it enters, the kernel may be told to have done so: clocks have errors.
const AHEAD: Span = Span::from_millis(1);
/// How long a segment may take from the kernel's word for it to the capture.
const LAG: Span = Span::from_millis(100);
/// Among how many of a connection's last segments the one is looked for that the kernel says it sent.
pub(super) const LAST_ONES: usize = 64;
/// How many words of TCP_INFO about a socket wait for its connection; further ones are left out.
const MOST_HEARD: usize = 16;
/// How many words of the kernel wait for their segments at most, at each end.
const MOST_EXPECTED: usize = 1024;
