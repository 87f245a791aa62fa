//! What is remembered of calls and connections that a timeline has forgotten: as much as later diagnoses rest on.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::calls::{Call, Effect, ProcessId, SocketId};
use crate::time::Timestamp;

/// What is remembered of what was forgotten.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    is_kept: bool,
    /// The latest two calls of each process with which it goes on that were on different sockets.
    work: BTreeMap<Option<ProcessId>, [Option<Work>; 2]>,
    /// For each server that was listened at, when connections began that nobody accepted: the first, the last, and how many.
    unaccepted: BTreeMap<SocketAddr, (Option<Timestamp>, Option<Timestamp>, u64)>,
    /// Calls were made that are not known.
    lacks_calls: bool,
    /// No packets were captured.
    pub(super) lacks_packets: bool,
}

/// When a call was entered, and on which socket.
type Work = (Timestamp, Option<SocketId>);

impl Past {
    /// One in which something is remembered.
    pub(super) fn kept() -> Self {
        Self { is_kept: true, ..Self::default() }
    }

    /// Whether anything is remembered.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Takes in that calls were made that are not known.
    pub(super) fn lacks_calls(&mut self) {
        self.lacks_calls = true;
    }

    /// Whether all calls are known.
    pub(super) fn has_all_calls(&self) -> bool {
        !self.lacks_calls
    }

    /// Takes in that a call was entered.
    pub(super) fn work(&mut self, process: Option<ProcessId>, call: &Call) {
        if !self.is_kept || !goes_on(call) {
            return;
        }
        let [last, before] = self.work.entry(process).or_default();
        let now = Some((call.entered, call.socket()));
        if last.is_some_and(|(_, socket)| socket != call.socket()) {
            *before = *last;
        }
        *last = now;
        bound(&mut self.work);
    }

    /// Whether a process went on with another socket after that moment.
    pub(super) fn went_on(
        &self,
        process: Option<ProcessId>,
        socket: Option<SocketId>,
        moment: Option<Timestamp>,
    ) -> bool {
        let work = self.work.get(&process).into_iter().flatten().flatten();
        work.into_iter().any(|(at, on)| *on != socket && Some(*at) > moment)
    }

    /// Takes in that a connection was forgotten that was complete, and that nobody accepted.
    pub(super) fn was_left(&mut self, server: SocketAddr, began: Option<Timestamp>) {
        let (first, last, count) = self.unaccepted.entry(server).or_insert((began, began, 0));
        (*first, *last) = ((*first).min(began), (*last).max(began));
        *count += 1;
        bound(&mut self.unaccepted);
    }

    /// How many connections were forgotten that began in that time and that nobody accepted from a socket at `local`.
    pub(super) fn never_accepted(&self, local: SocketAddr, from: Timestamp, to: Option<Timestamp>) -> u64 {
        let here = |server: &SocketAddr| {
            server.port() == local.port() && (local.ip().is_unspecified() || local.ip().to_canonical() == server.ip())
        };
        let left = self.unaccepted.iter().filter(|(server, _)| here(server));
        left.filter(|(_, (first, last, _))| *first >= Some(from) && *last <= to).map(|(_, (.., count))| count).sum()
    }
}

/// Whether a process goes on with its work by that call.
pub(super) fn goes_on(call: &Call) -> bool {
    matches!(call.effect(), Effect::Accept | Effect::Connect | Effect::Receive | Effect::Send | Effect::Open)
}

/// Forgets those of the processes that were put down first, where there are too many.
pub(super) fn bound<K: Ord, V>(known: &mut BTreeMap<K, V>) {
    while known.len() > MOST {
        known.pop_first();
    }
}

/// How much is remembered of each kind.
pub(super) const MOST: usize = 65_536;
