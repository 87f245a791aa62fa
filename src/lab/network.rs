//! The ground of a scenario: one loopback interface, or two hosts in network namespaces of their own with a link between them.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::LabError;
use super::addresses::{End, MAC, address, mac};
use super::definition::Setting;
use super::host::{self, Ground, LOOPBACK};
use super::netlink::{Metrics, Netlink};
use super::tap::Taps;
use crate::capture::{self, Live, Markers, OpenError};
use crate::kernel::SockDiag;

/// The ground as it stands, before anybody acts on it.
pub(super) struct Network {
    /// How the namespaces were made.
    pub(super) ground: Ground,
    /// The network namespaces of the hosts, the clients' first; one on loopback.
    pub(super) hosts: Vec<File>,
    /// A capture for each of them.
    pub(super) captures: Vec<Tapped>,
    /// The kernel's table of sockets of each of them.
    pub(super) kernels: Vec<SockDiag>,
    /// The sockets at the two ends of the link, in the namespace between the hosts.
    pub(super) taps: Option<Taps>,
}

/// A capture that is open, and the marks of its beginning and end.
pub(super) struct Tapped {
    pub(super) live: Live,
    pub(super) markers: Markers,
}

impl Network {
    /// Makes it, in namespaces of its own that end with the process and its children. The process must have one thread.
    pub(super) fn of(setting: &Setting) -> Result<Self, LabError> {
        let ground = host::enter_namespace(if setting.link.is_none() { setting.mtu } else { None })
            .map_err(|error| LabError::new(format!("{error}; run it with sudo")))?;
        let mut network = Self { ground, hosts: Vec::new(), captures: Vec::new(), kernels: Vec::new(), taps: None };
        let made = match setting.link {
            None => network.loopback(setting),
            Some(_) => network.two_hosts(setting),
        };
        made.map(|()| network)
    }

    fn loopback(&mut self, setting: &Setting) -> Result<(), LabError> {
        configure(setting)?;
        self.hosts.push(here()?);
        let markers = Markers::over(address(End::Client, setting)).map_err(|error| {
            LabError::new(format!("{LOOPBACK} has no address {}: {error}", address(End::Client, setting)))
        })?;
        self.look(LOOPBACK, markers, LARGEST_PACKET)
    }

    fn two_hosts(&mut self, setting: &Setting) -> Result<(), LabError> {
        let between = here()?;
        let failed = |what: &str, errno: Errno| LabError::new(format!("{what}: {}", errno.desc()));
        let links = ["client", "server"];
        let mtu = setting.mtu.unwrap_or(1500);
        for (end, link) in [End::Client, End::Server].into_iter().zip(links) {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| failed("no network namespace for a host", errno))?;
            let host = here()?;
            host::bring_up(None).map_err(|errno| failed("no loopback interface for a host", errno))?;
            go(&between)?;
            let near = (link, [MAC[0], MAC[1], MAC[2], MAC[3], 1, end as u8]);
            Netlink::open()
                .and_then(|netlink| {
                    netlink.pair(FIRST_INDEX + end as u32, near, (ETHERNET, mac(end)), host.as_fd(), mtu)?;
                    // Quiet: it is no host.
                    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1");
                    netlink.up(link)
                })
                .map_err(no_device)?;
            go(&host)?;
            configure(setting)?;
            // Only what the scenario is about is on the wire: no search for routers, no check for the same address.
            let family = if setting.ipv6 { "accept_dad" } else { "disable_ipv6" };
            let value = if setting.ipv6 { "0" } else { "1" };
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{ETHERNET}/{family}"), value);
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{ETHERNET}/router_solicitations"), "0");
            host::offloads_off(ETHERNET).map_err(|errno| failed("offloads of a host cannot be turned off", errno))?;
            let prefix = if setting.ipv6 { 64 } else { 24 };
            Netlink::open()
                .and_then(|netlink| {
                    netlink.up(ETHERNET)?;
                    netlink.await_sending(ETHERNET)?;
                    netlink.address(ETHERNET, address(end, setting), prefix)?;
                    netlink.neighbour(ETHERNET, address(end.peer(), setting), mac(end.peer()))?;
                    if setting.has_strangers {
                        // Hosts that do not exist are answered, too: over the link.
                        netlink.route_all(ETHERNET, address(end.peer(), setting))?;
                    }
                    Ok(())
                })
                .map_err(|errno| failed("a host cannot be given its address", errno))?;
            let rto_min = setting.rto_min.map(|span| Duration::from_nanos(span.as_nanos().max(0) as u64));
            let metrics = Metrics { congestion: setting.congestion.as_deref(), rto_min };
            if metrics != Metrics::default() {
                let routed = Netlink::open()
                    .and_then(|netlink| netlink.route_with(ETHERNET, address(end.peer(), setting), &metrics));
                routed.map_err(|errno| match &setting.congestion {
                    Some(algorithm) => {
                        let what = "cannot be set for the route to the other host";
                        failed(&format!("congestion control {algorithm} {what}"), errno)
                    }
                    None => failed("the least timeout cannot be set for the route to the other host", errno),
                })?;
            }
            self.hosts.push(host);
        }
        go(&between)?;
        for link in links {
            Netlink::open()
                .and_then(|netlink| netlink.await_sending(link))
                .map_err(|errno| failed("the link between the hosts does not come up", errno))?;
        }
        let taps = Taps::open(links, mtu)?;
        for (host, end) in [End::Client, End::Server].into_iter().enumerate() {
            go(&self.hosts[host])?;
            let tap = taps.copy(end).map_err(|errno| failed("the link cannot be opened", errno))?;
            self.look(ETHERNET, Markers::through(tap), mtu)?;
        }
        go(&between)?;
        self.taps = Some(taps);
        Ok(())
    }

    /// Opens the capture, of packets of up to so many octets, and the table of sockets, in the namespace of the calling thread.
    fn look(&mut self, interface: &str, markers: Markers, mtu: u32) -> Result<(), LabError> {
        let tap = capture::Tap {
            interface: interface.to_owned(),
            filter: format!("tcp or icmp or icmp6 or {}", markers.filter()),
            // The kernel's buffer has places of this size: the smaller they are, the more frames wait in it.
            snap_len: mtu + ETHERNET_HEADER,
            buffer: 32 << 20,
        };
        let live = Live::open(tap).map_err(OpenError::into_inner).map_err(|error| LabError::new(error.message))?;
        self.captures.push(Tapped { live, markers });
        let kernel = SockDiag::open();
        self.kernels.push(kernel.map_err(|errno| {
            LabError::new(format!("the kernel does not tell of its sockets (sock_diag): {}", errno.desc()))
        })?);
        Ok(())
    }
}

/// Writes the settings of the kernel, in the namespace of the calling thread.
fn configure(setting: &Setting) -> Result<(), LabError> {
    for (name, value) in &setting.sysctl {
        let path = format!("/proc/sys/net/ipv4/{}", name.replace('.', "/"));
        if name.contains("..") || name.starts_with('/') {
            return Err(LabError::new(format!("sysctl {name}: a name below net.ipv4 is expected, as in tcp_sack")));
        }
        fs::write(&path, value).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            LabError::new(match errno {
                Errno::ENOENT => {
                    format!("sysctl {name}: this kernel has no net.ipv4.{name} of its own for a network namespace")
                }
                errno => format!("sysctl {name} = {value}: {}", errno.desc()),
            })
        })?;
    }
    Ok(())
}

/// Why there is no virtual Ethernet device between the hosts.
fn no_device(errno: Errno) -> LabError {
    LabError::new(match errno {
        Errno::EOPNOTSUPP => "this kernel has no virtual Ethernet devices (veth): load the module (sudo modprobe veth), or play a scenario on loopback".to_owned(),
        errno => format!("no virtual Ethernet device between the hosts: {}", errno.desc()),
    })
}

fn here() -> Result<File, LabError> {
    File::open("/proc/self/ns/net").map_err(|error| LabError::new(format!("/proc/self/ns/net: {error}")))
}

/// Moves the calling thread into a network namespace.
pub(super) fn go(namespace: &File) -> Result<(), LabError> {
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| LabError::new(format!("cannot enter the network namespace of a host: {}", errno.desc())))
}

const ETHERNET: &str = "eth0";
const ETHERNET_HEADER: u32 = 14;
/// No packet on loopback is larger.
const LARGEST_PACKET: u32 = 65_536;
/// The number of the first of the devices between the hosts; those of the hosts have small ones.
const FIRST_INDEX: u32 = 101;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_virtual_devices_is_told_as_that_with_the_way_out() {
        // What rtnetlink answers to a kind of device that it does not know.
        let said = no_device(Errno::EOPNOTSUPP).to_string();
        assert!(said.contains("veth") && said.contains("modprobe veth") && said.lines().count() == 1, "{said}");
        assert!(no_device(Errno::ENOMEM).to_string().contains("memory"));
    }
}
