//! The calls that are followed, by thread and by the life of the socket that they were made on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::EventId;
use super::path::Said;
use crate::calls::{Call, CallId, Lifetime, Lifetimes, ThreadId};
use crate::flow::{ConnectionId, Side};
use crate::hash::HashMap;
use crate::time::Timestamp;

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
    /// The lives that are no end of a connection, as far as is known.
    pub(super) homeless: BTreeSet<Lifetime>,
    /// Calls that have returned and were on no socket that is known, in the order of their return.
    pub(super) lifeless: VecDeque<EventId>,
    /// How many calls of each thread are known.
    uses: HashMap<ThreadId, u64>,
    /// Threads that make no more calls, of some of whose calls more may be said.
    ended: BTreeSet<ThreadId>,
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
    /// When its last descriptor was closed.
    pub(super) over: Option<Timestamp>,
    /// What TCP_INFO said of it before its connection was known; the first words.
    pub(super) heard: Vec<Said>,
    /// Some of its calls were forgotten before its connection was known: which octets the others moved is not known.
    pub(super) is_cut: bool,
    /// A receive took octets that it does not count: which octets those after it took is not known.
    pub(super) has_lost_octets: bool,
    /// It is not known how many octets a send wrote: which octets those after it wrote is not known.
    pub(super) has_lost_writes: bool,
    /// The transitions of a socket that listens.
    pub(super) moves: Vec<EventId>,
    /// It connects with its first octets (TCP_FASTOPEN_CONNECT).
    pub(super) opens_late: bool,
    /// Where it leads then, as far as connect says.
    pub(super) leads_to: Option<SocketAddr>,
    /// Whether it ever listened.
    pub(super) listened: bool,
    /// SO_REUSEADDR is set.
    pub(super) reuses: bool,
    /// Urgent octets stay in the stream (SO_OOBINLINE).
    pub(super) is_inline: bool,
    /// SO_LINGER is set to a time of zero.
    pub(super) lingers_zero: bool,
    /// So it was from the beginning, when it was accepted, as the socket that listens had it.
    pub(super) lingered_zero_from: Option<Timestamp>,
}

impl CallTable {
    /// What is known of a life, which begins here if nothing is.
    pub(super) fn life(&mut self, life: Lifetime) -> &mut Life {
        self.lives.entry(life).or_insert_with(|| {
            self.homeless.insert(life);
            Life::default()
        })
    }

    /// Takes in that a call of a thread is known.
    pub(super) fn begin(&mut self, thread: ThreadId) {
        *self.uses.entry(thread).or_default() += 1;
    }

    /// Forgets a life of a socket.
    pub(super) fn forget_life(&mut self, life: Lifetime) {
        self.lives.remove(&life);
        self.homeless.remove(&life);
        self.lifetimes.forget(life);
    }

    /// Forgets a call; tells its thread, if that makes no more calls and this was the last of them that was known.
    pub(super) fn forget_call(&mut self, event: EventId, call: &Call) -> Option<ThreadId> {
        let thread = call.id.thread;
        if self.open.get(&call.id).is_some_and(|(open, _)| *open == event) {
            self.open.remove(&call.id);
            self.lifetimes.give_up(call.id);
        }
        if self.last.get(&thread).is_some_and(|(_, last, _)| *last == event) {
            self.last.remove(&thread);
        }
        let uses = self.uses.get_mut(&thread)?;
        *uses -= 1;
        if *uses > 0 {
            return None;
        }
        self.uses.remove(&thread);
        self.ended.remove(&thread).then_some(thread)
    }

    /// Takes in that a thread makes no more calls: those of its calls that had not returned, and whether none of its calls is known.
    pub(super) fn end(&mut self, thread: ThreadId) -> (Vec<(EventId, Option<Lifetime>)>, bool) {
        let ids = CallId { thread, n: 0 }..=CallId { thread, n: u64::MAX };
        let unreturned: Vec<CallId> = self.open.range(ids).map(|(id, _)| *id).collect();
        let calls = unreturned.into_iter().filter_map(|id| {
            self.lifetimes.give_up(id);
            self.open.remove(&id)
        });
        let calls = calls.collect();
        let is_unknown = !self.uses.contains_key(&thread);
        if !is_unknown {
            self.ended.insert(thread);
        }
        (calls, is_unknown)
    }

    /// Takes in that the ends of a connection were taken for each other.
    pub(super) fn exchange_ends(&mut self, lives: &[Lifetime]) {
        for life in lives {
            if let Some(life) = self.lives.get_mut(life) {
                life.side = life.side.map(Side::peer);
            }
        }
    }
}
