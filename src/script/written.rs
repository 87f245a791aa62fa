//! Script to text, so that reading it again gives the same.

use std::fmt;
use std::net::SocketAddr;

use super::types::{
    Aim, Answered, Asked, Cable, Condition, Deed, Expected, Fatal, Field, Forged, Forgery, Kind, LETTERS, Line, On,
    Request, Script, Sent, Trend, UNITS, What, When, Which,
};
use crate::calls::{MessageFlags, OptionName, OptionValue, Protocol};
use crate::tcp::State;
use crate::time::Span;

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
            What::Repeat(which) => write!(f, "link: repeat {which}"),
            What::Flood { number, from, to } => write!(f, "link: flood {number} SYN {from}>{to}"),
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
            Self::Congestion(actor, trend) => {
                let word = Trend::WORDS.iter().find(|(_, known)| known == trend).map_or("", |(word, _)| word);
                write!(f, "{actor} window {word}")
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
        let octets = |len: &Option<u32>, flags: &MessageFlags| -> Vec<String> {
            let flags = (!flags.is_empty()).then(|| flags.to_string());
            len.map(|len| len.to_string()).into_iter().chain(flags).collect()
        };
        let args: Vec<String> = match &self.request {
            Request::Socket(domain, protocol) => {
                let protocol = (*protocol != Protocol::IPPROTO_IP).then(|| protocol.to_string());
                domain.map(|domain| domain.to_string()).into_iter().chain(protocol).collect()
            }
            Request::Accept | Request::Close | Request::Exit => Vec::new(),
            Request::Duplicate | Request::Kill => Vec::new(),
            Request::DefaultPipe => vec!["SIGPIPE".to_owned(), "SIG_DFL".to_owned()],
            Request::Fork(actor) => vec![actor.to_string()],
            Request::GetOption(option) => vec![option_name(*option)],
            Request::Bind(address) => address.iter().map(SocketAddr::to_string).collect(),
            Request::Listen(backlog) => backlog.iter().map(i32::to_string).collect(),
            Request::Connect(to) => to.iter().map(|to| format!("to {to}")).collect(),
            Request::Send(_, len, flags) => match &self.text {
                Some(text) => [quoted(text)].into_iter().chain(octets(&None, flags)).collect(),
                None => octets(len, flags),
            },
            Request::Receive(_, len, flags) => octets(len, flags),
            Request::Shutdown(how) => vec![how.to_string()],
            Request::SetOption(option, value) => {
                let option = option_name(*option);
                let value = match value {
                    OptionValue::Int(value) => value.to_string(),
                    OptionValue::Linger { seconds, .. } => seconds.to_string(),
                    OptionValue::Word(word) => word.clone(),
                    OptionValue::Info { .. } | OptionValue::Opaque(_) | OptionValue::Unread => "?".to_owned(),
                };
                vec![option, value]
            }
        };
        for (n, arg) in on.into_iter().chain(args).enumerate() {
            write!(f, "{}{arg}", if n == 0 { "" } else { ", " })?;
        }
        f.write_str(")")?;
        match (&self.result, self.named.or(self.word), self.fatal) {
            (_, _, Some(Fatal::SigPipe)) => write!(f, " = SIGPIPE")?,
            (Some(Ok(result)), ..) => write!(f, " = {result}")?,
            (Some(Err(errno)), ..) => write!(f, " = -{errno}")?,
            (None, Some(name), _) => write!(f, " = {}", name.as_str())?,
            (None, None, _) => {}
        }
        self.state.map_or(Ok(()), |state| write!(f, " in {state}"))
    }
}

/// A text as a script has it.
fn quoted(text: &[u8]) -> String {
    let octet = |octet: &u8| match *octet {
        0 => "\\0".to_owned(),
        b'\n' => "\\n".to_owned(),
        octet @ (b'"' | b'\\') => format!("\\{}", char::from(octet)),
        octet => char::from(octet).to_string(),
    };
    format!("\"{}\"", text.iter().map(octet).collect::<String>())
}

fn option_name(option: OptionName) -> String {
    match option {
        OptionName::Socket(option) => option.to_string(),
        OptionName::Tcp(option) => option.to_string(),
        OptionName::Other(_, option) => option.to_string(),
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
