//! The calls that are followed, by thread and by the life of the socket that they were made on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use super::EventId;
use crate::calls::{CallId, Lifetime, Lifetimes, ThreadId};
use crate::flow::{ConnectionId, Side};

/// The calls that are followed.
#[derive(Clone, Debug, Default)]
pub(super) struct CallTable {
    pub(super) lifetimes: Lifetimes,
    /// The calls that were entered and have not returned, with the life they were entered in.
    pub(super) open: BTreeMap<CallId, (EventId, Option<Lifetime>)>,
    /// The last call of each thread that has returned, of which more may be said.
    pub(super) last: HashMap<ThreadId, (u64, EventId, Option<Lifetime>)>,
    pub(super) lives: HashMap<Lifetime, Life>,
    /// The lives of sockets that were open when their process was joined, by their own end and their peer: they are ends of the connection
    /// between these whose segments are seen from then on.
    pub(super) found: HashMap<[(IpAddr, u16); 2], Lifetime>,
}

/// One life of a socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) side: Option<Side>,
    pub(super) home: Option<ConnectionId>,
    pub(super) calls: Vec<EventId>,
    /// Sends, and receives, in the order in which they were entered, that have not been given their positions.
    pub(super) writes: VecDeque<EventId>,
    pub(super) reads: VecDeque<EventId>,
}

impl CallTable {
    /// Forgets the lives of sockets that were ends of a connection, and the calls that are its.
    pub(super) fn forget(&mut self, connection: ConnectionId, is_its: impl Fn(EventId) -> bool) {
        self.open.retain(|_, (event, _)| !is_its(*event));
        self.last.retain(|_, (_, event, _)| !is_its(*event));
        self.lives.retain(|_, life| life.home != Some(connection));
    }

    /// Takes in that the ends of a connection were taken for each other.
    pub(super) fn exchange_ends(&mut self, connection: ConnectionId) {
        for life in self.lives.values_mut().filter(|life| life.home == Some(connection)) {
            life.side = life.side.map(Side::peer);
        }
    }
}
