//! The connections that wait to be accepted, and the accepts that do not say which they took.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::EventId;
use super::end::end;
use crate::calls::Lifetime;
use crate::flow::ConnectionId;
use crate::hash::HashMap;
use crate::time::{Span, Timestamp};

/// The connections that wait to be accepted, and the accepts that do not say which they took.
#[derive(Clone, Debug, Default)]
pub(super) struct AcceptQueues {
    /// The sockets that listen, as far as calls that are known had them do so, and where.
    pub(super) listeners: HashMap<Lifetime, SocketAddr>,
    /// By the server's port, the connections that may be accepted and of which no accept is known, with the time since when.
    complete: HashMap<u16, BTreeSet<(Timestamp, ConnectionId)>>,
    of: HashMap<ConnectionId, ([SocketAddr; 2], Timestamp)>,
    /// In the order of their return.
    pub(super) accepts: VecDeque<Accept>,
}

/// An accept that took a connection, and does not say which.
#[derive(Clone, Debug)]
pub(super) struct Accept {
    pub(super) event: EventId,
    pub(super) life: Lifetime,
    pub(super) listener: Lifetime,
    /// Where that listens.
    pub(super) at: SocketAddr,
    pub(super) peer: Option<SocketAddr>,
    pub(super) returned: Timestamp,
    /// Those that it can have taken, once that is narrowed down.
    pub(super) among: Option<Vec<ConnectionId>>,
    /// As many accepts as there were connections have returned: those of `among` do not wait to be accepted any more.
    pub(super) is_apart: bool,
}

impl AcceptQueues {
    /// Takes in that a connection may be accepted from now on: its handshake is complete, or its SYN asked for that before it is.
    pub(super) fn complete(&mut self, id: ConnectionId, ends: [SocketAddr; 2], at: Option<Timestamp>) {
        let Some(at) = at.filter(|_| !self.listeners.is_empty() && !self.of.contains_key(&id)) else { return };
        self.complete.entry(ends[1].port()).or_default().insert((at, id));
        self.of.insert(id, (ends, at));
    }

    /// Takes in that it is known who accepted a connection, or that nobody may have.
    pub(super) fn take(&mut self, id: ConnectionId) {
        let Some((ends, at)) = self.of.remove(&id) else { return };
        let port = ends[1].port();
        if let Some(waiting) = self.complete.get_mut(&port) {
            waiting.remove(&(at, id));
            if waiting.is_empty() {
                self.complete.remove(&port);
            }
        }
    }

    /// Takes in that a socket does not listen any more.
    pub(super) fn stops(&mut self, life: Lifetime) {
        self.listeners.remove(&life);
    }

    /// The connections that an accept can have taken, by when they were complete; `None` where there are too many.
    pub(super) fn candidates(&self, accept: &Accept) -> Option<Vec<ConnectionId>> {
        let Some(waiting) = self.complete.get(&accept.at.port()) else { return Some(Vec::new()) };
        let by_then = waiting.range(..=(accept.returned.after(SLACK), ConnectionId(u64::MAX)));
        let may_be = |id: &ConnectionId| {
            let Some(([client, server], _)) = self.of.get(id) else { return false };
            let is_there = accept.at.ip().is_unspecified() || end(accept.at) == end(*server);
            is_there && accept.peer.is_none_or(|peer| end(peer) == end(*client))
        };
        let mut candidates = Vec::new();
        for (n, (_, id)) in by_then.enumerate() {
            if n == MOST_LOOKED_AT {
                return None;
            }
            candidates.extend(Some(*id).filter(may_be));
        }
        Some(candidates)
    }
}

/// How far apart the times of calls and of segments may be, as each was put on the same clock.
pub(super) const SLACK: Span = Span::from_micros(20);
/// How many connections of a port are looked at for an accept.
pub(super) const MOST_LOOKED_AT: usize = 64;
/// How many accepts are remembered that do not say which connection they took.
pub(super) const MOST_ACCEPTS: usize = 1024;
