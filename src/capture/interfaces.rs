//! The interfaces of this host: what can be captured, and why not.

use std::net::IpAddr;

use pcap::{Device, IfFlags, Linktype};
use serde::Serialize;

use super::filter::dlt;
use super::{CaptureError, LinkType, shown};

/// One interface as libpcap knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What it is, where the system says so.
    pub description: Option<String>,
    /// Its addresses, each with the length of its prefix where there is one.
    pub addresses: Vec<Address>,
    /// Whether it was brought up.
    pub up: bool,
    /// Whether it has a carrier.
    pub running: bool,
    /// Whether packets go back to this host.
    pub loopback: bool,
    /// Whether it is a radio.
    pub wireless: bool,
    /// How its frames begin; `None` where it could not be opened.
    pub link: Option<Link>,
    /// Why nothing can be captured on it, and the way out; `None` where it can.
    pub why_not: Option<String>,
    /// Whether it is taken where none is named.
    pub default: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Address {
    /// The address.
    pub addr: IpAddr,
    /// How many of its bits name the network.
    pub prefix: Option<u32>,
}

/// A link type with its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Link {
    /// Its number in the LINKTYPE_ registry.
    pub number: u16,
    /// Its name in tcpdump's list.
    pub name: String,
}

/// Lists the network interfaces, and `any`, in libpcap's order: the likeliest to be wanted first.
///
/// What else libpcap can read (USB, D-Bus, queues of the firewall) holds no TCP, or would be disturbed by being opened.
///
/// # Errors
/// libpcap's.
pub fn interfaces() -> Result<Vec<Interface>, CaptureError> {
    let devices = Device::list().map_err(|error| {
        CaptureError::new(format!("the interfaces cannot be listed: {}", shown(&error.to_string())))
    })?;
    let mut list: Vec<Interface> = devices
        .into_iter()
        .filter(|device| device.name == ANY || nix::net::if_::if_nametoindex(device.name.as_str()).is_ok())
        .map(Interface::from)
        .collect();
    let chosen = list.iter().position(|interface| interface.up).or((!list.is_empty()).then_some(0));
    if let Some(chosen) = chosen {
        list[chosen].default = true;
    }
    Ok(list)
}

/// The interface that is taken where none is named: libpcap's choice, or `any`.
pub fn default_interface() -> String {
    let chosen = interfaces().ok().and_then(|list| list.into_iter().find(|interface| interface.default));
    chosen.map_or_else(|| ANY.to_owned(), |interface| interface.name)
}

impl From<LinkType> for Link {
    fn from(link: LinkType) -> Self {
        let name = Linktype(dlt(link)).get_name().unwrap_or_else(|_| format!("LINKTYPE {}", link.0));
        Self { number: link.0, name }
    }
}

impl From<Device> for Interface {
    fn from(device: Device) -> Self {
        let has = |flag| device.flags.if_flags.contains(flag);
        Self {
            addresses: device.addresses.iter().map(Address::from).collect(),
            up: has(IfFlags::UP),
            running: has(IfFlags::RUNNING),
            loopback: has(IfFlags::LOOPBACK),
            wireless: has(IfFlags::WIRELESS),
            name: device.name,
            description: device.desc,
            link: None,
            why_not: None,
            default: false,
        }
    }
}

impl From<&pcap::Address> for Address {
    fn from(address: &pcap::Address) -> Self {
        let prefix = address.netmask.map(|mask| match mask {
            IpAddr::V4(mask) => mask.to_bits().count_ones(),
            IpAddr::V6(mask) => mask.to_bits().count_ones(),
        });
        Self { addr: address.addr, prefix }
    }
}

/// The name by which libpcap captures on all interfaces at once.
pub(super) const ANY: &str = "any";
