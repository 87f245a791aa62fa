//! What is kept of one connection whose timeline was asked for.

use std::net::SocketAddr;

use crate::capture::SeenAt;
use crate::flow::{ConnectionId, Side, Step};
use crate::wire::{Segment, Tunnel};

/// The segments of one connection, in the order of capture, with what each did.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its number.
    pub id: ConnectionId,
    /// The end that opened it.
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// Its segments.
    pub segments: Vec<Observed>,
}

/// One segment as the table observed it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The segment.
    pub segment: Segment,
    /// What it did to its connection.
    pub step: Step,
    /// The first octets of its payload, at most [`crate::calls::PREVIEW`].
    pub preview: Vec<u8>,
    /// The tunnels it came in, outermost first.
    pub tunnel: Box<[Tunnel]>,
    /// Where its frame was captured, and which way it was going there.
    pub seen: SeenAt,
}

impl Trace {
    /// The end that sent a segment of this connection; a connection of a socket to itself has one end, the client.
    pub fn sender(&self, segment: &Segment) -> Side {
        if segment.from() == self.client { Side::Client } else { Side::Server }
    }
}
