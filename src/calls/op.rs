//! `Op`: which call it was, with its arguments as types; and how they are shown.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    Call, Domain, How, IpOption, Ipv6Option, Level, MessageFlags, PollEvents, Protocol, Role, SocketFlags,
    SocketOption, SocketType, TcpOption,
};

/// A call and its arguments, without the descriptors, which are in [`Call::sockets`].
///
/// An address is `None` where it is no internet address, or could not be read.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// `socket`.
    Socket {
        /// The family.
        domain: Domain,
        /// Stream or datagrams.
        r#type: SocketType,
        /// What stands beside the type.
        flags: SocketFlags,
        /// The protocol.
        protocol: Protocol,
    },
    /// `bind`.
    Bind {
        /// The address that is asked for.
        address: Option<SocketAddr>,
    },
    /// `listen`.
    Listen {
        /// How many finished handshakes may wait for accept.
        backlog: i32,
    },
    /// `connect`.
    Connect {
        /// The peer that is asked for.
        address: Option<SocketAddr>,
    },
    /// `accept`, and `accept4` where it has flags.
    Accept {
        /// The flags of `accept4`.
        flags: Option<SocketFlags>,
        /// How many octets of room for the peer's address it was told of; `None` where it does not ask for that, or it was not read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<i32>,
    },
    /// `send` and its kin.
    Send {
        /// Which of them.
        by: Sending,
        /// How many octets it offers; `None` where that could not be read.
        len: Option<u64>,
        /// Its flags, where it has such an argument.
        flags: MessageFlags,
    },
    /// `recv` and its kin.
    Receive {
        /// Which of them.
        by: Receiving,
        /// How many octets it has room for; `None` where that could not be read.
        len: Option<u64>,
        /// Its flags, where it has such an argument.
        flags: MessageFlags,
    },
    /// `shutdown`.
    Shutdown {
        /// Which directions.
        how: How,
    },
    /// `close`; whether it was the last descriptor is told by the socket's [`Role`].
    Close,
    /// `close_range`.
    CloseRange {
        /// The first descriptor.
        first: u32,
        /// The last one.
        last: u32,
    },
    /// `dup` and its kin; the new descriptor is the result.
    Duplicate {
        /// Which of them.
        by: Duplicating,
    },
    /// `setsockopt`.
    SetOption {
        /// Which option.
        option: OptionName,
        /// What it is set to.
        value: OptionValue,
    },
    /// `getsockopt`.
    GetOption {
        /// Which option.
        option: OptionName,
        /// What it was; as it was before the call returned, [`OptionValue::Unread`].
        value: OptionValue,
    },
    /// `getsockname` or `getpeername`.
    Address {
        /// Which of them.
        by: Naming,
        /// How many octets of room for the address it was told of; `None` where that was not read.
        room: Option<i32>,
    },
    /// `poll` and its kin; what is waited for at which socket is in its [`Role`].
    Poll {
        /// Which of them.
        by: Polling,
        /// Milliseconds; negative waits without end.
        timeout: i64,
    },
    /// No call: a descriptor that the process had when it was joined. What its socket did before is not known.
    Found {
        /// How many octets had come that nobody had read; `None` where that could not be asked, as for a socket that listens.
        unread: Option<u32>,
    },
    /// `execve`, which closes the descriptors that are marked so (FD_CLOEXEC).
    Execute,
    /// The end of a process, which closes its descriptors without a call.
    Exit,
    /// Another call that is worth a line.
    Other {
        /// Its name.
        name: Cow<'static, str>,
        /// Its arguments by name.
        args: Vec<(Cow<'static, str>, Arg)>,
    },
}

/// An argument as it is shown.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Arg {
    /// A number.
    Int(i64),
    /// Symbolic constants such as `SOCK_STREAM`, an address with its port, or any other text.
    Text(Cow<'static, str>),
}

impl Arg {
    /// Its text; `None` for a number.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Int(_) => None,
        }
    }
}

/// An option, by the level it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionName {
    /// Of SOL_SOCKET.
    Socket(SocketOption),
    /// Of SOL_TCP.
    Tcp(TcpOption),
    /// Of another level, by number.
    Other(Level, i32),
}

/// What an option is set to.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionValue {
    /// A number.
    Int(i32),
    /// SO_LINGER's.
    Linger {
        /// Whether close lingers.
        on: bool,
        /// For how long.
        seconds: i32,
    },
    /// A word, as TCP_CONGESTION's, or a key.
    Word(String),
    /// TCP_INFO's, what is worth showing of it.
    Info {
        /// `tcpi_snd_cwnd`: the congestion window, segments.
        cwnd: u32,
        /// `tcpi_snd_ssthresh`: where slow start ends, segments; `None` as long as nothing was lost.
        ssthresh: Option<u32>,
        /// `tcpi_unacked`: segments under way.
        unacked: u32,
        /// `tcpi_rtt`: the smoothed round trip, microseconds.
        rtt_us: u32,
    },
    /// Something else, of so many octets.
    Opaque(u32),
    /// Not read.
    Unread,
}

/// Makes an enum of calls that do the same, each with its name.
macro_rules! kin {
    ($(#[$doc:meta])* $type:ident { $($variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $type {
            $(#[doc = concat!("`", $name, "`.")] $variant,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name of the system call.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The one of that name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|call| call.name() == name)
            }
        }
    };
}

kin! {
    /// The calls that write octets to a stream.
    Sending {
        Send = "send",
        SendTo = "sendto",
        SendMsg = "sendmsg",
        SendMmsg = "sendmmsg",
        Write = "write",
        WriteV = "writev",
        PWriteV2 = "pwritev2",
        SendFile = "sendfile",
        Splice = "splice",
    }
}

kin! {
    /// The calls that read octets from a stream.
    Receiving {
        Recv = "recv",
        RecvFrom = "recvfrom",
        RecvMsg = "recvmsg",
        RecvMmsg = "recvmmsg",
        Read = "read",
        ReadV = "readv",
        PReadV2 = "preadv2",
        Splice = "splice",
    }
}

kin! {
    /// The calls that make another descriptor of a socket.
    Duplicating {
        Dup = "dup",
        Dup2 = "dup2",
        Dup3 = "dup3",
        Fcntl = "fcntl",
    }
}

kin! {
    /// The calls that ask for the address of an end.
    Naming {
        SockName = "getsockname",
        PeerName = "getpeername",
    }
}

kin! {
    /// The calls that wait for several descriptors.
    Polling {
        Poll = "poll",
        Ppoll = "ppoll",
        Select = "select",
        Pselect = "pselect6",
        EpollWait = "epoll_wait",
        EpollPwait = "epoll_pwait",
        EpollPwait2 = "epoll_pwait2",
    }
}

impl Sending {
    /// Whether it takes flags of messages: those of splice are others, with the same numbers.
    const fn has_flags(self) -> bool {
        matches!(self, Self::Send | Self::SendTo | Self::SendMsg | Self::SendMmsg)
    }
}

impl Receiving {
    /// Whether it takes flags of messages: those of splice are others, with the same numbers.
    const fn has_flags(self) -> bool {
        matches!(self, Self::Recv | Self::RecvFrom | Self::RecvMsg | Self::RecvMmsg)
    }
}

impl Op {
    /// Whether it sets SO_REUSEADDR, or takes it away; `None` where it does something else.
    pub(crate) fn sets_reuse(&self) -> Option<bool> {
        self.switches(SocketOption::SO_REUSEADDR)
    }

    /// Whether it has urgent octets stay in the stream (SO_OOBINLINE), or not any more; `None` where it does something else.
    pub(crate) fn sets_inline(&self) -> Option<bool> {
        self.switches(SocketOption::SO_OOBINLINE)
    }

    /// Whether it switches that option on or off.
    fn switches(&self, wanted: SocketOption) -> Option<bool> {
        match self {
            Self::SetOption { option: OptionName::Socket(option), value: OptionValue::Int(on) }
                if *option == wanted =>
            {
                Some(*on != 0)
            }
            _ => None,
        }
    }

    /// Whether it sets SO_LINGER to a time of zero, or to something else; `None` where it sets another option, or none.
    pub(crate) fn sets_linger_to_zero(&self) -> Option<bool> {
        match self {
            Self::SetOption { value: OptionValue::Linger { on, seconds }, .. } => Some(*on && *seconds == 0),
            _ => None,
        }
    }

    /// The name of the system call; `exit` for a process's end.
    pub fn name(&self) -> &str {
        match self {
            Self::Socket { .. } => "socket",
            Self::Bind { .. } => "bind",
            Self::Listen { .. } => "listen",
            Self::Connect { .. } => "connect",
            Self::Accept { flags: None, .. } => "accept",
            Self::Accept { flags: Some(_), .. } => "accept4",
            Self::Send { by, .. } => by.name(),
            Self::Receive { by, .. } => by.name(),
            Self::Shutdown { .. } => "shutdown",
            Self::Close => "close",
            Self::CloseRange { .. } => "close_range",
            Self::Duplicate { by } => by.name(),
            Self::SetOption { .. } => "setsockopt",
            Self::GetOption { .. } => "getsockopt",
            Self::Address { by, .. } => by.name(),
            Self::Poll { by, .. } => by.name(),
            Self::Found { .. } => "found",
            Self::Execute => "execve",
            Self::Exit => "exit",
            Self::Other { name, .. } => name,
        }
    }
}

impl OptionName {
    /// Its level.
    pub const fn level(self) -> Level {
        match self {
            Self::Socket(_) => Level::SOL_SOCKET,
            Self::Tcp(_) => Level::SOL_TCP,
            Self::Other(level, _) => level,
        }
    }

    /// The numbers of the level and of the option.
    pub(super) const fn numbers(self) -> (i32, i32) {
        match self {
            Self::Socket(option) => (libc::SOL_SOCKET, option.0),
            Self::Tcp(option) => (libc::IPPROTO_TCP, option.0),
            Self::Other(level, option) => (level.0, option),
        }
    }

    /// Whether its value is a time (struct timeval).
    pub(super) fn is_time(self) -> bool {
        matches!(self, Self::Socket(SocketOption::SO_RCVTIMEO | SocketOption::SO_SNDTIMEO))
    }

    /// Whether its value is a word, or a key that is written as one.
    pub fn is_word(self) -> bool {
        matches!(self, Self::Tcp(TcpOption::TCP_CONGESTION | TcpOption::TCP_MD5SIG | TcpOption::TCP_AO_ADD_KEY))
    }

    fn shown(self) -> Arg {
        match self {
            Self::Socket(option) => constant(option.name(), option.0),
            Self::Tcp(option) => constant(option.name(), option.0),
            Self::Other(Level::SOL_IP, option) => constant(IpOption(option).name(), option),
            Self::Other(Level::SOL_IPV6, option) => constant(Ipv6Option(option).name(), option),
            Self::Other(_, option) => Arg::Int(option.into()),
        }
    }
}

impl OptionValue {
    /// The value, and how many octets it takes.
    fn shown(&self) -> (Arg, Option<u32>) {
        match self {
            Self::Int(value) => (text(format!("[{value}]")), Some(4)),
            Self::Linger { on, seconds } => {
                (text(format!("{{l_onoff={}, l_linger={seconds}}}", i32::from(*on))), Some(8))
            }
            Self::Word(word) => (text(format!("\"{word}\"")), Some(word.len() as u32)),
            Self::Info { cwnd, ssthresh, unacked, rtt_us } => {
                let ssthresh = ssthresh.map_or(String::new(), |ssthresh| format!(", tcpi_snd_ssthresh={ssthresh}"));
                let info = format!("{{tcpi_snd_cwnd={cwnd}{ssthresh}, tcpi_unacked={unacked}, tcpi_rtt={rtt_us}}}");
                (text(info), None)
            }
            Self::Opaque(len) => (text("[...]"), Some(*len)),
            Self::Unread => (text("?"), None),
        }
    }
}

/// A constant by its name, or a number.
fn constant(name: Option<&'static str>, number: i32) -> Arg {
    name.map_or(Arg::Int(number.into()), |name| Arg::Text(name.into()))
}

fn text(text: impl Into<Cow<'static, str>>) -> Arg {
    Arg::Text(text.into())
}

/// The address and its length, as the kernel counts it (struct sockaddr_in, sockaddr_in6).
fn address(address: Option<SocketAddr>) -> (Arg, Option<i64>) {
    match address {
        Some(address) => (text(address.to_string()), Some(if address.is_ipv4() { 16 } else { 28 })),
        None => (text("?"), None),
    }
}

impl Call {
    /// The arguments worth showing, by name, in order, without the descriptor; what the call wrote into them is there once it returned.
    pub fn args(&self) -> Vec<(Cow<'_, str>, Arg)> {
        let args: Vec<(&str, Arg)> = match &self.op {
            Op::Socket { domain, r#type, flags, protocol } => {
                let kind = match (r#type.name(), flags.is_empty()) {
                    (Some(name), true) => text(name),
                    (Some(name), false) => text(format!("{name}|{flags}")),
                    (None, _) => Arg::Int((r#type.0 | flags.bits()).into()),
                };
                vec![
                    ("domain", constant(domain.name(), domain.0)),
                    ("type", kind),
                    ("protocol", constant(protocol.name(), protocol.0)),
                ]
            }
            Op::Bind { address: asked } | Op::Connect { address: asked } => {
                let (shown, len) = address(*asked);
                let len = len.map(|len| ("addrlen", Arg::Int(len)));
                [("addr", shown)].into_iter().chain(len).collect()
            }
            Op::Listen { backlog } => vec![("backlog", Arg::Int((*backlog).into()))],
            Op::Accept { flags, room } => {
                let mut args = Vec::new();
                if let Some(accepted) = self.sockets.iter().find(|used| used.role == Role::Made)
                    && accepted.peer.is_some()
                {
                    let (shown, len) = address(accepted.peer);
                    args.push(("addr", shown));
                    args.extend(len.map(|len| ("addrlen", addrlen(*room, Some(len)))));
                }
                args.extend(flags.map(|flags| ("flags", flags_or_0(flags.bits(), &flags))));
                args
            }
            Op::Send { by, len, flags } => octets(*len, *flags, by.has_flags()),
            Op::Receive { by, len, flags } => octets(*len, *flags, by.has_flags()),
            Op::Shutdown { how } => vec![("how", constant(how.name(), how.0))],
            Op::Close | Op::Duplicate { .. } | Op::Execute | Op::Exit => Vec::new(),
            Op::Found { unread } => {
                let ends = [("local", self.local()), ("peer", self.peer())];
                let ends = ends.into_iter().filter_map(|(name, end)| Some((name, text(end?.to_string()))));
                ends.chain(unread.map(|unread| ("unread", Arg::Int(unread.into())))).collect()
            }
            Op::CloseRange { first, last } => {
                vec![("first", Arg::Int((*first).into())), ("last", Arg::Int((*last).into()))]
            }
            Op::SetOption { option, value } | Op::GetOption { option, value } => {
                let level = option.level();
                let (shown, len) = value.shown();
                let mut args =
                    vec![("level", constant(level.name(), level.0)), ("optname", option.shown()), ("optval", shown)];
                args.extend(len.map(|len| ("optlen", Arg::Int(len.into()))));
                args
            }
            Op::Address { by, room } => {
                let end = if *by == Naming::SockName { self.local() } else { self.peer() };
                let (shown, len) = address(end.filter(|_| self.errno().is_none()));
                vec![("addr", shown), ("addrlen", addrlen(*room, len))]
            }
            Op::Poll { timeout, .. } => {
                let polled = self.sockets.iter().filter_map(|used| match used.role {
                    Role::Polled { events, revents } => Some((used.fd, events, revents)),
                    _ => None,
                });
                let polled: Vec<_> = polled.collect();
                let is_one = polled.len() == 1;
                let shown = |fd: Option<i32>, events: PollEvents| match fd {
                    Some(fd) if !is_one => format!("{fd} {events}"),
                    _ => events.to_string(),
                };
                let before: Vec<String> = polled.iter().map(|(fd, events, _)| shown(*fd, *events)).collect();
                // Of several only those are named that were found ready.
                let found = polled.iter().filter_map(|(fd, _, found)| Some((*fd, (*found)?)));
                let found: Vec<_> = found.collect();
                let after: Vec<String> = found
                    .iter()
                    .filter(|(_, found)| is_one || !found.is_empty())
                    .map(|(fd, found)| shown(*fd, *found))
                    .collect();
                let after = (!found.is_empty()).then(|| {
                    ("revents", text(if after.is_empty() { PollEvents::empty().to_string() } else { after.join(", ") }))
                });
                let waited = [("events", text(before.join(", "))), ("timeout", Arg::Int(*timeout))];
                waited.into_iter().chain(after).collect()
            }
            Op::Other { args, .. } => {
                return args.iter().map(|(name, arg)| (Cow::Borrowed(&**name), arg.clone())).collect();
            }
        };
        args.into_iter().map(|(name, arg)| (Cow::Borrowed(name), arg)).collect()
    }
}

/// The length of an address: what the call was told, and what it answered where that is something else.
fn addrlen(room: Option<i32>, len: Option<i64>) -> Arg {
    match (room.map(i64::from), len) {
        (Some(room), Some(len)) if room != len => text(format!("[{room} => {len}]")),
        (_, Some(len)) | (Some(len), None) => text(format!("[{len}]")),
        (None, None) => text("?"),
    }
}

fn octets(len: Option<u64>, flags: MessageFlags, has_flags: bool) -> Vec<(&'static str, Arg)> {
    let len = ("len", len.map_or(text("?"), |len| Arg::Int(i64::try_from(len).unwrap_or(i64::MAX))));
    let flags = has_flags.then(|| ("flags", flags_or_0(flags.bits(), &flags)));
    [len].into_iter().chain(flags).collect()
}

fn flags_or_0(bits: i32, flags: &dyn std::fmt::Display) -> Arg {
    if bits == 0 { Arg::Int(0) } else { text(flags.to_string()) }
}
