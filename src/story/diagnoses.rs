//! Finds what seems wrong with how programs use their sockets, in a story that is finished.

use std::cell::OnceCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::descriptors::Descriptors;
use super::diagnosis::{AddressFlaw, Diagnosis, Mistake};
use super::past::{Past, goes_on};
use super::stalls::stalls;
use super::{
    CallEvent, Event, EventId, EventKind, Holding, Lookup, Mechanism, PortHolder, Remark, SegmentEvent, Story, Why,
};
use crate::calls::{
    Call, Effect, Errno, How, MessageFlags, Op, OptionName, OptionValue, ProcessId, Receiving, Role, SocketId,
    SocketOption, ThreadId,
};
use crate::flow::{Connection, ConnectionId, Range, Side};
use crate::hash::{HashMap, HashSet};
use crate::tcp::State;
use crate::time::{Span, Timestamp};
use crate::wire::Flags;

impl Story {
    /// What seems wrong with how the watched programs use their sockets, in the order of the first event of each.
    ///
    /// Every diagnosis rests on calls; where none were watched there is none.
    ///
    /// Those that rest on what was not called are left out where [calls are missing](Self::lacking_calls).
    pub fn diagnoses(&self) -> Vec<Diagnosis> {
        self.sockets().diagnoses()
    }

    /// The sockets of the watched programs, from which more than one thing can be concluded.
    pub fn sockets(&self) -> Sockets<'_> {
        let scene = Scene {
            known: self,
            events: self.events.iter().collect(),
            connections: self.connections.iter().collect(),
            past: &self.past,
            of: None,
        };
        Sockets { lives: lives(&scene), scene }
    }
}

/// The sockets of the watched programs, each with all calls on it.
pub struct Sockets<'a> {
    scene: Scene<'a>,
    pub(super) lives: Vec<Life<'a>>,
}

impl Sockets<'_> {
    /// As [`Story::diagnoses`].
    pub fn diagnoses(&self) -> Vec<Diagnosis> {
        if calls(&self.scene.events).next().is_none() {
            return Vec::new();
        }
        self.scene.diagnoses_of(&self.lives)
    }

    /// Whether all calls are known.
    pub(super) fn has_all_calls(&self) -> bool {
        self.scene.past.has_all_calls()
    }
}

/// What is looked at.
pub(super) struct Scene<'a> {
    pub(super) known: &'a dyn Lookup,
    /// The events, in order.
    pub(super) events: Vec<&'a Event>,
    pub(super) connections: Vec<&'a Connection>,
    /// What was remembered of events that are not among them any more.
    pub(super) past: &'a Past,
    /// The sockets that it is about; the calls of others say what else there was. `None`: all of them.
    pub(super) of: Option<HashSet<SocketId>>,
}

impl Scene<'_> {
    /// What seems wrong, in the order of the first event of each.
    pub(super) fn diagnoses(self) -> Vec<Diagnosis> {
        self.diagnoses_of(&lives(&self))
    }

    fn diagnoses_of(&self, lives: &[Life<'_>]) -> Vec<Diagnosis> {
        let mut finder = Finder { work: work(self), scene: self, reached: OnceCell::new(), found: Vec::new() };
        // Where events are forgotten, these calls are looked at as they return.
        if !self.past.is_kept() {
            finder.calls();
        }
        for life in lives {
            if self.is_about(life.socket) {
                finder.life(life);
            }
        }
        finder.binds();
        finder.listeners(lives);
        finder.transfers();
        finder.found.extend(stalls(self.known, &self.events));
        finder.found.retain(|diagnosis| diagnosis.is_founded(self.past.has_all_calls()));
        finder.found.sort_by_key(|diagnosis| (diagnosis.events.first().copied(), diagnosis.what.name()));
        finder.found
    }

    fn is_about(&self, socket: Option<SocketId>) -> bool {
        match &self.of {
            None => true,
            Some(of) => socket.is_some_and(|socket| of.contains(&socket)),
        }
    }
}

/// A call of a life, and what the socket had to do with it.
#[derive(Clone, Copy)]
pub(super) struct Use<'a> {
    pub(super) event: EventId,
    pub(super) call: &'a CallEvent,
    pub(super) connection: Option<ConnectionId>,
    pub(super) role: Role,
    /// What it did to the socket.
    pub(super) effect: Effect,
}

/// A socket from the call that made it to the one that closed it, with all calls on it in the order of their entry.
#[derive(Default)]
pub(super) struct Life<'a> {
    pub(super) socket: Option<SocketId>,
    pub(super) uses: Vec<Use<'a>>,
    /// What came and went in the process meanwhile.
    is_over: bool,
}

/// The calls with which each process goes on.
fn work(scene: &Scene<'_>) -> HashMap<Option<ProcessId>, Vec<(EventId, Option<SocketId>)>> {
    let mut work: HashMap<_, Vec<_>> = HashMap::default();
    for (event, call) in calls(&scene.events) {
        if goes_on(&call.call) {
            let process = scene.known.threads().get(call.call.thread()).map(|(thread, _)| thread.process);
            work.entry(process).or_default().push((event.id, call.call.socket()));
        }
    }
    work
}

/// The lives of all sockets.
pub(super) fn lives<'a>(scene: &Scene<'a>) -> Vec<Life<'a>> {
    // A socket that a call makes is there when the call returns; all others are there when their calls are entered.
    let mut moments: Vec<(Timestamp, EventId, usize, usize)> = Vec::new();
    let all: Vec<(&'a Event, &'a CallEvent)> = calls(&scene.events).collect();
    for (index, (event, call)) in all.iter().enumerate() {
        for (place, used) in call.call.sockets.iter().enumerate().filter(|(_, used)| used.socket.is_some()) {
            let at = match used.role {
                Role::Made => call.call.returned_at().unwrap_or(call.call.entered),
                _ => call.call.entered,
            };
            moments.push((at, event.id, index, place));
        }
    }
    moments.sort_unstable();
    let mut lives: Vec<Life<'_>> = Vec::new();
    let mut open: HashMap<SocketId, usize> = HashMap::default();
    for (_, id, index, place) in moments {
        let (event, call) = all[index];
        let used = &call.call.sockets[place];
        let Some(socket) = used.socket else { continue };
        let known = open.get(&socket).copied().filter(|life| used.role != Role::Made && !lives[*life].is_over);
        let life = known.unwrap_or_else(|| {
            open.insert(socket, lives.len());
            lives.push(Life { socket: Some(socket), ..Life::default() });
            lives.len() - 1
        });
        let life = &mut lives[life];
        life.is_over |= used.role == Role::Released;
        let effect = call.call.effect_on(Some(used));
        life.uses.push(Use { event: id, call, connection: event.connection, role: used.role, effect });
    }
    lives
}

fn calls<'a>(events: &[&'a Event]) -> impl Iterator<Item = (&'a Event, &'a CallEvent)> {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Call(call) => Some((*event, &**call)),
        _ => None,
    })
}

fn segments<'a>(events: &[&'a Event]) -> impl Iterator<Item = (&'a Event, &'a SegmentEvent)> {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Segment(segment) => Some((*event, &**segment)),
        _ => None,
    })
}

impl<'a> Life<'a> {
    fn connection(&self) -> Option<(ConnectionId, Side)> {
        self.uses.iter().find_map(|used| used.connection.zip(used.call.side))
    }

    /// Whether an effect is a transfer of octets.
    fn transfers(used: &Use<'_>) -> bool {
        matches!(used.call.call.effect(), Effect::Send | Effect::Receive)
    }
}

struct Finder<'a, 's> {
    scene: &'s Scene<'a>,
    /// What each process did with which sockets, in order.
    work: HashMap<Option<ProcessId>, Vec<(EventId, Option<SocketId>)>>,
    /// The addresses to which a connection is known, once that was asked for.
    reached: OnceCell<HashSet<SocketAddr>>,
    found: Vec<Diagnosis>,
}

impl<'a> Finder<'a, '_> {
    fn add(&mut self, what: Mistake, connection: Option<ConnectionId>, side: Option<Side>, mut events: Vec<EventId>) {
        events.sort_unstable();
        events.dedup();
        self.found.push(Diagnosis { what, connection, side, events });
    }

    fn process_of(&self, thread: ThreadId) -> Option<ProcessId> {
        self.scene.known.threads().get(thread).map(|(thread, _)| thread.process)
    }

    /// What a call by itself shows.
    fn calls(&mut self) {
        let mut descriptors = Descriptors::default();
        for (event, call) in calls(&self.scene.events) {
            let process = self.process_of(call.call.thread());
            if let Some((what, evidence)) = descriptors.see(process, event.id, &call.call) {
                self.add(what, None, None, evidence);
            }
        }
    }

    /// What the calls of one socket show together.
    fn life(&mut self, life: &Life<'a>) {
        self.connects(life);
        self.endings(life);
        self.ends_of_input(life);
        self.waiters(life);
        self.half_closes(life);
        self.address_length(life);
        let is_done = |used: &&Use<'_>| has_worked(&used.call.call);
        let bound = life.uses.iter().filter(is_done).find(|used| used.effect == Effect::Bind);
        let reuses = |used: &&Use<'_>| used.call.call.op.sets_reuse() == Some(true);
        if let (Some(bound), Some(late)) = (bound, life.uses.iter().filter(is_done).find(reuses))
            && bound.event < late.event
        {
            self.add(Mistake::ReuseAddressTooLate, late.connection, late.call.side, vec![bound.event, late.event]);
        }
    }

    /// How its connects ended.
    fn connects(&mut self, life: &Life<'a>) {
        let is_bound = life.uses.iter().any(|used| used.effect == Effect::Bind);
        let (mut connect, mut is_established, mut to, mut of) = (None, false, None, None);
        for used in &life.uses {
            let call = &used.call.call;
            is_established |= match call.effect() {
                Effect::Connect => has_worked(call),
                Effect::Accept => used.role == Role::Made,
                Effect::Send | Effect::Receive => call.octets() > Some(0),
                _ => false,
            };
            of = used.connection.or(of);
            let errno = match (&call.op, call.errno()) {
                (Op::Connect { address }, errno) => {
                    connect = Some(used.event);
                    to = *address;
                    errno
                }
                // A transfer says it, too, where it is the next call on the socket.
                (Op::Send { .. } | Op::Receive { .. }, errno @ Some(Errno::ECONNREFUSED | Errno::ETIMEDOUT)) => errno,
                // How a nonblocking one ended is asked for.
                (Op::GetOption { option, value: OptionValue::Int(errno @ 1..) }, None)
                    if *option == OptionName::Socket(SocketOption::SO_ERROR) =>
                {
                    Some(Errno(*errno))
                }
                _ => continue,
            };
            let what = match errno {
                Some(Errno::ECONNREFUSED) => Mistake::Refused,
                // What was established can time out, too: that is another matter.
                Some(Errno::ETIMEDOUT) if !is_established && !of.is_some_and(|id| self.is_answered(id)) => {
                    Mistake::ConnectTimedOut { syns: self.syns(used.connection) }
                }
                Some(Errno(EADDRNOTAVAIL)) if !is_bound => match to {
                    // With IPv6 that is said, too, where the host has no address of its own to connect from.
                    Some(to) if to.ip().to_canonical().is_ipv6() && !self.is_reached(to) => Mistake::NoLocalAddress,
                    _ => Mistake::PortsUsedUp { call: "connect" },
                },
                _ => continue,
            };
            let evidence = connect.into_iter().chain([used.event]).chain(used.call.completed_by).collect();
            self.add(what, used.connection, used.call.side, evidence);
        }
    }

    /// Whether a SYN of the connection was answered with one.
    fn is_answered(&self, id: ConnectionId) -> bool {
        self.scene.connections.iter().any(|connection| connection.id == id && connection.completeness & 2 != 0)
    }

    /// Whether any connection to an address is known.
    fn is_reached(&self, to: SocketAddr) -> bool {
        let reached = self.reached.get_or_init(|| {
            let connects = calls(&self.scene.events)
                .filter(|(_, call)| call.call.effect() == Effect::Connect && has_worked(&call.call));
            let servers = self.scene.connections.iter().map(|connection| connection.server);
            connects.filter_map(|(_, call)| call.call.peer()).chain(servers).collect()
        });
        reached.contains(&to)
    }

    /// How many SYNs a client sent, where segments were captured.
    fn syns(&self, of: Option<ConnectionId>) -> Option<u64> {
        let of = of?;
        let is_one = |(event, segment): &(&Event, &SegmentEvent)| {
            event.connection == Some(of)
                && segment.segment.flags.contains(Flags::SYN)
                && !segment.segment.flags.contains(Flags::ACK)
        };
        Some(segments(&self.scene.events).filter(is_one).count() as u64)
    }

    /// What came after it had ended its own direction.
    fn half_closes(&mut self, life: &Life<'a>) {
        let is_end = |used: &&Use<'_>| used.effect == Effect::ShutdownWrite && used.call.call.errno().is_none();
        let Some(shutdown) = life.uses.iter().find(is_end) else { return };
        let Op::Shutdown { how: How::SHUT_WR } = shutdown.call.call.op else { return };
        let later = life.uses.iter().filter(|used| used.event > shutdown.event);
        let later: Vec<_> = later
            .filter(|used| used.call.call.effect() == Effect::Receive && used.call.call.octets() > Some(0))
            .collect();
        if let Some(last) = later.last() {
            let received = later.iter().filter_map(|used| used.call.call.octets()).sum();
            let evidence = vec![shutdown.event, last.event];
            self.add(Mistake::HalfClosed { received }, shutdown.connection, shutdown.call.side, evidence);
        }
    }

    /// Calls that had to say whose an address is, and were not told how much room there is for that; the first of each socket.
    fn address_length(&mut self, life: &Life<'a>) {
        let mut listen = None;
        for used in &life.uses {
            let call = &used.call.call;
            match (used.effect, call.errno()) {
                (Effect::Listen, None) => listen = Some(used.event),
                (Effect::ShutdownRead | Effect::ShutdownWrite, _) => listen = None,
                _ => {}
            }
            let Some((name, flaw, given)) = address_flaw(call, listen.is_some()) else { continue };
            // Of an accepted socket, the accept speaks of its address; that is told with the one that listens.
            if used.role == Role::Made {
                continue;
            }
            let what = Mistake::AddressLength { call: name, flaw, given };
            let side = if call.effect() == Effect::Accept { Some(Side::Server) } else { used.call.side };
            let listen = listen.filter(|_| flaw == AddressFlaw::Negative && call.effect() == Effect::Accept);
            self.add(what, used.connection, side, listen.into_iter().chain([used.event]).collect());
            return;
        }
    }

    /// Connections that a listening socket had no room for.
    fn queue(&mut self, listen: &Use<'a>, uses: &[Use<'a>]) {
        let (Op::Listen { backlog }, Some(local)) = (&listen.call.call.op, listen.call.call.local()) else { return };
        let here: BTreeSet<ConnectionId> = self
            .scene
            .connections
            .iter()
            .filter(|of| of.server.port() == local.port())
            .filter(|of| local.ip().is_unspecified() || local.ip().to_canonical() == of.server.ip())
            .map(|of| of.id)
            .collect();
        // The first segment of each, and the first SYN or SYN-ACK after it that a timer repeated.
        let mut seen: BTreeMap<ConnectionId, (EventId, Option<EventId>)> = BTreeMap::new();
        for (event, segment) in segments(&self.scene.events) {
            let Some(id) = event.connection.filter(|id| here.contains(id)) else { continue };
            match seen.entry(id) {
                Entry::Vacant(vacant) => _ = vacant.insert((event.id, None)),
                Entry::Occupied(mut known) => {
                    let is_repeated = segment.segment.flags.contains(Flags::SYN)
                        && segment.cause.kernel == Some(Mechanism::RetransmissionTimeout);
                    if is_repeated {
                        known.get_mut().1.get_or_insert(event.id);
                    }
                }
            }
        }
        let repeats: Vec<(ConnectionId, EventId, EventId)> =
            seen.into_iter().filter_map(|(id, (first, repeated))| Some((id, first, repeated?))).collect();
        if repeats.is_empty() {
            return;
        }
        // Those that are complete, and those that were accepted.
        let mut changes: Vec<(Timestamp, i64)> = Vec::new();
        for event in &self.scene.events {
            if let (EventKind::Transition(moved), Some(at)) = (&event.kind, event.at)
                && moved.side == Side::Server
                && moved.to == State::Established
                && event.connection.is_some_and(|connection| here.contains(&connection))
            {
                changes.push((at, 1));
            }
        }
        let accepted = uses.iter().filter(|used| used.call.call.effect() == Effect::Accept);
        changes.extend(
            accepted
                .filter(|used| used.call.call.errno().is_none())
                .filter_map(|used| Some((used.call.call.returned_at()?, -1))),
        );
        changes.sort_by_key(|(at, _)| *at);
        let mut sum = 0;
        for (_, by) in &mut changes {
            sum += *by;
            *by = sum;
        }
        // How many there were at a time.
        let waited = |at: Option<Timestamp>| {
            let before = changes.partition_point(|(changed, _)| at.is_some_and(|at| *changed <= at));
            before.checked_sub(1).map_or(0, |last| changes[last].1)
        };
        let asked = u32::try_from(*backlog).unwrap_or(u32::MAX);
        let room = listen.call.call.info().and_then(|info| info.backlog).map_or(asked, |room| room.min(asked));
        let full: Vec<_> = repeats
            .into_iter()
            .filter(|(_, first, _)| {
                let at = self.scene.known.find(*first).and_then(|event| event.at);
                waited(at) > i64::from(room)
            })
            .collect();
        if full.is_empty() {
            return;
        }
        let what = Mistake::AcceptQueueFull {
            backlog: *backlog,
            given: (room < asked).then_some(room),
            connections: full.len() as u64,
        };
        let named = full.iter().take(MOST_NAMED / 2).flat_map(|(_, first, again)| [*first, *again]);
        let evidence = [listen.event].into_iter().chain(named).collect();
        self.add(what, None, Some(Side::Server), evidence);
    }

    /// How it was closed.
    fn endings(&mut self, life: &Life<'a>) {
        let Some((connection, side)) = life.connection() else { return };
        let own = |used: &&Use<'_>| used.connection == Some(connection);
        let (at, end) = (Some(connection), Some(side));
        let released = life.uses.iter().filter(own).find(|used| used.role == Role::Released);
        let copy = life
            .uses
            .iter()
            .filter(own)
            .find(|used| used.effect == Effect::CloseCopy && used.call.call.errno().is_none());
        if let Some(copy) = copy {
            let process = |used: &Use<'_>| self.process_of(used.call.call.thread());
            let closer = process(copy);
            let transfers_of = |of: Option<ProcessId>, later: bool| {
                let is_one = |used: &&Use<'_>| Life::transfers(used) && (used.event > copy.event) == later;
                life.uses.iter().filter(is_one).any(|used| process(used) == of)
            };
            let is_used_on = life.uses.iter().any(|used| used.event > copy.event && Life::transfers(used));
            let closes = life.uses.iter().any(|used| used.effect == Effect::ShutdownWrite);
            // Whoever has the other copy is not the one that the connection is for; or it is one process with two copies.
            let holder = released.map(process);
            let is_idle = holder.is_none_or(|holder| holder == closer || !transfers_of(holder, false));
            let closed = copy.call.call.returned_at();
            let lasts = released.and_then(|last| Some(last.call.call.entered.since(closed?)));
            if transfers_of(closer, false)
                && !is_used_on
                && !closes
                && is_idle
                && lasts.is_none_or(|lasts| lasts >= KEPT)
            {
                let evidence = [copy.event].into_iter().chain(released.map(|used| used.event)).collect();
                self.add(Mistake::DescriptorKept { closed_at_last: released.is_some() }, at, end, evidence);
            }
        }
        if let Some(released) = released
            && released.effect == Effect::Exit
            && !life.uses.iter().any(|used| used.effect == Effect::ShutdownWrite)
            && !released.call.sent.is_empty()
        {
            let evidence = [released.event].into_iter().chain(released.call.sent.iter().copied()).collect();
            self.add(Mistake::ClosedByExit, at, end, evidence);
        }
        for used in life.uses.iter().filter(own) {
            if let (Effect::Send, Some(errno @ (Errno::EPIPE | Errno::ECONNRESET))) =
                (used.call.call.effect(), used.call.call.errno())
            {
                let evidence = [used.event].into_iter().chain(used.call.completed_by).collect();
                self.add(Mistake::SentAfterClose { errno }, at, end, evidence);
                break;
            }
        }
    }

    /// What it did when the peer had closed.
    fn ends_of_input(&mut self, life: &Life<'a>) {
        let is_end = |used: &Use<'_>| {
            let call = &used.call.call;
            call.effect() == Effect::Receive
                && call.result() == Some(0)
                && !matches!(call.op, Op::Receive { len: Some(0), .. })
        };
        let Some(first) = life.uses.iter().find(|used| is_end(used)) else { return };
        let (at, side) = (first.connection, first.call.side);
        let (mut run, mut longest): (Vec<&Use<'_>>, Vec<&Use<'_>>) = (Vec::new(), Vec::new());
        for used in &life.uses {
            // Whoever waits for it between the receives is told at once each time.
            if used.call.call.is_wait() {
                continue;
            }
            if !is_end(used) {
                run.clear();
                continue;
            }
            if run.last().is_some_and(|last| last.call.call.thread() != used.call.call.thread()) {
                run.clear();
            }
            run.push(used);
            if run.len() > longest.len() {
                longest.clone_from(&run);
            }
        }
        if longest.len() >= BUSY {
            let evidence = [longest[0].event, longest[1].event, longest[longest.len() - 1].event];
            let evidence = evidence.into_iter().chain(first.call.completed_by).collect();
            self.add(Mistake::BusyAtEnd { times: longest.len() as u64 }, at, side, evidence);
            return;
        }
        let closes = |used: &Use<'_>| matches!(used.effect, Effect::Close | Effect::CloseCopy | Effect::ShutdownWrite);
        if life.uses.iter().any(closes) {
            return;
        }
        // The process went on: it made another call, on another socket, after it had learnt of the end.
        let process = self.process_of(first.call.call.thread());
        let work = self.work.get(&process).map_or(&[][..], Vec::as_slice);
        let later = work.partition_point(|(event, _)| *event <= first.event);
        let went_on = work[later..].iter().find(|(_, socket)| *socket != life.socket).map(|(event, _)| *event);
        let learnt = first.call.call.returned_at();
        if went_on.is_some() || self.scene.past.went_on(process, life.socket, learnt) {
            let evidence = [first.event].into_iter().chain(went_on).chain(first.call.completed_by).collect();
            self.add(Mistake::CloseWaitLeak, at, side, evidence);
        }
    }

    /// A thread that waited on it when another closed the descriptor.
    fn waiters(&mut self, life: &Life<'a>) {
        for closing in life.uses.iter().filter(|used| matches!(used.call.call.op, Op::Close)) {
            let (at, thread) = (closing.call.call.entered, closing.call.call.thread());
            let waiter = life.uses.iter().find(|used| {
                let call = &used.call.call;
                // What let it return had come before, or a shutdown woke it: it only had not run yet.
                let is_woken =
                    |by: EventId| self.scene.known.find(by).and_then(|event| event.at).is_some_and(|by| by < at);
                matches!(call.effect(), Effect::Receive | Effect::Send | Effect::Accept | Effect::Connect)
                    && call.thread() != thread
                    && self.process_of(call.thread()) == self.process_of(thread)
                    && call.fd() == closing.call.call.fd()
                    && call.entered < at
                    && call
                        .returned_at()
                        .is_none_or(|returned| returned > closing.call.call.returned_at().unwrap_or(at))
                    && !used.call.completed_by.is_some_and(is_woken)
                    && !life
                        .uses
                        .iter()
                        .any(|used| used.call.call.entered < at && wakes(&used.call.call, call.effect()))
            });
            if let Some(waiter) = waiter {
                let evidence = vec![waiter.event, closing.event];
                self.add(Mistake::ClosedWhileWaitedOn, closing.connection, closing.call.side, evidence);
            }
        }
    }

    /// Ports that could not be bound.
    fn binds(&mut self) {
        for (event, call) in calls(&self.scene.events) {
            let (name, asked) = match call.call.op {
                Op::Bind { address } => ("bind", address),
                Op::Listen { .. } => ("listen", call.call.local()),
                _ => continue,
            };
            let Some(asked) = asked else { continue };
            if call.call.errno() != Some(Errno::EADDRINUSE) || !self.scene.is_about(call.call.socket()) {
                continue;
            }
            let port = asked.port();
            let (what, holder) = match call.remark {
                Some(Remark::NoPortFree) => (Mistake::PortsUsedUp { call: name }, None),
                Some(Remark::PortHeld { by, .. }) => match by {
                    PortHolder::Socket { how: Holding::Listening, by } => {
                        (Mistake::PortListenedOn { call: name, port }, by)
                    }
                    PortHolder::Socket { how, by } => {
                        (Mistake::PortInUse { call: name, port, is_bound: how == Holding::Bound }, by)
                    }
                    PortHolder::TimeWait { connection, reuses, .. } => {
                        let its = |of: &&&Event| of.connection == Some(connection) && of.id < event.id;
                        let last = self.scene.events.iter().rev().find(its);
                        (Mistake::PortInTimeWait { port, holder: connection, reuses }, last.map(|last| last.id))
                    }
                },
                _ => (Mistake::PortTaken { call: name, port }, None),
            };
            self.add(what, None, None, holder.into_iter().chain([event.id]).collect());
        }
    }

    /// Listening sockets that were closed with connections in their queues.
    fn listeners(&mut self, lives: &[Life<'a>]) {
        let watched: BTreeSet<(ConnectionId, Side)> =
            calls(&self.scene.events).filter_map(|(event, call)| event.connection.zip(call.side)).collect();
        let mut first_segments: HashMap<ConnectionId, EventId> = HashMap::default();
        for (event, _) in segments(&self.scene.events) {
            if let Some(connection) = event.connection {
                first_segments.entry(connection).or_insert(event.id);
            }
        }
        for life in lives.iter().filter(|life| self.scene.is_about(life.socket)) {
            let listen =
                life.uses.iter().find(|used| used.effect == Effect::Listen && used.call.call.errno().is_none());
            let closed = life.uses.iter().find(|used| used.role == Role::Released);
            // The latest one says how much room there is.
            let latest =
                life.uses.iter().rfind(|used| used.effect == Effect::Listen && used.call.call.errno().is_none());
            if let Some(latest) = latest {
                self.queue(latest, &life.uses);
            }
            let (Some(listen), Some(closed)) = (listen, closed) else { continue };
            let Some(local) = listen.call.call.local() else { continue };
            let (from, to) = (listen.call.call.entered, closed.call.call.returned_at());
            let left: Vec<EventId> = self
                .scene
                .connections
                .iter()
                .filter(|connection| {
                    let here = connection.server.port() == local.port()
                        && (local.ip().is_unspecified() || local.ip().to_canonical() == connection.server.ip());
                    let meanwhile = connection.first >= Some(from) && connection.first <= to;
                    here && meanwhile
                        && connection.completeness & 7 == 7
                        && !watched.contains(&(connection.id, Side::Server))
                })
                .filter_map(|connection| first_segments.get(&connection.id).copied())
                .collect();
            // An accept that failed so has taken one all the same, and so has one of which it is not known which it took.
            let is_taken = |used: &&Use<'_>| {
                used.call.call.effect() == Effect::Accept
                    && match used.call.call.errno() {
                        None => used.call.call.returned.is_some() && used.connection.is_none(),
                        Some(errno) => errno == Errno(EINVAL),
                    }
            };
            let taken = life.uses.iter().filter(is_taken).count();
            let left: Vec<EventId> = left.into_iter().skip(taken).collect();
            let connections = left.len() as u64 + self.scene.past.never_accepted(local, from, to);
            if connections > 0 {
                let evidence =
                    [listen.event, closed.event].into_iter().chain(left.into_iter().take(MOST_NAMED)).collect();
                self.add(Mistake::NeverAccepted { connections }, None, Some(Side::Server), evidence);
            }
        }
    }

    /// What became of the octets.
    fn transfers(&mut self) {
        for (event, segment) in segments(&self.scene.events) {
            if !segment.segment.flags.contains(Flags::RST) || segment.cause.calls.is_empty() {
                continue;
            }
            let what = match segment.cause.why {
                Some(Why::Unread(octets)) => Mistake::UnreadAtClose { octets: Some(octets) },
                Some(Why::UnreadOnTheWay) => Mistake::UnreadAtClose { octets: None },
                Some(Why::LingerZero) => Mistake::LingerZero,
                _ => continue,
            };
            let evidence = segment.cause.calls.iter().copied().chain([event.id]).collect();
            self.add(what, event.connection, Some(segment.from), evidence);
        }
        // The transfers of each end, in the order of their positions.
        let mut ends: BTreeMap<(ConnectionId, Side), [Vec<Moved<'_>>; 2]> = BTreeMap::new();
        for (event, call) in calls(&self.scene.events) {
            let (Some(connection), Some(side), Some(range)) = (event.connection, call.side, call.stream) else {
                continue;
            };
            let which = usize::from(call.call.effect() == Effect::Receive);
            ends.entry((connection, side)).or_default()[which].push(Moved { event: event.id, call, range });
        }
        for ((connection, side), [sends, receives]) in &ends {
            self.zeros(*connection, *side, sends, receives);
            if let Some([_, taken]) = ends.get(&(*connection, side.peer())) {
                self.boundaries(*connection, side.peer(), sends, taken);
            }
        }
    }

    /// Text that was counted by its zero octet, or sent with all of its buffer.
    fn zeros(&mut self, connection: ConnectionId, side: Side, sends: &[Moved<'_>], receives: &[Moved<'_>]) {
        let (at, end) = (Some(connection), Some(side));
        for sent in sends {
            let preview = sent.call.call.preview();
            let text = preview.iter().position(|octet| *octet == 0).unwrap_or(preview.len());
            let is_text = text > 0 && preview[..text].iter().all(|octet| *octet >= b' ' || octet.is_ascii_whitespace());
            if is_text && preview.len() >= text + ZEROS && preview[text..].iter().all(|octet| *octet == 0) {
                let what = Mistake::ZerosSent { text: text as u64, sent: sent.octets() };
                self.add(what, at, end, vec![sent.event]);
                break;
            }
        }
        for sent in sends {
            // The last receive before it.
            let before = receives.partition_point(|received| received.event < sent.event);
            let Some(received) = before.checked_sub(1).map(|last| &receives[last]) else { continue };
            let (got, wrote) = (received.call.call.preview(), sent.call.call.preview());
            let zero = got.iter().position(|octet| *octet == 0);
            let is_full = matches!(received.call.call.op, Op::Receive { len, .. } if len == Some(received.octets()));
            let alike = |count: usize| count > 0 && got.get(..count) == wrote.get(..count) && wrote.len() >= count;
            let what = match zero {
                Some(zero) if zero as u64 == sent.octets() && alike(zero) && sent.octets() < received.octets() => {
                    Mistake::CutAtZero { received: received.octets(), sent: sent.octets() }
                }
                None if is_full
                    && sent.octets() > received.octets()
                    && alike(got.len())
                    && got.len() as u64 == received.octets() =>
                {
                    Mistake::BeyondTheReceived { received: received.octets(), sent: sent.octets() }
                }
                _ => continue,
            };
            self.add(what, at, end, vec![received.event, sent.event]);
            break;
        }
    }

    /// Sends whose octets did not come as they went.
    fn boundaries(&mut self, connection: ConnectionId, side: Side, sends: &[Moved<'_>], receives: &[Moved<'_>]) {
        fn holding<'m, 'a>(list: &'m [Moved<'a>], range: Range) -> impl Iterator<Item = &'m Moved<'a>> {
            let start = list.partition_point(|moved| moved.range.to <= range.from);
            list[start..].iter().take_while(move |moved| moved.range.overlaps(range))
        }
        let of = |list: &[Moved<'_>], range: Range| -> Vec<EventId> {
            holding(list, range).take(MOST_NAMED).map(|moved| moved.event).collect()
        };
        let has_room = |received: &Moved<'_>, octets: u64| matches!(received.call.call.op, Op::Receive { len: Some(len), .. } if len >= octets);
        let joined = receives.iter().map(|received| (received, of(sends, received.range)));
        if let Some((received, of)) = joined.into_iter().find(|(_, of)| of.len() > 1) {
            let what = Mistake::MessagesJoined { sends: holding(sends, received.range).count() as u64 };
            self.add(what, Some(connection), Some(side), of.into_iter().chain([received.event]).collect());
        }
        let split = sends.iter().find_map(|sent| {
            let first = receives.partition_point(|received| received.range.to <= sent.range.from);
            let first = receives.get(first).filter(|received| received.range.from == sent.range.from)?;
            let parts = of(receives, sent.range);
            (parts.len() > 1 && has_room(first, sent.octets())).then_some((sent.event, parts))
        });
        if let Some((sent, parts)) = split {
            self.add(Mistake::MessageSplit, Some(connection), Some(side), [sent].into_iter().chain(parts).collect());
        }
    }
}

/// Whether a call has returned without an error.
fn has_worked(call: &Call) -> bool {
    call.returned.as_ref().is_some_and(|returned| returned.result.is_ok())
}

/// Whether a shutdown wakes whoever waits in a call with that effect on the same socket.
fn wakes(shutdown: &Call, waiting: Effect) -> bool {
    let Op::Shutdown { how } = shutdown.op else { return false };
    shutdown.errno().is_none()
        && match waiting {
            Effect::Receive | Effect::Accept => how != How::SHUT_WR,
            Effect::Send => how != How::SHUT_RD,
            _ => how == How::SHUT_RDWR,
        }
}

/// What is wrong with the length of an address that a call was told; `listens` where nothing has shut its listening socket down.
pub(super) fn address_flaw(call: &Call, listens: bool) -> Option<(&'static str, AddressFlaw, Option<i32>)> {
    let failed = call.errno() == Some(Errno(EINVAL));
    let judge = |name, room: i32| {
        let takes = if call.peer().is_some_and(|peer| peer.is_ipv6()) { SOCKADDR_IN6 } else { SOCKADDR_IN };
        let flaw = match (failed, call.errno()) {
            (true, _) if room < 0 => AddressFlaw::Negative,
            (false, None) if (0..takes).contains(&room) => AddressFlaw::Short,
            (false, None) if room >= HUGE => AddressFlaw::Huge,
            _ => return None,
        };
        Some((name, flaw, Some(room)))
    };
    match call.op {
        // One that does not listen, or does not any more, has that error of its own.
        Op::Accept { .. } if failed && !listens => None,
        Op::Accept { flags, room: Some(room) } => judge(if flags.is_some() { "accept4" } else { "accept" }, room),
        Op::Address { by, room: Some(room) } => judge(by.name(), room),
        // A stream socket has no other reason, unless urgent octets are asked for that are not there.
        Op::Receive { by: by @ Receiving::RecvFrom, flags, .. } if failed && !flags.contains(MessageFlags::MSG_OOB) => {
            Some((by.name(), AddressFlaw::Negative, None))
        }
        _ => None,
    }
}

/// A call that moved octets.
struct Moved<'a> {
    event: EventId,
    call: &'a CallEvent,
    range: Range,
}

impl Moved<'_> {
    fn octets(&self) -> u64 {
        self.range.to - self.range.from
    }
}

/// EADDRNOTAVAIL and EINVAL, whose numbers are the same on all machines that are supported (asm-generic/errno.h).
const EADDRNOTAVAIL: i32 = 99;
const EINVAL: i32 = 22;
/// The sizes of `struct sockaddr_in` and `sockaddr_in6`, and what no room for an address reaches: Perl has 4096 octets.
const SOCKADDR_IN: i32 = 16;
const SOCKADDR_IN6: i32 = 28;
const HUGE: i32 = 1 << 14;
/// How many receives of 0 in a row are no accident.
const BUSY: usize = 10;
/// How long a descriptor is kept by whoever does not use it, at least: less is how processes happen to be scheduled after a fork.
const KEPT: Span = Span::from_millis(10);
/// How many zero octets after a text are no accident.
const ZEROS: usize = 8;
/// How many events of one kind are named.
pub(super) const MOST_NAMED: usize = 8;
