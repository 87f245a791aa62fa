//! Experiments on the real kernel: scripts of calls on both ends, captured and recorded.

mod aftermath;
mod echo;
mod host;
mod stage;
mod supervision;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::{fmt, mem};

use nix::errno::Errno;

use crate::calls::{Call, Effect, Recorder, Threads, Whereabouts};
use crate::capture::{CaptureStats, Frame, Live, Marks, OpenError, OwnedFrame, Replay, Successor, Tap, Tape};
use crate::flow::Side;
use crate::kernel::Evidence;
use crate::wire::Decoder;

pub use aftermath::{longest_wait, watch_time_wait};
pub use host::Ground;

use host::{Claim, LOOPBACK, Reservation};
use stage::{Failure, Stage, Traffic};
use supervision::{LOOK, STUCK, Supervision};

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
    /// Who closes first.
    pub first_close: Side,
    /// How many clients connect at once.
    pub clients: usize,
    /// The MTU of the loopback interface, which then is one of an own network namespace.
    pub mtu: Option<u32>,
    /// On which loopback interface it is played.
    pub place: Place,
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

/// On which loopback interface an experiment is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
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
            first_close: Side::Client,
            clients: 1,
            mtu: None,
            place: Place::WherePermitted,
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

    fn longest(&self) -> usize {
        self.messages.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// Both ends of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ends {
    /// The end that connected.
    pub client: SocketAddr,
    /// The end that accepted, or would have.
    pub server: SocketAddr,
}

/// What the three witnesses saw of an experiment.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The frames on the wire, in the order of their capture, numbered from 1.
    pub frames: Vec<OwnedFrame>,
    /// The threads of all actors.
    pub threads: Threads,
    /// The calls of all threads, by time of entry.
    pub calls: Vec<Call>,
    /// What sock_diag said, by time: of each end that closed first, right afterwards; of both ends of each connection after the last call,
    /// the client's end first; and whether anybody still listened.
    pub evidence: Vec<Evidence>,
    /// The connections, in the order in which they were asked for.
    pub ends: Vec<Ends>,
    /// Where the server listened, or where nobody did.
    pub address: SocketAddr,
    /// What the kernel counted of the capture.
    pub capture: CaptureStats,
    /// Whether it was played in an own namespace.
    pub ground: Ground,
    /// What the user should know: one line each.
    pub notices: Vec<String>,
    /// Whether it was ended early.
    pub interrupted: bool,
    interrupt: Arc<AtomicBool>,
}

impl Recording {
    /// The frames as a source.
    pub fn source(&self) -> Replay<'_> {
        Replay::of(&self.frames)
    }
}

/// Why an experiment could not be played: one line that names the thing and the way out, without a trailing full stop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabError {
    message: String,
}

impl LabError {
    fn new(message: String) -> Self {
        Self { message }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LabError {}

/// Plays `scenario` on the real kernel and returns what was seen.
///
/// It must be called once in the life of a process, before there is a second thread: it may move the process into a network namespace
/// of its own, and gives up root and capabilities for good as soon as the capture is open.
///
/// # Errors
/// When the capture cannot be opened, no namespace may be made, or a call fails that should not.
pub fn run(scenario: &Scenario) -> Result<Recording, LabError> {
    check(scenario)?;
    let mut notices = Vec::new();
    let Opened { live, marks, reservation, claim, ground } = open(scenario, &mut notices)?;
    host::give_up_privilege(ground, reservation.address.port(), &scenario.successor)?;
    let address = reservation.address;
    if scenario.port != 0 && address.port() != scenario.port {
        notices.push(format!("port {} is busy: port {} is used instead", scenario.port, address.port()));
    }
    if scenario.play != Play::Refused && scenario.messages.iter().any(Vec::is_empty) {
        notices.push(
            "a message of 0 octets is sent as a call, but puts no segment on the wire: there is nothing to echo"
                .to_owned(),
        );
    }

    let seen = Arc::new(Traffic::default());
    let mut decoder = Decoder::new();
    let count = {
        let seen = seen.clone();
        move |frame: &Frame<'_>| {
            // What is not TCP is no traffic of ours.
            let _ = decoder.decode(frame, |segment, _| seen.add(u64::from(segment.len > 0), segment.len.into()));
        }
    };
    let tape = Tape::start(live, marks, count).map_err(|error| LabError::new(error.message))?;
    let stage = Stage::of(scenario, address, seen);
    let (mut calls, failures) = play(&stage, reservation);
    let interrupted = scenario.interrupt.load(Ordering::Acquire);
    if let (Some((actor, (call, errno))), false) = (failures.first(), interrupted) {
        return Err(failed(scenario, address, actor, call, *errno));
    }

    let ends = ends_of(&calls);
    let answers = scenario.play == Play::Refused || stage.sock_diag_answers.load(Ordering::Acquire);
    let mut evidence = mem::take(&mut *stage.evidence.lock().unwrap_or_else(PoisonError::into_inner));
    if answers {
        match aftermath::final_states(&ends, &scenario.interrupt) {
            Ok(found) => evidence.extend(found),
            Err(errno) => {
                notices.push(format!("sock_diag does not answer ({}): final states are inferred", errno.desc()))
            }
        }
    } else if !interrupted {
        notices.push(
            "sock_diag does not answer (is the kernel's module tcp_diag missing?): final states are inferred"
                .to_owned(),
        );
    }
    if scenario.play == Play::EchoAndStartAgain && !interrupted {
        let (more, result) = start_again(&stage);
        calls.extend(more);
        if let Err((call, errno)) = result {
            return Err(failed(scenario, address, "second-server", call, errno));
        }
        // Its listening socket came and went after the other questions were asked.
        if answers && let Ok(answer) = aftermath::listener(address) {
            evidence.push(answer);
        }
    }
    drop(claim);
    let (frames, capture) = tape.stop().map_err(|error| LabError::new(error.message))?;
    if !capture.drained {
        notices.push(format!("the capture's end was not seen: frames may be missing ({} dropped)", capture.dropped));
    } else if capture.dropped > 0 {
        notices.push(format!("the kernel dropped {} packets of the capture", capture.dropped));
    }
    let (frames, foreign) = own_frames(frames, &ends);
    if foreign > 0 {
        notices.push(format!("{foreign} frames of other connections to {address} were left out"));
    }
    let strangers = calls.len();
    calls.retain(|call| call.accepted().is_none() || ends.iter().any(|ends| Some(ends.client) == call.peer()));
    if calls.len() < strangers {
        notices.push(format!("{} connections of other programs to {address} were closed", strangers - calls.len()));
    }
    calls.sort_by_key(|call| call.entered);
    let interrupt = scenario.interrupt.clone();
    let threads = stage.threads.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Recording { frames, threads, calls, evidence, ends, address, capture, ground, notices, interrupted, interrupt })
}

fn check(scenario: &Scenario) -> Result<(), LabError> {
    let wrong = if !scenario.address.is_loopback() {
        Some(format!("{} is not a loopback address", scenario.address))
    } else if scenario.mtu.is_some_and(|mtu| mtu < least_mtu(scenario.address)) {
        Some(format!(
            "an MTU of {} octets is the least with IPv{}",
            least_mtu(scenario.address),
            if scenario.address.is_ipv4() {
                "4: below, the smallest segments that Linux makes are cut into IP fragments"
            } else {
                "6"
            }
        ))
    } else if scenario.mtu.is_some_and(|mtu| mtu > 65536) {
        Some("the MTU of a loopback interface is at most 65536 octets".to_owned())
    } else if scenario.mtu.is_some() && scenario.place == Place::Host {
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
fn least_mtu(address: IpAddr) -> u32 {
    if address.is_ipv4() { 88 } else { 1280 }
}

/// A capture that is open, on the ground where the experiment will be played.
struct Opened {
    live: Live,
    marks: Marks,
    reservation: Reservation,
    claim: Claim,
    ground: Ground,
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

fn open(scenario: &Scenario, notices: &mut Vec<String>) -> Result<Opened, LabError> {
    if scenario.mtu.is_some() || scenario.place == Place::OwnNamespace {
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
        Err(Barrier::Here { what, way_out }) if scenario.place == Place::WherePermitted => {
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
    let marks = Marks::over(scenario.address).map_err(|_| no_address())?;
    let live = Live::open(Tap {
        interface: LOOPBACK.to_owned(),
        filter: format!(
            "(tcp and host {} and port {}) or {}",
            scenario.address,
            reservation.address.port(),
            marks.filter()
        ),
        snap_len: snap_len(scenario),
        buffer: buffer(scenario),
    });
    match live {
        Ok(live) => Ok(Opened { live, marks, reservation, claim, ground }),
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

/// Plays the scenario to its end, or until it is interrupted or stuck, and returns the calls of all actors and what went wrong.
fn play(stage: &Stage<'_>, reservation: Reservation) -> (Vec<Call>, Vec<(String, Failure)>) {
    let mut parts: Vec<(String, &Whereabouts, Part<'_>)> = Vec::new();
    let mut unused = Some(reservation);
    if stage.scenario.play != Play::Refused
        && let Some(reservation) = unused.take()
    {
        let part: Part<'_> = Box::new(|calls| echo::serve(stage, calls, reservation));
        parts.push(("echo-server".to_owned(), &stage.server, part));
    }
    for (index, client) in stage.clients.iter().enumerate() {
        let name = match stage.clients.len() {
            1 => "echo-client".to_owned(),
            _ => format!("echo-client-{}", index + 1),
        };
        let part: Part<'_> = match stage.scenario.play {
            Play::Refused => Box::new(|calls| echo::knock(stage, calls)),
            Play::Echo | Play::EchoAndStartAgain => Box::new(|calls| echo::visit(stage, calls, client)),
        };
        parts.push((name, &client.whereabouts, part));
    }

    let mut calls = Vec::new();
    let mut failures = Vec::new();
    thread::scope(|scope| {
        let (done, finished) = mpsc::channel();
        let processor = host::this_processor();
        let mut actors = Vec::new();
        for (name, whereabouts, part) in parts {
            let (to_us, actor) = (done.clone(), name.clone());
            let spawned = thread::Builder::new().name(name.clone()).spawn_scoped(scope, move || {
                host::stay_on(processor);
                let played = act(&stage.threads, whereabouts, part);
                drop(to_us.send((actor, played)));
            });
            match spawned {
                Ok(actor) => actors.push(actor),
                Err(_) => drop(done.send((name, (Vec::new(), Err(("clone", Errno::EAGAIN)))))),
            }
        }
        drop(done);
        let mut supervision = Supervision::begin();
        loop {
            match finished.recv_timeout(LOOK) {
                Ok((name, (more, result))) => {
                    calls.extend(more);
                    if let Err(failure) = result {
                        // The first to fail is the cause; the others fail because it ended the play.
                        failures.push((name, failure));
                        stage.end();
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            supervision.look(stage);
        }
        // The scope alone would wait for their last word, not for their end.
        for actor in actors {
            actor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    (calls, failures)
}

/// Starts a second server on the port of the first, in a thread of its own.
fn start_again(stage: &Stage<'_>) -> (Vec<Call>, Result<(), Failure>) {
    let whereabouts = Whereabouts::default();
    let part: Part<'_> = Box::new(|calls| echo::start_again(stage, calls));
    thread::scope(|scope| {
        let actor = thread::Builder::new()
            .name("second-server".to_owned())
            .spawn_scoped(scope, || act(&stage.threads, &whereabouts, part));
        match actor.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(played)) => played,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => (Vec::new(), Err(("clone", Errno::EAGAIN))),
        }
    })
}

/// What one actor does.
type Part<'a> = Box<dyn FnOnce(&mut Recorder<'_>) -> Result<(), Failure> + Send + 'a>;

/// Plays one part in this thread, and returns its calls too when it failed.
fn act(threads: &Mutex<Threads>, whereabouts: &Whereabouts, part: Part<'_>) -> (Vec<Call>, Result<(), Failure>) {
    let mut calls = Recorder::of_this_thread(threads, whereabouts);
    let result = part(&mut calls);
    (calls.into_calls(), result)
}

fn failed(scenario: &Scenario, address: SocketAddr, actor: &str, call: &str, errno: Errno) -> LabError {
    LabError::new(match (call, errno) {
        ("bind" | "listen", Errno::EADDRINUSE) => {
            format!(
                "port {} was taken by somebody else meanwhile: run it again, or choose one with --port",
                address.port()
            )
        }
        (_, Errno::EINTR) => format!(
            "nothing happened for {} s while {actor} waited in {call} on {address}: does a firewall drop local traffic?",
            STUCK.as_secs()
        ),
        ("bind", Errno::EACCES) => {
            format!(
                "port {} is only for root, and root was given up: choose one from 1024 on with --port",
                scenario.port
            )
        }
        _ => format!("{call} of {actor} on {address} failed with {errno:?}: {}", errno.desc()),
    })
}

/// The connections that were asked for, by the calls.
fn ends_of(calls: &[Call]) -> Vec<Ends> {
    let mut connects: Vec<_> = calls.iter().filter(|call| call.effect() == Effect::Connect).collect();
    connects.sort_by_key(|call| call.entered);
    connects.into_iter().filter_map(|call| Some(Ends { client: call.local()?, server: call.peer()? })).collect()
}

/// The frames of these connections, numbered anew, and how many others there were: on a host's own loopback interface there may be
/// somebody else's.
fn own_frames(frames: Vec<OwnedFrame>, ends: &[Ends]) -> (Vec<OwnedFrame>, usize) {
    let before = frames.len();
    let mut decoder = Decoder::new();
    let mut own: Vec<_> = frames
        .into_iter()
        .filter(|frame| {
            let mut ours = false;
            let skipped = decoder.decode(&frame.as_frame(), |segment, _| {
                let (from, to) = (segment.from(), segment.to());
                ours |= ends
                    .iter()
                    .any(|ends| (ends.client, ends.server) == (from, to) || (ends.server, ends.client) == (from, to));
            });
            // What is not understood is shown rather than judged away.
            ours || skipped.is_err()
        })
        .collect();
    for (frame, number) in own.iter_mut().zip(1..) {
        frame.number = number;
    }
    let foreign = before - own.len();
    (own, foreign)
}

/// The unspecified address of the same family, with port 0.
fn any_like(address: SocketAddr) -> SocketAddr {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(any, 0)
}

const MOST_CLIENTS: usize = 100;
const ETHERNET: u64 = 14;
/// More than Ethernet, IP and TCP headers with all their options take.
const HEADERS: u64 = 14 + 60 + 60 + 40;

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

    #[test]
    fn no_segment_of_a_scenario_is_cut() {
        let of = |size, mtu| Scenario { messages: vec![vec![0; size]], mtu, ..Scenario::default() };
        assert!(snap_len(&of(0, None)) >= 256, "the marks come through, too");
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

    #[test]
    fn what_cannot_be_played_is_said_before_anything_is_touched() {
        let said = |scenario: Scenario| run(&scenario).unwrap_err().to_string();
        assert!(said(Scenario { address: "192.0.2.1".parse().unwrap(), ..Scenario::default() }).contains("loopback"));
        assert!(said(Scenario { mtu: Some(87), ..Scenario::default() }).contains("88"));
        let six = Scenario { mtu: Some(1279), address: "::1".parse().unwrap(), ..Scenario::default() };
        assert!(said(six).contains("1280"));
        assert!(said(Scenario { clients: 0, ..Scenario::default() }).contains("clients"));
        assert!(said(Scenario { mtu: Some(1500), place: Place::Host, ..Scenario::default() }).contains("MTU"));
    }
}
