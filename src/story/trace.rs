//! What is kept of one connection whose timeline was asked for.

use std::net::SocketAddr;

use super::{Quotation, Sighting};
use crate::flow::{ConnectionId, Side};
use crate::wire::Segment;

/// The segments of one connection, in the order of capture, with what each did.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its number.
    pub id: ConnectionId,
    /// The end that opened it.
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// Its segments; each is freed as soon as its event stands in its place.
    pub segments: Vec<Box<Sighting>>,
    /// The ICMP errors that quote them, in the order of capture.
    pub errors: Vec<Quotation>,
}

impl Trace {
    /// The end that sent a segment of this connection; a connection of a socket to itself has one end, the client.
    pub fn sender(&self, segment: &Segment) -> Side {
        if segment.from() == self.client { Side::Client } else { Side::Server }
    }
}
