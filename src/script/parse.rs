//! Text to script.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::ScriptError;
use super::cursor::Cursor;
use super::option::{option, option_name};
use super::types::UNITS;
use super::types::{
    Actor, Aim, Answered, Asked, Cable, Condition, Deed, Expected, Fatal, Field, Forged, Forgery, Kind, LETTERS, Line,
    Name, On, Request, Script, Sent, Trend, What, When, Which,
};
use crate::calls::{Domain, Errno, How, MessageFlags, Protocol, Receiving, Sending};
use crate::tcp::State;
use crate::wire::Flags;

impl Script {
    /// Reads a script, one line at a time; empty lines and those that begin with `#` say nothing.
    ///
    /// It takes memory in proportion to `text`, and at most 10,000 lines that say something, 64 of them of the link, against each of which each segment is held.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let (mut lines, mut links) = (Vec::new(), 0);
        let mut names = HashSet::new();
        for (number, text) in (1..).zip(text.lines()) {
            let mut cursor = Cursor::new(number, text);
            if cursor.is_at_end() || cursor.rest().starts_with('#') {
                continue;
            }
            if lines.len() == MOST_LINES {
                let help = "the rest belongs into another script".to_owned();
                return Err(cursor.wrong(cursor.place(), 1, format!("more than {MOST_LINES} lines"), help));
            }
            let line = line(&mut cursor, &names)?;
            if let What::Call(Asked { named: Some(name), .. }) = &line.what {
                names.insert(*name);
            }
            links += usize::from(matches!(line.what, What::Link(..)));
            if links > MOST_LINKS {
                let help =
                    "a line without a number, as `link: drop data C>S`, is for every segment of its kind".to_owned();
                return Err(cursor.wrong(0, 1, format!("more than {MOST_LINKS} lines of the link"), help));
            }
            lines.push(line);
        }
        Ok(Self { lines })
    }
}

impl Expected {
    /// Reads what stands after `expect:`.
    ///
    /// # Errors
    /// What is wrong with it; its line is 1.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut cursor = Cursor::new(1, text);
        complete(expected(&mut cursor)?, &mut cursor)
    }
}

impl What {
    /// Reads what stands after `link:`.
    ///
    /// # Errors
    /// What is wrong with it; its line is 1.
    pub fn parse_link(text: &str) -> Result<Self, ScriptError> {
        let mut cursor = Cursor::new(1, text);
        complete(link(&mut cursor)?, &mut cursor)
    }
}

fn complete<T>(read: T, cursor: &mut Cursor<'_>) -> Result<T, ScriptError> {
    cursor.blanks();
    if cursor.is_at_end() { Ok(read) } else { Err(cursor.unexpected("it is complete before it")) }
}

fn line(cursor: &mut Cursor<'_>, names: &HashSet<Name>) -> Result<Line, ScriptError> {
    let when = when(cursor)?;
    let what = if cursor.word_is("link") {
        colon(cursor)?;
        link(cursor)?
    } else if cursor.word_is("kernel") {
        colon(cursor)?;
        let actor = actor(cursor)?;
        let state = if cursor.word_is("none") { None } else { Some(state(cursor)?) };
        let remaining = if cursor.word_is("for") { Some(cursor.span()?) } else { None };
        What::Answer(actor, Answered { state, remaining })
    } else if cursor.word_is("expect") {
        colon(cursor)?;
        What::Expect(expected(cursor)?)
    } else {
        let actor = actor(cursor)?;
        if cursor.sign("=") {
            What::Address(actor, address(cursor)?)
        } else if cursor.sign(">") {
            What::Segment(segment(cursor, actor)?)
        } else {
            colon(cursor)?;
            What::Call(call(cursor, actor, names)?)
        }
    };
    cursor.blanks();
    if !cursor.is_at_end() {
        return Err(
            cursor.unexpected("the line is complete before it; a comment has a line of its own, with # in front")
        );
    }
    Ok(Line { when, what })
}

fn when(cursor: &mut Cursor<'_>) -> Result<When, ScriptError> {
    if cursor.rest().starts_with(|c: char| c.is_ascii_digit()) {
        let from = cursor.span()?;
        if !cursor.sign("..") {
            cursor.blanks();
            return Ok(When::At(from));
        }
        let place = cursor.place();
        let to = match cursor.rest().starts_with(|c: char| c.is_ascii_digit()) {
            true => Some(cursor.span()?),
            false => None,
        };
        if to.is_some_and(|to| to < from) {
            let help = "a call returns after it was entered, as in 10ms..35ms";
            return Err(cursor.wrong(
                place,
                cursor.place() - place,
                "the end comes before the beginning".into(),
                help.into(),
            ));
        }
        cursor.blanks();
        return Ok(When::During(from, to));
    }
    if !cursor.word_is("after") {
        return Ok(When::Next);
    }
    let place = cursor.place();
    let named = Actor::named(cursor.peek());
    let condition = match named {
        Some(actor) => {
            cursor.word();
            if cursor.word_is("waits") && cursor.word_is("in") {
                Condition::Waits(actor, call_name(cursor)?)
            } else if cursor.word_is("returned") && cursor.word_is("from") {
                Condition::Returned(actor, call_name(cursor)?)
            } else if cursor.word_is("is") {
                Condition::Is(actor, if cursor.word_is("none") { None } else { Some(state(cursor)?) })
            } else {
                return Err(cursor.unexpected("say `waits in CALL`, `returned from CALL` or `is STATE`"));
            }
        }
        None if is_span(cursor.rest()) => Condition::Elapsed(cursor.span()?),
        None => {
            let which = which(cursor)?;
            if cursor.word_is("seen") && cursor.word_is("by") {
                Condition::Seen(which, actor(cursor)?)
            } else {
                Condition::Passed(which)
            }
        }
    };
    cursor.blanks();
    if !cursor.sign(",") {
        let help = "a comma stands between the condition and what happens, as in `after C waits in recv, S: send(10)`";
        return Err(cursor.wrong(place, cursor.place() - place, "the condition does not end".into(), help.into()));
    }
    Ok(When::After(condition))
}

/// Whether a time begins here, and not the number of a segment.
fn is_span(text: &str) -> bool {
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = text[number..]
        .find(|c: char| !c.is_ascii_alphabetic())
        .map_or(&text[number..], |end| &text[number..number + end]);
    number > 0 && UNITS.iter().any(|(name, _)| *name == unit)
}

fn call_name(cursor: &mut Cursor<'_>) -> Result<&'static str, ScriptError> {
    let known = CALLS.iter().find(|call| **call == cursor.peek()).copied();
    let known = known.ok_or_else(|| cursor.unexpected(calls()))?;
    cursor.word();
    Ok(known)
}

fn calls() -> String {
    format!("the calls are {}", CALLS.join(", "))
}

fn call(cursor: &mut Cursor<'_>, actor: Actor, names: &HashSet<Name>) -> Result<Asked, ScriptError> {
    let name = call_name(cursor)?;
    if !cursor.sign("(") {
        return Err(cursor.unexpected("its arguments stand in parentheses, as in close()"));
    }
    let on = on(cursor, name, names);
    let text = if name == "send" && cursor.rest().starts_with('"') { Some(text(cursor)?) } else { None };
    let mut request = request(cursor, name)?;
    if let (Some(text), Request::Send(_, len, _)) = (&text, &mut request) {
        *len = u32::try_from(text.len()).ok();
    }
    if !cursor.sign(")") {
        return Err(cursor.unexpected(format!("{name} takes {}, and then `)`", takes(name))));
    }
    let (mut returned, mut named, mut word, mut fatal) = (None, None, None, None);
    if cursor.sign("=") {
        let name = Name::of(cursor.peek());
        match (&request, name) {
            (Request::Socket(..) | Request::Accept | Request::Duplicate, Some(_)) => named = name,
            (Request::GetOption(option), Some(_)) if option.is_word() => word = name,
            (Request::Send(..), None) if cursor.peek() == "SIGPIPE" => fatal = Some(Fatal::SigPipe),
            _ => returned = Some(result(cursor)?),
        }
        if returned.is_none() {
            cursor.word();
        }
    }
    cursor.blanks();
    let state = if cursor.word_is("in") { Some(state(cursor)?) } else { None };
    Ok(Asked { actor, on, request, text, result: returned, named, word, fatal, state })
}

/// A text in quotes.
fn text(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, ScriptError> {
    let place = cursor.place();
    let rest = cursor.rest();
    let (mut text, mut end, mut is_escaped) = (Vec::new(), None, false);
    for (at, octet) in rest.bytes().enumerate().skip(1) {
        match (is_escaped, octet) {
            (false, b'"') => {
                end = Some(at + 1);
                break;
            }
            (false, b'\\') => is_escaped = true,
            (false, b' '..=b'~') => text.push(octet),
            (true, b'0' | b'n' | b'"' | b'\\') => {
                is_escaped = false;
                text.push(match octet {
                    b'0' => 0,
                    b'n' => b'\n',
                    octet => octet,
                });
            }
            _ => break,
        }
    }
    let end = end.ok_or_else(|| {
        let help = r#"a text is of ASCII and in quotes, with \0, \n, \" and \\, as in send("hello\0world")"#;
        cursor.wrong(place, rest.len(), "the text does not end".to_owned(), help.to_owned())
    })?;
    cursor.sign(&rest[..end]);
    cursor.sign(",");
    Ok(text)
}

/// The socket, if the arguments begin with one; `names` are those that sockets were given before.
fn on(cursor: &mut Cursor<'_>, call: &str, names: &HashSet<Name>) -> Option<On> {
    let on = match cursor.peek() {
        "listener" => On::Listener,
        _ if matches!(call, "fork" | "signal") => return None,
        name => Actor::named(name)
            .map(On::Peer)
            .or_else(|| Name::of(name).filter(|name| names.contains(name)).map(On::Named))?,
    };
    let needs_more = matches!(call, "shutdown" | "setsockopt" | "getsockopt") && !matches!(on, On::Named(_));
    if needs_more && !cursor.rest()[cursor.peek().len()..].trim_start().starts_with(',') {
        return None;
    }
    cursor.word();
    cursor.sign(",");
    Some(on)
}

/// What may stand in the parentheses, after a socket.
fn takes(call: &str) -> &'static str {
    match call {
        "bind" => "an address or nothing",
        "listen" => "a number or nothing",
        "connect" => "`to ACTOR` or nothing",
        "shutdown" => "SHUT_RD, SHUT_WR or SHUT_RDWR",
        "setsockopt" => "an option and its value, as in setsockopt(SO_LINGER, 0)",
        "getsockopt" => "an option, as in getsockopt(SO_ERROR)",
        "signal" => "SIGPIPE, SIG_DFL",
        "fork" => "the actor that the new process is, as in fork(S2)",
        "socket" => "AF_INET or AF_INET6, IPPROTO_MPTCP, or nothing",
        "accept" | "close" | "exit" | "dup" | "kill" => "nothing more than a socket, `listener` or an actor",
        _ => "a number of octets, flags, or nothing",
    }
}

fn request(cursor: &mut Cursor<'_>, name: &'static str) -> Result<Request, ScriptError> {
    let is_empty = cursor.rest().starts_with(')');
    Ok(match name {
        "socket" => {
            let domain = [Domain::AF_INET, Domain::AF_INET6];
            let domain = domain.into_iter().find(|domain| domain.name() == Some(cursor.peek()));
            if domain.is_some() {
                cursor.word();
                cursor.sign(",");
            }
            let is_multipath = cursor.word_is("IPPROTO_MPTCP");
            Request::Socket(domain, if is_multipath { Protocol::IPPROTO_MPTCP } else { Protocol::IPPROTO_IP })
        }
        "signal" => {
            if !(cursor.word_is("SIGPIPE") && cursor.sign(",") && cursor.word_is("SIG_DFL")) {
                return Err(cursor.unexpected(format!("signal takes {}", takes(name))));
            }
            Request::DefaultPipe
        }
        "accept" => Request::Accept,
        "close" => Request::Close,
        "exit" => Request::Exit,
        "dup" => Request::Duplicate,
        "kill" => Request::Kill,
        "fork" => Request::Fork(actor(cursor)?),
        "getsockopt" => Request::GetOption(option_name(cursor)?),
        "bind" if is_empty => Request::Bind(None),
        "bind" => Request::Bind(Some(address(cursor)?)),
        "listen" if is_empty => Request::Listen(None),
        "listen" => Request::Listen(Some(cursor.number("backlog")?)),
        "connect" if cursor.word_is("to") => Request::Connect(Some(actor(cursor)?)),
        "connect" => Request::Connect(None),
        "shutdown" => {
            let how = [How::SHUT_RD, How::SHUT_WR, How::SHUT_RDWR];
            let how = how.into_iter().find(|how| how.name() == Some(cursor.peek()));
            let how = how.ok_or_else(|| cursor.unexpected(format!("shutdown takes {}", takes(name))))?;
            cursor.word();
            Request::Shutdown(how)
        }
        "setsockopt" => option(cursor)?,
        _ => {
            let len = match cursor.rest().starts_with(|c: char| c.is_ascii_digit()) {
                true => Some(cursor.number("number of octets")?),
                false => None,
            };
            cursor.sign(",");
            let mut flags = MessageFlags::empty();
            while !cursor.rest().starts_with(')') {
                let flag = MessageFlags::named(cursor.peek());
                flags |= flag.ok_or_else(|| cursor.unexpected(format!("{name} takes {}", takes(name))))?;
                cursor.word();
                cursor.sign("|");
            }
            match (Sending::named(name), Receiving::named(name)) {
                (Some(by), _) => Request::Send(by, len, flags),
                (None, Some(by)) => Request::Receive(by, len, flags),
                (None, None) => return Err(cursor.unexpected(calls())),
            }
        }
    })
}

fn result(cursor: &mut Cursor<'_>) -> Result<Result<i64, Errno>, ScriptError> {
    let place = cursor.place();
    if cursor.rest().starts_with("-E") {
        cursor.sign("-");
        let name = cursor.word();
        let errno = Errno::named(name).ok_or_else(|| {
            let help = "an error is named as in errno(3), with a minus in front: -ECONNREFUSED".to_owned();
            cursor.wrong(place, name.len() + 1, format!("`{name:.40}` is no error"), help)
        })?;
        return Ok(Err(errno));
    }
    if Errno::named(cursor.peek()).is_some() || !cursor.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        let help = "a call returns a number, or an error with a minus in front, as -ECONNREFUSED";
        return Err(cursor.unexpected(help));
    }
    cursor.number("result").map(Ok)
}

fn segment(cursor: &mut Cursor<'_>, from: Actor) -> Result<Sent, ScriptError> {
    let to = actor(cursor)?;
    colon(cursor)?;
    let flags = flags(cursor)?;
    let seq = match cursor.rest().starts_with(|c: char| c.is_ascii_digit()) {
        true => {
            let seq = cursor.number("sequence number")?;
            if !cursor.sign("(") {
                return Err(cursor.unexpected("the number of octets follows in parentheses, as in 101(10)"));
            }
            let len = cursor.number("number of octets")?;
            if !cursor.sign(")") {
                return Err(cursor.unexpected("the parenthesis is not closed, as in 101(10)"));
            }
            Some((seq, len))
        }
        false => None,
    };
    let mut fields = Vec::new();
    let mut expected = None;
    while !cursor.is_at_end() {
        if cursor.sign("=") {
            expected = Some(cursor.take_rest().to_owned());
            break;
        }
        fields.push(field(cursor)?);
        cursor.blanks();
    }
    Ok(Sent { from, to, flags, seq, fields, expected })
}

fn flags(cursor: &mut Cursor<'_>) -> Result<Flags, ScriptError> {
    let place = cursor.place();
    let word = cursor.until(&['=']);
    let letters = || word.chars().map(|c| LETTERS.iter().find(|(letter, _)| *letter == c).map(|(_, flag)| *flag));
    let words =
        || word.split([',', '-']).map(|word| FLAG_WORDS.iter().find(|(name, _)| *name == word).map(|(_, flag)| *flag));
    let found = match word {
        "" => None,
        "-" => Some(Flags::empty()),
        _ => words().collect::<Option<Flags>>().or_else(|| letters().collect()),
    };
    found.ok_or_else(|| {
        let help = "flags are letters, S F R P U E W and . for ACK, as in `S.`; or words, as in `SYN,ACK`; or `-`";
        cursor.wrong(place, word.len(), format!("`{word:.40}` are no flags"), help.to_owned())
    })
}

fn field(cursor: &mut Cursor<'_>) -> Result<Field, ScriptError> {
    let place = cursor.place();
    Ok(match cursor.word() {
        "ack" => Field::Ack(cursor.number("acknowledgement number")?),
        "win" => Field::Window(cursor.number("window")?),
        "id" if cursor.rest() == "-" || cursor.rest().starts_with("- ") => {
            cursor.sign("-");
            Field::Id(None)
        }
        "id" => Field::Id(Some(cursor.number("identification")?)),
        "urg" => Field::Urgent(cursor.number("urgent pointer")?),
        "mss" => Field::Mss(cursor.number("segment size")?),
        "ws" => Field::WindowScale(cursor.number("shift")?),
        "sackok" => Field::SackPermitted,
        "ts" => {
            let sent = cursor.number("timestamp")?;
            if !cursor.sign(":") {
                return Err(cursor.unexpected("two timestamps stand with a colon between them, as in ts 7:5"));
            }
            Field::Timestamps(sent, cursor.number("timestamp")?)
        }
        "sack" => {
            let mut blocks = Vec::new();
            loop {
                let left = cursor.number("left edge")?;
                if !cursor.sign("-") {
                    return Err(cursor.unexpected("a block has two edges, as in sack 111-121,131-141"));
                }
                blocks.push((left, cursor.number("right edge")?));
                if blocks.len() > 4 {
                    let help = "a header has room for four".to_owned();
                    return Err(cursor.wrong(place, cursor.place() - place, "too many blocks".to_owned(), help));
                }
                if !cursor.sign(",") {
                    break Field::Sack(blocks);
                }
            }
        }
        "vni" => Field::Vni(cursor.number("network identifier")?),
        "lost" => Field::Lost,
        word => {
            let help = format!("after the flags stand SEQ(OCTETS), {FIELDS}, and `=` with what is expected");
            let what = match word {
                "" => "something unreadable".to_owned(),
                word => format!("`{word:.40}` is nothing that a segment has"),
            };
            return Err(cursor.wrong(place, word.len(), what, help));
        }
    })
}

fn link(cursor: &mut Cursor<'_>) -> Result<What, ScriptError> {
    if cursor.word_is("cut") {
        return Ok(What::Cable(Cable::Cut));
    }
    if cursor.word_is("mend") {
        return Ok(What::Cable(Cable::Mended));
    }
    if cursor.word_is("forge") {
        return forge(cursor);
    }
    if cursor.word_is("repeat") {
        return which(cursor).map(What::Repeat);
    }
    if cursor.word_is("flood") {
        let number = cursor.number("number of SYNs")?;
        cursor.blanks();
        if number == 0 || number > MOST_STRANGERS || !cursor.word_is("SYN") {
            return Err(cursor.unexpected("up to 200 SYNs are made up, as in `link: flood 8 SYN X>S`"));
        }
        let from = actor(cursor)?;
        if !cursor.sign(">") {
            return Err(cursor.unexpected("its direction follows: X>S, with any name for the hosts that do not exist"));
        }
        return Ok(What::Flood { number, from, to: actor(cursor)? });
    }
    deed(cursor)
}

/// What a link forges: `RST C>S exact`, `SYN C>S inside`, `5 octets S>C exact`.
fn forge(cursor: &mut Cursor<'_>) -> Result<What, ScriptError> {
    let what = if cursor.word_is("RST") {
        Forgery::Rst
    } else if cursor.word_is("SYN") {
        Forgery::Syn
    } else if cursor.rest().starts_with(|c: char| c.is_ascii_digit()) {
        let octets = cursor.number("number of octets")?;
        cursor.blanks();
        if !cursor.word_is("octets") {
            return Err(cursor.unexpected("say how many octets, as in `link: forge 5 octets S>C exact`"));
        }
        Forgery::Data(octets)
    } else {
        return Err(cursor.unexpected("a RST, a SYN or octets can be forged, as in `link: forge RST S>C exact`"));
    };
    let from = actor(cursor)?;
    if !cursor.sign(">") {
        return Err(cursor.unexpected("its direction follows, as in C>S"));
    }
    let to = actor(cursor)?;
    let place = Aim::WORDS.iter().find(|(word, _)| *word == cursor.peek()).map(|(_, place)| *place);
    let place = place.ok_or_else(|| {
        cursor.unexpected(
            "its sequence number is `exact` (the next one expected), `inside` the window or `outside` of it",
        )
    })?;
    cursor.word();
    Ok(What::Forge(Forged { from, to, what, place }))
}

fn deed(cursor: &mut Cursor<'_>) -> Result<What, ScriptError> {
    let deed = if cursor.word_is("drop") {
        Deed::Drop
    } else if cursor.word_is("double") {
        Deed::Double
    } else if cursor.word_is("damage") {
        Deed::Damage
    } else if cursor.word_is("delay") {
        let span = cursor.span()?;
        cursor.blanks();
        Deed::Delay(span)
    } else if cursor.word_is("overtake") {
        Deed::Overtake
    } else if cursor.word_is("replay") {
        let span = cursor.span()?;
        cursor.blanks();
        Deed::Replay(span)
    } else if cursor.word_is("mark") {
        Deed::Mark
    } else {
        return Err(cursor.unexpected(
            "the link can drop, double, damage, overtake and mark, delay and replay for a time, forge, flood, repeat, cut and mend, as in `link: drop 2nd data C>S`",
        ));
    };
    Ok(What::Link(deed, which(cursor)?))
}

fn which(cursor: &mut Cursor<'_>) -> Result<Which, ScriptError> {
    let place = cursor.place();
    let nth = match cursor.rest().starts_with(|c: char| c.is_ascii_digit()) {
        true => {
            let nth: u32 = cursor.number("number")?;
            let ending = cursor.word();
            if nth == 0 || !["st", "nd", "rd", "th"].contains(&ending) {
                let help = "the first is the 1st: `1st SYN C>S`, `2nd data C>S`".to_owned();
                return Err(cursor.wrong(place, cursor.place() - place, "no such number".to_owned(), help));
            }
            Some(nth)
        }
        false => None,
    };
    let kind = Kind::WORDS.iter().find(|(word, _)| *word == cursor.peek()).map(|(_, kind)| *kind);
    let kind = kind.ok_or_else(|| {
        let kinds: Vec<_> = Kind::WORDS.iter().map(|(word, _)| *word).collect();
        cursor.unexpected(format!(
            "a segment is named by its kind and direction, as in `2nd data C>S`; kinds are {}",
            kinds.join(", ")
        ))
    })?;
    cursor.word();
    let from = actor(cursor)?;
    if !cursor.sign(">") {
        return Err(cursor.unexpected("its direction follows, as in C>S"));
    }
    Ok(Which { nth, kind, from, to: actor(cursor)? })
}

fn expected(cursor: &mut Cursor<'_>) -> Result<Expected, ScriptError> {
    if cursor.word_is("finding") {
        return name(cursor).map(Expected::Finding);
    }
    if cursor.word_is("ending") {
        return name(cursor).map(Expected::Ending);
    }
    if cursor.word_is("no") {
        if !cursor.word_is("finding") {
            return Err(cursor.unexpected("say which finding there is not, as in `no finding retransmission`"));
        }
        return name(cursor).map(Expected::NoFinding);
    }
    if cursor.word_is("cause") {
        return name(cursor).map(Expected::Cause);
    }
    let or_more = cursor.word_is("at") && cursor.word_is("least");
    if or_more || cursor.rest().starts_with(|c: char| c.is_ascii_digit()) {
        let number = cursor.number("number of segments")?;
        cursor.blanks();
        return Ok(Expected::Count { number, or_more, which: which(cursor)? });
    }
    if Actor::named(cursor.peek()).is_none() {
        return Err(cursor.unexpected(
            "say `ACTOR STATE`, `ACTOR through STATE…`, `ACTOR counted NAME`, `ACTOR window shrank`, `finding NAME`, `no finding NAME`, `cause NAME`, `ending NAME` or `2 SYN C>S`",
        ));
    }
    let actor = actor(cursor)?;
    if cursor.word_is("counted") {
        let name = cursor.peek();
        if name.is_empty() || name.len() > 40 {
            return Err(cursor.unexpected("the name of a counter follows, as nstat has it: TCPLossProbes"));
        }
        return Ok(Expected::Counted(actor, cursor.word().to_owned()));
    }
    if cursor.word_is("window") {
        let trend = Trend::WORDS.iter().find(|(word, _)| *word == cursor.peek()).map(|(_, trend)| *trend);
        let trend = trend.ok_or_else(|| cursor.unexpected("a congestion window `doubled` or `shrank`"))?;
        cursor.word();
        return Ok(Expected::Congestion(actor, trend));
    }
    if cursor.word_is("through") {
        let mut states = vec![state(cursor)?];
        while !cursor.is_at_end() && states.len() < MOST_STATES {
            states.push(state(cursor)?);
        }
        return Ok(Expected::Through(actor, states));
    }
    Ok(Expected::State(actor, if cursor.sign("?") { None } else { Some(state(cursor)?) }))
}

/// A name as findings and endings have.
fn name(cursor: &mut Cursor<'_>) -> Result<String, ScriptError> {
    let name = cursor.peek();
    if name.is_empty() || name.len() > 40 || name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        return Err(cursor.unexpected("a name is of small letters, as in retransmission"));
    }
    Ok(cursor.word().to_owned())
}

fn actor(cursor: &mut Cursor<'_>) -> Result<Actor, ScriptError> {
    let actor = Actor::named(cursor.peek());
    let actor = actor.ok_or_else(|| {
        cursor.unexpected(
            "an actor has a name with a capital, as C, S or C2; or the line begins with link:, kernel: or expect:",
        )
    })?;
    cursor.word();
    Ok(actor)
}

fn state(cursor: &mut Cursor<'_>) -> Result<State, ScriptError> {
    let state = State::ALL.into_iter().find(|state| state.name() == cursor.peek());
    let state = state.ok_or_else(|| {
        let names: Vec<_> = State::ALL.iter().map(|state| state.name()).collect();
        cursor.unexpected(format!("the states are {}", names.join(", ")))
    })?;
    cursor.word();
    Ok(state)
}

fn address(cursor: &mut Cursor<'_>) -> Result<SocketAddr, ScriptError> {
    let place = cursor.place();
    let text = cursor.until(&[')', ',']);
    // A scope is of one machine, and not written in captures.
    let parsed = text.parse::<SocketAddr>().ok().filter(|_| !text.contains('%'));
    parsed.ok_or_else(|| {
        let help = "an address has a port, as in 127.0.0.1:3000 or [::1]:3000".to_owned();
        cursor.wrong(place, text.len(), format!("`{text:.40}` is no address"), help)
    })
}

fn colon(cursor: &mut Cursor<'_>) -> Result<(), ScriptError> {
    match cursor.sign(":") {
        true => Ok(()),
        false => Err(cursor.unexpected(
            "a line is `C: call(…)`, `C > S: FLAGS …`, `C = ADDRESS`, `link: …`, `kernel: …` or `expect: …`",
        )),
    }
}

const MOST_LINES: usize = 10_000;
const MOST_LINKS: usize = 64;
const MOST_STATES: usize = 32;

/// From 203.0.113.1 and 2001:db8::1 on.
const MOST_STRANGERS: u16 = 200;

const CALLS: [&str; 29] = [
    "socket",
    "bind",
    "listen",
    "connect",
    "accept",
    "send",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "write",
    "writev",
    "sendfile",
    "recv",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "read",
    "readv",
    "preadv2",
    "pwritev2",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "dup",
    "fork",
    "close",
    "exit",
    "kill",
    "signal",
];

const FLAG_WORDS: [(&str, Flags); 9] = [
    ("FIN", Flags::FIN),
    ("SYN", Flags::SYN),
    ("RST", Flags::RST),
    ("PSH", Flags::PSH),
    ("ACK", Flags::ACK),
    ("URG", Flags::URG),
    ("ECE", Flags::ECE),
    ("CWR", Flags::CWR),
    ("AE", Flags::AE),
];

const FIELDS: &str = "ack N, win N, id N, urg N, mss N, ws N, sackok, ts N:N, sack N-N, vni N, lost";
