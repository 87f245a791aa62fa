//! What a timeline that goes on forgets, and what it finds of that before it does.

use std::net::SocketAddr;
use std::ops::Bound;

use super::connection::PerConnection;
use super::diagnoses::Scene;
use super::events::Events;
use super::past::Past;
use super::timeline::Timeline;
use super::{Diagnosis, Event, EventId, EventKind};
use crate::calls::{Lifetime, ProcessId, ThreadId};
use crate::flow::{Connection, ConnectionId, Side};
use crate::hash::HashSet;
use crate::time::Timestamp;

/// What belongs to no connection and may be forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Forgettable {
    /// Sockets that are closed.
    lives: Vec<Lifetime>,
    /// Their events, and those of no socket.
    events: Vec<EventId>,
}

impl Forgettable {
    /// The events.
    pub fn events(&self) -> &[EventId] {
        &self.events
    }
}

impl Timeline {
    /// One of which events will be forgotten: it remembers what later diagnoses need of them.
    pub fn forgetful() -> Self {
        Self { past: Past::kept(), ..Self::default() }
    }

    /// Whether all sockets that are ends of a connection are closed, as far as they are known.
    pub fn is_released(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get(&id) else { return true };
        if connection.is_gone {
            return true;
        }
        let lives = connection.lives.iter().filter_map(|life| self.calls.lives.get(life));
        lives.into_iter().all(|life| life.over.is_some())
    }

    /// Connections after one of which no segment was seen since a moment, and no socket is known to be open: some of them, with their ends.
    pub fn quiet(&self, after: Option<ConnectionId>, since: Timestamp) -> Vec<(ConnectionId, [SocketAddr; 2])> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let is_quiet = |known: &PerConnection| {
            let last = known.seen.last().and_then(|seen| seen.at);
            !known.is_gone && last.is_some_and(|last| last < since) && self.is_released(known.id)
        };
        let quiet = self.connections.range((from, Bound::Unbounded)).filter(|(_, known)| is_quiet(known));
        quiet.take(MOST_QUIET).map(|(id, known)| (*id, [known.client, known.server])).collect()
    }

    /// Takes in that the kernel had no socket of a connection any more at a moment, unless a segment was seen since; whether none was.
    pub fn has_gone(&mut self, id: ConnectionId, since: Timestamp) -> bool {
        let Some(known) = self.connections.get_mut(&id) else { return false };
        known.is_gone |= known.seen.last().and_then(|seen| seen.at).is_some_and(|last| last < since);
        known.is_gone
    }

    /// What belongs to no connection, was born before `told`, and was over before `moment`.
    pub fn forgettable(&self, told: EventId, moment: Timestamp) -> Forgettable {
        let mut found = Forgettable::default();
        let is_old = |event: &EventId| {
            *event < told
                && match &self.events.event(*event).kind {
                    EventKind::Call(call) => match call.call.returned_at() {
                        Some(at) => at < moment,
                        None => !self.calls.open.contains_key(&call.call.id),
                    },
                    _ => self.events.event(*event).at.is_none_or(|at| at < moment),
                }
        };
        found.events.extend(self.calls.lifeless.iter().copied().take_while(is_old));
        let mut closed = Vec::new();
        for id in &self.calls.homeless {
            let Some(life) = self.calls.lives.get(id) else { continue };
            let is_over = life.over.is_some_and(|over| over < moment);
            if is_over && life.calls.iter().chain(&life.moves).all(is_old) {
                match life.listened {
                    true => closed.push((life.over, *id)),
                    false => found.lives.push(*id),
                }
            } else if life.calls.len() > 2 * ENDS_OF_A_LIFE {
                let middle = &life.calls[ENDS_OF_A_LIFE..life.calls.len() - ENDS_OF_A_LIFE];
                found.events.extend(middle.iter().copied().filter(is_old));
            }
        }
        // Whom a closed listener left in its queue is known when those connections are.
        let too_many = closed.len().saturating_sub(MOST_LISTENERS);
        closed.sort_unstable();
        found.lives.extend(closed.into_iter().take(too_many).map(|(_, life)| life));
        for life in found.lives.iter().filter_map(|life| self.calls.lives.get(life)) {
            found.events.extend(life.calls.iter().chain(&life.moves));
        }
        found
    }

    /// Forgets what belongs to no connection: nobody may ask for it any more.
    pub fn forget_unjoined(&mut self, of: &Forgettable) {
        let gone: HashSet<EventId> = of.events.iter().copied().collect();
        self.calls.lifeless.retain(|event| !gone.contains(event));
        for life in &of.lives {
            if self.listeners.remove(life).is_some() {
                self.listening.retain(|_, listens| listens != life);
            }
            self.calls.forget_life(*life);
            self.ports.release(*life, None);
        }
        for life in &self.calls.homeless {
            let Some(life) = self.calls.lives.get_mut(life) else { continue };
            if life.calls.len() > 2 * ENDS_OF_A_LIFE {
                let known = life.calls.len();
                life.calls.retain(|call| !gone.contains(call));
                life.is_cut |= life.calls.len() < known;
                life.writes.retain(|call| !gone.contains(call));
                life.reads.retain(|call| !gone.contains(call));
            }
        }
        self.forget_events(&of.events);
    }

    /// Forgets events, and the threads of which they were the last calls.
    pub(super) fn forget_events(&mut self, events: &[EventId]) {
        for event in events {
            if let Some(EventKind::Call(call)) = self.events.find(*event).map(|event| &event.kind)
                && let Some(thread) = self.calls.forget_call(*event, &call.call)
            {
                self.threads.forget(thread);
            }
            self.events.forget(*event);
        }
        self.unjoined_is_stale |= !events.is_empty();
    }

    /// Takes in that a thread makes no more calls, and that those that have not returned will not.
    pub fn end_thread(&mut self, thread: ThreadId) {
        let (unreturned, is_unknown) = self.calls.end(thread);
        for (event, life) in unreturned {
            let call = self.events.call(event).call.clone();
            self.settle_call(&call, event, life, &[]);
        }
        if is_unknown {
            self.threads.forget(thread);
        }
    }

    /// Takes in that calls were made that are not known.
    pub fn lacks_calls(&mut self) {
        self.past.lacks_calls();
    }

    /// What seems wrong with calls that have returned, and was not asked for before.
    pub fn take_found(&mut self) -> Vec<Diagnosis> {
        let mut found = std::mem::take(&mut self.found);
        found.retain(|diagnosis| diagnosis.is_founded(self.past.has_all_calls()));
        found
    }

    /// What seems wrong with how the ends of a connection are used, all of which was told; it is to be forgotten.
    pub fn diagnose(&mut self, connection: &Connection) -> Vec<Diagnosis> {
        let Some(known) = self.connections.get(&connection.id) else { return Vec::new() };
        let is_accepted = known
            .lives
            .iter()
            .any(|life| self.calls.lives.get(life).is_some_and(|life| life.side == Some(Side::Server)));
        if known.lives.is_empty() && self.calls.lives.is_empty() {
            return Vec::new();
        }
        let is_complete = connection.completeness & 7 == 7;
        if is_complete && !is_accepted && self.is_listened_at(connection.server.port()) {
            self.past.was_left(connection.server, connection.first);
        }
        let Some(known) = self.connections.get(&connection.id) else { return Vec::new() };
        let of = known.lives.iter().map(|life| life.socket).collect();
        self.scene(known.events.iter().copied(), vec![connection], of).diagnoses()
    }

    /// The same of one that goes on, and is to be forgotten as there is no room for it.
    pub fn diagnose_part(&self, id: ConnectionId) -> Vec<Diagnosis> {
        let Some(known) = self.connections.get(&id).filter(|known| !known.lives.is_empty()) else { return Vec::new() };
        let of = known.lives.iter().map(|life| life.socket).collect();
        self.scene(known.events.iter().copied(), Vec::new(), of).diagnoses()
    }

    /// What seems wrong with sockets that have no connection and are to be forgotten.
    pub fn diagnose_unjoined(&self, of: &Forgettable) -> Vec<Diagnosis> {
        if of.lives.is_empty() {
            return Vec::new();
        }
        let sockets = of.lives.iter().map(|life| life.socket).collect();
        // Those that listen may hold a port that another could not have.
        let listeners = self.listeners.keys().filter_map(|life| self.calls.lives.get(life));
        let listeners = listeners.flat_map(|life| life.calls.iter().copied());
        self.scene(of.events.iter().copied().chain(listeners), Vec::new(), sockets).diagnoses()
    }

    fn scene<'a>(
        &'a self,
        events: impl Iterator<Item = EventId>,
        connections: Vec<&'a Connection>,
        of: HashSet<crate::calls::SocketId>,
    ) -> Scene<'a> {
        let mut ids: Vec<EventId> = events.collect();
        ids.sort_unstable();
        ids.dedup();
        Scene { known: self, events: found(&self.events, &ids), connections, past: &self.past, of: Some(of) }
    }

    /// Whether a socket that is watched listens on a port, or did.
    fn is_listened_at(&self, port: u16) -> bool {
        self.listening.keys().any(|local| local.port() == port)
    }

    /// The process of a thread.
    pub(super) fn process_of(&self, thread: ThreadId) -> Option<ProcessId> {
        self.threads.get(thread).map(|(thread, _)| thread.process)
    }
}

fn found<'a>(events: &'a Events, ids: &[EventId]) -> Vec<&'a Event> {
    ids.iter().filter_map(|id| events.find(*id)).filter(|event| !events.is_withdrawn(event.id)).collect()
}

/// How many calls on a socket without a connection are kept at either end of its life while it is open.
const ENDS_OF_A_LIFE: usize = 32;
/// How many connections are told to be quiet at once.
const MOST_QUIET: usize = 256;
/// How many closed sockets are kept that listened.
const MOST_LISTENERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{Call, CallId, Errno, Op, Process, Returned, Role, SocketId, SocketUse, Thread};
    use crate::story::{Lookup, Witnessed};
    use crate::time::Span;

    /// A timeline that forgets, and calls that are made one after the other.
    struct Calls {
        timeline: Timeline,
        thread: ThreadId,
        n: u64,
        now: Timestamp,
    }

    impl Calls {
        fn new() -> Self {
            let mut threads = crate::calls::Threads::default();
            let process = threads.add_process(Process { pid: 7, comm: String::new() });
            let thread = threads.add(Thread { process, tid: 7, comm: String::new() });
            let mut timeline = Timeline::forgetful();
            timeline.know_threads(threads);
            Self { timeline, thread, n: 0, now: Timestamp::from_nanos(0) }
        }

        /// Makes a call on a socket.
        fn make(&mut self, op: Op, socket: u64, role: Role, result: Result<i64, Errno>) {
            let id = CallId { thread: self.thread, n: self.n };
            self.n += 1;
            self.now = self.now.after(Span::from_micros(10));
            let local = Some("127.0.0.1:80".parse().expect("an address"));
            let used = SocketUse { local, ..SocketUse::of(SocketId(socket), socket as i32, role) };
            let call = Call {
                id,
                entered: self.now,
                op,
                sockets: vec![used.clone()],
                returned: None,
                stack: Default::default(),
            };
            self.timeline.take(Witnessed::Entered(Box::new(call)));
            let returned = Returned { at: self.now, result, octets: None, preview: Vec::new() };
            self.timeline.take(Witnessed::Returned { call: id, returned, sockets: vec![used] });
        }

        /// Forgets all that may be, as if it had been told long ago.
        fn forget(&mut self) -> usize {
            self.timeline.settle();
            let old = self.timeline.forgettable(EventId(u64::MAX), self.now.after(Span::from_millis(1000)));
            self.timeline.diagnose_unjoined(&old);
            self.timeline.forget_unjoined(&old);
            self.timeline.settle();
            self.timeline.held()
        }
    }

    #[test]
    fn what_is_over_is_told_and_forgotten() {
        let mut calls = Calls::new();
        // A socket that listens, and has nothing to accept, beside others that are opened and closed.
        calls.make(Op::Listen { backlog: 1 }, 1, Role::On, Ok(0));
        let mut held = 0;
        for n in 2..80_000 {
            calls.make(Op::Accept { flags: None, room: None }, 1, Role::On, Err(Errno::EAGAIN));
            calls.make(Op::Close, n, Role::Released, Ok(0));
            if n % 1000 == 0 {
                held = calls.forget();
                assert!(held <= 1024, "{n}: {held}");
            }
        }
        let known = &calls.timeline.calls;
        assert_eq!((known.lives.len(), known.homeless.len()), (1000, 1000), "those since the last time, and the first");
        assert!(held >= 2 * ENDS_OF_A_LIFE, "{held}");
        // Of sockets that listened and were closed some are remembered.
        for n in 80_000..81_000 {
            calls.make(Op::Listen { backlog: 1 }, n, Role::On, Ok(0));
            calls.make(Op::Close, n, Role::Released, Ok(0));
        }
        calls.forget();
        assert_eq!(calls.timeline.listeners.len(), MOST_LISTENERS + 1, "and the one that is open");
        assert!(calls.timeline.threads().get(calls.thread).is_some());
    }

    #[test]
    fn a_thread_is_forgotten_with_the_last_of_its_calls() {
        let mut calls = Calls::new();
        calls.make(Op::Close, 1, Role::Released, Ok(0));
        calls.timeline.end_thread(calls.thread);
        assert!(calls.timeline.threads().get(calls.thread).is_some());
        calls.forget();
        assert!(calls.timeline.threads().get(calls.thread).is_none());
    }
}
