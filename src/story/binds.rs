//! What held the port that a bind could not have: a socket that was watched, or a connection in TIME-WAIT.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::EventId;
use super::why::{Holding, PortHolder};
use crate::calls::Lifetime;
use crate::flow::{ConnectionId, Side};
use crate::hash::HashMap;
use crate::time::Timestamp;

/// The ports that open sockets have, as far as calls that are known say.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldPorts {
    held: HashMap<u16, BTreeMap<Lifetime, Hold>>,
    of: HashMap<Lifetime, u16>,
}

/// How a socket has a port.
#[derive(Clone, Copy, Debug)]
struct Hold {
    ip: IpAddr,
    how: Holding,
    /// The call by which it came to have it so.
    by: EventId,
    /// Whether SO_REUSEADDR is set.
    reuses: bool,
}

impl HeldPorts {
    /// Takes in that a socket has a port by a call; what it was bound to it does not have by connecting.
    pub(super) fn take(&mut self, life: Lifetime, local: SocketAddr, how: Holding, by: EventId, reuses: bool) {
        if local.port() == 0 {
            return;
        }
        self.release(life, (how == Holding::Connected).then_some(local.port()));
        let hold = Hold { ip: local.ip().to_canonical(), how, by, reuses };
        self.held.entry(local.port()).or_default().entry(life).or_insert(hold);
        self.of.insert(life, local.port());
    }

    /// Whether it is known which port a socket has.
    pub(super) fn has(&self, life: Lifetime) -> bool {
        self.of.contains_key(&life)
    }

    /// Takes in whether SO_REUSEADDR is set now.
    pub(super) fn set_reuse(&mut self, life: Lifetime, reuses: bool) {
        let held = self.of.get(&life).and_then(|port| self.held.get_mut(port)?.get_mut(&life));
        if let Some(hold) = held {
            hold.reuses = reuses;
        }
    }

    /// Takes in that a socket has no port any more, unless it is that one.
    pub(super) fn release(&mut self, life: Lifetime, unless: Option<u16>) {
        let Some(port) = self.of.get(&life).copied().filter(|port| Some(*port) != unless) else { return };
        self.of.remove(&life);
        if let Some(here) = self.held.get_mut(&port) {
            here.remove(&life);
            if here.is_empty() {
                self.held.remove(&port);
            }
        }
    }

    /// The socket for which `own`, with SO_REUSEADDR or without, cannot have an address (inet_csk_bind_conflict of the kernel):
    /// one that listens rather than one that is bound, and that rather than an end of a connection, of which `is_there` knows whether it still is.
    pub(super) fn holder(
        &self,
        asked: SocketAddr,
        (own, reuses): (Lifetime, bool),
        is_there: impl Fn(Lifetime) -> bool,
    ) -> Option<PortHolder> {
        let ip = asked.ip().to_canonical();
        let here = self.held.get(&asked.port())?.iter();
        let conflicts = here.filter(|(life, hold)| {
            let overlaps = ip.is_unspecified() || hold.ip.is_unspecified() || ip == hold.ip;
            let is_shared = reuses && hold.reuses && hold.how != Holding::Listening;
            **life != own && overlaps && !is_shared && (hold.how != Holding::Connected || is_there(**life))
        });
        let (_, hold) = conflicts.min_by_key(|(_, hold)| (hold.how, hold.by))?;
        Some(PortHolder::Socket { how: hold.how, by: Some(hold.by) })
    }
}

/// Which ends are in TIME-WAIT on which ports, or were last.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    ports: HashMap<(Side, u16), Waiting>,
}

/// The ends of one side on one port.
#[derive(Clone, Debug, Default)]
struct Waiting {
    /// Those that wait.
    now: BTreeMap<ConnectionId, Option<Timestamp>>,
    /// The one whose wait ended last.
    last: Option<(Timestamp, ConnectionId)>,
}

impl Waits {
    /// An end entered TIME-WAIT.
    pub(super) fn begin(&mut self, side: Side, port: u16, connection: ConnectionId, at: Option<Timestamp>) {
        self.ports.entry((side, port)).or_default().now.insert(connection, at);
    }

    /// An end left TIME-WAIT.
    pub(super) fn end(&mut self, side: Side, port: u16, connection: ConnectionId, at: Option<Timestamp>) {
        let Some(waiting) = self.ports.get_mut(&(side, port)) else { return };
        if waiting.now.remove(&connection).is_some() {
            waiting.last = waiting.last.max(at.map(|at| (at, connection)));
        }
    }

    /// Forgets an end.
    pub(super) fn forget(&mut self, side: Side, port: u16, connection: ConnectionId) {
        let Some(waiting) = self.ports.get_mut(&(side, port)) else { return };
        waiting.now.remove(&connection);
        waiting.last = waiting.last.filter(|(_, last)| *last != connection);
        if waiting.now.is_empty() && waiting.last.is_none() {
            self.ports.remove(&(side, port));
        }
    }

    /// The end that held a port at `moment`, a server's rather than a client's, of those that may be meant.
    pub(super) fn holder(
        &self,
        port: u16,
        moment: Timestamp,
        may_be: impl Fn(ConnectionId, Side) -> bool,
    ) -> Option<(ConnectionId, Side)> {
        [Side::Server, Side::Client].into_iter().find_map(|side| {
            let waiting = self.ports.get(&(side, port))?;
            let begun = |begun: &Option<Timestamp>| *begun <= Some(moment);
            let now = waiting.now.iter().find(|(id, at)| begun(at) && may_be(**id, side)).map(|(id, _)| *id);
            let last = waiting.last.filter(|(over, id)| *over > moment && may_be(*id, side)).map(|(_, id)| id);
            now.or(last).map(|connection| (connection, side))
        })
    }
}
