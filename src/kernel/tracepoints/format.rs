//! What a tracepoint's record holds, by the `format` file that the kernel has of it: no offset or number is taken for granted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::kernel::{Congestion, KernelAct, KernelSocket, ResetReason};
use crate::tcp::State;

/// The tracepoints that are read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Tracepoint {
    /// `sock:inet_sock_set_state`.
    State,
    /// `tcp:tcp_send_reset`.
    SendReset,
    /// `tcp:tcp_receive_reset`.
    ReceiveReset,
    /// `tcp:tcp_retransmit_skb`.
    Retransmit,
    /// `tcp:tcp_retransmit_synack`.
    RetransmitSynAck,
    /// `tcp:tcp_cong_state_set`.
    Congestion,
}

impl Tracepoint {
    pub(super) const ALL: [Self; 6] =
        [Self::State, Self::SendReset, Self::ReceiveReset, Self::Retransmit, Self::RetransmitSynAck, Self::Congestion];

    /// Its folder below `events/`.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::State => "sock/inet_sock_set_state",
            Self::SendReset => "tcp/tcp_send_reset",
            Self::ReceiveReset => "tcp/tcp_receive_reset",
            Self::Retransmit => "tcp/tcp_retransmit_skb",
            Self::RetransmitSynAck => "tcp/tcp_retransmit_synack",
            Self::Congestion => "tcp/tcp_cong_state_set",
        }
    }
}

/// A tracepoint of this kernel: its number, and where its fields lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Format {
    pub(super) id: u64,
    tracepoint: Tracepoint,
    /// By [`Name`].
    fields: [Option<Field>; Name::ALL.len()],
    /// The names of the reset reasons by their numbers, which differ between kernels.
    reasons: HashMap<u64, String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Field {
    offset: usize,
    size: usize,
}

/// The fields that are read. A host changes states very often: none of its records has a field looked up by its letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Socket,
    OldState,
    NewState,
    State,
    CongestionState,
    Reason,
    Protocol,
    Family,
    SourcePort,
    DestinationPort,
    Source,
    Destination,
    SourceV6,
    DestinationV6,
}

impl Name {
    /// Each with what the kernel calls it, in order.
    const ALL: [(Self, &'static str); 14] = [
        (Self::Socket, "skaddr"),
        (Self::OldState, "oldstate"),
        (Self::NewState, "newstate"),
        (Self::State, "state"),
        (Self::CongestionState, "cong_state"),
        (Self::Reason, "reason"),
        (Self::Protocol, "protocol"),
        (Self::Family, "family"),
        (Self::SourcePort, "sport"),
        (Self::DestinationPort, "dport"),
        (Self::Source, "saddr"),
        (Self::Destination, "daddr"),
        (Self::SourceV6, "saddr_v6"),
        (Self::DestinationV6, "daddr_v6"),
    ];
}

/// Where an end lies: its address, that where it is an IPv6 one, and its port.
type EndFields = [Name; 3];

/// What one record says, before its time is put on the wall clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The socket's own end.
    pub local: SocketAddr,
    /// Its peer.
    pub peer: SocketAddr,
    /// The socket, where the kernel names it.
    pub socket: Option<KernelSocket>,
    /// What happened.
    pub what: KernelAct,
}

impl Format {
    /// Reads a `format` file; `None` where it has no number, or lacks a field without which its records say nothing.
    pub(super) fn parse(tracepoint: Tracepoint, text: &str) -> Option<Self> {
        let id = text.lines().find_map(|line| line.strip_prefix("ID:"))?.trim().parse().ok()?;
        let mut fields = [None; Name::ALL.len()];
        for (name, field) in text.lines().filter_map(field) {
            if let Some((known, _)) = Name::ALL.iter().find(|(_, called)| *called == name) {
                fields[*known as usize] = Some(field);
            }
        }
        let reasons = match tracepoint {
            Tracepoint::SendReset => names(text, "REC->reason"),
            _ => HashMap::new(),
        };
        let format = Self { id, tracepoint, fields, reasons };
        let ports: &[Name] = match tracepoint {
            // Its addresses have their ports with them.
            Tracepoint::SendReset => &[],
            _ => &[Name::SourcePort, Name::DestinationPort],
        };
        let own: &[Name] = match tracepoint {
            Tracepoint::State => &[Name::OldState, Name::NewState, Name::Family, Name::Protocol],
            Tracepoint::SendReset | Tracepoint::ReceiveReset | Tracepoint::RetransmitSynAck => &[],
            Tracepoint::Retransmit => &[Name::State],
            Tracepoint::Congestion => &[Name::CongestionState],
        };
        let needs = [Name::Source, Name::Destination].iter().chain(ports).chain(own);
        needs.copied().all(|name| format.fields[name as usize].is_some()).then_some(format)
    }

    /// Reads a record; `None` where it is of another protocol, or shorter than the format says.
    pub(super) fn read(&self, raw: &[u8]) -> Option<Said> {
        let what = match self.tracepoint {
            Tracepoint::State => {
                if self.number(raw, Name::Protocol)? != libc::IPPROTO_TCP as u64 {
                    return None;
                }
                KernelAct::State { from: self.state(raw, Name::OldState)?, to: self.state(raw, Name::NewState)? }
            }
            Tracepoint::SendReset => {
                let reason = self.number(raw, Name::Reason).map(|number| self.reason(number));
                KernelAct::ResetSent { reason }
            }
            Tracepoint::ReceiveReset => KernelAct::ResetReceived,
            Tracepoint::Retransmit => KernelAct::Retransmit { state: self.state(raw, Name::State)? },
            // A request that is not yet a socket: the end is in SYN-RECEIVED.
            Tracepoint::RetransmitSynAck => KernelAct::Retransmit { state: State::SynReceived },
            Tracepoint::Congestion => {
                let to = Congestion::from_linux(u8::try_from(self.number(raw, Name::CongestionState)?).ok()?)?;
                KernelAct::Congestion { to }
            }
        };
        let (local, peer) = (self.end(raw, LOCAL)?, self.end(raw, PEER)?);
        let socket = self.number(raw, Name::Socket).filter(|address| *address != 0).map(KernelSocket);
        Some(Said { local, peer, socket, what })
    }

    fn bytes<'a>(&self, raw: &'a [u8], name: Name) -> Option<&'a [u8]> {
        let Field { offset, size } = self.fields[name as usize]?;
        raw.get(offset..offset.checked_add(size)?)
    }

    fn number(&self, raw: &[u8], name: Name) -> Option<u64> {
        let bytes = self.bytes(raw, name)?;
        Some(match bytes.len() {
            1 => bytes[0].into(),
            2 => u16::from_ne_bytes(bytes.try_into().ok()?).into(),
            4 => u32::from_ne_bytes(bytes.try_into().ok()?).into(),
            8 => u64::from_ne_bytes(bytes.try_into().ok()?),
            _ => return None,
        })
    }

    fn state(&self, raw: &[u8], name: Name) -> Option<State> {
        State::from_linux(u8::try_from(self.number(raw, name)?).ok()?)
    }

    fn reason(&self, number: u64) -> ResetReason {
        match self.reasons.get(&number) {
            Some(name) => ResetReason::named(name),
            None => ResetReason::Other(number.to_string()),
        }
    }

    fn end(&self, raw: &[u8], [address, six, port]: EndFields) -> Option<SocketAddr> {
        let address = self.bytes(raw, address)?;
        if address.len() >= SOCKADDR {
            return sockaddr(address);
        }
        let port = u16::try_from(self.number(raw, port)?).ok()?;
        let six = self.bytes(raw, six).and_then(|six| <[u8; 16]>::try_from(six).ok());
        // An older kernel's record has no family: an IPv4 address stands in the IPv6 one as a mapped one.
        let is_six = self.number(raw, Name::Family).map(|family| family == libc::AF_INET6 as u64);
        let ip = match (six, is_six) {
            (Some(six), Some(true) | None) => IpAddr::from(Ipv6Addr::from(six)).to_canonical(),
            _ => Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).into(),
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// A `struct sockaddr_in` or `sockaddr_in6`.
fn sockaddr(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let ip: IpAddr = match i32::from(family) {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?).into(),
        libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// `field:TYPE NAME; offset:N; size:N; signed:N;`, where the name of an array has its length in brackets.
fn field(line: &str) -> Option<(&str, Field)> {
    let mut parts = line.trim().strip_prefix("field:")?.split(';').map(str::trim);
    let name = parts.next()?.split(['[', '\t', ' ']).rfind(|word| !word.is_empty() && !word.ends_with(']'))?;
    let mut number = |key: &str| parts.next()?.strip_prefix(key)?.parse().ok();
    let (offset, size) = (number("offset:")?, number("size:")?);
    Some((name, Field { offset, size }))
}

/// What `__print_symbolic(EXPR, { 1, "NAME" }, …)` calls the numbers of an expression.
fn names(text: &str, expr: &str) -> HashMap<u64, String> {
    let list = text.split_once(&format!("__print_symbolic({expr}, ")).map_or("", |(_, list)| list);
    let mut names = HashMap::new();
    for pair in list.split_inclusive('}').map_while(|pair| pair.trim_start_matches([',', ' ']).strip_prefix('{')) {
        let Some((number, name)) = pair.trim_end_matches('}').split_once(',') else { break };
        let Ok(number) = number.trim().parse() else { break };
        names.insert(number, name.trim().trim_matches('"').to_owned());
    }
    names
}

/// The socket's own end, and its peer's.
const LOCAL: EndFields = [Name::Source, Name::SourceV6, Name::SourcePort];
const PEER: EndFields = [Name::Destination, Name::DestinationV6, Name::DestinationPort];
/// The least that holds a `struct sockaddr_in6` without its scope.
const SOCKADDR: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    const SET_STATE: &str = "name: inet_sock_set_state\nID: 2287\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
        \tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
        \tfield:int oldstate;\toffset:16;\tsize:4;\tsigned:1;\n\tfield:int newstate;\toffset:20;\tsize:4;\tsigned:1;\n\
        \tfield:__u16 sport;\toffset:24;\tsize:2;\tsigned:0;\n\tfield:__u16 dport;\toffset:26;\tsize:2;\tsigned:0;\n\
        \tfield:__u16 family;\toffset:28;\tsize:2;\tsigned:0;\n\tfield:__u16 protocol;\toffset:30;\tsize:2;\tsigned:0;\n\
        \tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;\n\tfield:__u8 daddr[4];\toffset:36;\tsize:4;\tsigned:0;\n\
        \tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;\n\
        \tfield:__u8 daddr_v6[16];\toffset:56;\tsize:16;\tsigned:0;\n\n\
        print fmt: \"family=%s\", __print_symbolic(REC->family, { 2, \"AF_INET\" }, { 10, \"AF_INET6\" })\n";

    fn set_state(family: u16, protocol: u16, states: [u32; 2]) -> Vec<u8> {
        let mut raw = vec![0; 72];
        raw[8..16].copy_from_slice(&7u64.to_ne_bytes());
        raw[16..20].copy_from_slice(&states[0].to_ne_bytes());
        raw[20..24].copy_from_slice(&states[1].to_ne_bytes());
        raw[24..26].copy_from_slice(&3000u16.to_ne_bytes());
        raw[26..28].copy_from_slice(&40000u16.to_ne_bytes());
        raw[28..30].copy_from_slice(&family.to_ne_bytes());
        raw[30..32].copy_from_slice(&protocol.to_ne_bytes());
        raw[32..36].copy_from_slice(&[127, 0, 0, 1]);
        raw[36..40].copy_from_slice(&[127, 0, 0, 2]);
        raw[55] = 1;
        raw[71] = 1;
        raw
    }

    #[test]
    fn a_change_of_state_is_read_by_the_kernels_own_description() {
        let format = Format::parse(Tracepoint::State, SET_STATE).unwrap();
        assert_eq!(format.id, 2287);
        let said = format.read(&set_state(2, 6, [2, 1])).unwrap();
        assert_eq!(
            (said.local.to_string(), said.peer.to_string()),
            ("127.0.0.1:3000".into(), "127.0.0.2:40000".into())
        );
        assert_eq!(said.socket, Some(KernelSocket(7)));
        assert_eq!(said.what, KernelAct::State { from: State::SynSent, to: State::Established });
        let six = format.read(&set_state(10, 6, [12, 8])).unwrap();
        assert_eq!((six.local.to_string(), six.peer.to_string()), ("[::1]:3000".into(), "[::1]:40000".into()));
        assert_eq!(six.what, KernelAct::State { from: State::SynReceived, to: State::CloseWait });
    }

    #[test]
    fn each_field_stands_at_its_place() {
        assert!(Name::ALL.iter().enumerate().all(|(place, (name, _))| *name as usize == place));
    }

    #[test]
    fn what_is_no_such_record_is_not_read_as_one() {
        let format = Format::parse(Tracepoint::State, SET_STATE).unwrap();
        assert_eq!(format.read(&set_state(2, 132, [2, 1])), None, "SCTP");
        assert_eq!(format.read(&set_state(2, 6, [2, 99])), None, "no such state");
        let whole = set_state(2, 6, [2, 1]);
        for len in 0..40 {
            assert_eq!(format.read(&whole[..len]), None, "{len} octets");
        }
        for spoilt in ["ID: 2287", "oldstate", "field:__u16 sport;"] {
            assert_eq!(Format::parse(Tracepoint::State, &SET_STATE.replace(spoilt, "x")), None, "without {spoilt}");
        }
    }

    #[test]
    fn a_reset_has_the_name_that_this_kernel_has_for_its_reason() {
        let text = "ID: 5\n\tfield:const void * skaddr;\toffset:16;\tsize:8;\tsigned:0;\n\
            \tfield:enum sk_rst_reason reason;\toffset:28;\tsize:4;\tsigned:0;\n\
            \tfield:__u8 saddr[28];\toffset:32;\tsize:28;\tsigned:0;\n\tfield:__u8 daddr[28];\toffset:60;\tsize:28;\tsigned:0;\n\
            print fmt: \"%s\", __print_symbolic(REC->state, { 1, \"X\" }), __print_symbolic(REC->reason, { 0, \"NOT_SPECIFIED\" }, \
            { 9, \"TCP_ABORT_ON_CLOSE\" }, { 10, \"BRAND_NEW\" }, { 11, \"TCP_RFC7323_PAWS\" })\n";
        let format = Format::parse(Tracepoint::SendReset, text).unwrap();
        let mut raw = vec![0; 88];
        for (at, port) in [(32, 80u16), (60, 4000)] {
            raw[at..at + 2].copy_from_slice(&2u16.to_ne_bytes());
            raw[at + 2..at + 4].copy_from_slice(&port.to_be_bytes());
            raw[at + 4..at + 8].copy_from_slice(&[10, 0, 0, 1]);
        }
        let reasons = [
            (9, ResetReason::TcpAbortOnClose),
            (10, ResetReason::Other("BRAND_NEW".into())),
            (11, ResetReason::TcpRfc7323Paws),
            (12, ResetReason::Other("12".into())),
        ];
        for (number, reason) in reasons {
            raw[28] = number;
            let said = format.read(&raw).unwrap();
            assert_eq!((said.socket, said.local.port(), said.peer.port()), (None, 80, 4000));
            assert_eq!(said.what, KernelAct::ResetSent { reason: Some(reason) });
        }
        // Before there were reasons.
        let older = Format::parse(Tracepoint::SendReset, &text.replace("reason;", "other;")).unwrap();
        assert_eq!(older.read(&raw).unwrap().what, KernelAct::ResetSent { reason: None });
    }
}
