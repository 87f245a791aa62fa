//! What TCP_INFO, sock_diag and the kernel itself say of the ends of connections.

use super::connection::{Expected, PerConnection, Place};
use super::events::Order;
use super::ground::Ground;
use super::path::{Moved, Said};
use super::timeline::Timeline;
use super::{EventKind, TimerEvent, Why};
use crate::calls::CallId;
use crate::flow::{ConnectionId, Side};
use crate::kernel::{self, KernelAct, KernelEvent, ResetReason, TcpInfo, TimerKind, Witness};
use crate::tcp::{Move, Rule, State};
use crate::time::{Span, Timestamp};

impl Timeline {
    /// Takes in what TCP_INFO said after a call.
    pub(super) fn info(&mut self, call: CallId, info: &TcpInfo) {
        let Some((event, life)) = self.call_of(call) else { return };
        let said = Said {
            by: Witness::TcpInfo,
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
                if let Some(path) = life.and_then(|life| self.listeners.get_mut(&life)) {
                    path.hear(Said { of_listener: true, ..said });
                }
            }
        }
    }

    fn hear(&mut self, id: ConnectionId, side: Side, said: Said) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[side as usize].path.hear(said);
            self.stale.insert(id);
        }
    }

    /// Takes in sock_diag's answer: it confirms a state or contradicts it, and shows the TIME-WAIT timer, and the moment its socket went.
    pub(super) fn answered(&mut self, answer: &kernel::Answer) {
        let said = Said {
            by: Witness::SockDiag,
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
            connection.bounds.see_timer(event, order);
        }
    }

    /// The end that has this 4-tuple, of the last connection that began by then.
    pub(super) fn end_of(
        &mut self,
        local: std::net::SocketAddr,
        peer: std::net::SocketAddr,
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
    pub(super) fn kernel_event(&mut self, event: &KernelEvent) {
        let Some((id, side)) = self.end_of(event.local, event.peer, event.at) else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let what = match &event.what {
            KernelAct::State { to, .. } => {
                connection.ends[side as usize].path.hear(Said {
                    by: Witness::Kernel,
                    state: Some(*to),
                    of_listener: false,
                    asked: event.at,
                    answered: event.at.after(AHEAD),
                    after: None,
                });
                self.stale.insert(id);
                return;
            }
            KernelAct::Retransmit { .. } => Expected::Retransmission,
            KernelAct::ResetSent { reason } => Expected::Reset(reason.as_ref().and_then(why_of)),
            KernelAct::ResetReceived | KernelAct::Probe { .. } | KernelAct::Destroyed => return,
        };
        if let Some(place) = connection.last_like(side, what, event.at) {
            connection.confirm(place, what);
            self.stale.insert(id);
        } else {
            connection.ends[side as usize].expected.push_back((event.at, what));
        }
    }
}

impl PerConnection {
    /// The last segment of an end, if it is what the kernel said it sends, and was captured just before it said so.
    fn last_like(&self, side: Side, what: Expected, at: Timestamp) -> Option<Place> {
        let place = self.seen.iter().rposition(|seen| seen.from == side)?;
        let seen = &self.seen[place];
        let is_near = seen.at.is_some_and(|seen| at.since(seen) <= AHEAD);
        (is_near && seen.confirmed.is_none() && self.is_like(place, what)).then_some(place)
    }

    fn is_like(&self, place: Place, what: Expected) -> bool {
        matches!(
            (&self.seen[place].ground, what),
            (Ground::Octets { .. } | Ground::SynAgain { .. }, Expected::Retransmission)
                | (Ground::Reset(_), Expected::Reset(_))
        )
    }

    /// Looks whether the kernel said that it sends the newest segment.
    pub(super) fn expect(&mut self, place: Place) {
        let seen = &self.seen[place];
        let Some(at) = seen.at else { return };
        let side = seen.from as usize;
        while let Some((said, what)) = self.ends[side].expected.front().copied() {
            if said.since(at) > AHEAD {
                return;
            }
            if at.since(said) <= LAG && !self.is_like(place, what) {
                return;
            }
            self.ends[side].expected.pop_front();
            if at.since(said) <= LAG {
                self.confirm(place, what);
                return;
            }
        }
    }

    fn confirm(&mut self, place: Place, what: Expected) {
        self.seen[place].confirmed = Some(what);
        self.stale.push(place);
    }
}

/// The kernel's reason for a RST as one of ours; `None` where it says nothing that the segments do not.
fn why_of(reason: &ResetReason) -> Option<Why> {
    Some(match reason {
        ResetReason::NoSocket => Why::NoSocket,
        ResetReason::TcpAbortOnData => Why::SocketClosed,
        ResetReason::TcpAbortOnClose => Why::UnreadOnTheWay,
        ResetReason::TcpAbortOnLinger => Why::LingerZero,
        ResetReason::TcpKeepaliveTimeout => Why::KeepAlivesUnanswered,
        ResetReason::NotSpecified | ResetReason::Other(_) => return None,
        _ => Why::NotAcceptable,
    })
}

/// How much earlier than the segment that it sends, or the state that it enters, the kernel may be told to have done so: clocks have errors.
const AHEAD: Span = Span::from_millis(1);
/// How long a segment may take from the kernel's word for it to the capture.
const LAG: Span = Span::from_millis(100);
