//! Requests to the kernel's network configuration (rtnetlink(7)): pairs of virtual Ethernet devices, addresses, neighbours.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// What a route says of the connections that take it; `None`: as the kernel has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Metrics<'a> {
    /// The algorithm of congestion control.
    pub(super) congestion: Option<&'a str>,
    /// The least retransmission timeout.
    pub(super) rto_min: Option<Duration>,
}

/// A conversation about the network namespace in which it was opened.
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens it in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Errno> {
        let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
        let socket = socket(family, SockType::Raw, flags, Some(SockProtocol::NetlinkRoute))?;
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Makes a pair of virtual Ethernet devices: `near` here, with the number `index`, and `far` in the namespace `there`.
    ///
    /// Where both had the same number, the kernel would take its time to notice that they are connected (linkwatch).
    pub(super) fn pair(
        &self,
        index: u32,
        near: (&str, Mac),
        far: (&str, Mac),
        there: BorrowedFd<'_>,
        mtu: u32,
    ) -> Result<(), Errno> {
        let named = |(name, mac): (&str, Mac)| {
            let mut attributes = attribute(IFLA_IFNAME, name.as_bytes());
            attributes.extend(attribute(IFLA_ADDRESS, &mac));
            attributes.extend(attribute(IFLA_MTU, &mtu.to_ne_bytes()));
            attributes
        };
        let mut peer = vec![0; 16];
        peer.extend(named(far));
        peer.extend(attribute(IFLA_NET_NS_FD, &there.as_raw_fd().to_ne_bytes()));
        let mut info = attribute(IFLA_INFO_KIND, b"veth");
        info.extend(attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer)));
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body.extend(named(near));
        body.extend(attribute(IFLA_LINKINFO, &info));
        self.ask(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &body)
    }

    /// Brings an interface up.
    pub(super) fn up(&self, interface: &str) -> Result<(), Errno> {
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&if_nametoindex(interface)?.to_ne_bytes());
        body[8..12].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        body[12..16].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        self.ask(RTM_NEWLINK, 0, &body)
    }

    /// Waits until the kernel lets an interface send: until it has noticed that there is a carrier (linkwatch), it throws away what is sent.
    pub(super) fn await_sending(&self, interface: &str) -> Result<(), Errno> {
        self.await_sending_within(interface, CARRIER)
    }

    fn await_sending_within(&self, interface: &str, patience: Duration) -> Result<(), Errno> {
        let deadline = Instant::now() + patience;
        while !self.sends(interface)? {
            if Instant::now() > deadline {
                return Err(Errno::ENETDOWN);
            }
            thread::yield_now();
        }
        Ok(())
    }

    fn sends(&self, interface: &str) -> Result<bool, Errno> {
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&if_nametoindex(interface)?.to_ne_bytes());
        let mut room = vec![0; 1 << 16];
        let len = self.exchange(RTM_GETLINK, 0, &body, &mut room)?;
        let mut attributes = room.get(32..len).unwrap_or_default();
        while let [a, b, c, d, ..] = *attributes {
            let (len, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
            // The queue is no sign of it: that is there as soon as the interface is up (dev_activate), and no frame gets to it.
            if kind == IFLA_OPERSTATE {
                return Ok(attributes.get(4) == Some(&IF_OPER_UP));
            }
            attributes = attributes.get(len.max(4).next_multiple_of(4)..).unwrap_or_default();
        }
        // A kernel that does not say lets it send.
        Ok(true)
    }

    /// Gives an interface an address, at once and without asking whether somebody else has it.
    pub(super) fn address(&self, interface: &str, address: IpAddr, prefix: u8) -> Result<(), Errno> {
        let mut body = vec![family(address), prefix, IFA_F_NODAD, 0];
        body.extend(if_nametoindex(interface)?.to_ne_bytes());
        body.extend(attribute(IFA_LOCAL, &octets(address)));
        body.extend(attribute(IFA_ADDRESS, &octets(address)));
        self.ask(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body)
    }

    /// Says for good which hardware address a neighbour has: nobody needs to ask on the wire.
    pub(super) fn neighbour(&self, interface: &str, address: IpAddr, mac: Mac) -> Result<(), Errno> {
        let mut body = vec![family(address), 0, 0, 0];
        body.extend(if_nametoindex(interface)?.to_ne_bytes());
        body.extend(NUD_PERMANENT.to_ne_bytes());
        body.extend([0, 0]);
        body.extend(attribute(NDA_DST, &octets(address)));
        body.extend(attribute(NDA_LLADDR, &mac));
        self.ask(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &body)
    }

    /// Sends what goes to other networks to a host that is reached over the interface.
    pub(super) fn route_all(&self, interface: &str, over: IpAddr) -> Result<(), Errno> {
        let mut body = vec![family(over), 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST];
        body.extend([0; 4]);
        body.extend(attribute(RTA_GATEWAY, &octets(over)));
        body.extend(attribute(RTA_OIF, &if_nametoindex(interface)?.to_ne_bytes()));
        self.ask(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body)
    }

    /// Gives connections to a host, which is reached over the interface, what the metrics of its route say.
    ///
    /// A socket option or a sysctl would need more: of congestion control both refuse an ordinary user what the administrator has not
    /// allowed to all, and of timeouts there are none in kernels before 6.11.
    pub(super) fn route_with(&self, interface: &str, to: IpAddr, metrics: &Metrics<'_>) -> Result<(), Errno> {
        let whole = octets(to).len() as u8 * 8;
        let scope = if to.is_ipv4() { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE };
        let mut body = vec![family(to), whole, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST];
        body.extend([0; 4]);
        body.extend(attribute(RTA_DST, &octets(to)));
        body.extend(attribute(RTA_OIF, &if_nametoindex(interface)?.to_ne_bytes()));
        let mut values = Vec::new();
        if let Some(algorithm) = metrics.congestion {
            values.extend(attribute(RTAX_CC_ALGO, &[algorithm.as_bytes(), &[0]].concat()));
        }
        if let Some(rto_min) = metrics.rto_min {
            // It holds only where it is locked.
            values.extend(attribute(RTAX_LOCK, &(1u32 << RTAX_RTO_MIN).to_ne_bytes()));
            values.extend(attribute(RTAX_RTO_MIN, &(rto_min.as_millis() as u32).to_ne_bytes()));
        }
        body.extend(attribute(RTA_METRICS, &values));
        self.ask(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body)
    }

    /// Sends one request and waits for the kernel's word on it.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
        self.exchange(kind, NLM_F_ACK | flags, body, &mut [0; 4096]).map(drop)
    }

    /// Sends one request and waits for the first answer, whose length it returns.
    fn exchange(&self, kind: u16, flags: u16, body: &[u8], room: &mut [u8]) -> Result<usize, Errno> {
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend((16 + body.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        message.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        message.extend(body);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        let len = loop {
            match recv(self.socket.as_raw_fd(), room, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                len => break len?,
            }
        };
        let number = |at: usize| room.get(at..at + 4).and_then(|octets| octets.try_into().ok()).map(i32::from_ne_bytes);
        let kind = room.get(4..6).filter(|_| len >= 20).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
        match number(16).filter(|_| kind == Some(NLMSG_ERROR)) {
            Some(0) | None => Ok(len),
            Some(errno) => Err(Errno::from_raw(errno.saturating_neg())),
        }
    }
}

/// One attribute, padded to four octets (struct rtattr).
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(value.len() + 8);
    octets.extend((4 + value.len() as u16).to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// How long the kernel may take to see that two devices are connected.
const CARRIER: Duration = Duration::from_secs(5);
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_METRICS: u16 = 8;
const RTAX_LOCK: u16 = 1;
const RTAX_RTO_MIN: u16 = 13;
const RTAX_CC_ALGO: u16 = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    use super::super::host::in_own_network;
    use super::*;

    impl Netlink {
        /// Makes two devices that are connected, both here, and both down; on neither anybody searches for routers.
        pub(in super::super) fn pair_here(&self, [near, far]: [&str; 2]) {
            let here = File::open("/proc/thread-self/ns/net").expect("this network namespace");
            self.pair(101, (near, [2, 0, 0, 0, 1, 0]), (far, [2, 0, 0, 0, 0, 1]), here.as_fd(), 1500)
                .expect("a pair of virtual Ethernet devices");
            for interface in [near, far] {
                fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1").expect("no IPv6 there");
            }
        }

        /// Gives an interface a queue that holds so many frames (tc-pfifo(8)).
        pub(in super::super) fn queue(&self, interface: &str, limit: u32) {
            let mut body = vec![0; 4];
            body.extend(if_nametoindex(interface).expect("the interface").to_ne_bytes());
            // No handle of its own, at the root.
            body.extend([0; 4]);
            body.extend(u32::MAX.to_ne_bytes());
            body.extend([0; 4]);
            body.extend(attribute(TCA_KIND, b"pfifo\0"));
            body.extend(attribute(TCA_OPTIONS, &limit.to_ne_bytes()));
            self.ask(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &body).expect("a queue");
        }
    }

    #[test]
    fn a_device_without_a_carrier_is_waited_for_only_so_long() {
        in_own_network(|| {
            let netlink = Netlink::open().expect("rtnetlink");
            netlink.pair_here(["near", "far"]);
            netlink.up("near").expect("it is there");
            // Its other end is down.
            let (begun, patience) = (Instant::now(), Duration::from_millis(300));
            assert_eq!(netlink.await_sending_within("near", patience), Err(Errno::ENETDOWN));
            assert!(begun.elapsed() >= patience);
            netlink.up("far").expect("it is there");
            assert_eq!(netlink.await_sending("near"), Ok(()));
        });
    }

    const RTM_NEWQDISC: u16 = 36;
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
}
