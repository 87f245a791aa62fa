//! What a script is: lines of calls, segments, what the link does, what the kernel says and what is expected.

use std::fmt;
use std::net::SocketAddr;

use crate::calls::{Errno, How, MessageFlags, OptionName, OptionValue, Receiving, Sending};
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
    /// What it returns; `None` where that is left to the kernel.
    pub result: Option<Result<i64, Errno>>,
    /// The name under which the socket is known that it returns.
    pub named: Option<Name>,
    /// The state that TCP_INFO tells afterwards.
    pub state: Option<State>,
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
    /// `socket()`.
    Socket,
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
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.when {
            When::Next => {}
            When::At(at) => write!(f, "{} ", Shown(*at))?,
            When::During(from, None) => write!(f, "{}.. ", Shown(*from))?,
            When::During(from, Some(to)) => write!(f, "{}..{} ", Shown(*from), Shown(*to))?,
            When::After(Condition::Waits(actor, call)) => write!(f, "after {actor} waits in {call}, ")?,
            When::After(Condition::Returned(actor, call)) => write!(f, "after {actor} returned from {call}, ")?,
            When::After(Condition::Passed(which)) => write!(f, "after {which}, ")?,
            When::After(Condition::Seen(which, actor)) => write!(f, "after {which} seen by {actor}, ")?,
            When::After(Condition::Is(actor, state)) => {
                write!(f, "after {actor} is {}, ", state.map_or("none", State::name))?;
            }
            When::After(Condition::Elapsed(span)) => write!(f, "after {}, ", Shown(*span))?,
        }
        match &self.what {
            What::Address(actor, at) => write!(f, "{actor} = {at}"),
            What::Call(asked) => asked.fmt(f),
            What::Segment(sent) => sent.fmt(f),
            What::Link(deed, which) => match deed {
                Deed::Drop => write!(f, "link: drop {which}"),
                Deed::Double => write!(f, "link: double {which}"),
                Deed::Damage => write!(f, "link: damage {which}"),
                Deed::Delay(span) => write!(f, "link: delay {} {which}", Shown(*span)),
                Deed::Overtake => write!(f, "link: overtake {which}"),
                Deed::Replay(span) => write!(f, "link: replay {} {which}", Shown(*span)),
                Deed::Mark => write!(f, "link: mark {which}"),
            },
            What::Forge(Forged { from, to, what, place }) => {
                let place = Aim::WORDS.iter().find(|(_, known)| known == place).map_or("", |(word, _)| word);
                match what {
                    Forgery::Rst => write!(f, "link: forge RST {from}>{to} {place}"),
                    Forgery::Syn => write!(f, "link: forge SYN {from}>{to} {place}"),
                    Forgery::Data(octets) => write!(f, "link: forge {octets} octets {from}>{to} {place}"),
                }
            }
            What::Cable(Cable::Cut) => f.write_str("link: cut"),
            What::Cable(Cable::Mended) => f.write_str("link: mend"),
            What::Answer(actor, Answered { state, remaining }) => {
                write!(f, "kernel: {actor} {}", state.map_or("none", State::name))?;
                remaining.map_or(Ok(()), |remaining| write!(f, " for {}", Shown(remaining)))
            }
            What::Expect(expected) => write!(f, "expect: {expected}"),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(actor, state) => write!(f, "{actor} {}", state.map_or("?", State::name)),
            Self::Finding(name) => write!(f, "finding {name}"),
            Self::NoFinding(name) => write!(f, "no finding {name}"),
            Self::Ending(name) => write!(f, "ending {name}"),
            Self::Cause(name) => write!(f, "cause {name}"),
            Self::Through(actor, states) => {
                write!(f, "{actor} through")?;
                states.iter().try_for_each(|state| write!(f, " {}", state.name()))
            }
            Self::Counted(actor, name) => write!(f, "{actor} counted {name}"),
            Self::Count { number, or_more, which } => {
                write!(f, "{}{number} {which}", if *or_more { "at least " } else { "" })
            }
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}(", self.actor, self.request.name())?;
        let on = self.on.map(|on| match on {
            On::Listener => "listener".to_owned(),
            On::Peer(actor) => actor.to_string(),
            On::Named(name) => name.as_str().to_owned(),
        });
        let octets = |len: &Option<u32>, flags: &MessageFlags| {
            let flags = (!flags.is_empty()).then(|| flags.to_string());
            len.map(|len| len.to_string()).into_iter().chain(flags).collect()
        };
        let args: Vec<String> = match &self.request {
            Request::Socket | Request::Accept | Request::Close | Request::Exit => Vec::new(),
            Request::Duplicate | Request::Kill => Vec::new(),
            Request::Fork(actor) => vec![actor.to_string()],
            Request::GetOption(option) => vec![option_name(*option)],
            Request::Bind(address) => address.iter().map(SocketAddr::to_string).collect(),
            Request::Listen(backlog) => backlog.iter().map(i32::to_string).collect(),
            Request::Connect(to) => to.iter().map(|to| format!("to {to}")).collect(),
            Request::Send(_, len, flags) => octets(len, flags),
            Request::Receive(_, len, flags) => octets(len, flags),
            Request::Shutdown(how) => vec![how.to_string()],
            Request::SetOption(option, value) => {
                let option = option_name(*option);
                let value = match value {
                    OptionValue::Int(value) => value.to_string(),
                    OptionValue::Linger { seconds, .. } => seconds.to_string(),
                    OptionValue::Opaque(_) | OptionValue::Unread => "?".to_owned(),
                };
                vec![option, value]
            }
        };
        for (n, arg) in on.into_iter().chain(args).enumerate() {
            write!(f, "{}{arg}", if n == 0 { "" } else { ", " })?;
        }
        f.write_str(")")?;
        match (&self.result, &self.named) {
            (Some(Ok(result)), _) => write!(f, " = {result}")?,
            (Some(Err(errno)), _) => write!(f, " = -{errno}")?,
            (None, Some(name)) => write!(f, " = {}", name.as_str())?,
            (None, None) => {}
        }
        self.state.map_or(Ok(()), |state| write!(f, " in {state}"))
    }
}

fn option_name(option: OptionName) -> String {
    match option {
        OptionName::Socket(option) => option.to_string(),
        OptionName::Tcp(option) => option.to_string(),
        OptionName::Other(_, option) => option.to_string(),
    }
}

impl Request {
    /// The name of the call.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Socket => "socket",
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
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}: ", self.from, self.to)?;
        if self.flags.is_empty() {
            f.write_str("-")?;
        }
        for (letter, _) in LETTERS.iter().filter(|(_, flag)| self.flags.contains(*flag)) {
            write!(f, "{letter}")?;
        }
        if let Some((seq, len)) = self.seq {
            write!(f, " {seq}({len})")?;
        }
        for field in &self.fields {
            write!(f, " {field}")?;
        }
        match self.expected.as_deref() {
            Some("") => f.write_str(" ="),
            Some(expected) => write!(f, " = {expected}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ack(ack) => write!(f, "ack {ack}"),
            Self::Window(window) => write!(f, "win {window}"),
            Self::Id(Some(id)) => write!(f, "id {id}"),
            Self::Id(None) => f.write_str("id -"),
            Self::Urgent(urgent) => write!(f, "urg {urgent}"),
            Self::Mss(mss) => write!(f, "mss {mss}"),
            Self::WindowScale(shift) => write!(f, "ws {shift}"),
            Self::SackPermitted => f.write_str("sackok"),
            Self::Timestamps(sent, echoed) => write!(f, "ts {sent}:{echoed}"),
            Self::Sack(blocks) => {
                for (n, (left, right)) in blocks.iter().enumerate() {
                    write!(f, "{}{left}-{right}", if n == 0 { "sack " } else { "," })?;
                }
                Ok(())
            }
            Self::Vni(vni) => write!(f, "vni {vni}"),
            Self::Lost => f.write_str("lost"),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(nth) = self.nth {
            let ending = match (nth % 10, nth % 100) {
                (_, 11..=13) => "th",
                (1, _) => "st",
                (2, _) => "nd",
                (3, _) => "rd",
                _ => "th",
            };
            write!(f, "{nth}{ending} ")?;
        }
        let word = Kind::WORDS.iter().find(|(_, kind)| *kind == self.kind).map_or("segment", |(word, _)| word);
        write!(f, "{word} {}>{}", self.from, self.to)
    }
}

/// A span with the largest unit of which it is a whole number.
struct Shown(Span);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, size) = UNITS.iter().find(|(_, size)| nanos % size == 0).unwrap_or(&UNITS[3]);
        write!(f, "{}{unit}", nanos / size)
    }
}
