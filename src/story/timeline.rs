//! The timeline that grows: it takes what witnesses saw, word by word, and tells what became of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::accept_queue::AcceptQueues;
use super::binds::{HeldPorts, Waits};
use super::call_table::CallTable;
use super::connection::{PerConnection, Place};
use super::descriptors::Descriptors;
use super::end::{End, end};
use super::events::{Changes, Events, Order};
use super::past::Past;
use super::path::Path;
use super::phases::{Bounds, set_phases};
use super::unseen::{Early, Openers, Unseen};
use super::words::words;
use super::{Cause, Diagnosis, EventId, Evidence, Join, Point, Story, Trace, Witnessed};
use crate::calls::{Call, Effect, Lifetime, Threads};
use crate::flow::{Connection, ConnectionId, Side, Totals};
use crate::hash::HashMap;
use crate::kernel;
use crate::tcp::{Rule, State};
use crate::time::{Span, Timestamp};
use crate::wire::Flags;

/// Everything that is known of the connections that were chosen, as it becomes known.
///
/// Words are to come in the order of [`Moment`](super::Moment): a [`Sorter`](super::Sorter) sees to that.
/// The timeline is the same whether they are pushed one by one or taken at once.
/// What a word costs grows with the logarithm of what was said before, and with what it amends.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pub(super) events: Events,
    pub(super) connections: BTreeMap<ConnectionId, Box<PerConnection>>,
    /// The connections of which something has to be found, or found again.
    pub(super) stale: BTreeSet<ConnectionId>,
    pub(super) ends: Ends,
    pub(super) calls: CallTable,
    pub(super) listeners: HashMap<Lifetime, Path>,
    /// The socket that listens at each address.
    pub(super) listening: HashMap<SocketAddr, Lifetime>,
    pub(super) waits: Waits,
    /// The ports that open sockets have.
    pub(super) ports: HeldPorts,
    /// Between which ends which end of which connection is in TIME-WAIT.
    pub(super) time_waits: HashMap<[SocketAddr; 2], (ConnectionId, Side)>,
    /// Events that belonged to no connection when they were born.
    pub(super) unjoined: Vec<EventId>,
    /// How many of these have got their phases, and by which bounds.
    pub(super) phased: (usize, Bounds),
    /// What the link did to segments that were not seen yet.
    pub(super) unseen: Unseen,
    /// What the kernel said of connections before their first segments were seen.
    pub(super) early: Early,
    /// Calls that opened connections of which no segment was seen yet.
    pub(super) openers: Openers,
    /// The connections that wait to be accepted, and the accepts that do not say which they took.
    pub(super) queues: AcceptQueues,
    /// Words about calls that nobody entered.
    pub(super) strays: u64,
    /// The threads that make the calls, as far as they are known before the end.
    pub(super) threads: Threads,
    /// Where segments are captured, as far as that is known before the end.
    pub(super) points: Vec<Point>,
    /// What is remembered of what was forgotten.
    pub(super) past: Past,
    /// What processes did with their descriptors, where calls are looked at as they return.
    pub(super) descriptors: Descriptors,
    /// The bounds of all that was forgotten.
    pub(super) past_bounds: Bounds,
    /// Events of no connection were forgotten, and are still in the list of them.
    pub(super) unjoined_is_stale: bool,
    /// What was found of calls as they returned, and not told.
    pub(super) found: Vec<Diagnosis>,
    /// When the last word was spoken.
    pub(super) until: Option<Timestamp>,
    /// What retransmission timers of the hosts are never shorter than, where that is known.
    pub(super) rto_min: Option<Span>,
}

impl Timeline {
    /// The timeline of a recording: the segments of some connections, calls, what sock_diag answered, and what the kernel's trace said.
    ///
    /// Segments keep the order in which they were captured, whatever their timestamps say; where there are none, none may follow.
    /// `rto_min` is what retransmission timers of both hosts are never shorter than; `None`: not known, and Linux's own bound is believed.
    pub fn of(
        traces: Vec<Trace>,
        calls: Vec<Call>,
        evidence: &[kernel::Answer],
        events: &[kernel::KernelEvent],
        rto_min: Option<Span>,
    ) -> Self {
        let mut timeline = Self { rto_min, ..Self::default() };
        // What the kernel did with a connection is told with its segments, and so is which calls opened it.
        let events = if traces.is_empty() { &[] } else { events };
        timeline.openers.is_needless = traces.is_empty();
        words(traces, calls, evidence, events).for_each(|word| timeline.take(word));
        timeline
    }

    /// Takes a word in, and tells what became of the events.
    pub fn push(&mut self, witnessed: Witnessed) -> Changes {
        self.take(witnessed);
        self.settle()
    }

    /// Takes a word in; what became of the events is told by the next [`settle`](Self::settle).
    pub fn take(&mut self, witnessed: Witnessed) {
        self.until = self.until.max(witnessed.at());
        match witnessed {
            Witnessed::Entered(call) => self.entered(*call),
            Witnessed::Returned { call, returned, sockets } => self.returned(call, returned, sockets),
            Witnessed::Lost { call, .. } => self.lost(call),
            Witnessed::Socket(event) => self.socket_event(&event),
            Witnessed::Sighting(sighting) => self.sighted(*sighting),
            Witnessed::Quoted(quotation) => self.quoted(*quotation),
            Witnessed::Kernel(event) => self.kernel_event(event),
            Witnessed::Link(act) => self.link_event(*act),
            Witnessed::Info { call, info } => self.info(call, &info),
            Witnessed::Answered(answer) => self.answered(&answer),
            Witnessed::Ended(connection) => {
                if let Some(known) = self.connections.get_mut(&connection.id) {
                    known.summary = Some(connection);
                }
            }
        }
    }

    /// Finds the causes of what is new, and again those that later words have changed; tells what became of the events.
    pub fn settle(&mut self) -> Changes {
        let mut bounds_changed = false;
        for id in std::mem::take(&mut self.stale) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            for place in connection.take_stale() {
                explain(connection, &mut self.events, place);
            }
            connection.judge(&mut self.events);
            bounds_changed |= connection.set_phases(&mut self.events);
        }
        for (life, path) in self.listeners.iter_mut().filter(|(_, path)| !path.is_settled()) {
            let born = path.judge(&mut self.events, None, None).born;
            if let Some(life) = self.calls.lives.get_mut(life) {
                life.moves.extend(&born);
            }
            self.unjoined.extend(born);
        }
        self.set_phases_of_unjoined(bounds_changed);
        self.events.changes(self.until)
    }

    /// Whether later evidence has shown that an event did not happen.
    pub fn is_withdrawn(&self, id: EventId) -> bool {
        self.events.is_withdrawn(id)
    }

    /// Where an event stands among the others: by that, and then by its id, a finished output has them.
    ///
    /// An event without a time stands where the first of all stands.
    pub fn order_of(&self, id: EventId) -> Option<Order> {
        self.events.find(id).map(|event| self.events.order(event.id))
    }

    /// Makes known who makes the calls; those that were known before keep their numbers.
    ///
    /// A table that is older than the one known says nothing new: threads that begin at the same time may each tell of theirs.
    pub fn know_threads(&mut self, threads: Threads) {
        self.threads.learn(threads);
    }

    /// Makes known where segments are captured: the next places after those that are known.
    pub fn know_points(&mut self, points: impl IntoIterator<Item = Point>) {
        self.points.extend(points);
    }

    /// How many events it holds memory for.
    pub fn held(&self) -> usize {
        self.events.held()
    }

    /// How many events are not forgotten.
    pub fn standing(&self) -> usize {
        self.events.standing()
    }

    /// How many connections it knows that are not forgotten.
    pub fn open(&self) -> usize {
        self.connections.len()
    }

    /// The connection of the oldest event that belongs to one.
    pub fn oldest(&self) -> Option<ConnectionId> {
        self.events.oldest()
    }

    /// Takes in that nothing more will come: calls that have not returned will not; tells what that makes of the events.
    pub fn close(&mut self) -> Changes {
        self.give_up_open_calls();
        Changes { until: None, ..self.settle() }
    }

    /// Adds to the summary of a connection what only the timeline knows of it.
    pub fn complete_summary(&self, connection: &mut Connection) {
        if let Some(known) = self.connections.get(&connection.id) {
            known.complete_summary(connection);
        }
    }

    /// Forgets a connection with its events and calls: nobody may ask for them any more.
    ///
    /// If segments of it are seen all the same, it begins anew.
    pub fn forget(&mut self, id: ConnectionId) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        self.stale.remove(&id);
        self.past_bounds = self.past_bounds.around(connection.bounds);
        self.ends.forget(id);
        self.queues.take(id);
        let ends = sorted([connection.client, connection.server]);
        if self.time_waits.get(&ends).is_some_and(|(waiting, _)| *waiting == id) {
            self.time_waits.remove(&ends);
        }
        for (side, end) in [(Side::Client, connection.client), (Side::Server, connection.server)] {
            self.waits.forget(side, end.port(), id);
        }
        for life in &connection.lives {
            self.calls.forget_life(*life);
            self.ports.release(*life, None);
        }
        self.forget_events(&std::mem::take(&mut connection.events));
        let events = &self.events;
        if !self.unseen.is_empty() {
            self.unseen.forget(|event| events.find(event).is_some());
        }
    }

    /// Ends it: its events numbered in order of time, with the summaries of its connections.
    ///
    /// `connections` are the summaries of those that were not told to have ended; `threads` made the calls.
    pub fn finish(mut self, mut connections: Vec<Connection>, threads: Threads, totals: Totals) -> Story {
        self.close();
        let Self { events, connections: mut known, ends, calls, waits, unjoined, points, past, threads: own, .. } =
            self;
        let mut threads = threads;
        threads.learn(own);
        let mut joins_omitted = 0;
        connections.extend(known.values_mut().filter_map(|known| known.summary.take()).map(|summary| *summary));
        for connection in &mut connections {
            if let Some(known) = known.remove(&connection.id) {
                joins_omitted += known.joined.omitted();
                known.complete_summary(connection);
            }
        }
        connections.sort_by_key(|connection| connection.id);
        // What was needed to find the events is freed before they are put in order, but for many small pieces: whoever asks for much
        // memory next would have to put them together first.
        drop((known, ends));
        let (events, births) = super::order::renumbered(events);
        drop((calls, waits, unjoined));
        Story { events, births, connections, threads, points, totals, joins_omitted, past }
    }

    /// Gives the events of no connection their phases: by what all connections do together.
    fn set_phases_of_unjoined(&mut self, bounds_changed: bool) {
        if self.unjoined.is_empty() {
            return;
        }
        if std::mem::take(&mut self.unjoined_is_stale) {
            self.phased.0 = 0;
            let events = &self.events;
            self.unjoined.retain(|event| events.find(*event).is_some());
        }
        if bounds_changed {
            let all = self.connections.values().map(|connection| connection.bounds);
            let all = all.fold(self.past_bounds, Bounds::around);
            if all != self.phased.1 {
                self.phased = (0, all);
            }
        }
        if self.phased.0 == 0 {
            let events = &self.events;
            self.unjoined.retain(|event| events.event(*event).connection.is_none());
        }
        let (done, bounds) = self.phased;
        let events = &mut self.events;
        let still: Vec<_> =
            self.unjoined[done..].iter().copied().filter(|event| events.event(*event).connection.is_none()).collect();
        set_phases(events, &still, bounds);
        self.phased.0 = self.unjoined.len();
    }

    /// A listening socket has no segments: its two transitions are what `listen` and `close` did.
    pub(super) fn move_listener(&mut self, call: &Call, event: EventId, life: Option<Lifetime>) {
        let (Some(life), None, Some(returned)) = (life, call.errno(), call.returned_at()) else { return };
        let is_listening = self.listeners.get(&life).and_then(Path::last) == Some(State::Listen);
        let (from, to, rule) = match call.effect() {
            Effect::Listen if !is_listening => (State::Closed, State::Listen, Rule::PassiveOpen),
            Effect::Close | Effect::Exit if is_listening => (State::Listen, State::Closed, Rule::ListenerClosed),
            _ => return,
        };
        if let (Effect::Listen, Some(local)) = (call.effect(), call.local()) {
            self.listening.insert(local, life);
        }
        let moved = super::path::Moved {
            side: Side::Server,
            step: crate::tcp::Move { from: Some(from), to, rule },
            order: Order::of_return(Some(returned)),
            at: Some(returned),
            cause: event,
            by: None,
        };
        let born = self.listeners.entry(life).or_default().step(&mut self.events, None, moved);
        self.unjoined.push(born);
        let known = self.calls.life(life);
        known.moves.push(born);
        known.listened = true;
    }

    /// The connection whose SYN this `connect` sent.
    pub(super) fn connected(&mut self, call: &Call) -> Option<ConnectionId> {
        let local = call.local().filter(|local| local.port() != 0);
        let Some(peer) = call.peer() else {
            return self.ends.from(local?, call.entered, call.returned_at()?);
        };
        // Of several that began meanwhile it may be any.
        if let (None, Some(returned)) = (local, call.returned_at())
            && self.ends.has_several(peer, call.entered, returned)
        {
            return None;
        }
        let Some((first, id)) = self.ends.since(local, peer, call.entered) else {
            return self.connected_second(call);
        };
        // A nonblocking connect returns before its SYN is answered, but not before the SYN was sent.
        let in_time = first.is_none() || call.returned_at().is_none_or(|returned| first <= Some(returned));
        in_time.then_some(id)
    }

    /// The connection whose SYN a call sent that may have led to `peer`: none but that began while it was made, and it leads there.
    pub(super) fn led_to(&mut self, call: &Call, peer: SocketAddr) -> Option<ConnectionId> {
        let id = self.ends.within(call.entered, call.returned_at()?)?;
        self.connections.get(&id).filter(|connection| end(connection.server) == end(peer)).map(|_| id)
    }

    /// The connection whose second SYN this `connect` sent, as the other end connected, too.
    fn connected_second(&mut self, call: &Call) -> Option<ConnectionId> {
        let id = self.ends.latest(call.peer()?, call.local()?, call.returned_at())?;
        let connection = self.connections.get(&id)?;
        let syn = &connection.seen[connection.ends[Side::Server as usize].sent.syn?];
        let is_its = Some(connection.server) == call.local() && !syn.flags.contains(Flags::ACK);
        (is_its && syn.at >= Some(call.entered)).then_some(id)
    }

    /// The connection that this `accept` took off the queue: its first segment came before the call returned.
    pub(super) fn accepted(&mut self, call: &Call) -> Option<ConnectionId> {
        self.ends.latest(call.peer()?, call.local()?, call.returned_at())
    }
}

/// Finds the cause of a segment, and tells the calls that put it on the wire.
fn explain(connection: &mut PerConnection, events: &mut Events, place: Place) {
    let found = connection.explain(place);
    let event = connection.seen[place].event;
    let mut calls = found.calls;
    let closing = calls.iter().copied().find(|call| super::end_calls::closes(&events.call(*call).call));
    let connect = calls.iter().copied().find(|call| events.call(*call).call.effect() == Effect::Connect);
    calls.sort_unstable();
    calls.dedup();
    let cause = Cause {
        calls,
        kernel: found.kernel,
        of: found.of.map(|of| connection.seen[of].event),
        link: found.link,
        evidence: found.evidence.unwrap_or(Evidence::Joined(Join::Octets)),
        why: found.why,
        unwatched: found.unwatched,
    };
    if events.segment(event).cause != cause {
        let before = std::mem::replace(&mut events.segment_mut(event).cause, cause.clone());
        // Reading made room for a window update, but did not write it.
        let writes = |events: &Events, call: EventId| events.call(call).call.effect() != Effect::Receive;
        for gone in before.calls.iter().filter(|call| !cause.calls.contains(call)) {
            if writes(events, *gone) {
                events.call_mut(*gone).sent.retain(|sent| *sent != event);
            }
        }
        for new in cause.calls.iter().filter(|call| !before.calls.contains(call)) {
            if writes(events, *new) {
                let sent = &mut events.call_mut(*new).sent;
                let at = sent.partition_point(|known| *known < event);
                sent.insert(at, event);
            }
        }
    }
    let order = Order::of_frame(connection.seen[place].latest, connection.seen[place].frame);
    let at = connection.seen[place].at;
    for moved in std::mem::take(&mut connection.seen[place].moves) {
        let rule = events.transition(moved).rule;
        let call = match rule {
            Rule::ActiveOpen => connect,
            Rule::CloseSent | Rule::CloseAnswered | Rule::Aborted => closing,
            _ => None,
        };
        if matches!(rule, Rule::ActiveOpen | Rule::CloseSent | Rule::CloseAnswered | Rule::Aborted) {
            let by = Some(call.unwrap_or(event));
            if events.transition(moved).cause != by {
                events.transition_mut(moved).cause = by;
            }
            let returned = call.and_then(|call| events.call(call).call.returned_at());
            let returned = returned.filter(|returned| connection.waited(place, *returned));
            connection.put_off(events, moved, returned, order, at);
        }
        if !events.is_withdrawn(moved) {
            connection.seen[place].moves.push(moved);
        }
    }
    connection.bounds_moved |= connection.bounds.see(event, events);
}

/// The connections by their ends, so that the one of a call is found without looking at all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    /// Those of each pair of client and server, by the time of their first segments.
    by_ends: HashMap<(End, End), BTreeSet<First>>,
    /// Those of each server whose client is not known to be anybody's, likewise.
    by_server: HashMap<End, BTreeSet<First>>,
    /// Those of each client, likewise.
    by_client: HashMap<End, BTreeSet<First>>,
    /// All of these.
    by_time: BTreeSet<First>,
    began: HashMap<ConnectionId, ((End, End), Option<Timestamp>)>,
    /// Those that nobody has looked for since they were added.
    new: Vec<(ConnectionId, [SocketAddr; 2], Option<Timestamp>)>,
}

/// When the first segment of a connection was captured, and its number.
pub(super) type First = (Option<Timestamp>, ConnectionId);

impl Ends {
    /// Takes in a connection.
    pub(super) fn add(&mut self, id: ConnectionId, ends: [SocketAddr; 2], first: Option<Timestamp>) {
        self.new.push((id, ends, first));
    }

    /// Whether no connection is known.
    pub(super) fn is_empty(&self) -> bool {
        self.began.is_empty() && self.new.is_empty()
    }

    fn index(&mut self) {
        for (id, [client, server], first) in std::mem::take(&mut self.new) {
            let ends = (end(client), end(server));
            self.by_ends.entry(ends).or_default().insert((first, id));
            self.by_server.entry(ends.1).or_default().insert((first, id));
            self.by_client.entry(ends.0).or_default().insert((first, id));
            self.by_time.insert((first, id));
            self.began.insert(id, (ends, first));
        }
    }

    /// Forgets a connection for good.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.take_client(id);
        let Some((ends, first)) = self.began.remove(&id) else { return };
        for list in [self.by_ends.get_mut(&ends), self.by_server.get_mut(&ends.1)].into_iter().flatten() {
            list.remove(&(first, id));
        }
        if self.by_ends.get(&ends).is_some_and(BTreeSet::is_empty) {
            self.by_ends.remove(&ends);
        }
        if self.by_server.get(&ends.1).is_some_and(BTreeSet::is_empty) {
            self.by_server.remove(&ends.1);
        }
    }

    /// Forgets a connection, whose ends were taken for each other.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.take_client(id);
        if let Some((ends, first)) = self.began.remove(&id)
            && let Some(list) = self.by_ends.get_mut(&ends)
        {
            list.remove(&(first, id));
        }
    }

    /// Takes in that it is known whose socket the client of a connection is.
    pub(super) fn take_client(&mut self, id: ConnectionId) {
        self.index();
        if let Some((ends, first)) = self.began.get(&id) {
            self.by_time.remove(&(*first, id));
            for list in [self.by_server.get_mut(&ends.1), self.by_client.get_mut(&ends.0)].into_iter().flatten() {
                list.remove(&(*first, id));
            }
            if self.by_client.get(&ends.0).is_some_and(BTreeSet::is_empty) {
                self.by_client.remove(&ends.0);
            }
        }
    }

    /// The first connection to `server` that began at `moment` or later, from `client` if that is known.
    pub(super) fn since(&mut self, client: Option<SocketAddr>, server: SocketAddr, moment: Timestamp) -> Option<First> {
        self.index();
        let list = match client {
            Some(client) => self.by_ends.get(&(end(client), end(server))),
            None => self.by_server.get(&end(server)),
        }?;
        match list.first()? {
            untimed @ (None, _) => Some(*untimed),
            _ => list.range((Some(moment), ConnectionId(0))..).next().copied(),
        }
    }

    /// The only connection from `client`, whose socket is not known, that began within a time.
    pub(super) fn from(&mut self, client: SocketAddr, since: Timestamp, until: Timestamp) -> Option<ConnectionId> {
        self.index();
        only_one(self.by_client.get(&end(client))?, since, until)
    }

    /// The only connection that began within a time, of all from clients whose sockets are not known.
    fn within(&mut self, since: Timestamp, until: Timestamp) -> Option<ConnectionId> {
        self.index();
        only_one(&self.by_time, since, until)
    }

    /// Whether several connections to `server` began within a time, from clients whose sockets are not known.
    fn has_several(&mut self, server: SocketAddr, since: Timestamp, until: Timestamp) -> bool {
        self.index();
        let Some(list) = self.by_server.get(&end(server)).filter(|_| since <= until) else { return false };
        list.range((Some(since), ConnectionId(0))..=(Some(until), ConnectionId(u64::MAX))).nth(1).is_some()
    }

    /// Whether there is, or was, a connection between these ends, whichever is the client.
    pub(super) fn has(&mut self, one: SocketAddr, other: SocketAddr) -> bool {
        self.index();
        [(one, other), (other, one)]
            .iter()
            .any(|(client, server)| self.by_ends.contains_key(&(end(*client), end(*server))))
    }

    /// The last connection between these ends that began by `moment`.
    pub(super) fn latest(
        &mut self,
        client: SocketAddr,
        server: SocketAddr,
        moment: Option<Timestamp>,
    ) -> Option<ConnectionId> {
        self.index();
        let list = self.by_ends.get(&(end(client), end(server)))?;
        let began = match moment {
            Some(moment) => list.range(..=(Some(moment), ConnectionId(u64::MAX))).next_back(),
            None => list.last(),
        };
        began.map(|(_, id)| *id)
    }
}

/// The only one of a list that began within a time.
fn only_one(list: &BTreeSet<First>, since: Timestamp, until: Timestamp) -> Option<ConnectionId> {
    let until = until.max(since);
    let mut within = list.range((Some(since), ConnectionId(0))..=(Some(until), ConnectionId(u64::MAX)));
    within.next().filter(|_| within.next().is_none()).map(|(_, id)| *id)
}

/// Both ends, whichever is the client.
pub(super) fn sorted(mut ends: [SocketAddr; 2]) -> [SocketAddr; 2] {
    ends.sort_unstable();
    ends
}
