//! What the kernel's trace says of a run: of all sockets of this host, those that are the run's.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use super::LabError;
use super::addresses::plain;
use crate::capture::OwnedFrame;
use crate::kernel::{KernelAct, KernelEvent, KernelSocket, Trace, Tracepoints};
use crate::report::lost_events;
use crate::tcp::State;
use crate::time::{Span, Timestamp};
use crate::wire::{Decoder, Flags};

/// A trace that is read while a scenario is played.
pub(super) struct Tracing {
    trace: Trace,
    heard: Arc<Mutex<Held>>,
}

/// What was heard of it.
#[derive(Default)]
struct Held {
    events: Vec<KernelEvent>,
    /// How many more there were than are held.
    left_out: u64,
}

impl Held {
    fn hear(&mut self, event: KernelEvent) {
        if self.events.len() < MOST {
            self.events.push(event);
        } else {
            self.left_out += 1;
        }
    }
}

impl Tracing {
    /// Begins to read it, in a thread of its own.
    pub(super) fn start(tracepoints: Tracepoints) -> Result<Self, LabError> {
        let heard = Arc::new(Mutex::new(Held::default()));
        let of_thread = Arc::clone(&heard);
        let hear = move |event| of_thread.lock().unwrap_or_else(PoisonError::into_inner).hear(event);
        let trace = tracepoints
            .start(hear)
            .map_err(|error| LabError::new(format!("the kernel's trace cannot be read: {error}")))?;
        Ok(Self { trace, heard })
    }

    /// Ends it: what was heard, in order of time, and how much more there was.
    pub(super) fn stop(self) -> (Vec<KernelEvent>, u64) {
        let lost = self.trace.stop().all();
        let held = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        let Held { mut events, left_out } = held;
        events.sort_by_key(|event| event.at);
        (events, lost + left_out)
    }
}

/// What the trace says of the sockets of a run.
#[derive(Default)]
pub(super) struct Traced {
    /// Its events, in order of time.
    pub(super) events: Vec<KernelEvent>,
    /// How many sockets may be the run's or another one's.
    pub(super) open: usize,
}

impl Traced {
    /// What the user should know of it.
    pub(super) fn notice(&self, lost: u64) -> Option<String> {
        match (lost, self.open) {
            (0, 0) => None,
            (0, open) => Some(format!(
                "what the kernel's trace says of {open} sockets is left out: other programs have sockets with the same addresses and ports"
            )),
            (lost, _) => Some(lost_events(lost)),
        }
    }
}

/// The events that are about sockets of this run, among those of all sockets of this host.
///
/// A record does not say in which network namespace a socket is; but runs that are played at once have other ports ([`super::Lane`]), and a
/// socket leaves CLOSED or LISTEN right before or after the segment was captured that says so, or by which it does. Where there were two
/// sockets with the same ends at once, one is another program's: neither is taken.
pub(super) fn of_run(heard: Vec<KernelEvent>, captures: &[Vec<OwnedFrame>], hosts: [IpAddr; 2]) -> Traced {
    let seen = Seen::of(captures, hosts);
    let (lives, lone) = lives(heard);
    let lives: Vec<_> = lives.into_iter().filter(|life| seen.has_birth(&life[0])).collect();
    let spans: Vec<_> = lives.iter().map(|life| [life[0].at, life[life.len() - 1].at]).collect();
    let mut of_ends: HashMap<(SocketAddr, SocketAddr), Vec<usize>> = HashMap::new();
    for (place, life) in lives.iter().enumerate() {
        of_ends.entry((life[0].local, life[0].peer)).or_default().push(place);
    }
    let mut traced = Traced::default();
    for places in of_ends.values() {
        let is_alone = |place: usize| {
            let [began, ended] = spans[place];
            places.iter().all(|other| *other == place || spans[*other][1] < began || ended < spans[*other][0])
        };
        for place in places.iter().copied() {
            match is_alone(place) {
                true => traced.events.extend(lives[place].iter().cloned()),
                false => traced.open += 1,
            }
        }
    }
    traced.events.extend(lone.into_iter().filter(|event| !is_state(event) && seen.is_near(event)));
    traced.events.sort_by_key(|event| event.at);
    traced
}

/// Whether a socket changed its state: its other changes belong to it.
fn is_state(event: &KernelEvent) -> bool {
    matches!(event.what, KernelAct::State { .. })
}

/// The events of each socket from when it came to when it went, and those that are of none.
///
/// What leaves CLOSED is a new one: of one that was at the same place before, as of a run that had these ports, no end may have been heard.
fn lives(heard: Vec<KernelEvent>) -> (Vec<Vec<KernelEvent>>, Vec<KernelEvent>) {
    let mut lives: Vec<Vec<KernelEvent>> = Vec::new();
    let mut lone = Vec::new();
    let mut current: HashMap<KernelSocket, usize> = HashMap::new();
    for event in heard.into_iter().filter(|event| event.peer.port() != 0) {
        let Some(socket) = event.socket else {
            lone.push(event);
            continue;
        };
        let is_same = |place: &usize| {
            let life = &lives[*place];
            let is_over =
                life.last().is_some_and(|last| matches!(last.what, KernelAct::State { to: State::Closed, .. }));
            !is_over && life.first().is_some_and(|first| (first.local, first.peer) == (event.local, event.peer))
        };
        let place = current.get(&socket).copied().filter(is_same);
        let is_born = matches!(event.what, KernelAct::State { from: State::Closed, .. });
        match (place.filter(|_| !is_born), event.what.clone()) {
            (Some(place), _) => lives[place].push(event),
            // Not every kernel says that what a listener makes comes from LISTEN to SYN-RECEIVED.
            (None, KernelAct::State { from: State::Closed | State::Listen | State::SynReceived, .. }) => {
                current.insert(socket, lives.len());
                lives.push(vec![event]);
            }
            // A listener speaks for the connections that have no socket yet.
            (None, _) => lone.push(event),
        }
    }
    (lives, lone)
}

/// A segment as it was captured at a host.
#[derive(Clone, Copy)]
struct Sighted {
    at: Timestamp,
    flags: Flags,
}

/// The segments of a run by their ends, at the host of each end.
struct Seen {
    /// From one address to another, as they left.
    sent: HashMap<(SocketAddr, SocketAddr), Vec<Sighted>>,
    /// The same, as they came.
    came: HashMap<(SocketAddr, SocketAddr), Vec<Sighted>>,
}

impl Seen {
    fn of(captures: &[Vec<OwnedFrame>], hosts: [IpAddr; 2]) -> Self {
        let mut seen = Self { sent: HashMap::new(), came: HashMap::new() };
        let mut decoder = Decoder::new();
        for (frames, host) in captures.iter().zip(hosts) {
            let is_only = captures.len() == 1;
            for frame in frames {
                let _ = decoder.decode(&frame.as_frame(), |segment, _| {
                    let Some(at) = frame.at else { return };
                    let sighted = Sighted { at, flags: segment.flags };
                    let ends = [segment.from(), segment.to()].map(plain);
                    if is_only || segment.src.to_canonical() == host {
                        seen.sent.entry((ends[0], ends[1])).or_default().push(sighted);
                    }
                    if is_only || segment.dst.to_canonical() == host {
                        seen.came.entry((ends[0], ends[1])).or_default().push(sighted);
                    }
                });
            }
        }
        seen
    }

    /// Whether the run has the segment by which a socket came.
    fn has_birth(&self, first: &KernelEvent) -> bool {
        let (local, peer) = (plain(first.local), plain(first.peer));
        let error = first.clock.error.0.abs();
        let is_near =
            |seen: &Sighted, after: Span| after.0 >= -error && after <= BIRTH_WINDOW && seen.flags != Flags::RST;
        let any = |seen: Option<&Vec<Sighted>>, is_it: &dyn Fn(&Sighted) -> bool| {
            seen.is_some_and(|seen| seen.iter().any(is_it))
        };
        match first.what {
            KernelAct::State { from: State::Closed, .. } => any(self.sent.get(&(local, peer)), &|seen| {
                seen.flags.contains(Flags::SYN) && is_near(seen, seen.at.since(first.at))
            }),
            KernelAct::State { .. } => {
                any(self.came.get(&(peer, local)), &|seen| is_near(seen, first.at.since(seen.at)))
            }
            _ => false,
        }
    }

    /// Whether a segment of the same ends left or came at nearly the same time.
    fn is_near(&self, event: &KernelEvent) -> bool {
        let (local, peer) = (plain(event.local), plain(event.peer));
        let is_near = |seen: &Sighted| seen.at.since(event.at).0.abs() <= LONE_WINDOW.0;
        let any = |seen: Option<&Vec<Sighted>>| seen.is_some_and(|seen| seen.iter().any(is_near));
        any(self.sent.get(&(local, peer))) || any(self.came.get(&(peer, local)))
    }
}

/// How many events are held: of other programs there may be any number.
const MOST: usize = 1 << 20;
/// How far the change of state by which a socket comes may be from its segment: a processor may be taken from the kernel in between.
const BIRTH_WINDOW: Span = Span(100_000_000);
/// How far what no socket of its own did may be from the segment that it is about.
const LONE_WINDOW: Span = Span(20_000_000);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Clock;

    #[test]
    fn events_beyond_those_that_are_held_are_counted_as_lost() {
        let [local, peer] = ["127.0.0.1:40000", "127.0.0.1:3000"].map(|end| end.parse().expect("an end"));
        let what = KernelAct::State { from: State::Closed, to: State::SynSent };
        let (at, socket) = (Timestamp::from_nanos(0), Some(KernelSocket(1)));
        let event = KernelEvent { at, clock: Clock::WALL, local, peer, socket, what };
        let mut held = Held { events: vec![event.clone(); MOST - 1], left_out: 0 };
        held.hear(event.clone());
        assert_eq!((held.events.len(), held.left_out), (MOST, 0));
        (0..3).for_each(|_| held.hear(event.clone()));
        assert_eq!((held.events.len(), held.left_out), (MOST, 3));
        let said = Traced::default().notice(held.left_out).expect("it is said");
        assert!(said.contains('3'), "{said}");
    }

    /// A run that had these ports before may end in records of which the last is missing, and the kernel puts the next socket in the same place.
    #[test]
    fn what_leaves_closed_is_another_socket_though_it_is_in_the_same_place() {
        let [local, peer] = ["10.0.0.1:50001", "10.0.0.2:3000"].map(|end| end.parse().expect("an end"));
        let moved = |at, from, to| KernelEvent {
            at: Timestamp::from_nanos(at),
            clock: Clock::WALL,
            local,
            peer,
            socket: Some(KernelSocket(1)),
            what: KernelAct::State { from, to },
        };
        let other = moved(0, State::Closed, State::SynSent);
        let own = [moved(9, State::Closed, State::SynSent), moved(10, State::SynSent, State::Established)];
        let (found, lone) = lives([std::slice::from_ref(&other), &own[..]].concat());
        assert_eq!((found, lone), (vec![vec![other], own.to_vec()], Vec::new()));
    }
}
