//! The constants of socket calls as types that print by the names of the system's headers.

use std::fmt;

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

/// Makes a newtype over a number of which some have a name.
macro_rules! numbers {
    ($(#[$doc:meta])* $type:ident { $($(#[$of:meta])* $name:ident = $value:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub i32);

        impl $type {
            $($(#[$of])* pub const $name: Self = Self($value);)*

            /// Its name in the headers, if it has one here.
            pub const fn name(self) -> Option<&'static str> {
                $(if self.0 == $value { return Some(stringify!($name)); })*
                None
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => self.0.fmt(f),
                }
            }
        }
    };
}

numbers! {
    /// A protocol family (socket(2)).
    Domain {
        /// Sockets between processes of a host.
        AF_UNIX = libc::AF_UNIX,
        /// IPv4.
        AF_INET = libc::AF_INET,
        /// IPv6.
        AF_INET6 = libc::AF_INET6,
    }
}

numbers! {
    /// A protocol of a family (socket(2)).
    Protocol {
        /// The family's own for the type of socket: TCP for a stream.
        IPPROTO_IP = libc::IPPROTO_IP,
        /// TCP.
        IPPROTO_TCP = libc::IPPROTO_TCP,
        /// Multipath TCP.
        IPPROTO_MPTCP = libc::IPPROTO_MPTCP,
    }
}

numbers! {
    /// What a socket is like (socket(2)), without the flags that may stand beside it.
    SocketType {
        /// A stream of octets.
        SOCK_STREAM = libc::SOCK_STREAM,
        /// Datagrams.
        SOCK_DGRAM = libc::SOCK_DGRAM,
    }
}

numbers! {
    /// Which directions shutdown(2) ends.
    How {
        /// Reading only.
        SHUT_RD = libc::SHUT_RD,
        /// Writing only.
        SHUT_WR = libc::SHUT_WR,
        /// Both.
        SHUT_RDWR = libc::SHUT_RDWR,
    }
}

numbers! {
    /// Whose option it is (setsockopt(2)).
    Level {
        /// The socket's.
        SOL_SOCKET = libc::SOL_SOCKET,
        /// IPv4's.
        SOL_IP = libc::IPPROTO_IP,
        /// TCP's.
        SOL_TCP = libc::IPPROTO_TCP,
        /// IPv6's.
        SOL_IPV6 = libc::IPPROTO_IPV6,
    }
}

numbers! {
    /// An option of a socket (socket(7)).
    SocketOption {
        /// A port may be bound while connections in TIME-WAIT have it.
        SO_REUSEADDR = libc::SO_REUSEADDR,
        /// Several sockets may listen on one port.
        SO_REUSEPORT = libc::SO_REUSEPORT,
        /// The pending error, which reading clears.
        SO_ERROR = libc::SO_ERROR,
        /// An idle connection is probed.
        SO_KEEPALIVE = libc::SO_KEEPALIVE,
        /// How long close waits for what was not sent; with a time of zero it resets.
        SO_LINGER = libc::SO_LINGER,
        /// Urgent octets stay in the stream.
        SO_OOBINLINE = libc::SO_OOBINLINE,
        /// How much has to be there for a receive.
        SO_RCVLOWAT = libc::SO_RCVLOWAT,
        /// Octets may be sent from where they are (MSG_ZEROCOPY).
        SO_ZEROCOPY = libc::SO_ZEROCOPY,
        /// The size of the receive buffer.
        SO_RCVBUF = libc::SO_RCVBUF,
        /// The size of the send buffer.
        SO_SNDBUF = libc::SO_SNDBUF,
        /// How long a receive waits.
        SO_RCVTIMEO = libc::SO_RCVTIMEO,
        /// How long a send waits.
        SO_SNDTIMEO = libc::SO_SNDTIMEO,
        /// What kind of socket it is.
        SO_TYPE = libc::SO_TYPE,
        /// Of which protocol family.
        SO_DOMAIN = libc::SO_DOMAIN,
        /// Of which protocol.
        SO_PROTOCOL = libc::SO_PROTOCOL,
        /// Whether it listens.
        SO_ACCEPTCONN = libc::SO_ACCEPTCONN,
        /// Datagrams may go to a broadcast address.
        SO_BROADCAST = libc::SO_BROADCAST,
        /// No gateway is taken.
        SO_DONTROUTE = libc::SO_DONTROUTE,
        /// The priority of its packets in the queue of a device.
        SO_PRIORITY = libc::SO_PRIORITY,
        /// A mark on its packets, for rules of routing and filtering.
        SO_MARK = libc::SO_MARK,
        /// The only device that it uses, by name.
        SO_BINDTODEVICE = libc::SO_BINDTODEVICE,
        /// How much there is to be room for.
        SO_SNDLOWAT = libc::SO_SNDLOWAT,
        /// The size of the receive buffer, beyond the limit.
        SO_RCVBUFFORCE = libc::SO_RCVBUFFORCE,
        /// The size of the send buffer, beyond the limit.
        SO_SNDBUFFORCE = libc::SO_SNDBUFFORCE,
        /// Packets have the times of their arrival with them.
        SO_TIMESTAMP = libc::SO_TIMESTAMP,
        /// The same, in nanoseconds.
        SO_TIMESTAMPNS = libc::SO_TIMESTAMPNS,
        /// Which times are taken of packets.
        SO_TIMESTAMPING = libc::SO_TIMESTAMPING,
        /// A filter (classic BPF) for what comes.
        SO_ATTACH_FILTER = libc::SO_ATTACH_FILTER,
        /// The filter is taken away.
        SO_DETACH_FILTER = libc::SO_DETACH_FILTER,
        /// The filter cannot be changed any more.
        SO_LOCK_FILTER = libc::SO_LOCK_FILTER,
        /// Which of the sockets on one port a connection comes to (classic BPF).
        SO_ATTACH_REUSEPORT_CBPF = libc::SO_ATTACH_REUSEPORT_CBPF,
        /// From where MSG_PEEK looks.
        SO_PEEK_OFF = libc::SO_PEEK_OFF,
        /// The process of the peer.
        SO_PEERCRED = libc::SO_PEERCRED,
        /// How long a receive asks the device itself.
        SO_BUSY_POLL = libc::SO_BUSY_POLL,
        /// The processor on which packets arrived.
        SO_INCOMING_CPU = libc::SO_INCOMING_CPU,
        /// How fast octets may be sent.
        SO_MAX_PACING_RATE = libc::SO_MAX_PACING_RATE,
        /// A number that no other socket has.
        SO_COOKIE = libc::SO_COOKIE,
    }
}

numbers! {
    /// An option of TCP (tcp(7)).
    TcpOption {
        /// Small segments are not held back.
        TCP_NODELAY = libc::TCP_NODELAY,
        /// The largest segment.
        TCP_MAXSEG = libc::TCP_MAXSEG,
        /// Partial segments are held back.
        TCP_CORK = libc::TCP_CORK,
        /// How long a connection is idle before it is probed.
        TCP_KEEPIDLE = libc::TCP_KEEPIDLE,
        /// The time between two probes.
        TCP_KEEPINTVL = libc::TCP_KEEPINTVL,
        /// How many probes go unanswered before the connection is given up.
        TCP_KEEPCNT = libc::TCP_KEEPCNT,
        /// How often a SYN is sent again.
        TCP_SYNCNT = libc::TCP_SYNCNT,
        /// How long FIN-WAIT-2 lasts.
        TCP_LINGER2 = libc::TCP_LINGER2,
        /// accept waits for the first octets.
        TCP_DEFER_ACCEPT = libc::TCP_DEFER_ACCEPT,
        /// The state of the connection.
        TCP_INFO = libc::TCP_INFO,
        /// Acknowledgements are not held back.
        TCP_QUICKACK = libc::TCP_QUICKACK,
        /// How long octets may go unacknowledged.
        TCP_USER_TIMEOUT = libc::TCP_USER_TIMEOUT,
        /// A listening socket takes octets with a SYN.
        TCP_FASTOPEN = libc::TCP_FASTOPEN,
        /// connect returns at once, and the first send goes with the SYN.
        TCP_FASTOPEN_CONNECT = libc::TCP_FASTOPEN_CONNECT,
        /// The algorithm of congestion control, by name.
        TCP_CONGESTION = libc::TCP_CONGESTION,
        /// The key with which segments from and to a peer are signed (RFC 2385).
        TCP_MD5SIG = libc::TCP_MD5SIG,
        /// Another key with which segments from and to a peer are authenticated (RFC 5925; linux/tcp.h).
        TCP_AO_ADD_KEY = 38,
        /// The largest window that is offered.
        TCP_WINDOW_CLAMP = libc::TCP_WINDOW_CLAMP,
        /// What the algorithm of congestion control says of itself.
        TCP_CC_INFO = libc::TCP_CC_INFO,
        /// Above how much that was not sent there is no room to write.
        TCP_NOTSENT_LOWAT = libc::TCP_NOTSENT_LOWAT,
        /// Timeouts of streams with few segments do not double.
        TCP_THIN_LINEAR_TIMEOUTS = libc::TCP_THIN_LINEAR_TIMEOUTS,
        /// The socket is taken over with all its state.
        TCP_REPAIR = libc::TCP_REPAIR,
        /// Which of its queues is taken over.
        TCP_REPAIR_QUEUE = libc::TCP_REPAIR_QUEUE,
        /// The sequence number of that queue.
        TCP_QUEUE_SEQ = libc::TCP_QUEUE_SEQ,
        /// The clock of its timestamps.
        TCP_TIMESTAMP = libc::TCP_TIMESTAMP,
        /// SYNs of clients are kept.
        TCP_SAVE_SYN = libc::TCP_SAVE_SYN,
        /// The SYN that was kept.
        TCP_SAVED_SYN = libc::TCP_SAVED_SYN,
        /// A protocol on top of it in the kernel, such as TLS, by name.
        TCP_ULP = libc::TCP_ULP,
        /// The key of the cookies of Fast Open.
        TCP_FASTOPEN_KEY = libc::TCP_FASTOPEN_KEY,
        /// Fast Open without a cookie.
        TCP_FASTOPEN_NO_COOKIE = libc::TCP_FASTOPEN_NO_COOKIE,
        /// Octets are mapped in place of copied.
        TCP_ZEROCOPY_RECEIVE = libc::TCP_ZEROCOPY_RECEIVE,
        /// How much is left to be received comes with each message.
        TCP_INQ = libc::TCP_INQ,
    }
}

numbers! {
    /// An option of IPv4 (ip(7)).
    IpOption {
        /// The type of service.
        IP_TOS = libc::IP_TOS,
        /// The time to live.
        IP_TTL = libc::IP_TTL,
        /// IP options.
        IP_OPTIONS = libc::IP_OPTIONS,
        /// Where packets were sent to comes with them.
        IP_PKTINFO = libc::IP_PKTINFO,
        /// Whether the MTU of the path is found out.
        IP_MTU_DISCOVER = libc::IP_MTU_DISCOVER,
        /// ICMP errors are kept in a queue.
        IP_RECVERR = libc::IP_RECVERR,
        /// The type of service comes with what is received.
        IP_RECVTOS = libc::IP_RECVTOS,
        /// The MTU of the path.
        IP_MTU = libc::IP_MTU,
        /// An address may be bound that is not this host's.
        IP_FREEBIND = libc::IP_FREEBIND,
        /// The least time to live of what is taken.
        IP_MINTTL = libc::IP_MINTTL,
        /// Connections to addresses of others are taken.
        IP_TRANSPARENT = libc::IP_TRANSPARENT,
        /// bind leaves the port to connect.
        IP_BIND_ADDRESS_NO_PORT = libc::IP_BIND_ADDRESS_NO_PORT,
        /// Among which ports bind and connect choose (linux/in.h).
        IP_LOCAL_PORT_RANGE = 51,
    }
}

numbers! {
    /// An option of IPv6 (ipv6(7)).
    Ipv6Option {
        /// The hop limit.
        IPV6_UNICAST_HOPS = libc::IPV6_UNICAST_HOPS,
        /// Whether the MTU of the path is found out.
        IPV6_MTU_DISCOVER = libc::IPV6_MTU_DISCOVER,
        /// The MTU of the path.
        IPV6_MTU = libc::IPV6_MTU,
        /// ICMPv6 errors are kept in a queue.
        IPV6_RECVERR = libc::IPV6_RECVERR,
        /// The socket takes no IPv4.
        IPV6_V6ONLY = libc::IPV6_V6ONLY,
        /// Where packets were sent to comes with them.
        IPV6_RECVPKTINFO = libc::IPV6_RECVPKTINFO,
        /// The traffic class.
        IPV6_TCLASS = libc::IPV6_TCLASS,
        /// The traffic class comes with what is received.
        IPV6_RECVTCLASS = libc::IPV6_RECVTCLASS,
        /// Connections to addresses of others are taken.
        IPV6_TRANSPARENT = libc::IPV6_TRANSPARENT,
        /// An address may be bound that is not this host's.
        IPV6_FREEBIND = libc::IPV6_FREEBIND,
        /// It becomes a socket of IPv4.
        IPV6_ADDRFORM = libc::IPV6_ADDRFORM,
    }
}

bitflags! {
    /// Flags of send(2), recv(2) and their kin.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MessageFlags: i32 {
        /// Urgent data.
        const MSG_OOB = libc::MSG_OOB;
        /// The octets stay in the receive buffer.
        const MSG_PEEK = libc::MSG_PEEK;
        /// The octets are thrown away.
        const MSG_TRUNC = libc::MSG_TRUNC;
        /// It does not wait.
        const MSG_DONTWAIT = libc::MSG_DONTWAIT;
        /// It waits for all octets that were asked for.
        const MSG_WAITALL = libc::MSG_WAITALL;
        /// No SIGPIPE.
        const MSG_NOSIGNAL = libc::MSG_NOSIGNAL;
        /// More octets follow at once.
        const MSG_MORE = libc::MSG_MORE;
        /// The SYN carries octets.
        const MSG_FASTOPEN = libc::MSG_FASTOPEN;
        /// Descriptors that come with it are closed by exec.
        const MSG_CMSG_CLOEXEC = libc::MSG_CMSG_CLOEXEC;
        /// No gateway is taken.
        const MSG_DONTROUTE = libc::MSG_DONTROUTE;
        /// The address of the peer is right.
        const MSG_CONFIRM = libc::MSG_CONFIRM;
        /// The end of a record.
        const MSG_EOR = libc::MSG_EOR;
        /// What is waiting in the queue of errors.
        const MSG_ERRQUEUE = libc::MSG_ERRQUEUE;
        /// The octets are sent from where they are.
        const MSG_ZEROCOPY = libc::MSG_ZEROCOPY;
        /// Of several messages, it does not wait for more than the first.
        const MSG_WAITFORONE = libc::MSG_WAITFORONE;
    }
}

bitflags! {
    /// Flags that stand beside a socket's type (socket(2), accept4(2)).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct SocketFlags: i32 {
        /// Calls on it do not wait.
        const SOCK_NONBLOCK = libc::SOCK_NONBLOCK;
        /// exec closes it.
        const SOCK_CLOEXEC = libc::SOCK_CLOEXEC;
    }
}

bitflags! {
    /// What poll(2) waits for, or found.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PollEvents: i16 {
        /// There is something to read.
        const POLLIN = libc::POLLIN;
        /// There is something urgent to read.
        const POLLPRI = libc::POLLPRI;
        /// There is room to write.
        const POLLOUT = libc::POLLOUT;
        /// The peer has ended its direction.
        const POLLRDHUP = libc::POLLRDHUP;
        /// There is an error.
        const POLLERR = libc::POLLERR;
        /// Both directions have ended.
        const POLLHUP = libc::POLLHUP;
        /// There is no such descriptor.
        const POLLNVAL = libc::POLLNVAL;
        /// There is something to read, as POLLIN says.
        const POLLRDNORM = libc::POLLRDNORM;
        /// There is something urgent to read, of other protocols.
        const POLLRDBAND = libc::POLLRDBAND;
        /// There is room to write, as POLLOUT says.
        const POLLWRNORM = libc::POLLWRNORM;
        /// There is room to write what is urgent.
        const POLLWRBAND = libc::POLLWRBAND;
    }
}

/// Writes the flags as strace does: names joined by `|`, what has none in hexadecimal, `0` for none.
macro_rules! flags {
    ($type:ident, $number:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut first = true;
                for (name, _) in self.iter_names() {
                    write!(f, "{}{name}", if first { "" } else { "|" })?;
                    first = false;
                }
                let rest = self.difference(Self::all()).bits();
                match (rest, first) {
                    (0, false) => Ok(()),
                    (0, true) => f.write_str("0"),
                    (rest, true) => write!(f, "{rest:#x}"),
                    (rest, false) => write!(f, "|{rest:#x}"),
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.bits().serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$number>::deserialize(deserializer).map(Self::from_bits_retain)
            }
        }
    };
}

flags!(MessageFlags, i32);
flags!(SocketFlags, i32);
flags!(PollEvents, i16);

impl MessageFlags {
    /// The flag of that name.
    pub fn named(name: &str) -> Option<Self> {
        bitflags::Flags::from_name(name)
    }
}

/// Reads names joined by `|`, or `0`, as [`Display`](fmt::Display) writes them; `None` where one is no name of these.
pub(super) fn flags_of<F: bitflags::Flags>(text: &str) -> Option<F> {
    let mut flags = F::empty();
    for name in text.split('|').filter(|name| *name != "0") {
        flags.insert(F::from_name(name)?);
    }
    Some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_print_by_name_and_strangers_by_number() {
        assert_eq!((Domain::AF_INET6.to_string(), Domain(77).to_string()), ("AF_INET6".into(), "77".into()));
        let flags = MessageFlags::MSG_NOSIGNAL | MessageFlags::MSG_DONTWAIT;
        assert_eq!(flags.to_string(), "MSG_DONTWAIT|MSG_NOSIGNAL");
        assert_eq!(MessageFlags::empty().to_string(), "0");
        assert_eq!(MessageFlags::from_bits_retain(1 << 28 | libc::MSG_PEEK).to_string(), "MSG_PEEK|0x10000000");
        assert_eq!(PollEvents::from_bits_retain(0x1000).to_string(), "0x1000");
        assert_eq!(flags_of("MSG_DONTWAIT|MSG_NOSIGNAL"), Some(flags));
        assert_eq!(
            (flags_of::<MessageFlags>("0"), flags_of::<MessageFlags>("MSG_X")),
            (Some(MessageFlags::empty()), None)
        );
    }

    #[test]
    fn any_number_is_read_back() {
        for bits in [0, -1, i32::MIN, 0x4040] {
            let written = serde_json::to_string(&MessageFlags::from_bits_retain(bits)).unwrap();
            assert_eq!(serde_json::from_str::<MessageFlags>(&written).unwrap().bits(), bits);
        }
    }
}
