//! The kernel's table of sockets, asked over netlink (sock_diag(7), linux/inet_diag.h): also those that no process holds any more.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::{Answer, Timer, TimerKind, now};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

/// A conversation with the kernel about the TCP sockets of this network namespace; it needs no privilege.
#[derive(Debug)]
pub struct SockDiag {
    netlink: OwnedFd,
    sequence: u32,
}

impl SockDiag {
    /// Opens the conversation, in the network namespace of the calling thread, where it stays.
    ///
    /// # Errors
    /// The kernel's: `EPROTONOSUPPORT` where it has no sock_diag.
    pub fn open() -> Result<Self, Errno> {
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            Some(SockProtocol::NetlinkSockDiag),
        )?;
        connect(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // The kernel answers within the send itself; the limit only keeps a broken host from hanging us.
        setsockopt(&netlink, sockopt::ReceiveTimeout, &TimeVal::new(2, 0))?;
        Ok(Self { netlink, sequence: 0 })
    }

    /// Asks for the one socket that is bound to `local` and connected to `peer`.
    ///
    /// The answer's state is `None` when there is none with just this 4-tuple: a listening socket on the same port does not count,
    /// unless `peer` is unspecified with port 0, which asks for the listening socket itself.
    ///
    /// A kernel without its `tcp_diag` module answers `None` to everything: ask for a socket that is known to be there first.
    ///
    /// # Errors
    /// The kernel's; `EPROTO` for an answer that cannot be read.
    pub fn lookup(&mut self, local: SocketAddr, peer: SocketAddr) -> Result<Answer, Errno> {
        let asked = now();
        let result = self.exchange(&request(NLM_F_REQUEST, local, peer, 0));
        let answered = now();
        let none = Answer { asked, answered, local, peer, state: None, timer: None, inode: 0, uid: 0 };
        match result {
            Ok(found) => Ok(found
                .into_iter()
                .find(|answer| same(answer.local, local) && same(answer.peer, peer))
                .map_or(none.clone(), |answer| answer.evidence(asked, answered))),
            Err(Errno::ENOENT) => Ok(none),
            Err(errno) => Err(errno),
        }
    }

    /// Lists the TCP sockets of one address family in `states`, TIME-WAIT and request sockets included.
    ///
    /// `family` is that of an address of either kind; a socket that is open to both families is among the IPv6 ones.
    ///
    /// # Errors
    /// As for [`Self::lookup`].
    pub fn dump(&mut self, family: IpAddr, states: &[State]) -> Result<Vec<Answer>, Errno> {
        let any = SocketAddr::new(family, 0);
        let bits = states.iter().fold(0u32, |bits, state| bits | bits_of(*state));
        let asked = now();
        let found = self.exchange(&request(NLM_F_REQUEST | NLM_F_DUMP, any, any, bits))?;
        let answered = now();
        Ok(found.into_iter().map(|answer| answer.evidence(asked, answered)).collect())
    }

    fn exchange(&mut self, request: &[u8; REQUEST]) -> Result<Vec<Reply>, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = *request;
        request[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        send(self.netlink.as_raw_fd(), &request, MsgFlags::empty())?;
        let dump = u16::from_ne_bytes([request[6], request[7]]) & NLM_F_DUMP != 0;
        let mut answers = Vec::new();
        let mut buffer = vec![0u8; if dump { 65536 } else { 4096 }];
        loop {
            let len = match recv(self.netlink.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let mut rest = &buffer[..len];
            while let Some((kind, sequence, body, after)) = message(rest) {
                rest = after;
                if sequence != self.sequence {
                    // The late answer to a question whose answer was not waited for.
                    continue;
                }
                match kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => {
                        let errno = body.get(..4).ok_or(Errno::EPROTO)?;
                        return match i32::from_ne_bytes(errno.try_into().expect("4 octets")) {
                            0 => Ok(answers),
                            errno => Err(Errno::from_raw(errno.saturating_neg())),
                        };
                    }
                    SOCK_DIAG_BY_FAMILY => {
                        // A state that RFC 9293 does not know is no evidence of anything.
                        answers.extend(Reply::from_bytes(body));
                        if !dump {
                            return Ok(answers);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// `struct inet_diag_msg` (linux/inet_diag.h), as far as it is read.
struct Reply {
    state: State,
    timer: Option<Timer>,
    local: SocketAddr,
    peer: SocketAddr,
    uid: u32,
    inode: u32,
}

impl Reply {
    fn from_bytes(body: &[u8]) -> Option<Self> {
        let body: &[u8; ANSWER] = body.get(..ANSWER)?.try_into().ok()?;
        let u32_at = |at: usize| u32::from_ne_bytes(body[at..at + 4].try_into().expect("4 octets"));
        let port_at = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let address_at = |at: usize| address(body[0], body[at..at + 16].try_into().expect("16 octets"));
        let remaining = Span::from_millis(i64::from(u32_at(52)));
        let kind = match body[2] {
            1 => Some(TimerKind::Retransmission),
            2 => Some(TimerKind::KeepAlive),
            3 => Some(TimerKind::TimeWait),
            4 => Some(TimerKind::ZeroWindowProbe),
            _ => None,
        };
        Some(Self {
            state: State::from_linux(body[1])?,
            timer: kind.map(|kind| Timer { kind, remaining }),
            local: SocketAddr::new(address_at(8)?, port_at(4)),
            peer: SocketAddr::new(address_at(24)?, port_at(6)),
            uid: u32_at(64),
            inode: u32_at(68),
        })
    }

    fn evidence(self, asked: Timestamp, answered: Timestamp) -> Answer {
        let Self { state, timer, local, peer, uid, inode } = self;
        Answer { asked, answered, local, peer, state: Some(state), timer, inode, uid }
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(flags: u16, local: SocketAddr, peer: SocketAddr, states: u32) -> [u8; REQUEST] {
    let mut bytes = [0u8; REQUEST];
    bytes[0..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[16] = if local.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 };
    bytes[17] = libc::IPPROTO_TCP as u8;
    bytes[20..24].copy_from_slice(&states.to_ne_bytes());
    bytes[24..26].copy_from_slice(&local.port().to_be_bytes());
    bytes[26..28].copy_from_slice(&peer.port().to_be_bytes());
    put_address(&mut bytes[28..44], local.ip());
    put_address(&mut bytes[44..60], peer.ip());
    // The cookie: INET_DIAG_NOCOOKIE.
    bytes[64..72].fill(0xff);
    bytes
}

fn put_address(room: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => room[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => room.copy_from_slice(&address.octets()),
    }
}

fn address(family: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])),
        libc::AF_INET6 => Some(IpAddr::from(bytes)),
        _ => None,
    }
}

/// The kernel knows no scope ids and flow labels in 4-tuples; an IPv4 address at an IPv6 socket is a mapped one.
fn same(answer: SocketAddr, wanted: SocketAddr) -> bool {
    answer.ip().to_canonical() == wanted.ip().to_canonical() && answer.port() == wanted.port()
}

/// The bits by which `idiag_states` names a state; a request socket answers to `TCPF_SYN_RECV`.
fn bits_of(state: State) -> u32 {
    (1..12).filter(|number| State::from_linux(*number) == Some(state)).fold(0, |bits, number| bits | 1 << number)
}

/// Takes the first netlink message off `bytes`: its type, sequence number and body, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let header: &[u8; 16] = bytes.get(..16)?.try_into().ok()?;
    let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let body = bytes.get(16..len)?;
    let after = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, sequence, body, after))
}

const REQUEST: usize = 16 + 56;
const ANSWER: usize = 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    fn check_a_life(listen_on: &str, any: &str) {
        let mut kernel = SockDiag::open().unwrap();
        let listener = TcpListener::bind(listen_on).unwrap();
        let server = listener.local_addr().unwrap();
        let listening = kernel.lookup(server, any.parse().unwrap()).unwrap();
        assert_eq!(listening.state, Some(State::Listen));
        assert_ne!(listening.inode, 0);

        let mut stream = TcpStream::connect(server).unwrap();
        let client = stream.local_addr().unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let open = kernel.lookup(client, server).unwrap();
        assert_eq!((open.state, open.local, open.peer), (Some(State::Established), client, server));
        assert!(open.asked <= open.answered);
        let listed = kernel.dump(server.ip(), &[State::Established]).unwrap();
        assert!(listed.iter().any(|socket| socket.local == server && socket.peer == client && socket.inode != 0));
        assert!(listed.iter().all(|socket| socket.state == Some(State::Established)));

        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(accepted.read(&mut [0; 1]).unwrap(), 0);
        drop(accepted);
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        let waiting = kernel.lookup(client, server).unwrap();
        assert_eq!((waiting.state, waiting.inode), (Some(State::TimeWait), 0));
        let timer = waiting.timer.unwrap();
        assert_eq!(timer.kind, TimerKind::TimeWait);
        assert!(
            timer.remaining > Span::from_millis(55_000) && timer.remaining <= Span::from_millis(61_000),
            "{timer:?}"
        );
        let gone = kernel.lookup(server, client).unwrap();
        assert_eq!(gone.state, None, "the listening socket is not this connection's");
    }

    #[test]
    fn a_connection_is_followed_from_listen_to_time_wait() {
        check_a_life("127.0.0.1:0", "0.0.0.0:0");
    }

    #[test]
    fn and_so_it_is_over_ipv6() {
        check_a_life("[::1]:0", "[::]:0");
    }

    #[test]
    fn a_message_that_lies_about_its_length_is_none() {
        assert!(message(&[]).is_none());
        assert!(message(&[0; 16]).is_none());
        let mut long = [0u8; 20];
        long[0..4].copy_from_slice(&4096u32.to_ne_bytes());
        assert!(message(&long).is_none());
        assert!(Reply::from_bytes(&[2; 71]).is_none());
    }
}
