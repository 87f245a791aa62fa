//! Which of the packets on this host belong to the programs that are watched: told by their calls, before the packets come.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};

use crate::calls::{Activity, Call, CallId, Errno, MessageFlags, Op, Role, SocketUse, ThreadId};
use crate::capture::{Frame, OwnedFrame};
use crate::hash::{HashMap, HashSet};
use crate::tcp::State;
use crate::wire::{Decoder, Skip};

/// The ends of the connections of watched programs, as far as their calls have told.
///
/// A SYN follows the entry of the connect that sends it, and comes to a socket that listens: so a segment of theirs is known when it comes.
#[derive(Debug, Default)]
pub(super) struct Ours {
    /// The addresses of this host.
    hosts: HashSet<IpAddr>,
    /// Pairs of ends, the lower one first, and how often each was closed and came again.
    pairs: HashMap<[SocketAddr; 2], Pair>,
    /// Those that were closed, in that order, at the n-th time.
    closed: VecDeque<([SocketAddr; 2], u32)>,
    /// How many of these are remembered; `None`: all, as the frames of all are kept.
    most_closed: Option<usize>,
    /// The ports listened on, with the address where it is one only.
    listening: HashSet<(Option<IpAddr>, u16)>,
    /// Where connects lead whose own end is not known yet, and how many.
    connecting: HashMap<SocketAddr, u64>,
    open: HashMap<CallId, SocketAddr>,
    /// Everything on the network is theirs, as it is a private one.
    is_private: bool,
    /// How many connections could not be put down.
    unknown: u64,
    /// The pair that was put down last: most calls are about the same one as the call before.
    last: Option<[SocketAddr; 2]>,
}

/// What is known of a pair of ends.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    /// How often it was closed.
    times: u32,
    is_closed: bool,
}

impl Ours {
    /// Forgets those of connections that are over, but so many.
    pub(super) fn forgetting(&mut self) {
        self.most_closed = Some(MOST_CLOSED);
    }

    /// Takes in that threads make no more calls.
    pub(super) fn end(&mut self, threads: &[ThreadId]) {
        self.open.retain(|call, _| !threads.contains(&call.thread));
    }

    /// Those of a host with these addresses.
    pub(super) fn on(hosts: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { hosts: hosts.into_iter().collect(), ..Self::default() }
    }

    /// Those of a private network.
    pub(super) fn in_private() -> Self {
        Self { is_private: true, ..Self::default() }
    }

    /// Takes in what a call tells.
    pub(super) fn hear(&mut self, activity: &Activity) {
        match activity {
            Activity::Entered(call) => {
                if let Some(to) = leads_to(call) {
                    *self.connecting.entry(plain(to)).or_default() += 1;
                    self.open.insert(call.id, plain(to));
                }
                self.learn(&call.sockets);
                self.listens(call);
            }
            Activity::Returned { call, returned, sockets } => {
                self.learn(sockets);
                if let Some(to) = self.open.remove(call)
                    && (sockets.iter().any(|used| used.local.is_some())
                        || returned.result == Err(Errno(libc::ENOTSOCK)))
                {
                    self.has_connected(to);
                }
            }
            Activity::Lost { call, .. } => {
                if let Some(to) = self.open.remove(call) {
                    self.has_connected(to);
                }
            }
            Activity::Socket(_) => {}
        }
    }

    fn has_connected(&mut self, to: SocketAddr) {
        if let Entry::Occupied(mut waiting) = self.connecting.entry(to) {
            *waiting.get_mut() = waiting.get().saturating_sub(1);
            if *waiting.get() == 0 {
                waiting.remove();
            }
        }
    }

    /// Takes in that a call made a socket listen.
    pub(super) fn listens(&mut self, call: &Call) {
        let listens = match &call.op {
            Op::Listen { .. } => true,
            Op::Found { .. } => call.info().is_some_and(|info| info.state == State::Listen),
            _ => false,
        };
        if let (true, Some(local)) = (listens, call.local()) {
            let local = plain(local);
            let address = (!local.ip().is_unspecified()).then_some(local.ip());
            if self.listening.len() < MOST_LISTENING {
                self.listening.insert((address, local.port()));
            }
        }
    }

    fn learn(&mut self, sockets: &[SocketUse]) {
        for used in sockets {
            if let (Some(local), Some(peer)) = (used.local, used.peer) {
                let ends = pair(local, peer);
                let is_released = used.role == Role::Released;
                if self.last == Some(ends) && !is_released {
                    continue;
                }
                if self.pairs.len() >= MOST_PAIRS && !self.pairs.contains_key(&ends) {
                    self.unknown += 1;
                    continue;
                }
                self.last = (!is_released).then_some(ends);
                let known = self.pairs.entry(ends).or_default();
                known.is_closed = is_released;
                if known.is_closed {
                    known.times = known.times.wrapping_add(1);
                    if self.most_closed.is_some() {
                        self.closed.push_back((ends, known.times));
                    }
                }
            }
        }
        while self.most_closed.is_some_and(|most| self.closed.len() > most) {
            let Some((ends, times)) = self.closed.pop_front() else { break };
            // It may have come again since.
            if self.pairs.get(&ends).is_some_and(|known| known.is_closed && known.times == times) {
                self.pairs.remove(&ends);
            }
        }
    }

    /// Whether a segment between these ends is theirs, or may turn out to be.
    fn wants(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.knows(from, to) || self.is_awaited(from) || self.is_awaited(to)
    }

    /// Whether a socket with these ends is theirs, on whatever network: the kernel's trace tells of all of them.
    pub(super) fn has_socket(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        let (local, peer) = (plain(local), plain(peer));
        self.pairs.contains_key(&pair(local, peer)) || self.listens_at(local) || self.listens_at(peer)
    }

    /// Whether a socket with these ends may turn out to be theirs.
    pub(super) fn may_have_socket(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        self.has_socket(local, peer) || self.is_awaited(local) || self.is_awaited(peer)
    }

    /// Whether a segment between these ends is theirs.
    fn knows(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let (from, to) = (plain(from), plain(to));
        self.is_private || self.pairs.contains_key(&pair(from, to)) || self.listens_at(from) || self.listens_at(to)
    }

    fn is_awaited(&self, end: SocketAddr) -> bool {
        self.connecting.get(&plain(end)).is_some_and(|count| *count > 0)
    }

    fn listens_at(&self, end: SocketAddr) -> bool {
        let everywhere = self.listening.contains(&(None, end.port())) && self.is_here(end.ip());
        everywhere || self.listening.contains(&(Some(end.ip()), end.port()))
    }

    /// Whether everything on the network is theirs.
    pub(super) fn is_private(&self) -> bool {
        self.is_private
    }

    /// How often a connection was named that could not be put down, as there are too many.
    pub(super) fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Whether an address is this host's.
    pub(super) fn is_here(&self, address: IpAddr) -> bool {
        self.is_private || address.is_loopback() || self.hosts.contains(&address)
    }

    /// The pairs of ends that are known: the first end, seen from which the other is the peer.
    pub(super) fn pairs(&self) -> impl Iterator<Item = [SocketAddr; 2]> + '_ {
        self.pairs.keys().flat_map(|[one, other]| [[*one, *other], [*other, *one]])
    }
}

/// Whether a frame is theirs, by what is known when it is asked.
pub(super) fn is_wanted(frame: &Frame<'_>, decoder: &mut Decoder, ours: &Ours) -> bool {
    let mut wanted = false;
    let decoded = decoder.decode(frame, |segment, _| wanted |= ours.wants(segment.from(), segment.to()));
    match decoded {
        Ok(_) => wanted,
        // An ICMP error is theirs if the segment is that it quotes.
        Err(Skip::NotTcp) => decoder.quote().is_some_and(|(segment, _)| ours.wants(segment.from(), segment.to())),
        // Whose fragment it is the others tell.
        Err(Skip::Fragment) => true,
        Err(_) => wanted,
    }
}

/// The frames that turned out to be theirs, numbered anew.
pub(super) fn own_frames(mut frames: Vec<OwnedFrame>, ours: &Ours) -> Vec<OwnedFrame> {
    let mut decoder = Decoder::new();
    frames.retain(|frame| is_wanted(&frame.as_frame(), &mut decoder, ours));
    for (frame, number) in frames.iter_mut().zip(1..) {
        frame.number = number;
    }
    frames
}

/// Where a call connects to that may have no end of its own yet.
fn leads_to(call: &Call) -> Option<SocketAddr> {
    match &call.op {
        Op::Connect { address } => *address,
        Op::Send { flags, .. } if flags.contains(MessageFlags::MSG_FASTOPEN) => call.peer(),
        _ => None,
    }
}

/// The ends of a connection, whichever is whose.
fn pair(one: SocketAddr, other: SocketAddr) -> [SocketAddr; 2] {
    let mut ends = [plain(one), plain(other)];
    ends.sort_unstable();
    ends
}

/// How many pairs of ends are put down.
const MOST_PAIRS: usize = 1 << 19;
/// How many of them are remembered that are closed, where those are forgotten: their last segments are still to come.
const MOST_CLOSED: usize = 8192;
/// How many addresses listened at are put down.
const MOST_LISTENING: usize = 1 << 16;

/// An address as it is on the wire.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{Returned, SocketId};
    use crate::time::Timestamp;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn call(op: Op) -> Call {
        let id = CallId { thread: ThreadId(0), n: 0 };
        Call {
            id,
            entered: Timestamp::from_nanos(0),
            op,
            sockets: Vec::new(),
            returned: None,
            stack: Default::default(),
        }
    }

    fn returned(local: &str, peer: &str) -> Activity {
        let on = SocketUse::of(SocketId(1), 3, Role::On);
        let used = SocketUse { local: local.parse().ok(), peer: peer.parse().ok(), ..on };
        let returned = Returned { at: Timestamp::from_nanos(1), result: Ok(0), octets: None, preview: Vec::new() };
        Activity::Returned { call: call(Op::Close).id, returned, sockets: vec![used] }
    }

    #[test]
    fn a_connect_tells_of_its_segments_before_they_come_and_of_no_others_afterwards() {
        let mut ours = Ours::on([]);
        let (server, client, other) = (address("10.0.0.1:80"), address("10.0.0.2:4000"), address("10.0.0.2:4001"));
        assert!(!ours.wants(client, server));
        ours.hear(&Activity::Entered(call(Op::Connect { address: Some(server) })));
        assert!(ours.wants(client, server) && ours.wants(server, other) && !ours.knows(client, server));
        ours.hear(&returned("10.0.0.2:4000", "10.0.0.1:80"));
        assert!(ours.knows(client, server) && ours.knows(server, client));
        assert!(!ours.wants(other, server));
        // An IPv4 address through an IPv6 socket.
        ours.hear(&returned("[::ffff:10.0.0.2]:4001", "[::ffff:10.0.0.1]:80"));
        assert!(ours.knows(other, server));
    }

    #[test]
    fn a_socket_that_listens_everywhere_does_so_on_this_host() {
        let mut ours = Ours::on(["192.0.2.1".parse().unwrap()]);
        let mut listen = call(Op::Listen { backlog: 1 });
        let on = SocketUse::of(SocketId(1), 3, Role::On);
        listen.sockets = vec![SocketUse { local: Some(address("0.0.0.0:3000")), ..on }];
        ours.listens(&listen);
        assert!(ours.knows(address("203.0.113.9:1"), address("192.0.2.1:3000")));
        assert!(ours.knows(address("127.0.0.1:3000"), address("127.0.0.1:1")));
        assert!(!ours.knows(address("192.0.2.1:1"), address("203.0.113.9:3000")));
    }

    #[test]
    fn of_connections_that_are_over_the_last_ones_are_remembered() {
        let mut ours = Ours::on([]);
        ours.forgetting();
        let server = address("192.0.2.1:80");
        let client = |n: u32| SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 4000));
        let most = MOST_CLOSED as u32;
        let mut learn = |n: u32, role: Role| {
            let used = SocketUse { local: Some(client(n)), peer: Some(server), ..SocketUse::of(SocketId(1), 3, role) };
            ours.learn(&[used]);
        };
        for n in 0..most + 10 {
            learn(n, Role::On);
            learn(n, Role::Released);
            // The first one is open again.
            if n == most - 1 {
                learn(0, Role::On);
            }
        }
        assert!(ours.pairs.len() <= MOST_CLOSED + 1, "{}", ours.pairs.len());
        assert!(ours.knows(client(0), server) && !ours.knows(client(1), server) && ours.knows(client(most), server));
    }

    #[test]
    fn connections_beyond_those_that_are_put_down_are_counted() {
        let mut ours = Ours::on([]);
        let pairs = MOST_PAIRS as u32;
        for n in 0..pairs + 3 {
            let client = SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 4000));
            let used = SocketUse {
                local: Some(client),
                peer: Some(address("192.0.2.1:80")),
                ..SocketUse::of(SocketId(1), 3, Role::On)
            };
            ours.learn(&[used]);
        }
        assert_eq!((ours.pairs.len(), ours.unknown()), (MOST_PAIRS, 3));
        // One that is known already takes no more.
        assert!(ours.knows(address("10.0.0.0:4000"), address("192.0.2.1:80")));
    }
}
