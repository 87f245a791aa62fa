//! The calls of a timeline: which life of which socket each was made on, which end of which connection that is, and which octets it moved.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::call_table::{CallTable, Life};
use super::connection::PerConnection;
use super::end::end;
use super::end_calls::{Explains, Interval, Moved};
use super::events::{Events, Order};
use super::timeline::Timeline;
use super::{CallEvent, Diagnosis, EventId, EventKind, Holding, PortHolder, Remark};
use crate::calls::{
    Call, CallId, Effect, Errno, Lifetime, MessageFlags, Naming, Op, OptionValue, Returned, Role, SocketChange,
    SocketEvent, SocketUse,
};
use crate::flow::{ConnectionId, Range, Side};
use crate::tcp::State;
use crate::time::Timestamp;

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
        self.calls.begin(id.thread);
        self.past.work(self.process_of(id.thread), &self.events.call(event).call);
        self.calls.open.insert(id, (event, life));
        if let Some(life) = life {
            self.name_side(life, effect);
            // What accept returns is another socket; only if it returns none it was about the listening one alone.
            if effect != Effect::Accept {
                self.join_life(life, event);
                self.find_home(life, event);
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
        let call = call.without_octets();
        let lives = self.calls.lifetimes.leave(&call);
        let own = life.or(lives.first().copied().flatten());
        let accepted = accepted_life(&call, &lives);
        self.calls.last.insert(id.thread, (id.n, event, accepted.or(own)));
        self.events.call_mut(event).remark = remark_on(&call);
        self.inherit(&call, accepted, own);
        self.settle_call(&call, event, life, &lives);
        self.hold_port(&call, event, accepted, own);
        self.explain_bind(&call, event, own);
        if self.past.is_kept() {
            let process = self.process_of(id.thread);
            if let Some((what, events)) = self.descriptors.see(process, event, &call) {
                self.found.push(Diagnosis { what, connection: None, side: None, events });
            }
        }
        let at = call.returned_at();
        for (used, life) in call.sockets.iter().zip(lives) {
            if let (Role::Released, Some(life)) = (used.role, life)
                && let Some(known) = self.calls.lives.get_mut(&life)
            {
                known.over = at;
                self.ports.release(life, None);
                self.narrow_down(life);
            }
        }
    }

    /// Joins a call that has returned, or that will not, to the end that it turns out to be of.
    pub(super) fn settle_call(
        &mut self,
        call: &Call,
        event: EventId,
        entered_in: Option<Lifetime>,
        lives: &[Option<Lifetime>],
    ) {
        let effect = call.effect();
        let own = entered_in.or(lives.first().copied().flatten());
        let accepted = accepted_life(call, lives);
        if let Some(own) = own.filter(|_| entered_in.is_none()) {
            self.name_side(own, effect);
            self.join_life(own, event);
        }
        match (effect, accepted, own) {
            (Effect::Accept, Some(accepted), _) => {
                let home = self.accepted(call);
                self.set_side(accepted, Side::Server);
                self.join_life(accepted, event);
                match (home, call.peer(), call.local(), call.returned_at()) {
                    (Some(home), ..) => self.set_home(accepted, home),
                    (None, Some(peer), Some(local), Some(returned)) => {
                        self.openers.accept(end(peer), end(local), returned, (event, accepted));
                    }
                    _ => self.wait_for_turn(call, event, accepted, own),
                }
            }
            (Effect::Accept, None, Some(own)) if entered_in.is_some() => self.join_life(own, event),
            (Effect::Found, _, Some(own)) => self.find(call, own),
            // With Fast Open (TCP_FASTOPEN_CONNECT, MSG_FASTOPEN) the SYN leaves only with the first octets.
            (Effect::Connect | Effect::Send, _, Some(own)) => {
                let opens =
                    |life: &Life| life.home.is_none() && (effect == Effect::Connect || life.side != Some(Side::Server));
                if self.calls.lives.get(&own).is_some_and(opens) {
                    let late =
                        self.calls.life(own).leads_to.filter(|_| effect == Effect::Send && call.peer().is_none());
                    let doubtful = late.or(call.peer().filter(|_| is_to_be_proven(call)));
                    let home = match doubtful {
                        Some(peer) => self.led_to(call, peer),
                        None => self.connected(call),
                    };
                    let known = self.calls.life(own);
                    if effect == Effect::Connect && known.opens_late && call.errno().is_none() {
                        known.leads_to = call.peer();
                    }
                    match (home, call.peer(), call.returned_at()) {
                        (Some(home), ..) => {
                            self.set_side(own, self.side_of(home, call));
                            self.set_home(own, home);
                        }
                        (None, Some(_), _) if doubtful.is_some() => self.events.call_mut(event).call.forget_peer(),
                        (None, Some(peer), Some(returned)) => {
                            let local = call.local().filter(|local| local.port() != 0).map(end);
                            self.openers.connect(local, end(peer), returned, (event, own));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if let Some(own) = own.filter(|_| effect != Effect::Accept) {
            self.find_home(own, event);
        }
        self.see_listener(call, own);
        if effect == Effect::Accept {
            self.take_turns();
        }
        self.move_listener(call, event, own);
        match accepted.or(own) {
            Some(life) => self.has_returned(life, event, call),
            None => self.calls.lifeless.push_back(event),
        }
    }

    /// Finds the connection of a socket by the ends that a later call says it has, where those that opened it did not know them.
    fn find_home(&mut self, life: Lifetime, event: EventId) {
        if self.ends.is_empty() {
            return;
        }
        let Some(known) = self.calls.lives.get(&life).filter(|known| known.home.is_none() && !known.is_cut) else {
            return;
        };
        let call = &self.events.call(event).call;
        let (Some(side), Some(local), Some(peer)) = (known.side, call.local(), call.peer()) else { return };
        let opens = |id: &&EventId| {
            let call = &self.events.call(**id).call;
            matches!(call.effect(), Effect::Accept | Effect::Connect)
                && call.errno().is_none_or(|errno| errno == Errno::EINPROGRESS)
        };
        let Some(opener) = known.calls.iter().find(opens) else { return };
        let opener = &self.events.call(*opener).call;
        let (entered, returned) = (opener.entered, opener.returned_at());
        let (home, side) = match opener.effect() {
            Effect::Accept => (self.ends.latest(peer, local, returned), Side::Server),
            _ if side == Side::Client && local.port() != 0 => {
                let first = self.ends.since(Some(local), peer, entered);
                let in_time = |(first, _): &(Option<Timestamp>, ConnectionId)| {
                    first.is_none() || returned.is_none() || *first <= returned
                };
                (first.filter(in_time).map(|(_, id)| id), Side::Client)
            }
            _ => return,
        };
        if let Some(home) = home.filter(|home| !self.has_life(*home, side)) {
            self.set_side(life, side);
            self.set_home(life, home);
        }
    }

    /// Whether the socket of an end of a connection is known.
    pub(super) fn has_life(&self, id: ConnectionId, side: Side) -> bool {
        let lives = self.connections.get(&id).map(|connection| &connection.lives);
        let mut lives = lives.into_iter().flatten().filter_map(|life| self.calls.lives.get(life));
        lives.any(|life| life.side == Some(side))
    }

    /// Which end of the connection the socket is that connected: where both ends did, the one whose SYN came later is the server.
    fn side_of(&self, home: ConnectionId, call: &Call) -> Side {
        let connection = self.connections.get(&home);
        let is_server =
            connection.is_some_and(|connection| !connection.is_one_end() && Some(connection.server) == call.local());
        if is_server { Side::Server } else { Side::Client }
    }

    /// Takes in a socket that was there before: which connection it is an end of its next segment says.
    ///
    /// Where octets were under way, or had come and were not read, the octets of its calls are not those of the segments that are seen:
    /// such a socket is left without a connection, and so is one of which segments were seen before it was found.
    fn find(&mut self, call: &Call, life: Lifetime) {
        let Op::Found { unread: Some(0) } = call.op else { return };
        let (Some(local), Some(peer)) = (call.local(), call.peer()) else { return };
        let is_quiet = call.info().is_some_and(|info| info.unacked == 0 && info.notsent_bytes == 0);
        if is_quiet && !self.ends.has(local, peer) {
            self.calls.found.insert([end(local), end(peer)], life);
        }
    }

    /// Takes in that a connection is seen: sockets that were found may be its ends.
    pub(super) fn is_seen(&mut self, id: ConnectionId, [client, server]: [SocketAddr; 2]) {
        for (side, own, peer) in [(Side::Client, client, server), (Side::Server, server, client)] {
            if let Some(life) = self.calls.found.remove(&[end(own), end(peer)]) {
                self.set_side(life, side);
                self.set_home(life, id);
            }
        }
    }

    /// Joins calls that have returned to the connection that they opened, if its first segment comes only now.
    pub(super) fn join_openers(&mut self, id: ConnectionId, [client, server]: [SocketAddr; 2], at: Option<Timestamp>) {
        let Some(began) = at.filter(|_| !self.openers.is_empty()) else { return };
        for (event, life) in self.openers.of(end(client), end(server), began) {
            let is_whole = |life: &Life| life.home.is_none() && !life.is_cut;
            if !self.calls.lives.get(&life).is_some_and(is_whole) || self.events.find(event).is_none() {
                continue;
            }
            let call = self.events.call(event).call.clone();
            let is_accept = call.effect() == Effect::Accept;
            let home = if is_accept { self.accepted(&call) } else { self.connected(&call) };
            if home == Some(id) {
                self.set_side(life, if is_accept { Side::Server } else { self.side_of(id, &call) });
                self.set_home(life, id);
            }
        }
    }

    /// Takes in what became of a socket.
    pub(super) fn socket_event(&mut self, event: &SocketEvent) {
        let life = self.calls.lifetimes.see(event);
        if event.change == SocketChange::LostSight {
            self.queues.stops(life);
            self.narrow_down(life);
            match self.calls.lives.get_mut(&life) {
                Some(known) => {
                    known.over.get_or_insert(event.at);
                    self.ports.release(life, None);
                }
                None => self.calls.lifetimes.forget(life),
            }
        }
    }

    /// Takes in that it will not be known how a call returned.
    pub(super) fn lost(&mut self, id: CallId) {
        let Some((event, life)) = self.calls.open.remove(&id) else { return };
        self.calls.lifetimes.give_up(id);
        let call = self.events.call(event).call.clone();
        self.settle_call(&call, event, life, &[]);
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
        self.narrow_all_down();
    }

    /// Takes in which options a socket has, where a call that has returned sets them, or accepts it from one that has them.
    fn inherit(&mut self, call: &Call, accepted: Option<Lifetime>, own: Option<Lifetime>) {
        let (Some(own), None, true) = (own, call.errno(), call.returned.is_some()) else { return };
        if let Some(is_zero) = call.op.sets_linger_to_zero() {
            self.calls.life(own).lingers_zero = is_zero;
        }
        if let Some(on) = call.op.sets_inline() {
            self.calls.life(own).is_inline = on;
        }
        if let Some(accepted) = accepted {
            let Life { reuses, lingers_zero, is_inline, .. } = *self.calls.life(own);
            let known = self.calls.life(accepted);
            (known.reuses, known.lingers_zero, known.is_inline) = (reuses, lingers_zero, is_inline);
            known.lingered_zero_from = lingers_zero.then_some(call.entered);
        }
    }

    /// Takes in which port a socket has by a call that has returned, and whether it may be used beside others.
    fn hold_port(&mut self, call: &Call, event: EventId, accepted: Option<Lifetime>, own: Option<Lifetime>) {
        let Some(own) = own else { return };
        let is_done = call.errno().is_none_or(|errno| errno == Errno::EINPROGRESS) && call.returned.is_some();
        if !is_done {
            return;
        }
        let (life, how) = match (call.effect(), accepted) {
            (Effect::Bind, _) => (own, Holding::Bound),
            (Effect::Listen, _) => (own, Holding::Listening),
            (Effect::Connect, _) => (own, Holding::Connected),
            (Effect::Accept, Some(accepted)) => (accepted, Holding::Connected),
            // Where that of the bind is not known.
            _ if matches!(call.op, Op::Address { by: Naming::SockName, .. }) => {
                let life = self.calls.life(own);
                let binds = |event: &&EventId| self.events.call(**event).call.effect() == Effect::Bind;
                let (bind, reuses) = (life.calls.iter().find(binds).copied(), life.reuses);
                if let (Some(bind), Some(local)) = (bind.filter(|_| !self.ports.has(own)), call.local()) {
                    self.ports.take(own, local, Holding::Bound, bind, reuses);
                }
                return;
            }
            _ => {
                if let Some(on) = call.op.sets_reuse() {
                    self.calls.life(own).reuses = on;
                    self.ports.set_reuse(own, on);
                }
                return;
            }
        };
        if let Some(local) = call.local() {
            let reuses = self.calls.life(life).reuses;
            self.ports.take(life, local, how, event, reuses);
        }
    }

    /// Says of a bind, or a listen, that failed with EADDRINUSE who had the port.
    fn explain_bind(&mut self, call: &Call, event: EventId, own: Option<Lifetime>) {
        let asked = match call.op {
            Op::Bind { address } => address,
            Op::Listen { .. } => call.local(),
            _ => return,
        };
        let (Some(asked), Some(own), Some(Errno::EADDRINUSE)) = (asked, own, call.errno()) else { return };
        let port = asked.port();
        if port == 0 {
            self.events.call_mut(event).remark = Some(Remark::NoPortFree);
            return;
        }
        let reuses = self.calls.life(own).reuses;
        let is_there = |life: Lifetime| {
            let known = self.calls.lives.get(&life);
            let end = known.and_then(|known| known.home.zip(known.side));
            let state = end.and_then(|(home, side)| self.connections.get(&home)?.ends[side as usize].path.last());
            !matches!(state, Some(State::Closed | State::TimeWait))
        };
        let holder = self.ports.holder(asked, (own, reuses), is_there).or_else(|| {
            let waiter = |id: ConnectionId, side: Side| {
                let connection = self.connections.get(&id)?;
                let ip = [connection.client, connection.server][side as usize].ip();
                let overlaps = asked.ip().is_unspecified() || asked.ip().to_canonical() == ip.to_canonical();
                // A peer that is not watched may be on another host.
                let mut lives = connection.lives.iter().filter_map(|life| self.calls.lives.get(life));
                lives.find(|life| life.side == Some(side) && overlaps)
            };
            let conflicts = |id, side| waiter(id, side).is_some_and(|life| !(reuses && life.reuses));
            let (connection, side) = self.waits.holder(port, call.entered, conflicts)?;
            Some(PortHolder::TimeWait { connection, side, reuses })
        });
        let remark = holder.map_or(Remark::PortTaken, |by| Remark::PortHeld { port, by });
        self.events.call_mut(event).remark = Some(remark);
    }

    /// What a call says of the side that its socket is.
    fn name_side(&mut self, life: Lifetime, effect: Effect) {
        let known = self.calls.life(life).side;
        match effect {
            Effect::Connect => self.set_side(life, Side::Client),
            Effect::Accept | Effect::Listen => self.set_side(life, Side::Server),
            // Until it connects, a socket that asks for a port of its own is taken for a server's.
            Effect::Bind if known.is_none() => self.set_side(life, Side::Server),
            _ => {}
        }
    }

    pub(super) fn set_side(&mut self, life: Lifetime, side: Side) {
        let life = self.calls.life(life);
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
        let known = self.calls.life(life);
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
    pub(super) fn set_home(&mut self, life: Lifetime, home: ConnectionId) {
        let Some(known) = self.calls.lives.get_mut(&life) else { return };
        let Some(side) = known.side else { return };
        known.home = Some(home);
        self.calls.homeless.remove(&life);
        if let Some(connection) = self.connections.get_mut(&home) {
            connection.lives.push(life);
        }
        if let (Some(from), Some(connection)) = (known.lingered_zero_from, self.connections.get_mut(&home)) {
            connection.ends[side as usize].calls.linger(from, true);
        }
        let mut calls = known.calls.clone();
        let heard = std::mem::take(&mut known.heard);
        calls.sort_unstable_by_key(|call| (self.events.call(*call).call.entered, *call));
        for call in &calls {
            self.join_end(home, side, *call);
        }
        heard.into_iter().for_each(|said| self.hear(home, side, said));
        match side {
            Side::Client => self.ends.take_client(home),
            Side::Server => self.queues.take(home),
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
            known.has_lost_writes |= loses_octets(&events.call(call).call);
            if known.has_lost_writes {
                connection.ends[side as usize].calls.is_uncounted = true;
            } else if octets > 0 {
                write(connection, events, side, call, octets);
            }
        }
        while let Some((call, octets)) = first_that_has(&mut known.reads, |id| has_moved(&events.call(id).call)) {
            known.has_lost_octets |= loses_octets(&events.call(call).call);
            if known.has_lost_octets {
                connection.ends[side as usize].calls.reads_uncounted = true;
                continue;
            }
            if octets > 0 && !read(connection, events, side, call, octets, known.is_inline) {
                known.has_lost_octets = true;
                connection.ends[side as usize].calls.reads_uncounted = true;
            }
        }
    }
}

/// Whether only a SYN can prove where a connect led, or a send that connects: the address was read when it may have been another one.
fn is_to_be_proven(call: &Call) -> bool {
    let is_read_later = match &call.op {
        Op::Connect { address } => address.is_none(),
        Op::Send { flags, .. } => flags.contains(MessageFlags::MSG_FASTOPEN),
        _ => false,
    };
    is_read_later && call.local().is_none_or(|local| local.port() == 0)
}

/// Whether a transfer moved octets and it is not known how many: a receive that could not say whose they are, or one of several messages
/// whose lengths could not be read.
fn loses_octets(call: &Call) -> bool {
    let is_uncounted = call.octets().is_none() && call.result() > Some(0);
    is_uncounted || super::diagnoses::address_flaw(call, false).is_some() && call.effect() == Effect::Receive
}

/// The life that an accept began.
fn accepted_life(call: &Call, lives: &[Option<Lifetime>]) -> Option<Lifetime> {
    let made = call.sockets.iter().position(|used| used.role == Role::Made)?;
    lives.get(made).copied().flatten().filter(|_| call.effect() == Effect::Accept)
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

/// A receive has read octets: the segments of the peer that carried them brought it its octets; whether it is known which they are.
///
/// An urgent octet is no part of the stream but with SO_OOBINLINE, and a receive ends before it (tcp_recvmsg).
fn read(
    connection: &mut PerConnection,
    events: &mut Events,
    side: Side,
    call: EventId,
    octets: u64,
    is_inline: bool,
) -> bool {
    let mut from = connection.ends[side as usize].calls.receives.last().map_or(0, |moved| moved.range.to);
    if !is_inline {
        let mut urgent = connection.ends[connection.other(side) as usize].urgent.range(from..);
        match (urgent.next(), urgent.next()) {
            // With the next one the first comes to be a part of the stream, unless it was read before that.
            (Some(_), Some(_)) => return false,
            (Some(first), None) if *first == from => from += 1,
            _ => {}
        }
    }
    let calls = &mut connection.ends[side as usize].calls;
    let range = Range::of(from, octets);
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
    true
}

fn interval(events: &Events, call: EventId) -> Interval {
    let known = &events.call(call).call;
    Interval { entered: known.entered, returned: known.returned_at(), call }
}

/// What is worth saying of a call by itself.
fn remark_on(call: &Call) -> Option<Remark> {
    if let Op::GetOption { value: OptionValue::Info { cwnd, ssthresh, unacked, .. }, .. } = call.op {
        return Some(Remark::CongestionWindow { cwnd, ssthresh, unacked });
    }
    Some(match (call.effect(), call.errno(), call.result()) {
        (Effect::Listen, None, _) => Remark::KernelAnswersSyns,
        (Effect::Send, None, Some(0)) => Remark::EmptySend,
        (Effect::CloseCopy, None, _) => Remark::CopiesRemain,
        (Effect::Found, None, _) => Remark::PastUnknown,
        (Effect::ShutdownRead, None, _) => Remark::OnlyReadingEnds,
        (Effect::LingerZero, None, _) => Remark::NextCloseResets,
        (Effect::Bind | Effect::Listen, Some(Errno::EADDRINUSE), _) => Remark::PortTaken,
        (Effect::Connect, Some(Errno::ECONNREFUSED), _) => Remark::RefusedUnseen,
        (Effect::Connect, Some(Errno::ETIMEDOUT), _) => Remark::SynUnanswered,
        (Effect::Connect, Some(Errno::EINPROGRESS), _) => Remark::HandshakeGoesOn,
        (Effect::Send, Some(Errno::EPIPE), _) => Remark::ClosedForSending,
        (Effect::Receive | Effect::Send, Some(Errno::ECONNRESET), _) => Remark::PeerReset,
        (Effect::Receive | Effect::Send | Effect::Accept, Some(Errno::EAGAIN), _) => Remark::WouldBlock,
        _ => return None,
    })
}
