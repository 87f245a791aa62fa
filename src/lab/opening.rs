//! The capture is opened, and the port taken, on the ground where the experiment can be played.

use nix::errno::Errno;

use super::host::{self, Claim, Ground, LOOPBACK, Reservation};
use super::scenario::{Loopback, Scenario};
use super::{LabError, echo};
use crate::capture::{Live, Markers, OpenError, Tap};

/// A capture that is open, on the ground where the experiment will be played.
pub(super) struct Opened {
    pub(super) live: Live,
    pub(super) markers: Markers,
    pub(super) reservation: Reservation,
    pub(super) claim: Claim,
    pub(super) ground: Ground,
}

/// Why the experiment cannot be played on a loopback interface.
enum Barrier {
    /// Something that another loopback interface need not have: no permission, no such address, the interface is down.
    Here {
        /// What is in the way.
        what: String,
        /// The way out on this interface.
        way_out: String,
    },
    /// Something that is wrong anywhere.
    Anywhere(String),
}

/// Opens the capture where the scenario may be played; `notices` gets what the user should know of that.
pub(super) fn open(scenario: &Scenario, notices: &mut Vec<String>) -> Result<Opened, LabError> {
    if scenario.mtu.is_some() || scenario.loopback == Loopback::OwnNamespace {
        let ground = host::enter_namespace(scenario.mtu)
            .map_err(|error| LabError::new(format!("{error}; {}", host::ways_out(scenario.mtu))))?;
        if let Some(mtu) = scenario.mtu {
            notices
                .push(format!("running in a private network namespace, where the MTU of {LOOPBACK} is {mtu} octets"));
        }
        return open_on(scenario, ground).map_err(LabError::from);
    }
    match open_on(scenario, Ground::Host) {
        Ok(opened) => Ok(opened),
        Err(Barrier::Here { what, way_out }) if scenario.loopback == Loopback::WherePermitted => {
            let ground = host::enter_namespace(None)
                .map_err(|error| LabError::new(format!("{what}, and {error}; {way_out}")))?;
            let who = if nix::unistd::geteuid().is_root() { "running" } else { "running without root," };
            notices.push(format!("{what}: {who} in a private network namespace"));
            open_on(scenario, ground).map_err(LabError::from)
        }
        Err(barrier) => Err(LabError::from(barrier)),
    }
}

impl From<Barrier> for LabError {
    fn from(barrier: Barrier) -> Self {
        Self::new(match barrier {
            Barrier::Here { what, way_out } => format!("{what}; {way_out}"),
            Barrier::Anywhere(what) => what,
        })
    }
}

fn open_on(scenario: &Scenario, ground: Ground) -> Result<Opened, Barrier> {
    let no_address = || Barrier::Here {
        what: format!("{LOOPBACK} has no address {}", scenario.address),
        way_out: format!(
            "is {} off on this host? Try the other one",
            if scenario.address.is_ipv4() { "IPv4" } else { "IPv6" }
        ),
    };
    if !host::is_up() {
        let what = format!("the interface {LOOPBACK} is down");
        return Err(Barrier::Here { what, way_out: format!("bring it up: sudo ip link set {LOOPBACK} up") });
    }
    let reserve = |port| Reservation::of(scenario.address, port);
    // Which port it is matters little, and a port where nobody listens must not be one where somebody does.
    let reservation = match reserve(scenario.port) {
        Err(Errno::EADDRINUSE) => reserve(0),
        result => result,
    };
    let (reservation, claim) = reservation.map_err(|errno| match errno {
        Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT => no_address(),
        Errno::EACCES => {
            Barrier::Anywhere(format!("port {} is only for root: choose one from 1024 on with --port", scenario.port))
        }
        errno => Barrier::Anywhere(format!("port {} cannot be used: {}", scenario.port, errno.desc())),
    })?;
    let markers = Markers::over(scenario.address).map_err(|_| no_address())?;
    let live = Live::open(Tap {
        interface: LOOPBACK.to_owned(),
        filter: format!(
            "(tcp and host {} and port {}) or {}",
            scenario.address,
            reservation.address.port(),
            markers.filter()
        ),
        snap_len: snap_len(scenario),
        buffer: buffer(scenario),
    });
    match live {
        Ok(live) => Ok(Opened { live, markers, reservation, claim, ground }),
        Err(OpenError::Permission(error)) => {
            Err(Barrier::Here { what: error.message, way_out: host::ways_out(scenario.mtu) })
        }
        Err(OpenError::Other(error)) => Err(Barrier::Anywhere(error.message)),
    }
}

/// Enough for every segment that can come: none carries more than the longest message, nor more than the MTU lets through.
///
/// The kernel's buffer has places of this size: the smaller they are, the more segments can wait in it.
fn snap_len(scenario: &Scenario) -> u32 {
    let all_clients = scenario.longest().max(1024) as u64 + HEADERS;
    let mtu = u64::from(scenario.mtu.unwrap_or(65536)) + ETHERNET;
    all_clients.min(mtu) as u32
}

/// Room for all that a small experiment puts on the wire, even if nobody reads meanwhile; for a large one as much as is decent.
fn buffer(scenario: &Scenario) -> u32 {
    let messages = (scenario.messages.len() as u64).saturating_mul(scenario.rounds.into());
    let segment = u64::from(snap_len(scenario)).saturating_sub(HEADERS).clamp(512, echo::BUFFER as u64);
    let there_and_back = 2 * scenario.octets().div_ceil(segment).saturating_add(messages).min(1 << 32);
    let with_acknowledgements = 2 * there_and_back + 16;
    // Each takes a place when it leaves and one when it arrives.
    let places = (2 * with_acknowledgements).saturating_mul(scenario.clients as u64);
    // libpcap divides the buffer into blocks of a power of two, and those into places.
    let place = u64::from(snap_len(scenario)) + 128;
    let block = place.next_power_of_two().max(4096);
    places.saturating_mul(block / (block / place)).clamp(4 << 20, 64 << 20) as u32
}

const ETHERNET: u64 = 14;
/// More than Ethernet, IP and TCP headers with all their options take.
const HEADERS: u64 = 14 + 60 + 60 + 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_segment_of_a_scenario_is_cut() {
        let of = |size, mtu| Scenario { messages: vec![vec![0; size]], mtu, ..Scenario::default() };
        assert!(snap_len(&of(0, None)) >= 256, "the markers come through, too");
        assert!(snap_len(&of(20_000, None)) >= 14 + 60 + 60 + 20_000);
        assert_eq!(snap_len(&of(1_000_000, None)), 14 + 65_536);
        assert_eq!(snap_len(&of(1_000_000, Some(1500))), 14 + 1500);
    }

    #[test]
    fn the_buffer_is_bounded_whatever_the_scenario() {
        let small = buffer(&Scenario::default());
        let large =
            Scenario { messages: vec![vec![0; 1 << 20]], rounds: u32::MAX, clients: 100, ..Scenario::default() };
        assert_eq!((small, buffer(&large)), (4 << 20, 64 << 20));
        // A small one has room for every segment, even if nobody reads.
        let rounds = Scenario { rounds: 1000, ..Scenario::default() };
        assert!(u64::from(buffer(&rounds)) >= 2 * 4 * 1000 * u64::from(snap_len(&rounds)));
    }
}
