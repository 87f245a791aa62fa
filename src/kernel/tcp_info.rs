//! `getsockopt(TCP_INFO)` on a socket of one's own.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::{TcpInfo, now};
use crate::tcp::State;
use crate::time::Timestamp;

impl TcpInfo {
    /// Asks the kernel about `socket`, and notes when it was asked and when it had answered.
    ///
    /// # Errors
    /// The kernel's: `EOPNOTSUPP` and its kin for a socket that is not TCP; `EPROTO` for a state that is none of RFC 9293's.
    pub fn of(socket: BorrowedFd<'_>) -> Result<Self, Errno> {
        let mut raw = [0u8; ROOM];
        let asked = now();
        let len = read(socket, &mut raw)?;
        let answered = now();
        Self::from_bytes(&raw[..len], asked, answered).ok_or(Errno::EPROTO)
    }

    /// Reads `struct tcp_info` (linux/tcp.h) as far as this kernel filled it: the struct only ever grew at its end,
    /// and what an older kernel does not have is 0.
    ///
    /// `None` when there is not even a state of RFC 9293 in it.
    pub fn from_bytes(raw: &[u8], asked: Timestamp, answered: Timestamp) -> Option<Self> {
        let u8_at = |at: usize| raw.get(at).copied().unwrap_or(0);
        let u32_at = |at: usize| raw.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes(b.try_into().expect("4 octets")));
        let u64_at = |at: usize| raw.get(at..at + 8).map_or(0, |b| u64::from_ne_bytes(b.try_into().expect("8 octets")));
        let state = State::from_linux(u8_at(0))?;
        Some(Self {
            asked,
            answered,
            state,
            retransmits: u8_at(2),
            snd_mss: u32_at(16),
            unacked: u32_at(24),
            backlog: (state == State::Listen).then(|| u32_at(28)),
            rtt_us: u32_at(68),
            rttvar_us: u32_at(72),
            snd_cwnd: u32_at(80),
            total_retrans: u32_at(100),
            bytes_acked: u64_at(120),
            bytes_received: u64_at(128),
            notsent_bytes: u32_at(144),
        })
    }
}

/// Fills `raw` with what the kernel has, at most its length, and says how much that was.
fn read(socket: BorrowedFd<'_>, raw: &mut [u8; ROOM]) -> Result<usize, Errno> {
    let mut len = ROOM as libc::socklen_t;
    // SAFETY: `raw` has room for `len` octets, the kernel writes no more than that and says in `len` how many it wrote.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, raw.as_mut_ptr().cast(), &mut len)
    };
    Errno::result(result)?;
    Ok((len as usize).min(ROOM))
}

/// More than any kernel's `struct tcp_info` up to the last field that is read.
const ROOM: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;

    #[test]
    fn a_listening_and_an_established_socket_say_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let listening = TcpInfo::of(listener.as_fd()).unwrap();
        assert_eq!(listening.state, State::Listen);
        assert!(listening.backlog.is_some_and(|room| room > 0), "{:?}", listening.backlog);
        let open = TcpInfo::of(client.as_fd()).unwrap();
        assert_eq!((open.state, open.backlog), (State::Established, None));
        assert!(open.asked <= open.answered && open.snd_mss > 0 && open.snd_cwnd > 0);
        assert_eq!(open.bytes_acked, 1, "the SYN counts one");
    }

    #[test]
    fn there_is_no_more_room_for_finished_handshakes_than_the_host_allows() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: it is a listening socket's descriptor.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), i32::MAX) }, 0);
        assert_eq!(TcpInfo::of(listener.as_fd()).unwrap().backlog, allowed.trim().parse().ok());
    }

    #[test]
    fn a_shorter_struct_of_an_older_kernel_reads_as_far_as_it_goes() {
        let at = Timestamp::from_nanos(1);
        let mut raw = [0xffu8; 104];
        raw[0] = 1;
        let info = TcpInfo::from_bytes(&raw, at, at).unwrap();
        assert_eq!((info.total_retrans, info.bytes_acked, info.notsent_bytes), (u32::MAX, 0, 0));
        assert_eq!(TcpInfo::from_bytes(&[], at, at), None);
        assert_eq!(TcpInfo::from_bytes(&[77], at, at), None);
    }

    #[test]
    fn a_socket_that_is_not_tcp_is_an_error() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(TcpInfo::of(udp.as_fd()).is_err());
    }
}
