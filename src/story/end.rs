//! An end of a connection, by which calls, segments and the kernel's words are found for each other.

use std::net::{IpAddr, SocketAddr};

/// An end as the wire has it: an IPv4 address seen through an IPv6 socket is mapped, and a scope is not on the wire.
pub(super) type End = (IpAddr, u16);

/// The end at an address as a call has it.
pub(super) fn end(address: SocketAddr) -> End {
    (address.ip().to_canonical(), address.port())
}
