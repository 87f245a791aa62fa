//! What a script is: lines of calls, segments, what the link does, what the kernel says and what is expected.

use std::fmt;
use std::net::SocketAddr;

use crate::calls::{Domain, Errno, How, MessageFlags, OptionName, OptionValue, Protocol, Receiving, Sending};
use crate::tcp::State;
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment};

/// A script: what happens, in order.
///
/// [`Display`](fmt::Display) writes it in the one notation, so that reading it again gives the same.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Script {
    /// Its lines, without comments and empty ones.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// When it happens.
    pub when: When,
    /// What happens.
    pub what: What,
}

/// When a line happens.
#[derive(Clone, PartialEq, Debug)]
pub enum When {
    /// After the line before.
    Next,
    /// That long after the beginning.
    At(Span),
    /// From then on until then; `None`: it never ends.
    During(Span, Option<Span>),
    /// Once something has happened.
    After(Condition),
}

/// What a line waits for.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    /// An actor waits in a call.
    Waits(Actor, &'static str),
    /// A call of an actor has returned.
    Returned(Actor, &'static str),
    /// A segment has passed.
    Passed(Which),
    /// A segment has been seen at the end of an actor.
    Seen(Which, Actor),
    /// The kernel says that the socket of an actor is in that state; `None`: that it has no such socket.
    Is(Actor, Option<State>),
    /// So much time has passed since the line before was done.
    Elapsed(Span),
}

/// What a line says.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// The address of an actor.
    Address(Actor, SocketAddr),
    /// An actor makes a call.
    Call(Asked),
    /// A segment is on the wire.
    Segment(Sent),
    /// The link does something to a segment.
    Link(Deed, Which),
    /// The link puts a segment on the wire that nobody sent.
    Forge(Forged),
    /// The link puts a segment on the wire once more that passed before: an old duplicate.
    Repeat(Which),
    /// The link puts so many SYNs on the wire, each from another host that does not exist.
    Flood {
        /// How many.
        number: u16,
        /// The end of the link that they come from.
        from: Actor,
        /// To whom they go.
        to: Actor,
    },
    /// The cable is cut, or mended.
    Cable(Cable),
    /// sock_diag answers for the socket of an actor.
    Answer(Actor, Answered),
    /// What is expected at this place.
    Expect(Expected),
}

/// Who calls and sends: `C` is the client and `S` the server where nothing else is said.
///
/// A name is a capital and up to 15 letters and digits of ASCII, and none of the kinds of segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    octets: [u8; 16],
    len: u8,
}

impl Actor {
    /// The client, where a script names no other.
    pub const CLIENT: Self = Self::letter(b'C');
    /// The server, where a script names no other.
    pub const SERVER: Self = Self::letter(b'S');

    const fn letter(letter: u8) -> Self {
        let mut octets = [0; 16];
        octets[0] = letter;
        Self { octets, len: 1 }
    }

    /// The actor of that name; `None` where that is no name.
    pub fn named(name: &str) -> Option<Self> {
        let begins = name.starts_with(|c: char| c.is_ascii_uppercase());
        let mut octets = [0; 16];
        let is_kind = Kind::WORDS.iter().any(|(word, _)| *word == name);
        if !begins || is_kind || !name.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
            return None;
        }
        octets.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { octets, len: name.len() as u8 })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.octets[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of a socket in a script: a small letter, and up to 15 small letters and digits of ASCII.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    octets: [u8; 16],
    len: u8,
}

impl Name {
    /// The name, where it can be one.
    pub fn of(text: &str) -> Option<Self> {
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        let is_name = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
        let mut octets = [0; 16];
        if !begins || !text.bytes().all(is_name) || ["listener", "to"].contains(&text) {
            return None;
        }
        octets.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { octets, len: text.len() as u8 })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.octets[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call as it is asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// Who calls.
    pub actor: Actor,
    /// The socket, where it is not the actor's only or latest one.
    pub on: Option<On>,
    /// Which call.
    pub request: Request,
    /// What is sent, where it is written down: ASCII, with `\0` and `\n`.
    pub text: Option<Vec<u8>>,
    /// What it returns; `None` where that is left to the kernel.
    pub result: Option<Result<i64, Errno>>,
    /// The name under which the socket is known that it returns.
    pub named: Option<Name>,
    /// The word that getsockopt is to read, as TCP_CONGESTION has one.
    pub word: Option<Name>,
    /// The signal that ends the process in the call; it never returns then.
    pub fatal: Option<Fatal>,
    /// The state that TCP_INFO tells afterwards.
    pub state: Option<State>,
}

/// A signal by which a call ends its process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fatal {
    /// `SIGPIPE`: it wrote to a connection that takes nothing more, and its process does not ignore that.
    SigPipe,
}

/// Which of an actor's sockets a call is made on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// The one that listens.
    Listener,
    /// The one whose peer is that actor.
    Peer(Actor),
    /// The one of that name.
    Named(Name),
}

/// A call and its arguments; numbers that are not given are left to who performs it.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// `socket([AF_INET or AF_INET6][, IPPROTO_MPTCP])`.
    Socket(Option<Domain>, Protocol),
    /// `bind([ADDRESS])`.
    Bind(Option<SocketAddr>),
    /// `listen([BACKLOG])`.
    Listen(Option<i32>),
    /// `connect([ACTOR])`.
    Connect(Option<Actor>),
    /// `accept()`.
    Accept,
    /// `send([OCTETS][, FLAGS])` and its kin.
    Send(Sending, Option<u32>, MessageFlags),
    /// `recv([OCTETS][, FLAGS])` and its kin.
    Receive(Receiving, Option<u32>, MessageFlags),
    /// `shutdown(SHUT_WR)`.
    Shutdown(How),
    /// `setsockopt(OPTION, VALUE)`.
    SetOption(OptionName, OptionValue),
    /// `close()`.
    Close,
    /// `getsockopt(OPTION)`.
    GetOption(OptionName),
    /// `dup()`: another descriptor of the socket.
    Duplicate,
    /// `fork(ACTOR)`: another process, which has copies of all descriptors.
    Fork(Actor),
    /// `exit()`: the process ends.
    Exit,
    /// `kill()`: somebody kills the process (SIGKILL).
    Kill,
    /// `signal(SIGPIPE, SIG_DFL)`: from now on SIGPIPE ends the process, as it does in a program in C that does not ask otherwise.
    DefaultPipe,
}

/// A segment as it is sent.
#[derive(Clone, PartialEq, Debug)]
pub struct Sent {
    /// Who sends it.
    pub from: Actor,
    /// To whom.
    pub to: Actor,
    /// Its flags.
    pub flags: Flags,
    /// Sequence number and octets; `None` where the kernel chooses them.
    pub seq: Option<(u32, u32)>,
    /// What stands behind them, in order.
    pub fields: Vec<Field>,
    /// What a test expects of it, after `=`.
    pub expected: Option<String>,
}

/// A part of a segment that is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Field {
    /// `ack N`.
    Ack(u32),
    /// `win N`: the field of the header.
    Window(u16),
    /// `id N`: the identification of IPv4; `id -` where there is none.
    Id(Option<u16>),
    /// `urg N`.
    Urgent(u16),
    /// `mss N`.
    Mss(u16),
    /// `ws N`.
    WindowScale(u8),
    /// `sackok`.
    SackPermitted,
    /// `ts SENT:ECHOED`.
    Timestamps(u32, u32),
    /// `sack LEFT-RIGHT[,LEFT-RIGHT…]`, at most four.
    Sack(Vec<(u32, u32)>),
    /// `vni N`: it comes in that VXLAN.
    Vni(u32),
    /// `lost`: it was captured, and did not arrive.
    Lost,
}

/// What the link does to a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// `drop`.
    Drop,
    /// `double`.
    Double,
    /// `damage`.
    Damage,
    /// `delay SPAN`.
    Delay(Span),
    /// `overtake`: the next segment of the direction passes it.
    Overtake,
    /// `replay SPAN`: it comes a second time, so much later.
    Replay(Span),
    /// `mark`: congestion is marked on it (CE, RFC 3168).
    Mark,
}

/// A segment that nobody sent: the link makes it up as a forger would.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forged {
    /// Whose it pretends to be.
    pub from: Actor,
    /// To whom it goes.
    pub to: Actor,
    /// What it is.
    pub what: Forgery,
    /// Where its sequence number lies.
    pub place: Aim,
}

/// What is forged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forgery {
    /// A RST.
    Rst,
    /// A SYN.
    Syn,
    /// So many octets.
    Data(u16),
}

/// Where the sequence number of a forged segment lies in its receiver's eyes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aim {
    /// It is just the next one that is expected.
    Exact,
    /// It lies inside the window, and is not the next one.
    Inside,
    /// It lies outside the window.
    Outside,
}

impl Aim {
    /// All of them by their words.
    pub(super) const WORDS: [(&'static str, Self); 3] =
        [("exact", Self::Exact), ("inside", Self::Inside), ("outside", Self::Outside)];
}

/// What becomes of the cable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cable {
    /// Nothing passes any more.
    Cut,
    /// Segments pass again.
    Mended,
}

/// Which segment: `2nd data C>S`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Which {
    /// Which of its kind, from 1; `None`: every one.
    pub nth: Option<u32>,
    /// Of what kind.
    pub kind: Kind,
    /// Who sends it.
    pub from: Actor,
    /// To whom.
    pub to: Actor,
}

/// The kinds of segment that a line can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Every segment.
    Segment,
    /// With SYN and without ACK.
    Syn,
    /// With SYN and ACK.
    SynAck,
    /// With octets.
    Data,
    /// With ACK, without octets, SYN, FIN or RST.
    Ack,
    /// With FIN.
    Fin,
    /// With RST.
    Rst,
}

/// What sock_diag says of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// Its state; `None`: there is no such socket.
    pub state: Option<State>,
    /// How long its TIME-WAIT still lasts.
    pub remaining: Option<Span>,
}

/// What is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// `ACTOR is STATE`, or `?` where it is not known.
    State(Actor, Option<State>),
    /// `finding NAME`: there is a finding of that name.
    Finding(String),
    /// `ending NAME`: the connection ends so.
    Ending(String),
    /// `no finding NAME`: there is none of that name.
    NoFinding(String),
    /// `cause NAME`: a segment has that cause.
    Cause(String),
    /// `ACTOR through STATE STATE…`: the end went through these, one after the other.
    Through(Actor, Vec<State>),
    /// `ACTOR window halved`, and so on: what became of the congestion window, as TCP_INFO told it after the actor's calls.
    Congestion(Actor, Trend),
    /// `ACTOR counted NAME`: the kernel of the actor's host has counted it (`nstat`), at least once.
    Counted(Actor, String),
    /// `[at least] N KIND FROM>TO`: so many segments of the kind were sent.
    Count {
        /// How many.
        number: u32,
        /// Whether more are as good.
        or_more: bool,
        /// Of what kind, and which way; without a number.
        which: Which,
    },
}

/// What became of a congestion window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trend {
    /// It grew: one value is at least twice as large as one before it.
    Doubled,
    /// It shrank: one value is at most three quarters of one before it.
    Shrank,
}

impl Trend {
    /// All of them by their words.
    pub(super) const WORDS: [(&'static str, Self); 2] = [("doubled", Self::Doubled), ("shrank", Self::Shrank)];
}

/// What the link between two hosts did with a segment, as the link itself says: it is the witness of what the ends cannot see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkEvent {
    /// When, on the wall clock.
    pub at: Timestamp,
    /// The segment as it came to the link, or as the link put it on the wire where it made it up.
    ///
    /// By its addresses and its header it is found among those captured; its frame number counts at the link and means nothing there.
    pub segment: Segment,
    /// What it did.
    pub act: LinkAct,
}

/// What a link does with a segment besides passing it on as it came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkAct {
    /// It did not pass it on.
    Dropped,
    /// It held it back for so long before it passed it on.
    Delayed(Span),
    /// It passed it on, and once more.
    Duplicated,
    /// It changed octets of it, so that its checksum is wrong.
    Damaged,
    /// It made it up: neither end sent it.
    Injected,
    /// It held it back until the next one had passed.
    Overtaken,
    /// It marked congestion on it (CE, RFC 3168).
    Marked,
}

impl LinkAct {
    /// Its name: `dropped`, `delayed` and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Delayed(_) => "delayed",
            Self::Duplicated => "duplicated",
            Self::Damaged => "damaged",
            Self::Injected => "injected",
            Self::Overtaken => "overtaken",
            Self::Marked => "marked",
        }
    }
}

impl From<Deed> for LinkAct {
    fn from(deed: Deed) -> Self {
        match deed {
            Deed::Drop => Self::Dropped,
            Deed::Double => Self::Duplicated,
            Deed::Damage => Self::Damaged,
            Deed::Delay(span) => Self::Delayed(span),
            Deed::Overtake => Self::Overtaken,
            Deed::Replay(_) => Self::Duplicated,
            Deed::Mark => Self::Marked,
        }
    }
}

impl Kind {
    /// All kinds by the words for them.
    pub(super) const WORDS: [(&'static str, Self); 7] = [
        ("segment", Self::Segment),
        ("SYN", Self::Syn),
        ("SYN-ACK", Self::SynAck),
        ("data", Self::Data),
        ("ACK", Self::Ack),
        ("FIN", Self::Fin),
        ("RST", Self::Rst),
    ];

    /// Whether a segment with these flags and so many octets is one of the kind.
    pub fn holds(self, flags: Flags, octets: u32) -> bool {
        let (syn, ack) = (flags.contains(Flags::SYN), flags.contains(Flags::ACK));
        match self {
            Self::Segment => true,
            Self::Syn => syn && !ack,
            Self::SynAck => syn && ack,
            Self::Data => octets > 0,
            Self::Ack => ack && octets == 0 && !flags.intersects(Flags::SYN | Flags::FIN | Flags::RST),
            Self::Fin => flags.contains(Flags::FIN),
            Self::Rst => flags.contains(Flags::RST),
        }
    }
}

/// The letters of flags, in packetdrill's manner.
pub(super) const LETTERS: [(char, Flags); 9] = [
    ('F', Flags::FIN),
    ('S', Flags::SYN),
    ('R', Flags::RST),
    ('P', Flags::PSH),
    ('.', Flags::ACK),
    ('U', Flags::URG),
    ('E', Flags::ECE),
    ('W', Flags::CWR),
    ('A', Flags::AE),
];

/// The units of time, by how many nanoseconds they have.
pub(super) const UNITS: [(&str, i64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];

impl Request {
    /// The name of the call.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Socket(..) => "socket",
            Self::Bind(_) => "bind",
            Self::Listen(_) => "listen",
            Self::Connect(_) => "connect",
            Self::Accept => "accept",
            Self::Send(by, ..) => by.name(),
            Self::Receive(by, ..) => by.name(),
            Self::Shutdown(_) => "shutdown",
            Self::SetOption(..) => "setsockopt",
            Self::Close => "close",
            Self::Exit => "exit",
            Self::GetOption(_) => "getsockopt",
            Self::Duplicate => "dup",
            Self::Fork(_) => "fork",
            Self::Kill => "kill",
            Self::DefaultPipe => "signal",
        }
    }
}
