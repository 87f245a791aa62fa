//! Lanes: who stands where in a view.

use std::collections::HashMap;

use super::Index;
use std::net::SocketAddr;

use crate::calls::{Process, Thread};
use crate::flow::{ConnectionId, Side};
use crate::story::{Event, EventKind};

/// Place of a lane in its view, from 0 at the left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneId(pub usize);

/// An end of a connection, or the ends that a process has of several.
#[derive(Clone, PartialEq, Debug)]
pub struct Lane<'a> {
    /// The side that it is of its connection, of the first one where it has several.
    pub side: Side,
    /// Its ends; empty where the view is of one connection, of which it is the end of that side.
    pub ends: Vec<(ConnectionId, Side)>,
    /// The process that makes its calls, where that decided which lane they stand in.
    pub process: Option<&'a Process>,
    /// The thread, where a process talks to itself: then it is the thread that has the lane.
    pub thread: Option<&'a Thread>,
}

/// The lanes of a view while it is made, and which of them an event belongs to.
pub(super) struct Lanes<'a> {
    list: Vec<Lane<'a>>,
    /// Empty where the side alone decides.
    places: HashMap<(ConnectionId, Side), LaneId>,
}

impl<'a> Lanes<'a> {
    /// The two ends of one connection.
    pub(super) fn of_ends() -> Self {
        let lane = |side| Lane { side, ends: Vec::new(), process: None, thread: None };
        Self { list: vec![lane(Side::Client), lane(Side::Server)], places: HashMap::new() }
    }

    /// Each end of these connections, those of one process together.
    ///
    /// Within a connection both ends have lanes of their own; where one process makes the calls of both, its threads have lanes.
    /// Servers that nobody watched are one where they have the same address and port.
    pub(super) fn of_processes(index: &Index<'a>, connections: &[ConnectionId]) -> Self {
        let mut lanes = Self { list: Vec::new(), places: HashMap::new() };
        let mut served: Vec<(SocketAddr, usize)> = Vec::new();
        let to_itself: Vec<u32> = connections
            .iter()
            .filter_map(|id| {
                let [client, server] = [Side::Client, Side::Server].map(|side| speaker(index, *id, side));
                let (client, server) = (client?.0.pid, server?.0.pid);
                (client == server).then_some(client)
            })
            .collect();
        for &connection in connections {
            let [client, server] = [Side::Client, Side::Server].map(|side| {
                let who = speaker(index, connection, side);
                let process = who.map(|(process, _)| process);
                let thread = who.filter(|(process, _)| to_itself.contains(&process.pid)).map(|(_, thread)| thread);
                let known = process.and_then(|process| {
                    let same = |lane: &Lane<'_>| {
                        let name = |thread: Option<&Thread>| thread.map(|thread| thread.comm.clone());
                        lane.process.is_some_and(|known| known.pid == process.pid) && name(lane.thread) == name(thread)
                    };
                    let own = |lane: &Lane<'_>| lane.ends.iter().any(|(other, _)| *other == connection);
                    lanes.list.iter().position(|lane| same(lane) && !own(lane))
                });
                let address = index.connection(connection).map(|connection| connection.server);
                let address = address.filter(|_| side == Side::Server && process.is_none());
                let at = |address| served.iter().find(|(of, _)| *of == address).map(|(_, lane)| *lane);
                (side, process, thread, known.or_else(|| at(address?)), address)
            });
            // A connection whose server stands there already has its client before it; else it goes at the end.
            for (side, process, thread, known, address) in [client, server] {
                let at = match known {
                    Some(at) if !lanes.list[at].ends.iter().any(|(other, _)| *other == connection) => at,
                    _ => {
                        lanes.list.push(Lane { side, ends: Vec::new(), process, thread });
                        lanes.list.len() - 1
                    }
                };
                served.extend(address.map(|address| (address, at)));
                lanes.list[at].ends.push((connection, side));
            }
        }
        lanes.order();
        lanes.places =
            (0..).zip(&lanes.list).flat_map(|(at, lane)| lane.ends.iter().map(move |end| (*end, LaneId(at)))).collect();
        lanes
    }

    /// Puts each lane behind those that are clients of it, as far as no circle forbids it.
    fn order(&mut self) {
        let mut left = std::mem::take(&mut self.list);
        while !left.is_empty() {
            let is_served = |lane: &Lane<'_>| {
                let clients =
                    lane.ends.iter().filter(|(_, side)| *side == Side::Server).map(|(id, _)| (*id, Side::Client));
                clients.into_iter().any(|client| left.iter().any(|other| other.ends.contains(&client)))
            };
            let first = left.iter().position(|lane| !is_served(lane)).unwrap_or(0);
            self.list.push(left.remove(first));
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The lane of an end, of an event that is shown.
    pub(super) fn of(&self, event: &Event, side: Side) -> LaneId {
        let place = event.connection.and_then(|id| self.places.get(&(id, side)));
        place.copied().unwrap_or(LaneId((side as usize).min(self.list.len().saturating_sub(1))))
    }

    pub(super) fn into_list(self) -> Vec<Lane<'a>> {
        self.list
    }
}

/// The process and the thread that make an end's calls, if one was watched.
fn speaker<'a>(index: &Index<'a>, connection: ConnectionId, side: Side) -> Option<(&'a Process, &'a Thread)> {
    index.events_of(Some(connection)).iter().find_map(|event| match &event.kind {
        EventKind::Call(call) if call.side == Some(side) => {
            index.known.threads().get(call.call.thread()).map(|(thread, process)| (process, thread))
        }
        _ => None,
    })
}
