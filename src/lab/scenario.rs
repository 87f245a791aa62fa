//! What an experiment is, and what cannot be one.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::LabError;
use crate::capture::Successor;
use crate::flow::Side;

/// An experiment: what is played, and on which ground.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What is played.
    pub play: Play,
    /// The loopback address on which it is played.
    pub address: IpAddr,
    /// The server's port; another free one is taken when it is busy.
    pub port: u16,
    /// The messages of each client, in order; a long one is sent and read back at the same time.
    pub messages: Vec<Vec<u8>>,
    /// How many times the messages are sent.
    pub rounds: u32,
    /// Whether each client connects once before the server listens, and is refused, and with which socket it then connects again.
    pub retry: Option<Retry>,
    /// Who closes first.
    pub first_close: Side,
    /// How many clients connect at once.
    pub clients: usize,
    /// The MTU of the loopback interface, which then is one of an own network namespace.
    pub mtu: Option<u32>,
    /// On which loopback interface it is played.
    pub loopback: Loopback,
    /// Whom root becomes once the capture is open.
    pub successor: Successor,
    /// Ends the experiment early once it is set, as a signal handler may do.
    pub interrupt: Arc<AtomicBool>,
}

/// What is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Play {
    /// The server sends back what the clients send.
    Echo,
    /// As [`Self::Echo`], and then a second server is started on the same port, without SO_REUSEADDR and with it.
    EchoAndStartAgain,
    /// There is no server: the clients are refused.
    Refused,
}

/// With which socket a client connects that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The same.
    SameSocket,
    /// Another one, once the first is closed; the kernel gives it the same descriptor.
    NewSocket,
}

/// On which loopback interface an experiment is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loopback {
    /// The host's own where capturing is permitted, that of an own namespace otherwise.
    WherePermitted,
    /// The host's own.
    Host,
    /// That of an own network namespace.
    OwnNamespace,
}

impl Default for Scenario {
    /// One client says `helloworld` to port 3000 of 127.0.0.1, hears it back, and closes first.
    fn default() -> Self {
        Self {
            play: Play::Echo,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 3000,
            messages: vec![b"helloworld".to_vec()],
            rounds: 1,
            retry: None,
            first_close: Side::Client,
            clients: 1,
            mtu: None,
            loopback: Loopback::WherePermitted,
            successor: Successor::default(),
            interrupt: Arc::default(),
        }
    }
}

impl Scenario {
    /// A message of `size` octets, readable, in which each place can be told from its neighbours.
    pub fn message_of(size: usize) -> Vec<u8> {
        (0..).flat_map(|line: u64| format!("{line:07} tcpflow\n").into_bytes()).take(size).collect()
    }

    /// How many octets one client sends in all.
    pub fn octets(&self) -> u64 {
        let once: u64 = self.messages.iter().map(|message| message.len() as u64).sum();
        once.saturating_mul(self.rounds.into())
    }

    /// How many octets the longest message has.
    pub(super) fn longest(&self) -> usize {
        self.messages.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// Says what cannot be played before anything is touched.
pub(super) fn check(scenario: &Scenario) -> Result<(), LabError> {
    let wrong = if !scenario.address.is_loopback() {
        Some(format!("{} is not a loopback address", scenario.address))
    } else if scenario.mtu.is_some_and(|mtu| mtu < least_mtu(scenario.address.is_ipv6())) {
        Some(format!(
            "an MTU of {} octets is the least with IPv{}",
            least_mtu(scenario.address.is_ipv6()),
            if scenario.address.is_ipv4() {
                "4: below, the smallest segments that Linux makes are cut into IP fragments"
            } else {
                "6"
            }
        ))
    } else if scenario.mtu.is_some_and(|mtu| mtu > 65536) {
        Some("the MTU of a loopback interface is at most 65536 octets".to_owned())
    } else if scenario.mtu.is_some() && scenario.loopback == Loopback::Host {
        Some("the host's own loopback interface keeps its MTU".to_owned())
    } else if scenario.clients == 0 || scenario.clients > MOST_CLIENTS {
        Some(format!("there can be 1 to {MOST_CLIENTS} clients"))
    } else {
        None
    };
    wrong.map_or(Ok(()), |message| Err(LabError::new(message)))
}

/// The smallest MTU that works: IPv6 asks for 1280 octets (RFC 8200 section 5). IPv4 asks for 68, but Linux makes no segments of less
/// than 48 octets with options (TCP_MIN_SND_MSS), and the ports are missing from the fragments of larger ones.
pub(super) const fn least_mtu(ipv6: bool) -> u32 {
    if ipv6 { 1280 } else { 88 }
}

const MOST_CLIENTS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_no_two_lines_alike() {
        for size in [0, 1, 15, 16, 17, 1_000_000] {
            assert_eq!(Scenario::message_of(size).len(), size);
        }
        let message = Scenario::message_of(1600);
        let lines: std::collections::HashSet<_> = message.chunks(16).collect();
        assert_eq!(lines.len(), 100);
        assert!(message.iter().all(|octet| octet.is_ascii()));
    }
}
