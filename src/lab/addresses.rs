//! The two ends of a run, and who has which address there: fixed, so that what is shown is the same every time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::definition::{Definition, FIRST_CLIENT, Setting};
use super::host::Claim;
use super::netlink::Mac;
use crate::kernel::Ports;
use crate::script::{Actor, Request, What};

/// One of the two ends of the link, or both of them on the loopback interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum End {
    /// The clients' host.
    Client,
    /// The servers' host.
    Server,
}

impl End {
    /// The host of an actor: those whose names begin with S are servers.
    pub(super) fn of(actor: Actor) -> Self {
        if actor.name().starts_with('S') { Self::Server } else { Self::Client }
    }

    /// The other one.
    pub(super) const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Which ports a run's clients have: others than those of all runs that are played on this host meanwhile.
///
/// The kernel's trace speaks of all namespaces, and does not say of which: it is their ports by which sockets are told apart.
pub struct Lane {
    number: u16,
    claim: Option<Claim>,
}

impl Lane {
    /// Takes the first one that nobody has, until it is dropped or the process ends; the very first one where all are taken.
    pub fn claim() -> Self {
        let claimed = |number| Some(Self { number, claim: Some(Claim::on(FIRST_CLIENT + PORTS * number).ok()?) });
        (0..LANES).find_map(claimed).unwrap_or(Self { number: 0, claim: None })
    }
}

impl Definition {
    /// Has its clients use the ports of that lane.
    pub fn play_in(&mut self, lane: &Lane) {
        let shift = PORTS * lane.number;
        for line in &mut self.script.lines {
            let at = match &mut line.what {
                What::Address(_, at) => at,
                What::Call(asked) => match &mut asked.request {
                    Request::Bind(Some(at)) => at,
                    _ => continue,
                },
                _ => continue,
            };
            if (FIRST_CLIENT..FIRST_CLIENT + PORTS).contains(&at.port()) {
                at.set_port(at.port() + shift);
            }
        }
        self.setting.first_client = FIRST_CLIENT + shift;
    }

    /// By which ports the kernel's trace of its sockets is known; `None` where other runs have the same, as all lanes were taken.
    pub fn traceable(&self, lane: &Lane) -> Option<Ports> {
        lane.claim.as_ref()?;
        let first = self.setting.first_client;
        let peers = Addresses::of(self).known.into_iter().map(|(_, at)| at.port()).collect();
        Some(Ports { own: first..=first + (PORTS - 1), peers })
    }
}

/// The address of a host.
pub(super) fn address(end: End, setting: &Setting) -> IpAddr {
    match (&setting.link, setting.ipv6) {
        (None, false) => Ipv4Addr::LOCALHOST.into(),
        (None, true) => Ipv6Addr::LOCALHOST.into(),
        (Some(_), false) => Ipv4Addr::new(10, 0, 0, 1 + end as u8).into(),
        (Some(_), true) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1 + end as u16).into(),
    }
}

/// An address as it is on the wire: of a socket for both families, that of IPv4 (RFC 4291 section 2.5.5.2).
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(super) fn mac(end: End) -> Mac {
    let [a, b, c, d] = MAC;
    [a, b, c, d, 0, 1 + end as u8]
}

/// Who has which address: fixed, so that what is shown is the same every time.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// The actors, each with the address to which others connect.
    known: Vec<(Actor, SocketAddr)>,
    /// The port of the first client.
    first_client: u16,
    /// The addresses of the hosts, the clients' first.
    hosts: [IpAddr; 2],
    /// What the script calls the hosts that do not exist.
    strangers: Option<Actor>,
}

impl Addresses {
    pub(super) fn of(definition: &Definition) -> Self {
        let mut known: Vec<(Actor, SocketAddr)> = Vec::new();
        let (mut clients, mut servers) = (0, 0);
        for (actor, parent) in definition.actors() {
            let inherited = parent.and_then(|parent| known.iter().find(|(of, _)| *of == parent).map(|(_, at)| *at));
            let end = End::of(actor);
            let port = match end {
                End::Client => definition.setting.first_client + clients,
                End::Server => FIRST_SERVER + servers,
            };
            match end {
                End::Client => clients += 1,
                End::Server => servers += 1,
            }
            let own = SocketAddr::new(address(end, &definition.setting), port);
            known.push((actor, inherited.unwrap_or(own)));
        }
        for line in &definition.script.lines {
            let (actor, at) = match &line.what {
                What::Address(actor, at) => (*actor, *at),
                What::Call(asked) => match asked.request {
                    Request::Bind(Some(at)) => (asked.actor, at),
                    _ => continue,
                },
                _ => continue,
            };
            known.retain(|(of, _)| *of != actor);
            // Who is bound to any address is found at its host's.
            let host = address(End::of(actor), &definition.setting);
            let at = if at.ip().is_unspecified() { SocketAddr::new(host, at.port()) } else { at };
            known.push((actor, at));
        }
        let strangers = definition.script.lines.iter().find_map(|line| match line.what {
            What::Flood { from, .. } => Some(from),
            _ => None,
        });
        let first_client = definition.setting.first_client;
        Self {
            known,
            first_client,
            strangers,
            hosts: [End::Client, End::Server].map(|end| address(end, &definition.setting)),
        }
    }

    /// The address of a host.
    pub(super) fn host(&self, end: End) -> IpAddr {
        self.hosts[end as usize]
    }

    /// The address of an actor.
    pub(super) fn at(&self, actor: Actor) -> Option<SocketAddr> {
        self.known.iter().find(|(of, _)| *of == actor).map(|(_, at)| *at)
    }

    /// The port that the n-th socket of a client is to have.
    pub(super) fn port(&self, actor: Actor, n: u16) -> Option<u16> {
        (End::of(actor) == End::Client).then(|| self.at(actor)).flatten().map(|at| at.port() + 100 * n)
    }

    /// Whose port it is.
    pub(super) fn actor(&self, port: u16) -> Option<Actor> {
        let exact = self.known.iter().find(|(_, at)| at.port() == port);
        let by_number = || {
            let first = self.first_client + port.checked_sub(self.first_client)? % 100;
            self.known.iter().find(|(actor, at)| End::of(*actor) == End::Client && at.port() == first)
        };
        let stranger = || self.strangers.filter(|_| (STRANGERS..FIRST_CLIENT).contains(&port));
        exact.or_else(by_number).map(|(actor, _)| *actor).or_else(stranger)
    }
}

pub(super) const MAC: [u8; 4] = [0x02, 0, 0, 0];
/// The port of the first host that does not exist.
pub(super) const STRANGERS: u16 = 40_001;
/// How many ports a lane has.
const PORTS: u16 = 1000;
/// How many runs at once have ports of their own.
const LANES: u16 = 9;
const FIRST_SERVER: u16 = 3_000;

/// The ends of connections one after the other, each with its peer's address.
pub(super) trait FlattenEnds {
    fn flatten_ends(self) -> Vec<(Option<Actor>, SocketAddr, SocketAddr)>;
}

impl<'e, I: Iterator<Item = &'e [(Option<Actor>, SocketAddr); 2]>> FlattenEnds for I {
    fn flatten_ends(self) -> Vec<(Option<Actor>, SocketAddr, SocketAddr)> {
        self.flat_map(|[client, server]| [(client.0, client.1, server.1), (server.0, server.1, client.1)]).collect()
    }
}
