//! The sockets whose ends are not known, and the descriptors by which they may still be looked at.

use std::collections::BTreeMap;

use super::super::super::SocketId;
use super::super::system::{Look, Tid};

/// The sockets whose ends are not known, with the descriptors that processes have of them.
#[derive(Default)]
pub(super) struct Nameless {
    /// By which each may still be looked at, once. Names of sockets that were not seen descend, so that the newest ones come first.
    pub(super) holders: BTreeMap<SocketId, Vec<(Tid, i32)>>,
    /// What was seen there: it is true if the descriptor was that socket's still.
    pub(super) looks: Vec<(SocketId, (Tid, i32), Look)>,
}

impl Nameless {
    /// A process has a descriptor of a socket.
    pub(super) fn hold(&mut self, socket: SocketId, holder: (Tid, i32)) {
        let holders = self.holders.entry(socket).or_default();
        if holders.len() < MOST_HOLDERS {
            holders.push(holder);
        }
    }

    /// The sockets that are looked at next.
    pub(super) fn due(&self) -> Vec<SocketId> {
        let is_due = |socket: &&SocketId| self.looks.iter().all(|(seen, ..)| seen != *socket);
        self.holders.keys().filter(is_due).take(MOST_AT_ONCE).copied().collect()
    }
}

/// How many descriptors of a socket are remembered by which it may be looked at.
const MOST_HOLDERS: usize = 8;
/// How many sockets are looked at when the buffers are read.
const MOST_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_without_a_name_is_looked_at_by_so_many_descriptors() {
        let mut nameless = Nameless::default();
        let most = MOST_HOLDERS as i32;
        (0..=most).for_each(|fd| nameless.hold(SocketId(1), (7, fd)));
        assert_eq!(nameless.holders[&SocketId(1)], (0..most).map(|fd| (7, fd)).collect::<Vec<_>>());
    }
}
