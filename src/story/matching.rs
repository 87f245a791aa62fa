//! The joins of calls and segments: data by octets, control by 4-tuple and interval.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::Trace;
use crate::calls::{Call, Effect, Lifetime, Lifetimes, Role};
use crate::flow::{ConnectionId, Range, Side};
use crate::time::Timestamp;

/// An index into the calls of a story.
pub(super) type CallIndex = usize;

/// Which end of which connection each call belongs to, and which octets it moved.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// For each call, in the order given.
    pub(super) places: Vec<Place>,
    /// For each end that was watched.
    pub(super) ends: HashMap<(ConnectionId, Side), EndCalls>,
}

/// Where a call belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) connection: Option<ConnectionId>,
    pub(super) side: Option<Side>,
    /// Positions it wrote in its own direction, or read in the peer's.
    pub(super) stream: Option<Range>,
}

/// The calls of one end, each list in the order in which they were entered.
#[derive(Debug, Default)]
pub(super) struct EndCalls {
    /// Every call of the end.
    pub(super) all: Vec<CallIndex>,
    /// Sends that wrote octets, with the positions; contiguous and ascending.
    pub(super) sends: Vec<(Range, CallIndex)>,
    /// Receives that read octets, with the positions; contiguous and ascending.
    pub(super) receives: Vec<(Range, CallIndex)>,
    /// Calls that closed the sending direction.
    pub(super) closings: Vec<CallIndex>,
    /// The first connect.
    pub(super) connect: Option<CallIndex>,
    /// The first call that set SO_LINGER to a time of zero.
    pub(super) linger_zero: Option<CallIndex>,
}

impl EndCalls {
    /// The sends that wrote any of these positions.
    pub(super) fn writers(&self, range: Range) -> impl Iterator<Item = CallIndex> + '_ {
        overlapping(&self.sends, range)
    }

    /// The receives that read any of these positions.
    pub(super) fn readers(&self, range: Range) -> impl Iterator<Item = CallIndex> + '_ {
        overlapping(&self.receives, range)
    }

    /// The last receive that was entered by `moment`, and the octets it read.
    pub(super) fn received_by(&self, calls: &[Call], moment: Option<Timestamp>) -> Option<(Range, CallIndex)> {
        let entered = self.receives.partition_point(|(_, index)| is_entered(&calls[*index], moment));
        self.receives[..entered].last().copied()
    }

    /// The last call that closed the sending direction and was entered by `moment`.
    pub(super) fn closed_by(&self, calls: &[Call], moment: Option<Timestamp>) -> Option<CallIndex> {
        let entered = self.closings.partition_point(|index| is_entered(&calls[*index], moment));
        self.closings[..entered].last().copied()
    }

    fn add(&mut self, index: CallIndex, call: &Call) {
        self.all.push(index);
        if closes(call) {
            self.closings.push(index);
        }
        match call.effect() {
            Effect::Connect => _ = self.connect.get_or_insert(index),
            Effect::LingerZero => _ = self.linger_zero.get_or_insert(index),
            _ => {}
        }
    }
}

/// Whether a call had been entered when `moment` came; where the moment is not known, it had.
pub(super) fn is_entered(call: &Call, moment: Option<Timestamp>) -> bool {
    moment.is_none_or(|moment| call.entered <= moment)
}

/// Whether a call ends the sending direction of its socket, and did so.
pub(super) fn closes(call: &Call) -> bool {
    matches!(call.effect(), Effect::ShutdownWrite | Effect::Close | Effect::Exit) && call.errno().is_none()
}

/// Entries of an ascending list of ranges without overlaps that share a position with `range`.
fn overlapping(list: &[(Range, CallIndex)], range: Range) -> impl Iterator<Item = CallIndex> + '_ {
    let start = list.partition_point(|(known, _)| known.to <= range.from);
    list[start..].iter().take_while(move |(known, _)| known.overlaps(range)).map(|(_, index)| *index)
}

/// Joins each call to the end of the connection it was made on, and gives each send and receive its positions in the stream.
///
/// A life of a socket belongs to the connection whose 4-tuple it has; where a port was used again, to the one whose first segment lies in the interval of its `connect`, or is the last before its `accept` returned.
/// A `connect` that failed has lost its local port: it is joined by the address it asked for and by its interval.
/// `calls` are in the order in which they were entered.
pub(super) fn join(calls: &[Call], traces: &Traces<'_>) -> Joined {
    let lives: Vec<Lives> =
        calls.iter().zip(Lifetimes::of(calls)).map(|(call, lives)| Lives::of(call, &lives)).collect();
    let homes = homes(calls, &lives, traces);
    let mut joined = Joined::default();
    for (index, (call, lives)) in calls.iter().zip(&lives).enumerate() {
        let life = if call.effect() == Effect::Accept { lives.accepted.or(lives.own) } else { lives.own };
        let home = life.and_then(|life| homes.get(&life)).copied().unwrap_or_default();
        let mut place = Place { connection: home.connection, side: home.side, stream: None };
        if let (Some(connection), Some(side)) = (place.connection, place.side) {
            let end = joined.ends.entry((connection, side)).or_default();
            end.add(index, call);
            if let Some(octets) = call.octets().filter(|octets| *octets > 0) {
                let list = match call.effect() {
                    Effect::Send => Some(&mut end.sends),
                    Effect::Receive => Some(&mut end.receives),
                    _ => None,
                };
                if let Some(list) = list {
                    let from = list.last().map_or(0, |(range, _)| range.to);
                    let range = Range::of(from, octets);
                    list.push((range, index));
                    place.stream = Some(range);
                }
            }
        }
        joined.places.push(place);
    }
    joined
}

#[derive(Clone, Copy, Default)]
struct Home {
    connection: Option<ConnectionId>,
    side: Option<Side>,
}

/// The lives of sockets that a call belongs to.
struct Lives {
    /// Of the socket it was made on, or that it made.
    own: Option<Lifetime>,
    /// Of the one that accept returned.
    accepted: Option<Lifetime>,
}

impl Lives {
    fn of(call: &Call, lives: &[Option<Lifetime>]) -> Self {
        let made = call.sockets.iter().position(|used| used.role == Role::Made);
        let accepted = made.filter(|_| call.effect() == Effect::Accept);
        let of = |place: usize| lives.get(place).copied().flatten();
        Self { own: of(0), accepted: accepted.and_then(of) }
    }
}

/// Finds the end that each life of a socket is.
fn homes(calls: &[Call], lives: &[Lives], traces: &Traces<'_>) -> HashMap<Lifetime, Home> {
    let mut homes: HashMap<Lifetime, Home> = HashMap::new();
    for (call, Lives { own, accepted }) in calls.iter().zip(lives) {
        match call.effect() {
            Effect::Connect => {
                let Some(life) = *own else { continue };
                let home = homes.entry(life).or_default();
                home.side = Some(Side::Client);
                if home.connection.is_none() {
                    home.connection = traces.connected(call).map(|trace| trace.id);
                }
            }
            Effect::Accept => {
                if let Some(listener) = *own {
                    homes.entry(listener).or_default().side = Some(Side::Server);
                }
                if let Some(life) = *accepted {
                    let connection = traces.accepted(call).map(|trace| trace.id);
                    homes.insert(life, Home { connection, side: Some(Side::Server) });
                }
            }
            Effect::Listen => {
                if let Some(life) = *own {
                    homes.entry(life).or_default().side = Some(Side::Server);
                }
            }
            // Until it connects, a socket that asks for a port of its own is taken for a server's.
            Effect::Bind => {
                if let Some(life) = *own {
                    homes.entry(life).or_default().side.get_or_insert(Side::Server);
                }
            }
            _ => {}
        }
    }
    homes
}

/// The traces by their ends, so that the one of a call is found without looking at all of them.
pub(super) struct Traces<'a> {
    all: &'a [Trace],
    /// Those of each pair of client and server, by the time of their first segments.
    by_ends: HashMap<(End, End), Vec<First>>,
    /// Those of each server, likewise.
    by_server: HashMap<End, Vec<First>>,
}

/// An end as the wire has it: an IPv4 address seen through an IPv6 socket is mapped, and a scope is not on the wire.
type End = (IpAddr, u16);

/// When the first segment of a trace was captured, and its place among all.
type First = (Option<Timestamp>, usize);

impl<'a> Traces<'a> {
    /// Sorts `all`, which are in the order of their first segments' capture, by ends.
    pub(super) fn new(all: &'a [Trace]) -> Self {
        let mut by_ends: HashMap<_, Vec<First>> = HashMap::new();
        let mut by_server: HashMap<_, Vec<First>> = HashMap::new();
        for (place, trace) in all.iter().enumerate() {
            let first = (trace.segments.first().and_then(|observed| observed.segment.at), place);
            by_ends.entry((end(trace.client), end(trace.server))).or_default().push(first);
            by_server.entry(end(trace.server)).or_default().push(first);
        }
        by_ends.values_mut().chain(by_server.values_mut()).for_each(|list| list.sort_unstable());
        Self { all, by_ends, by_server }
    }

    /// The trace of that number.
    pub(super) fn of(&self, id: ConnectionId) -> Option<&'a Trace> {
        let place = self.all.binary_search_by_key(&id, |trace| trace.id).ok()?;
        self.all.get(place)
    }

    /// The connection whose SYN this `connect` sent.
    fn connected(&self, call: &Call) -> Option<&'a Trace> {
        let peer = end(call.peer()?);
        let list = match call.local().filter(|local| local.port() != 0) {
            Some(local) => self.by_ends.get(&(end(local), peer)),
            None => self.by_server.get(&peer),
        }?;
        let (first, place) = match list.first()? {
            untimed @ (None, _) => untimed,
            _ => list.get(list.partition_point(|(first, _)| *first < Some(call.entered)))?,
        };
        // A nonblocking connect returns before its SYN is answered, but not before the SYN was sent.
        let in_time = first.is_none() || call.returned_at().is_none_or(|returned| *first <= Some(returned));
        in_time.then(|| &self.all[*place])
    }

    /// The connection that this `accept` took off the queue: its first segment came before the call returned.
    fn accepted(&self, call: &Call) -> Option<&'a Trace> {
        self.latest(call.peer()?, call.local()?, call.returned_at())
    }

    /// The last connection between these ends that began by `moment`.
    pub(super) fn latest(
        &self,
        client: SocketAddr,
        server: SocketAddr,
        moment: Option<Timestamp>,
    ) -> Option<&'a Trace> {
        let list = self.by_ends.get(&(end(client), end(server)))?;
        let began = moment.map_or(list.len(), |moment| list.partition_point(|(first, _)| *first <= Some(moment)));
        list[..began].last().map(|(_, place)| &self.all[*place])
    }
}

fn end(address: SocketAddr) -> End {
    (address.ip().to_canonical(), address.port())
}
