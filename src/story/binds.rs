//! Which connection in TIME-WAIT held the port that a bind could not have.

use std::collections::HashMap;

use crate::flow::{ConnectionId, Side};
use crate::time::Timestamp;

/// Which ends are in TIME-WAIT on which ports, or were last.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    ports: HashMap<(Side, u16), Waiting>,
}

/// The ends of one side on one port.
#[derive(Clone, Debug, Default)]
struct Waiting {
    /// Those that wait.
    now: std::collections::BTreeMap<ConnectionId, Option<Timestamp>>,
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

    /// The end that held a port at `moment`, a server's rather than a client's.
    pub(super) fn holder(&self, port: u16, moment: Timestamp) -> Option<(ConnectionId, Side)> {
        [Side::Server, Side::Client].into_iter().find_map(|side| {
            let waiting = self.ports.get(&(side, port))?;
            let begun = |begun: &Option<Timestamp>| *begun <= Some(moment);
            let now = waiting.now.iter().find(|(_, at)| begun(at)).map(|(connection, _)| *connection);
            let last = waiting.last.filter(|(over, _)| *over > moment).map(|(_, connection)| connection);
            now.or(last).map(|connection| (connection, side))
        })
    }
}
