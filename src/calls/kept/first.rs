//! The first version of the format in which calls are kept: names, arguments and errors as text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;

use serde::Deserialize;

use super::super::constants::flags_of;
use super::super::{
    Arg, Call, CallId, Domain, Effect, Errno, How, MessageFlags, Op, OptionName, OptionValue, PollEvents, Polling,
    Process, ProcessId, Protocol, Receiving, Returned, Role, Sending, SocketFlags, SocketId, SocketOption, SocketType,
    SocketUse, Thread, ThreadId, Threads,
};
use super::{COST_OF_EVIDENCE, Damaged, Kept, Room, are_args, cost, is_call, is_preview, is_short, parsed};
use crate::kernel::{Answer, TcpInfo};
use crate::time::Timestamp;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    #[serde(rename = "tcpflow")]
    Header(serde::de::IgnoredAny),
    Call(Box<Written>),
    Evidence(Box<Answer>),
    Notice(String),
}

/// A call as it was written.
#[derive(Deserialize)]
struct Written {
    entered: Timestamp,
    returned: Option<Timestamp>,
    process: Who,
    name: String,
    effect: Effect,
    fd: Option<i32>,
    socket: Option<SocketId>,
    args: Vec<(String, Arg)>,
    result: Option<i64>,
    errno: Option<String>,
    octets: Option<u64>,
    accepted: Option<SocketId>,
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    info: Option<TcpInfo>,
    #[serde(default)]
    preview: Vec<u8>,
}

/// A thread as it was written, with each of its calls.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
struct Who {
    pid: u32,
    tid: u32,
    comm: String,
}

/// Reads the lines after the first.
///
/// # Errors
/// A line is damaged, or claims more than a call can have.
pub(super) fn read<'a>(lines: impl Iterator<Item = (usize, &'a [u8])>, room: &mut Room) -> Result<Kept, Damaged> {
    let mut kept = Kept::default();
    let mut known = Known::default();
    for (number, line) in lines {
        match parsed(number, line)? {
            Line::Call(call) => {
                call.claims().map_err(|what| Damaged(format!("line {number} {what}")))?;
                let is_new = !known.threads.contains_key(&call.process);
                let described = 2 * (size_of::<Process>() + size_of::<Thread>() + 2 * call.process.comm.len());
                if is_new && !room.take_told(described) {
                    continue;
                }
                let id = next_call(&mut kept.threads, &mut known, &call.process);
                let call = call.typed(id);
                if room.take_told(cost(&call)) {
                    kept.calls.push(call);
                }
            }
            Line::Evidence(evidence) => kept.evidence.extend(room.take_told(COST_OF_EVIDENCE).then_some(*evidence)),
            Line::Notice(notice) => kept.notice(notice, room),
            Line::Header(_) => {}
        }
    }
    Ok(kept)
}

/// Who made calls so far.
#[derive(Default)]
struct Known {
    /// Each thread, with the number of its last call.
    threads: HashMap<Who, (ThreadId, u64)>,
    /// Each process by its pid: a file may name as many as it has calls, so none is searched for.
    processes: HashMap<u32, ProcessId>,
}

/// The id of the next call of `who`.
fn next_call(threads: &mut Threads, known: &mut Known, who: &Who) -> CallId {
    if let Some((thread, n)) = known.threads.get_mut(who) {
        *n += 1;
        return CallId { thread: *thread, n: *n };
    }
    let new = || threads.add_process(Process { pid: who.pid, comm: who.comm.clone() });
    let process = *known.processes.entry(who.pid).or_insert_with(new);
    let thread = threads.add(Thread { process, tid: who.tid, comm: who.comm.clone() });
    known.threads.insert(who.clone(), (thread, 0));
    CallId { thread, n: 0 }
}

impl Written {
    /// What is wrong with what it claims, if anything is.
    fn claims(&self) -> Result<(), String> {
        is_call(&self.name)?;
        if self.errno.as_deref().is_some_and(|errno| Errno::named(errno).is_none()) {
            return Err("has something else than the name of an error".to_owned());
        }
        are_args(self.args.iter().map(|(name, arg)| (&**name, arg)))?;
        is_short(&self.process.comm)?;
        is_preview(&self.preview)
    }

    fn typed(self, id: CallId) -> Call {
        let op = self.op();
        let mut sockets = Vec::new();
        let role = match self.effect {
            Effect::Open => Role::Made,
            Effect::Close | Effect::Exit => Role::Released,
            _ => self.polled().unwrap_or(Role::On),
        };
        if self.fd.is_some() || self.socket.is_some() || self.local.is_some() || self.peer.is_some() {
            sockets.push(SocketUse { socket: self.socket, fd: self.fd, role, local: None, peer: None, info: None });
        }
        if let Some(accepted) = self.accepted {
            let fd = self.result.and_then(|fd| i32::try_from(fd).ok());
            let made = SocketUse { fd, ..SocketUse::of(accepted, 0, Role::Made) };
            sockets.push(made);
        }
        if let Some(last) = sockets.last_mut() {
            (last.local, last.peer, last.info) = (self.local, self.peer, self.info);
        }
        let errno = self.errno.as_deref().and_then(Errno::named);
        let moved = self.octets.and_then(|octets| i64::try_from(octets).ok());
        let result = errno.map_or(Ok(self.result.or(moved).unwrap_or(0)), Err);
        let returned = self.returned.map(|at| Returned { at, result, octets: self.octets, preview: self.preview });
        Call { id, entered: self.entered, op, sockets, returned, stack: Default::default() }
    }

    /// What was waited for and found, of a poll.
    fn polled(&self) -> Option<Role> {
        let events = |name| self.text(name).and_then(flags_of::<PollEvents>);
        Polling::named(&self.name)?;
        Some(Role::Polled { events: events("events")?, revents: events("revents") })
    }

    /// The call with its arguments; what they do not fit stays as it was written.
    fn op(&self) -> Op {
        self.known().unwrap_or_else(|| Op::Other {
            name: Cow::Owned(self.name.clone()),
            args: self.args.iter().map(|(name, arg)| (Cow::Owned(name.clone()), arg.clone())).collect(),
        })
    }

    fn known(&self) -> Option<Op> {
        let address = || self.text("addr").and_then(|text| text.parse::<SocketAddr>().ok());
        Some(match self.effect {
            Effect::Open => Op::Socket {
                domain: match self.text("domain")? {
                    "AF_INET" => Domain::AF_INET,
                    "AF_INET6" => Domain::AF_INET6,
                    _ => return None,
                },
                r#type: SocketType::SOCK_STREAM,
                flags: SocketFlags::empty(),
                protocol: Protocol::IPPROTO_IP,
            },
            Effect::Option => Op::SetOption {
                option: OptionName::Socket(
                    self.text("optname").filter(|name| *name == "SO_REUSEADDR").map(|_| SocketOption::SO_REUSEADDR)?,
                ),
                value: OptionValue::Int(1),
            },
            Effect::LingerZero => Op::SetOption {
                option: OptionName::Socket(SocketOption::SO_LINGER),
                value: OptionValue::Linger { on: true, seconds: 0 },
            },
            Effect::Bind => Op::Bind { address: address() },
            Effect::Listen => Op::Listen { backlog: self.int("backlog").and_then(|n| n.try_into().ok())? },
            Effect::Connect => Op::Connect { address: address().or(self.peer) },
            Effect::Accept => Op::Accept { flags: None, room: None },
            Effect::Send => Op::Send { by: Sending::named(&self.name)?, len: Some(self.len()?), flags: self.flags()? },
            Effect::Receive => {
                Op::Receive { by: Receiving::named(&self.name)?, len: Some(self.len()?), flags: self.flags()? }
            }
            Effect::ShutdownWrite => Op::Shutdown { how: How::SHUT_WR },
            Effect::ShutdownRead => Op::Shutdown { how: How::SHUT_RD },
            Effect::Close | Effect::CloseCopy => Op::Close,
            Effect::Exit => Op::Exit,
            // Files of that form are older than joining.
            Effect::Found => return None,
            Effect::Other => Op::Poll { by: Polling::named(&self.name)?, timeout: self.int("timeout")? },
        })
    }

    /// How many octets a send or receive was asked for; what it moved, where a line of little says no more.
    fn len(&self) -> Option<u64> {
        match self.arg("len") {
            Some(_) => self.int("len").and_then(|len| len.try_into().ok()),
            None => self.octets.filter(|_| self.args.is_empty()),
        }
    }

    fn flags(&self) -> Option<MessageFlags> {
        let Some(flags) = self.arg("flags") else {
            return self.args.is_empty().then_some(MessageFlags::empty());
        };
        match flags {
            Arg::Int(bits) => i32::try_from(*bits).ok().map(MessageFlags::from_bits_retain),
            Arg::Text(names) => flags_of(names),
        }
    }

    fn int(&self, name: &str) -> Option<i64> {
        match self.arg(name)? {
            Arg::Int(number) => Some(*number),
            Arg::Text(_) => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.arg(name)? {
            Arg::Text(text) => Some(text),
            Arg::Int(_) => None,
        }
    }

    fn arg(&self, name: &str) -> Option<&Arg> {
        self.args.iter().find(|(known, _)| known == name).map(|(_, arg)| arg)
    }
}

pub(super) const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, effect: &str, args: &str, rest: &str) -> Call {
        let line = format!(
            r#"{{"call":{{"entered":"1.000000000","returned":"2.000000000","process":{{"pid":7,"tid":8,"comm":"a"}},
            "name":"{name}","effect":"{effect}","fd":3,"socket":9,"args":{args},"result":0,"errno":null,"octets":null,
            "accepted":null,"local":null,"peer":"127.0.0.1:5","info":null{rest}}}}}"#
        );
        read([(2, line.replace('\n', " ").as_bytes())].into_iter(), &mut Room::default())
            .expect("readable")
            .calls
            .remove(0)
    }

    fn shown(call: &Call) -> String {
        let args: Vec<_> = call
            .args()
            .into_iter()
            .map(|(name, arg)| match arg {
                Arg::Int(number) => format!("{name} {number}"),
                Arg::Text(text) => format!("{name} {text:?}"),
            })
            .collect();
        format!("{}({})", call.name(), args.join(", "))
    }

    #[test]
    fn every_call_that_was_ever_written_is_shown_as_it_was() {
        for (name, effect, args, expected) in [
            (
                "socket",
                "open",
                r#"[["domain","AF_INET6"],["type","SOCK_STREAM"],["protocol","IPPROTO_IP"]]"#,
                r#"socket(domain "AF_INET6", type "SOCK_STREAM", protocol "IPPROTO_IP")"#,
            ),
            (
                "setsockopt",
                "option",
                r#"[["level","SOL_SOCKET"],["optname","SO_REUSEADDR"],["optval","[1]"],["optlen",4]]"#,
                r#"setsockopt(level "SOL_SOCKET", optname "SO_REUSEADDR", optval "[1]", optlen 4)"#,
            ),
            ("bind", "bind", r#"[["addr","[::1]:3000"],["addrlen",28]]"#, r#"bind(addr "[::1]:3000", addrlen 28)"#),
            ("listen", "listen", r#"[["backlog",4096]]"#, "listen(backlog 4096)"),
            (
                "connect",
                "connect",
                r#"[["addr","127.0.0.1:5"],["addrlen",16]]"#,
                r#"connect(addr "127.0.0.1:5", addrlen 16)"#,
            ),
            ("send", "send", r#"[["len",10],["flags","MSG_NOSIGNAL"]]"#, r#"send(len 10, flags "MSG_NOSIGNAL")"#),
            ("recv", "receive", r#"[["len",16384],["flags",0]]"#, "recv(len 16384, flags 0)"),
            (
                "poll",
                "other",
                r#"[["events","POLLIN|POLLOUT"],["timeout",-1],["revents","POLLIN"]]"#,
                r#"poll(events "POLLIN|POLLOUT", timeout -1, revents "POLLIN")"#,
            ),
            ("close", "close", "[]", "close()"),
            // Of a stranger.
            ("send", "send", r#"[["flags","MSG_\u001b"]]"#, r#"send(flags "MSG_\u{1b}")"#),
            ("ioctl", "other", r#"[["n",-1]]"#, "ioctl(n -1)"),
        ] {
            assert_eq!(shown(&call(name, effect, args, "")), expected);
        }
        let accept = call("accept", "accept", r#"[["addr","127.0.0.1:5"],["addrlen","[16]"]]"#, "").sockets.len();
        assert_eq!(accept, 1, "nothing was accepted");
    }

    #[test]
    fn errors_are_known_by_name_and_threads_are_kept_once() {
        let line = |tid, errno: &str| {
            format!(
                r#"{{"call":{{"entered":"1.000000000","returned":"2.000000000","process":{{"pid":7,"tid":{tid},"comm":"a"}},"name":"close","effect":"close","fd":3,"socket":9,"args":[],"result":-1,"errno":{errno},"octets":null,"accepted":null,"local":null,"peer":null,"info":null}}}}"#
            )
        };
        let lines = [line(8, "\"EPIPE\""), line(9, "null"), line(8, "\"E2BIG\"")];
        let kept = read((2..).zip(lines.iter().map(String::as_bytes)), &mut Room::default()).expect("readable");
        assert_eq!(kept.calls[0].errno(), Some(Errno::EPIPE));
        let ids: Vec<_> = kept.calls.iter().map(|call| (call.thread().0, call.id.n)).collect();
        assert_eq!(ids, [(0, 0), (1, 0), (0, 1)]);
        assert_eq!((kept.threads.processes().len(), kept.threads.threads().len()), (1, 2));
    }
}
