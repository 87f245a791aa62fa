//! What calls and states alone say of connections of which no packet was captured.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::diagnoses::{Life, Sockets, Use};
use super::{EventId, Story};
use crate::calls::{Effect, Errno, How, Op, OptionName, OptionValue, PollEvents, Role, SocketOption, ThreadId};
use crate::flow::Side;
use crate::hash::HashMap;
use crate::kernel::{Answer, KernelAct, KernelEvent, ResetReason, Witness};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

/// What is said of one connection by the calls on the sockets that are its ends, and by what the kernel said of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Account {
    /// The end that connected; `None` where its address is not known.
    pub client: Option<SocketAddr>,
    /// The end that was connected to.
    pub server: SocketAddr,
    /// What the calls of each end say; `None` for one that is not watched.
    pub ends: [Option<EndAccount>; 2],
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the outcome is concluded, and no call or word of the kernel says it by itself.
    pub is_inferred: bool,
    /// Whether a later call than connect says how that failed.
    pub is_told_later: bool,
    /// Whether calls were made that are not known: there may have been more octets, and what was not called is not known.
    pub lacks_calls: bool,
    /// The calls that the outcome rests on, in order of time.
    pub events: Vec<EventId>,
}

/// What the calls of one end say, and what the kernel said of its socket.
#[derive(Clone, PartialEq, Debug)]
pub struct EndAccount {
    /// Who made its first call.
    pub thread: ThreadId,
    /// Octets that its sends report.
    pub sent: u64,
    /// Octets that its receives report.
    pub received: u64,
    /// The states that witnesses named, each with all who did, in order of time; `None`: there was no socket any more.
    pub states: Vec<(Option<State>, BTreeSet<Witness>)>,
}

/// How a connection ended, by calls and states.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// connect said ECONNREFUSED.
    Refused,
    /// connect said ETIMEDOUT.
    TimedOut,
    /// connect failed otherwise.
    Failed {
        /// How.
        errno: Errno,
    },
    /// connect did not return, and nothing says that it came about.
    Opening,
    /// It was reset.
    Reset {
        /// By which end.
        by: Side,
        /// Why.
        why: ResetBy,
        /// Whether that is concluded from calls, and the kernel does not say it.
        is_why_inferred: bool,
    },
    /// A transfer said ETIMEDOUT: the peer acknowledged nothing any more.
    GivenUp {
        /// The end that gave it up.
        by: Side,
    },
    /// Both ends closed.
    Closed {
        /// The one that closed first; `None` where both calls were under way together.
        first: Option<Side>,
    },
    /// One end closed; of the other that is not known.
    HalfClosed {
        /// That end.
        by: Side,
    },
    /// Nobody closed it.
    Open,
}

/// Why an end reset a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetBy {
    /// It closed with SO_LINGER set to a time of zero.
    LingerZero,
    /// It closed with octets unread.
    Unread,
    /// It had closed, and octets came after that.
    Gone,
    /// That is not known.
    Unknown,
}

impl Outcome {
    /// Every name, in the order of the schema.
    pub const NAMES: &'static [&'static str] =
        &["refused", "timed_out", "failed", "opening", "reset", "given_up", "closed", "half_closed", "open"];

    /// Its name in machine-readable output.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Failed { .. } => "failed",
            Self::Opening => "opening",
            Self::Reset { .. } => "reset",
            Self::GivenUp { .. } => "given_up",
            Self::Closed { .. } => "closed",
            Self::HalfClosed { .. } => "half_closed",
            Self::Open => "open",
        }
    }

    /// Who closed it: the end that closed first, or reset it.
    pub const fn closed_by(&self) -> Option<Side> {
        match self {
            Self::Reset { by, .. } | Self::HalfClosed { by } | Self::GivenUp { by } => Some(*by),
            Self::Closed { first } => *first,
            _ => None,
        }
    }
}

impl Story {
    /// What calls and states say of the connections whose sockets were watched and that no segment was seen of, in the order in which
    /// they began; `events` is what the kernel's trace said, and `answers` what sock_diag did.
    pub fn accounts(&self, events: &[KernelEvent], answers: &[Answer]) -> Vec<Account> {
        self.sockets().accounts(events, answers)
    }
}

impl Sockets<'_> {
    /// As [`Story::accounts`].
    pub fn accounts(&self, events: &[KernelEvent], answers: &[Answer]) -> Vec<Account> {
        let mut ends: Vec<Box<End<'_>>> = self.lives.iter().filter_map(|life| End::of(life).map(Box::new)).collect();
        let words = words(events, answers);
        ends.iter_mut().for_each(|end| end.hear(&words));
        let lacks_calls = !self.has_all_calls();
        paired(ends).into_iter().map(|pair| account(&pair, lacks_calls)).collect()
    }
}

/// An end as the wire has it.
type Address = (IpAddr, u16);

fn plain(address: SocketAddr) -> Address {
    (address.ip().to_canonical(), address.port())
}

/// What the kernel said of a socket: when, which state it has, or that there is none any more.
enum Said {
    State(Option<State>),
    ResetSent(Option<ResetReason>),
    ResetReceived,
}

type Words = HashMap<(Address, Address), Vec<(Timestamp, Witness, Said)>>;

fn words(events: &[KernelEvent], answers: &[Answer]) -> Words {
    let mut words = Words::default();
    for event in events {
        let said = match &event.what {
            KernelAct::State { to, .. } => Said::State(Some(*to)),
            KernelAct::ResetSent { reason } => Said::ResetSent(reason.clone()),
            KernelAct::ResetReceived => Said::ResetReceived,
            _ => continue,
        };
        let ends = (plain(event.local), plain(event.peer));
        words.entry(ends).or_default().push((event.at, Witness::Kernel, said));
    }
    for answer in answers {
        let ends = (plain(answer.local), plain(answer.peer));
        words.entry(ends).or_default().push((answer.answered, Witness::SockDiag, Said::State(answer.state)));
    }
    words
}

/// One end, by the calls of its socket.
struct End<'a> {
    side: Side,
    local: Option<SocketAddr>,
    peer: SocketAddr,
    uses: &'a [Use<'a>],
    account: EndAccount,
    began: Timestamp,
    /// How its connect ended, if it did, and the calls that say so.
    connected: Option<(Result<(), Errno>, Vec<EventId>)>,
    /// Whether a later call than its connect said so.
    is_told_later: bool,
    /// After its connect, a wait found that it can be written to.
    is_writable: bool,
    /// When the first call was entered that shut reading down: receives return 0 from then on, whatever the peer does.
    stops_reading: Option<Timestamp>,
    /// What ended its own direction.
    closing: Option<Closing>,
    /// The first receive that returned 0: when it did.
    end_of_input: Option<(Timestamp, EventId)>,
    /// The first call that said ECONNRESET, or EPIPE though nothing had shut the own direction down.
    reset: Option<EventId>,
    /// Whether that call said EPIPE.
    is_reset_by_epipe: bool,
    /// The first transfer that said ETIMEDOUT.
    given_up: Option<EventId>,
    /// The call that set SO_LINGER to a time of zero.
    lingers_not: Option<EventId>,
    /// The kernel said that it sent a RST, and why.
    sent_reset: Option<Option<ResetReason>>,
    took_reset: bool,
}

#[derive(Clone, Copy)]
struct Closing {
    event: EventId,
    entered: Timestamp,
    returned: Option<Timestamp>,
    /// Whether it gave up the descriptor, and not only the own direction.
    is_close: bool,
}

impl<'a> End<'a> {
    fn of(life: &'a Life<'_>) -> Option<Self> {
        let socket = life.socket?;
        let is_joined = life.uses.iter().any(|used| used.connection.is_some());
        let of_socket = |used: &Use<'a>| {
            let mut all = used.call.call.sockets.iter();
            all.find(|of| of.socket == Some(socket) && of.role == used.role)
        };
        let connects = life.uses.iter().any(|used| matches!(used.call.call.op, Op::Connect { .. }));
        let opens = |used: &&Use<'a>| {
            used.role == Role::Made && used.call.call.effect() == Effect::Accept
                || matches!(used.call.call.op, Op::Connect { .. })
        };
        let stops_reading =
            |used: &&Use<'_>| matches!(used.call.call.op, Op::Shutdown { how: How::SHUT_RD | How::SHUT_RDWR });
        let opened = life.uses.iter().find(opens).filter(|_| !is_joined)?;
        let peer = life.uses.iter().filter_map(of_socket).rev().find_map(|of| of.peer)?;
        let local = life.uses.iter().filter_map(of_socket).rev().find_map(|of| of.local).filter(|of| of.port() != 0);
        let thread = opened.call.call.thread();
        let mut end = Self {
            side: if connects { Side::Client } else { Side::Server },
            local,
            peer,
            uses: &life.uses,
            account: EndAccount { thread, sent: 0, received: 0, states: Vec::new() },
            began: opened.call.call.entered,
            connected: None,
            is_told_later: false,
            is_writable: false,
            stops_reading: life.uses.iter().filter(stops_reading).map(|used| used.call.call.entered).min(),
            closing: None,
            end_of_input: None,
            reset: None,
            is_reset_by_epipe: false,
            given_up: None,
            lingers_not: None,
            sent_reset: None,
            took_reset: false,
        };
        let mut connect = None;
        for used in &life.uses {
            end.see(life, used, &mut connect);
        }
        Some(end)
    }

    fn see(&mut self, life: &Life<'a>, used: &Use<'a>, connect: &mut Option<EventId>) {
        let call = &used.call.call;
        let (effect, errno, octets) = (used.effect, call.errno(), call.octets().unwrap_or(0));
        let so_error = OptionName::Socket(SocketOption::SO_ERROR);
        let lingers = OptionName::Socket(SocketOption::SO_LINGER);
        let pending = [Errno::EINPROGRESS, Errno::EALREADY, Errno::EINTR, Errno::EISCONN];
        match (&call.op, effect) {
            (Op::Connect { .. }, _) if call.returned.is_some() => {
                connect.get_or_insert(used.event);
                // Another attempt: how one before it ended says nothing of it.
                if errno == Some(Errno::EINPROGRESS) {
                    *connect = Some(used.event);
                    (self.connected, self.is_writable) = (None, false);
                }
                self.is_told_later &= errno.is_some_and(|errno| pending.contains(&errno)) && self.connected.is_some();
                self.connected = match errno {
                    None | Some(Errno::EISCONN) => Some((Ok(()), vec![used.event])),
                    Some(errno) if pending.contains(&errno) => self.connected.take(),
                    Some(errno) => Some((Err(errno), vec![used.event])),
                };
            }
            (Op::GetOption { option, value: OptionValue::Int(errno) }, _) if *option == so_error => {
                let proof = || connect.iter().copied().chain([used.event]).collect();
                match (Errno(*errno), &self.connected) {
                    // While the handshake is under way, there is no error either.
                    (Errno(0), None) if self.is_writable => self.connected = Some((Ok(()), proof())),
                    (Errno(0), _) | (_, Some((Err(_), _))) => {}
                    // A SYN that a RST answers is refused: what is reset was open.
                    (Errno::ECONNRESET | Errno::EPIPE, _) => {
                        self.reset.get_or_insert(used.event);
                        self.connected.get_or_insert_with(|| (Ok(()), proof()));
                    }
                    (Errno::ETIMEDOUT, known) if known.is_some() || self.side == Side::Server => {
                        self.given_up.get_or_insert(used.event);
                    }
                    (errno, None) => self.fails_later(errno, proof()),
                    _ => {}
                }
            }
            (Op::Poll { .. }, _) => {
                let Role::Polled { revents: Some(found), .. } = used.role else { return };
                let failed = PollEvents::POLLERR | PollEvents::POLLHUP;
                self.is_writable |=
                    connect.is_some() && found.contains(PollEvents::POLLOUT) && !found.intersects(failed);
            }
            (_, Effect::Send | Effect::Receive) => {
                match errno {
                    None => {
                        let moved =
                            if effect == Effect::Send { &mut self.account.sent } else { &mut self.account.received };
                        *moved += octets;
                        let of = || vec![used.event];
                        self.connected.get_or_insert_with(|| (Ok(()), of()));
                    }
                    Some(errno @ (Errno::ECONNREFUSED | Errno::ETIMEDOUT))
                        if self.connected.is_none() && connect.is_some() =>
                    {
                        self.fails_later(errno, connect.iter().copied().chain([used.event]).collect());
                    }
                    Some(Errno::ECONNRESET) => _ = self.reset.get_or_insert(used.event),
                    Some(Errno::EPIPE) if self.closing.is_none() && matches!(self.connected, Some((Ok(()), _))) => {
                        self.is_reset_by_epipe |= self.reset.is_none();
                        self.reset.get_or_insert(used.event);
                    }
                    Some(Errno::ETIMEDOUT) => _ = self.given_up.get_or_insert(used.event),
                    Some(_) => {}
                }
                let is_end = effect == Effect::Receive
                    && call.result() == Some(0)
                    && !matches!(call.op, Op::Receive { len: Some(0), .. });
                let is_peers = |at: &Timestamp| self.stops_reading.is_none_or(|stops| *at <= stops);
                if let Some(at) = call.returned_at().filter(|_| is_end).filter(is_peers) {
                    self.end_of_input.get_or_insert((at, used.event));
                }
            }
            (_, Effect::LingerZero) if errno.is_none() => self.lingers_not = Some(used.event),
            (Op::SetOption { option, .. }, _) if *option == lingers && errno.is_none() => self.lingers_not = None,
            (_, Effect::ShutdownWrite | Effect::Close) if errno.is_none() && used.role != Role::Made => {
                let is_close = effect == Effect::Close;
                self.close(Closing {
                    event: used.event,
                    entered: call.entered,
                    returned: call.returned_at(),
                    is_close,
                });
            }
            (_, Effect::Exit) if used.role == Role::Released => {
                let returned = call.returned_at();
                self.close(Closing { event: used.event, entered: call.entered, returned, is_close: true });
            }
            _ => {}
        }
        if used.role == Role::Made || !matches!(effect, Effect::Open | Effect::Accept) {
            let info = call.sockets.iter().find(|of| of.socket == life.socket).and_then(|of| of.info.as_ref());
            if let Some(info) = info {
                self.name(Some(info.state), Witness::TcpInfo);
            }
        }
    }

    /// A later call says how its connect failed.
    fn fails_later(&mut self, errno: Errno, proof: Vec<EventId>) {
        self.connected = Some((Err(errno), proof));
        self.is_told_later = true;
    }

    fn close(&mut self, closing: Closing) {
        self.closing.get_or_insert(closing);
    }

    fn name(&mut self, state: Option<State>, by: Witness) {
        match self.account.states.last_mut() {
            Some((last, witnesses)) if *last == state => _ = witnesses.insert(by),
            _ => self.account.states.push((state, BTreeSet::from([by]))),
        }
    }

    /// Takes in what the kernel said of the socket from its first call until another one had the same ends.
    fn hear(&mut self, words: &Words) {
        let Some(local) = self.local else { return };
        let Some(said) = words.get(&(plain(local), plain(self.peer))) else { return };
        let from = self.began.after(Span(-AHEAD.0));
        let over = |(_, _, said): &&(Timestamp, Witness, Said)| matches!(said, Said::State(Some(State::Closed)));
        // A connection may wait for accept for long: its first word comes before the first call on it, its last one does not.
        let mut its = Vec::new();
        for word in said.iter().filter(|(_, by, _)| *by == Witness::Kernel) {
            its.push(word);
            if over(&word) {
                if word.0 >= from {
                    break;
                }
                its.clear();
            }
        }
        // Of the kernel's trace nothing is left out, so it says more than TCP_INFO, asked now and then.
        let is_whole = its.iter().any(|(.., said)| matches!(said, Said::State(_)));
        let asked = std::mem::take(&mut self.account.states);
        for (_, by, said) in its {
            match said {
                Said::State(state) => self.name(*state, *by),
                Said::ResetSent(reason) => _ = self.sent_reset.get_or_insert_with(|| reason.clone()),
                Said::ResetReceived => self.took_reset = true,
            }
        }
        for (state, witnesses) in asked {
            match self.account.states.iter_mut().find(|(known, _)| *known == state) {
                Some((_, known)) => known.extend(witnesses),
                None if !is_whole => self.account.states.push((state, witnesses)),
                None => {}
            }
        }
        for (_, by, said) in said.iter().filter(|(at, by, _)| *by == Witness::SockDiag && *at >= from) {
            match said {
                Said::State(None)
                    if self.account.states.last().is_some_and(|(last, _)| *last == Some(State::Closed)) => {}
                Said::State(state) => {
                    // TIME-WAIT is kept in another, smaller socket: the one that was is closed.
                    let is_closed = self.account.states.last().is_some_and(|(last, _)| *last == Some(State::Closed));
                    if *state == Some(State::TimeWait) && is_closed {
                        self.account.states.pop();
                    }
                    self.name(*state, *by);
                }
                _ => {}
            }
        }
    }

    /// Whether a witness named one of these states.
    fn was_in(&self, states: &[State]) -> bool {
        self.account.states.iter().any(|(state, _)| state.is_some_and(|state| states.contains(&state)))
    }
}

/// The ends that are of one connection together, the client's first.
fn paired(ends: Vec<Box<End<'_>>>) -> Vec<[Option<Box<End<'_>>>; 2]> {
    let (clients, servers): (Vec<_>, Vec<_>) = ends.into_iter().partition(|end| end.side == Side::Client);
    let mut waiting: HashMap<(Address, Address), Vec<Box<End<'_>>>> = HashMap::default();
    for server in servers {
        if let Some(local) = server.local {
            waiting.entry((plain(server.peer), plain(local))).or_default().push(server);
        } else {
            waiting.entry((plain(server.peer), plain(server.peer))).or_default().push(server);
        }
    }
    let mut pairs = Vec::new();
    for client in clients {
        let ends = client.local.map(|local| (plain(local), plain(client.peer)));
        // A socket that is connected to itself has no other end.
        let own = ends.filter(|(local, peer)| local != peer).and_then(|ends| waiting.get_mut(&ends));
        let until = client.closing.and_then(|closing| closing.returned);
        let server = own.and_then(|own| {
            let is_its = |server: &End<'_>| {
                let returned = server.uses.iter().find(|used| used.role == Role::Made);
                let returned = returned.and_then(|used| used.call.call.returned_at());
                returned >= Some(client.began)
            };
            let first = own.iter().position(|server| is_its(server))?;
            // Of several connections between the same ends, one began after the other was over.
            let is_first = own.len() == 1 || until.is_none() || own[first].began <= until?.after(LONGEST_QUEUED);
            is_first.then(|| own.remove(first))
        });
        pairs.push([Some(client), server]);
    }
    pairs.extend(waiting.into_values().flatten().map(|server| [None, Some(server)]));
    pairs.sort_by_key(|pair| pair.iter().flatten().map(|end| end.began).min());
    pairs
}

/// What both ends say together.
fn account(pair: &[Option<Box<End<'_>>>; 2], lacks_calls: bool) -> Account {
    let (outcome, is_inferred, mut events) = outcome(pair, lacks_calls);
    events.sort_unstable();
    events.dedup();
    let [client, server] = pair;
    let addresses = match (client, server) {
        (Some(client), _) => (client.local.or(server.as_ref().map(|server| server.peer)), client.peer),
        (None, Some(server)) => (Some(server.peer), server.local.unwrap_or(server.peer)),
        (None, None) => unreachable!("a connection has an end"),
    };
    let ends = [client, server].map(|end| end.as_ref().map(|end| end.account.clone()));
    let is_told_later = client.as_ref().is_some_and(|client| client.is_told_later);
    Account { client: addresses.0, server: addresses.1, ends, outcome, is_inferred, is_told_later, lacks_calls, events }
}

/// How it ended, whether that is concluded, and by which calls; where calls are missing, all is concluded that no call or word of the kernel
/// says by itself.
fn outcome(pair: &[Option<Box<End<'_>>>; 2], lacks_calls: bool) -> (Outcome, bool, Vec<EventId>) {
    let of = |side: Side| pair[side as usize].as_ref();
    let sides = [Side::Client, Side::Server];
    if let Some(client) = of(Side::Client) {
        match &client.connected {
            Some((Err(errno), proof)) => {
                let outcome = match *errno {
                    Errno::ECONNREFUSED => Outcome::Refused,
                    Errno::ETIMEDOUT => Outcome::TimedOut,
                    errno => Outcome::Failed { errno },
                };
                return (outcome, false, proof.clone());
            }
            None if of(Side::Server).is_none() && !client.was_in(SYNCHRONIZED) => {
                return (Outcome::Opening, lacks_calls, client.uses.iter().map(|used| used.event).take(2).collect());
            }
            _ => {}
        }
    }
    if let Some(reset) = sides.iter().find_map(|side| reset(pair, *side, lacks_calls)) {
        return reset;
    }
    for side in sides {
        if let Some(event) = of(side).and_then(|end| end.given_up) {
            return (Outcome::GivenUp { by: side }, false, vec![event]);
        }
    }
    let (outcome, is_inferred, events) = closed(pair);
    (outcome, is_inferred || lacks_calls, events)
}

/// Whether that end reset it.
fn reset(pair: &[Option<Box<End<'_>>>; 2], by: Side, lacks_calls: bool) -> Option<(Outcome, bool, Vec<EventId>)> {
    let (own, other) = (pair[by as usize].as_ref(), pair[by.peer() as usize].as_ref());
    let closes = own.and_then(|own| own.closing.filter(|closing| closing.is_close));
    let lingers_not =
        own.and_then(|own| own.lingers_not.filter(|set| closes.is_some_and(|closing| *set < closing.event)));
    let received = own.map_or(0, |own| own.account.received);
    let (told, kernels) = (other.and_then(|other| other.reset), own.and_then(|own| own.sent_reset.as_ref()));
    let took = other.is_some_and(|other| other.took_reset);
    // What the peer's sends had put on its way when it closed, and it had not read.
    let offered = other.zip(closes).map_or(0, |(other, closing)| {
        let sends = other.uses.iter().filter(|used| {
            used.call.call.effect() == Effect::Send
                && used.call.call.returned_at().is_some_and(|returned| returned <= closing.entered)
        });
        sends.filter_map(|used| used.call.call.octets()).sum()
    });
    // A receive that is not known may have taken them.
    let is_unread = offered > received && !lacks_calls;
    // What the peer sent later than that.
    let is_gone = other.zip(closes).is_some_and(|(other, closing)| {
        let sends = |used: &&Use<'_>| used.call.call.effect() == Effect::Send && used.call.call.octets() > Some(0);
        other.uses.iter().filter(sends).any(|used| closing.returned.is_some_and(|at| at <= used.call.call.entered))
    });
    // A close that is to reset does so while the own direction is open, but not where the connection was over before.
    let was_over = own.is_some_and(|own| own.reset.is_some() || own.took_reset || own.given_up.is_some());
    let is_told = told.is_some() || kernels.is_some() || took;
    if !is_told && (was_over || lingers_not.is_none() && !is_unread) {
        return None;
    }
    let of_calls = match lingers_not {
        // The kernel looks for unread octets first (tcp_close).
        _ if is_unread => ResetBy::Unread,
        Some(_) => ResetBy::LingerZero,
        None if is_gone => ResetBy::Gone,
        None => ResetBy::Unknown,
    };
    // What the kernel says stands, and what contradicts it does not.
    let (why, is_said) = match kernels.and_then(Option::as_ref) {
        Some(ResetReason::TcpAbortOnLinger) => (ResetBy::LingerZero, true),
        Some(ResetReason::TcpAbortOnClose) => (ResetBy::Unread, true),
        Some(ResetReason::TcpAbortOnData) => (ResetBy::Gone, true),
        Some(ResetReason::NoSocket) if is_gone => (ResetBy::Gone, false),
        // The socket was disconnected, which such a close does.
        Some(ResetReason::TcpState | ResetReason::TcpDisconnectWithData) if lingers_not.is_some() => (of_calls, false),
        Some(ResetReason::NotSpecified) | None => (of_calls, false),
        Some(_) => (ResetBy::Unknown, false),
    };
    let proof = lingers_not.into_iter().chain(closes.map(|closing| closing.event)).chain(told).collect();
    // EPIPE says that it was reset only where no shutdown of the own direction can be missing.
    let is_sure = told.is_some() && !(lacks_calls && other.is_some_and(|other| other.is_reset_by_epipe));
    let is_inferred = !is_sure && kernels.is_none() && !took;
    let is_why_inferred = !is_said && why != ResetBy::Unknown;
    Some((Outcome::Reset { by, why, is_why_inferred }, is_inferred, proof))
}

/// Who closed it, and who did so first.
fn closed(pair: &[Option<Box<End<'_>>>; 2]) -> (Outcome, bool, Vec<EventId>) {
    let of = |side: Side| pair[side as usize].as_ref();
    let closing = |side: Side| of(side).and_then(|end| end.closing);
    let proof = |more: Option<EventId>| {
        let calls = [Side::Client, Side::Server].into_iter().filter_map(closing).map(|closing| closing.event);
        calls.chain(more).collect::<Vec<_>>()
    };
    // An end that learnt of the other's end before it closed itself was not the first.
    for side in [Side::Client, Side::Server] {
        let Some(end) = of(side) else { continue };
        let learnt = end.end_of_input.filter(|(at, _)| end.closing.is_none_or(|closing| *at <= closing.entered));
        let is_second = learnt.is_some() || end.was_in(&[State::CloseWait, State::LastAck]);
        if is_second {
            let by = side.peer();
            let event = learnt.map(|(_, event)| event);
            return match end.closing {
                Some(_) => (Outcome::Closed { first: Some(by) }, false, proof(event)),
                None => (Outcome::HalfClosed { by }, false, proof(event)),
            };
        }
    }
    match (closing(Side::Client), closing(Side::Server)) {
        (None, None) => (Outcome::Open, false, Vec::new()),
        (Some(client), Some(server)) => {
            let before = |one: Closing, other: Closing| one.returned.is_some_and(|returned| returned <= other.entered);
            let first = match (before(client, server), before(server, client)) {
                (true, _) => Some(Side::Client),
                (_, true) => Some(Side::Server),
                _ => None,
            };
            (Outcome::Closed { first }, false, proof(None))
        }
        (client, _) => {
            let by = if client.is_some() { Side::Client } else { Side::Server };
            let end = of(by);
            let learnt = end.and_then(|end| end.end_of_input);
            // A FIN of the peer may have been there that nobody had read.
            let is_witnessed = end.is_some_and(|end| end.was_in(&[State::FinWait1, State::FinWait2, State::TimeWait]));
            match learnt {
                Some((_, event)) => (Outcome::Closed { first: Some(by) }, false, proof(Some(event))),
                None => (Outcome::HalfClosed { by }, !is_witnessed, proof(None)),
            }
        }
    }
}

/// The states in which the handshake is over.
const SYNCHRONIZED: &[State] = &[
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];
/// How much earlier than the call that opens a connection the kernel may be told to have spoken of it: clocks have errors.
const AHEAD: Span = Span::from_millis(1);
/// How long after its client has closed a connection may be accepted, where there is another one between the same ends.
const LONGEST_QUEUED: Span = Span::from_millis(1000);
