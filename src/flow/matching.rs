//! The joins of calls and segments: data by octets, control by 4-tuple and interval.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{ConnectionId, Range, Side, Trace};
use crate::calls::{Call, Effect, SocketId};
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

    /// How many octets the program had read when `moment` came.
    pub(super) fn read_by(&self, calls: &[Call], moment: Option<Timestamp>) -> u64 {
        let before = |call: &Call| moment.is_none_or(|moment| call.entered <= moment);
        self.receives.iter().take_while(|(_, index)| before(&calls[*index])).last().map_or(0, |(range, _)| range.to)
    }
}

/// Entries of an ascending list of ranges without overlaps that share a position with `range`.
fn overlapping(list: &[(Range, CallIndex)], range: Range) -> impl Iterator<Item = CallIndex> + '_ {
    let start = list.partition_point(|(known, _)| known.to <= range.from);
    list[start..].iter().take_while(move |(known, _)| known.overlaps(range)).map(|(_, index)| *index)
}

/// Joins each call to the end of the connection it was made on, and gives each send and receive its positions in the stream.
///
/// A socket belongs to the connection whose 4-tuple it has; where a port was used again, to the one whose first segment lies in the interval of its `connect`, or is the last before its `accept` returned.
/// A `connect` that failed has lost its local port: it is joined by the address it asked for and by its interval.
/// `calls` are in the order in which they were entered.
pub(super) fn join(calls: &[Call], traces: &[Trace]) -> Joined {
    let sockets = homes(calls, traces);
    let mut joined = Joined::default();
    for (index, call) in calls.iter().enumerate() {
        let socket = if call.effect == Effect::Accept { call.accepted.or(call.socket) } else { call.socket };
        let home = socket.and_then(|socket| sockets.get(&socket)).copied().unwrap_or_default();
        let mut place = Place { connection: home.connection, side: home.side, stream: None };
        if let (Some(connection), Some(side)) = (place.connection, place.side) {
            let end = joined.ends.entry((connection, side)).or_default();
            end.all.push(index);
            if let Some(octets) = call.octets.filter(|octets| *octets > 0) {
                let list = match call.effect {
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

/// Finds the end that each socket is.
fn homes(calls: &[Call], traces: &[Trace]) -> HashMap<SocketId, Home> {
    let mut homes: HashMap<SocketId, Home> = HashMap::new();
    for call in calls {
        match call.effect {
            Effect::Connect => {
                let Some(socket) = call.socket else { continue };
                let home = homes.entry(socket).or_default();
                home.side = Some(Side::Client);
                if home.connection.is_none() {
                    home.connection = connected(call, traces);
                }
            }
            Effect::Accept => {
                if let Some(listener) = call.socket {
                    homes.entry(listener).or_default().side = Some(Side::Server);
                }
                if let Some(socket) = call.accepted {
                    let connection = accepted(call, traces);
                    homes.insert(socket, Home { connection, side: Some(Side::Server) });
                }
            }
            Effect::Listen => {
                if let Some(socket) = call.socket {
                    homes.entry(socket).or_default().side = Some(Side::Server);
                }
            }
            // Until it connects, a socket that asks for a port of its own is taken for a server's.
            Effect::Bind => {
                if let Some(socket) = call.socket {
                    homes.entry(socket).or_default().side.get_or_insert(Side::Server);
                }
            }
            _ => {}
        }
    }
    homes
}

/// The connection whose SYN this `connect` sent.
fn connected(call: &Call, traces: &[Trace]) -> Option<ConnectionId> {
    let peer = call.peer?;
    let local = call.local.filter(|local| local.port() != 0);
    let in_interval = |trace: &&Trace| {
        let Some(first) = trace.segments.first().and_then(|observed| observed.segment.at) else { return true };
        // A nonblocking connect returns before its SYN is answered, but not before the SYN was sent.
        first >= call.entered && call.returned.is_none_or(|returned| first <= returned)
    };
    let same_ends = |trace: &&Trace| same(trace.server, peer) && local.is_none_or(|local| same(trace.client, local));
    traces.iter().filter(same_ends).find(in_interval).map(|trace| trace.id)
}

/// The connection that this `accept` took off the queue: its first segment came before the call returned.
fn accepted(call: &Call, traces: &[Trace]) -> Option<ConnectionId> {
    let (local, peer) = (call.local?, call.peer?);
    let began = |trace: &&Trace| match (trace.segments.first().and_then(|observed| observed.segment.at), call.returned)
    {
        (Some(first), Some(returned)) => first <= returned,
        _ => true,
    };
    traces
        .iter()
        .filter(|trace| same(trace.server, local) && same(trace.client, peer))
        .rfind(began)
        .map(|trace| trace.id)
}

/// Whether two addresses name the same end: an IPv4 address seen through an IPv6 socket is mapped, and a scope is not on the wire.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}
