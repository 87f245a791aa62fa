//! The calls of a timeline: which life of which socket each was made on, which end of which connection that is, and which octets it moved.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::connection::{PerConnection, Place};
use super::events::{Events, Order};
use super::timeline::Timeline;
use super::{CallEvent, EventId, EventKind, Remark};
use crate::calls::{
    Call, CallId, Effect, Errno, Lifetime, Lifetimes, Returned, Role, SocketEvent, SocketUse, ThreadId,
};
use crate::flow::{ConnectionId, Range, Side};
use crate::time::Timestamp;

/// The calls of one end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct EndCalls {
    /// How many there are.
    count: u64,
    /// Sends that wrote octets, with the positions; contiguous and ascending.
    sends: Vec<Moved>,
    /// Receives that read octets, with the positions; contiguous and ascending.
    receives: Vec<Moved>,
    /// When the last of the receives returned.
    last_read: Option<Timestamp>,
    /// Calls that closed the sending direction, in the order in which they were entered.
    closings: Vec<Interval>,
    /// The first connect.
    pub(super) connect: Option<EventId>,
    /// When the first call that set SO_LINGER to a time of zero was entered.
    linger_zero: Option<Timestamp>,
}

/// A call that moved octets.
#[derive(Clone, Copy, Debug)]
struct Moved {
    range: Range,
    interval: Interval,
}

/// A call, and when it was entered and returned.
#[derive(Clone, Copy, Debug)]
struct Interval {
    entered: Timestamp,
    returned: Option<Timestamp>,
    call: EventId,
}

impl EndCalls {
    /// Whether any call of this end was watched.
    pub(super) fn is_watched(&self) -> bool {
        self.count > 0
    }

    /// The sends that wrote any of these positions.
    pub(super) fn writers(&self, range: Range) -> impl ExactSizeIterator<Item = EventId> + '_ {
        overlapping(&self.sends, range).iter().map(|moved| moved.interval.call)
    }

    /// Whether a receive returned at `at` or later.
    pub(super) fn reads_on(&self, at: Option<Timestamp>) -> bool {
        at.is_none() || at <= self.last_read
    }

    /// The receives that read any of these positions and had not returned before `at`, with the first position that each wanted.
    pub(super) fn readers(&self, range: Range, at: Option<Timestamp>) -> impl Iterator<Item = (EventId, u64)> + '_ {
        let readers = overlapping(&self.receives, range).iter();
        let in_time =
            move |moved: &&Moved| at.is_none() || moved.interval.returned.is_none() || at <= moved.interval.returned;
        readers.filter(in_time).map(|moved| (moved.interval.call, moved.range.from))
    }

    /// When the `nth` send that wrote any of these positions was entered, and when it returned.
    pub(super) fn interval_of_writer(&self, range: Range, nth: usize) -> Option<(Timestamp, Timestamp)> {
        let interval = overlapping(&self.sends, range).get(nth)?.interval;
        Some((interval.entered, interval.returned?))
    }

    /// The last receive that was entered by `moment`, and the octets it read.
    pub(super) fn received_by(&self, moment: Option<Timestamp>) -> Option<(Range, EventId)> {
        let entered = self.receives.partition_point(|moved| is_entered(moved.interval.entered, moment));
        self.receives[..entered].last().map(|moved| (moved.range, moved.interval.call))
    }

    /// The last call that closed the sending direction and was entered by `moment`, and when it returned.
    pub(super) fn closed_by(&self, moment: Option<Timestamp>) -> Option<(EventId, Option<Timestamp>)> {
        let entered = self.closings.partition_point(|closing| is_entered(closing.entered, moment));
        self.closings[..entered].last().map(|closing| (closing.call, closing.returned))
    }

    /// The call that closed the sending direction: the first shutdown, close or exit, if it was entered by `moment`.
    pub(super) fn first_closing(&self, moment: Option<Timestamp>) -> Option<EventId> {
        self.closings.first().filter(|closing| is_entered(closing.entered, moment)).map(|closing| closing.call)
    }

    /// The call that closed the sending direction first.
    pub(super) fn closing(&self) -> Option<EventId> {
        self.closings.first().map(|closing| closing.call)
    }

    /// Whether SO_LINGER had been set to a time of zero.
    pub(super) fn lingers_zero(&self, moment: Option<Timestamp>) -> bool {
        self.linger_zero.is_some_and(|entered| is_entered(entered, moment))
    }

    /// Takes a call in; says what it may explain.
    fn add(&mut self, call: &Call, id: EventId) -> Explains {
        let first = self.count == 0;
        self.count += 1;
        let effect = call.effect();
        if effect == Effect::LingerZero {
            self.linger_zero = self.linger_zero.into_iter().chain([call.entered]).min();
        }
        if effect == Effect::Connect {
            self.connect.get_or_insert(id);
        }
        let closes = closes(call);
        if closes {
            let interval = Interval { entered: call.entered, returned: call.returned_at(), call: id };
            let place = self.closings.partition_point(|known| (known.entered, known.call) < (call.entered, id));
            self.closings.insert(place, interval);
        }
        match (first, effect, closes) {
            (true, ..) => Explains::All,
            (_, Effect::Connect, _) => Explains::Syns,
            (.., true) => Explains::Closing(call.entered),
            _ => Explains::Nothing,
        }
    }

    /// Takes in that a call that was taken for a closing one has returned.
    fn closed(&mut self, call: &Call, id: EventId) {
        let Some(place) = self.closings.iter().rposition(|known| known.call == id) else { return };
        if closes(call) {
            self.closings[place].returned = call.returned_at();
        } else {
            self.closings.remove(place);
        }
    }
}

/// Which segments of its end a call that has become known may explain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Explains {
    Nothing,
    /// Every one: it is the first call of the end.
    All,
    Syns,
    /// FINs, and RSTs since that moment.
    Closing(Timestamp),
    /// Window updates and RSTs since that moment.
    Reading(Timestamp),
}

/// Whether a call had been entered when `moment` came; where the moment is not known, it had.
fn is_entered(entered: Timestamp, moment: Option<Timestamp>) -> bool {
    moment.is_none_or(|moment| entered <= moment)
}

/// Whether a call ends the sending direction of its socket, as far as is known.
pub(super) fn closes(call: &Call) -> bool {
    matches!(call.effect(), Effect::ShutdownWrite | Effect::Close | Effect::Exit) && call.errno().is_none()
}

/// The entries of an ascending list of ranges without overlaps that share a position with `range`.
fn overlapping(list: &[Moved], range: Range) -> &[Moved] {
    let start = list.partition_point(|moved| moved.range.to <= range.from);
    let end = start + list[start..].partition_point(|moved| moved.range.overlaps(range));
    &list[start..end]
}

/// The calls that are followed.
#[derive(Clone, Debug, Default)]
pub(super) struct CallTable {
    lifetimes: Lifetimes,
    /// The calls that were entered and have not returned, with the life they were entered in.
    open: BTreeMap<CallId, (EventId, Option<Lifetime>)>,
    /// The last call of each thread that has returned, of which more may be said.
    last: HashMap<ThreadId, (u64, EventId, Option<Lifetime>)>,
    lives: HashMap<Lifetime, Life>,
}

/// One life of a socket.
#[derive(Clone, Debug, Default)]
struct Life {
    side: Option<Side>,
    home: Option<ConnectionId>,
    calls: Vec<EventId>,
    /// Sends, and receives, in the order in which they were entered, that have not been given their positions.
    writes: VecDeque<EventId>,
    reads: VecDeque<EventId>,
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

impl Timeline {
    /// Takes in that a thread entered a call.
    pub(super) fn entered(&mut self, call: Call) {
        let lives = self.calls.lifetimes.enter(&call);
        let life = lives.first().copied().flatten();
        let (id, effect, at) = (call.id, call.effect(), call.entered);
        let event = CallEvent {
            side: None,
            call,
            stream: None,
            sent: Vec::new(),
            brought_by: Vec::new(),
            completed_by: None,
            remark: None,
        };
        let order = Order { at: Some(at), frame: 0, class: 0 };
        let event = self.events.push(order, Some(at), None, EventKind::Call(Box::new(event)));
        self.unjoined.push(event);
        self.calls.open.insert(id, (event, life));
        if let Some(life) = life {
            self.name_side(life, effect);
            // What accept returns is another socket; only if it returns none it was about the listening one alone.
            if effect != Effect::Accept {
                self.join_life(life, event);
            }
        }
    }

    /// Takes in that a call returned.
    pub(super) fn returned(&mut self, id: CallId, returned: Returned, sockets: Vec<SocketUse>) {
        let Some((event, life)) = self.calls.open.remove(&id) else {
            self.strays += 1;
            return;
        };
        let call = &mut self.events.call_mut(event).call;
        call.complete(returned, sockets);
        let call = call.clone();
        let lives = self.calls.lifetimes.leave(&call);
        let own = life.or(lives.first().copied().flatten());
        self.calls.last.insert(id.thread, (id.n, event, own));
        self.events.call_mut(event).remark = remark_on(&call);
        self.settle_call(&call, event, life, &lives);
        self.explain_bind(&call, event);
    }

    /// Joins a call that has returned, or that will not, to the end that it turns out to be of.
    fn settle_call(&mut self, call: &Call, event: EventId, entered_in: Option<Lifetime>, lives: &[Option<Lifetime>]) {
        let effect = call.effect();
        let own = entered_in.or(lives.first().copied().flatten());
        let made = call.sockets.iter().position(|used| used.role == Role::Made);
        let accepted = made.filter(|_| effect == Effect::Accept).and_then(|place| lives.get(place).copied().flatten());
        if let Some(own) = own.filter(|_| entered_in.is_none()) {
            self.name_side(own, effect);
            self.join_life(own, event);
        }
        match (effect, accepted, own) {
            (Effect::Accept, Some(accepted), _) => {
                let home = self.accepted(call);
                self.set_side(accepted, Side::Server);
                self.join_life(accepted, event);
                if let Some(home) = home {
                    self.set_home(accepted, home);
                }
            }
            (Effect::Accept, None, Some(own)) if entered_in.is_some() => self.join_life(own, event),
            (Effect::Connect, _, Some(own)) => {
                let is_homeless = self.calls.lives.get(&own).is_some_and(|life| life.home.is_none());
                if let Some(home) = self.connected(call).filter(|_| is_homeless) {
                    self.set_home(own, home);
                }
            }
            _ => {}
        }
        self.move_listener(call, event, own);
        let life = accepted.or(own);
        if let Some(life) = life {
            self.has_returned(life, event, call);
        }
    }

    /// Takes in what became of a socket.
    pub(super) fn socket_event(&mut self, event: &SocketEvent) {
        self.calls.lifetimes.see(event);
    }

    /// A call that has returned last in its thread, or has not returned: its event, and the life of its socket.
    pub(super) fn call_of(&self, call: CallId) -> Option<(EventId, Option<Lifetime>)> {
        let last = self.calls.last.get(&call.thread).filter(|(n, ..)| *n == call.n);
        last.map(|(_, event, life)| (*event, *life)).or_else(|| self.calls.open.get(&call).copied())
    }

    /// Settles the calls that never returned: no more will be known of them.
    pub(super) fn give_up_open_calls(&mut self) {
        let open = std::mem::take(&mut self.calls.open);
        for (event, life) in open.into_values() {
            let call = self.events.call(event).call.clone();
            self.settle_call(&call, event, life, &[]);
        }
    }

    /// What a call says of the side that its socket is.
    fn name_side(&mut self, life: Lifetime, effect: Effect) {
        let known = self.calls.lives.entry(life).or_default().side;
        match effect {
            Effect::Connect => self.set_side(life, Side::Client),
            Effect::Accept | Effect::Listen => self.set_side(life, Side::Server),
            // Until it connects, a socket that asks for a port of its own is taken for a server's.
            Effect::Bind if known.is_none() => self.set_side(life, Side::Server),
            _ => {}
        }
    }

    fn set_side(&mut self, life: Lifetime, side: Side) {
        let life = self.calls.lives.entry(life).or_default();
        if life.side == Some(side) || life.home.is_some() {
            return;
        }
        life.side = Some(side);
        for call in &life.calls {
            self.events.call_mut(*call).side = Some(side);
        }
    }

    /// Adds a call to a life of a socket.
    fn join_life(&mut self, life: Lifetime, event: EventId) {
        let known = self.calls.lives.entry(life).or_default();
        known.calls.push(event);
        let (side, home) = (known.side, known.home);
        if side.is_some() {
            self.events.call_mut(event).side = side;
        }
        match self.events.call(event).call.effect() {
            Effect::Send => known.writes.push_back(event),
            Effect::Receive => known.reads.push_back(event),
            _ => {}
        }
        if let (Some(home), Some(side)) = (home, side) {
            self.join_end(home, side, event);
            self.transfer(life);
        }
    }

    /// Finds the connection that a life of a socket is an end of.
    fn set_home(&mut self, life: Lifetime, home: ConnectionId) {
        let Some(known) = self.calls.lives.get_mut(&life) else { return };
        let Some(side) = known.side else { return };
        known.home = Some(home);
        let mut calls = known.calls.clone();
        calls.sort_unstable_by_key(|call| (self.events.call(*call).call.entered, *call));
        for call in &calls {
            self.join_end(home, side, *call);
        }
        if side == Side::Client {
            self.ends.take_client(home);
        }
        self.transfer(life);
        for call in calls {
            if self.events.call(call).call.returned.is_some() {
                self.complete(home, side, call);
            }
        }
    }

    /// Adds a call to an end of a connection.
    fn join_end(&mut self, home: ConnectionId, side: Side, event: EventId) {
        let Some(connection) = self.connections.get_mut(&home) else { return };
        self.events.event_mut(event).connection = Some(home);
        connection.events.push(event);
        connection.joined.grow();
        let explains = connection.ends[side as usize].calls.add(&self.events.call(event).call, event);
        connection.explained_by(side, explains);
        self.stale.insert(home);
    }

    /// Takes in the return of a call of that life.
    fn has_returned(&mut self, life: Lifetime, event: EventId, call: &Call) {
        let Some(known) = self.calls.lives.get(&life) else { return };
        let (Some(home), Some(side)) = (known.home, known.side) else { return };
        if let Some(connection) = self.connections.get_mut(&home)
            && matches!(call.effect(), Effect::ShutdownWrite | Effect::Close | Effect::Exit | Effect::CloseCopy)
        {
            connection.ends[side as usize].calls.closed(call, event);
            connection.explained_by(side, Explains::Closing(call.entered));
            self.stale.insert(home);
        }
        self.transfer(life);
        self.complete(home, side, event);
    }

    /// Gives the sends and receives of a life their positions, in the order in which they were entered, as far as they have returned.
    fn transfer(&mut self, life: Lifetime) {
        let CallTable { lives, open, .. } = &mut self.calls;
        let Some(known) = lives.get_mut(&life) else { return };
        let (Some(home), Some(side)) = (known.home, known.side) else { return };
        let Some(connection) = self.connections.get_mut(&home) else { return };
        self.stale.insert(home);
        let events = &mut self.events;
        // A call that will never return has moved nothing.
        let has_moved = |call: &Call| (!open.contains_key(&call.id)).then(|| call.octets().unwrap_or(0));
        while let Some((call, octets)) = first_that_has(&mut known.writes, |id| has_moved(&events.call(id).call)) {
            if octets > 0 {
                write(connection, events, side, call, octets);
            }
        }
        while let Some((call, octets)) = first_that_has(&mut known.reads, |id| has_moved(&events.call(id).call)) {
            if octets > 0 {
                read(connection, events, side, call, octets);
            }
        }
    }
}

/// Takes the first transfer, if it is known what it has moved.
fn first_that_has(transfers: &mut VecDeque<EventId>, moved: impl Fn(EventId) -> Option<u64>) -> Option<(EventId, u64)> {
    let first = *transfers.front()?;
    let octets = moved(first)?;
    transfers.pop_front();
    Some((first, octets))
}

/// A send has written octets: the segments that carry them are its.
fn write(connection: &mut PerConnection, events: &mut Events, side: Side, call: EventId, octets: u64) {
    let calls = &mut connection.ends[side as usize].calls;
    let range = Range::of(calls.sends.last().map_or(0, |moved| moved.range.to), octets);
    calls.sends.push(Moved { range, interval: interval(events, call) });
    events.call_mut(call).stream = Some(range);
    connection.ends[side as usize].unwritten.claim(range.to);
}

/// A receive has read octets: the segments of the peer that carried them brought it its octets.
fn read(connection: &mut PerConnection, events: &mut Events, side: Side, call: EventId, octets: u64) {
    let calls = &mut connection.ends[side as usize].calls;
    let range = Range::of(calls.receives.last().map_or(0, |moved| moved.range.to), octets);
    let interval = interval(events, call);
    calls.receives.push(Moved { range, interval });
    calls.last_read = calls.last_read.max(interval.returned);
    let event = events.call_mut(call);
    event.stream = Some(range);
    // A socket that is connected to itself is not told what brought its octets.
    if !connection.is_one_end() {
        let (seen, most) = (&connection.seen, connection.joined.most());
        let in_time = |place: usize| seen[place].at.is_none_or(|at| interval.returned.is_none_or(|by| at <= by));
        let carried = connection.ends[side.peer() as usize].unread.take(range, most, in_time);
        for place in connection.joined.take(0, carried.into_iter()) {
            let seen = &connection.seen[place];
            event.brought_by.push(seen.event);
            if seen.stream.is_some_and(|stream| stream.from <= range.from && range.from < stream.to) {
                event.completed_by.get_or_insert(seen.event);
            }
        }
    }
    connection.explained_by(side, Explains::Reading(interval.entered));
}

fn interval(events: &Events, call: EventId) -> Interval {
    let known = &events.call(call).call;
    Interval { entered: known.entered, returned: known.returned_at(), call }
}

/// Segments of one end with octets that are not all claimed by calls: its own that wrote them, or the peer's that read them.
#[derive(Clone, Debug, Default)]
pub(super) struct Unclaimed {
    /// By their first position and their place, where they end.
    segments: BTreeMap<(u64, Place), u64>,
    claimed: u64,
    /// How far the claims were when the segments were last asked for.
    asked: u64,
}

impl Unclaimed {
    /// Adds a segment.
    pub(super) fn add(&mut self, range: Range, place: Place) {
        if range.to > self.claimed {
            self.segments.insert((range.from, place), range.to);
        }
    }

    /// Claims the positions up to `to`.
    fn claim(&mut self, to: u64) {
        self.claimed = self.claimed.max(to);
    }

    /// The segments that hold positions claimed since this was called last.
    pub(super) fn newly_claimed(&mut self) -> Vec<Place> {
        if self.asked == self.claimed {
            return Vec::new();
        }
        self.asked = self.claimed;
        let holding: Vec<_> = self.segments.range(..(self.claimed, 0)).map(|(key, to)| (*key, *to)).collect();
        for (key, _) in holding.iter().filter(|(_, to)| *to <= self.claimed) {
            self.segments.remove(key);
        }
        holding.into_iter().map(|((_, place), _)| place).collect()
    }

    /// Claims positions that follow those claimed before: the segments that hold any of them and that are wanted, but no more than `most`, in order.
    fn take(&mut self, range: Range, most: usize, wanted: impl Fn(Place) -> bool) -> Vec<Place> {
        self.claimed = range.to;
        let (mut holding, mut done) = (Vec::new(), Vec::new());
        for (&(from, place), &to) in self.segments.range(..(range.to, 0)) {
            if to > range.from && wanted(place) {
                if holding.len() > most {
                    break;
                }
                holding.push(place);
            }
            if to <= range.to {
                done.push((from, place));
            }
        }
        for key in done {
            self.segments.remove(&key);
        }
        holding.sort_unstable();
        holding
    }
}

/// What is worth saying of a call by itself.
fn remark_on(call: &Call) -> Option<Remark> {
    Some(match (call.effect(), call.errno(), call.result()) {
        (Effect::Listen, None, _) => Remark::KernelAnswersSyns,
        (Effect::Send, None, Some(0)) => Remark::EmptySend,
        (Effect::CloseCopy, None, _) => Remark::CopiesRemain,
        (Effect::ShutdownRead, None, _) => Remark::OnlyReadingEnds,
        (Effect::LingerZero, None, _) => Remark::NextCloseResets,
        (Effect::Bind, Some(Errno::EADDRINUSE), _) => Remark::PortTaken,
        (Effect::Connect, Some(Errno::ECONNREFUSED), _) => Remark::Refused,
        (Effect::Connect, Some(Errno::ETIMEDOUT), _) => Remark::SynUnanswered,
        (Effect::Connect, Some(Errno::EINPROGRESS), _) => Remark::HandshakeGoesOn,
        (Effect::Send, Some(Errno::EPIPE), _) => Remark::ClosedForSending,
        (Effect::Receive | Effect::Send, Some(Errno::ECONNRESET), _) => Remark::PeerReset,
        (Effect::Receive | Effect::Send | Effect::Accept, Some(Errno::EAGAIN), _) => Remark::WouldBlock,
        _ => return None,
    })
}
