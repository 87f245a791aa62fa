//! The tunnels that segments come in.

use std::fmt;
use std::net::IpAddr;

/// One tunnel around a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tunnel {
    /// Which.
    pub kind: TunnelKind,
    /// The number that tells networks or sessions in it apart, as [`TunnelKind`] says; `None` where there is none.
    pub id: Option<u32>,
    /// Source and destination address of the IP header that carries it; `None` where it is a matter of the link layer.
    pub ends: Option<(IpAddr, IpAddr)>,
}

/// The kinds of tunnel, and what their number is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TunnelKind {
    /// 802.1Q and 802.1ad, one for each tag: the VLAN identifier.
    Vlan,
    /// 802.1ah: the service instance.
    Pbb,
    /// MPLS: the label at the bottom of the stack.
    Mpls,
    /// PPPoE: the session.
    Pppoe,
    /// GRE: its key; of PPTP's version, the call.
    Gre,
    /// GRE in UDP: its key.
    GreInUdp,
    /// MikroTik's Ethernet over IP: the tunnel.
    Eoip,
    /// ERSPAN in GRE: the session.
    Erspan,
    /// IP in IP.
    IpInIp,
    /// EtherIP.
    EtherIp,
    /// VXLAN, also for other protocols than Ethernet: the network identifier.
    Vxlan,
    /// GENEVE: the network identifier.
    Geneve,
    /// GTP-U: the tunnel endpoint identifier of its receiver.
    GtpU,
    /// Teredo.
    Teredo,
    /// L2TP: the session, as its receiver numbers it.
    L2tp,
    /// LISP: the instance.
    Lisp,
    /// CAPWAP.
    Capwap,
    /// TaZmen sniffer protocol.
    Tzsp,
    /// AYIYA.
    Ayiya,
    /// Cisco's FabricPath: the forwarding tag, which names the tree.
    FabricPath,
}

impl Tunnel {
    /// Whether both are the same tunnel, whichever way a segment goes through it.
    pub fn is(&self, other: &Self) -> bool {
        (self.kind, self.id) == (other.kind, other.id)
    }
}

/// `VXLAN 42`, as people say it.
impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.title())?;
        self.id.map_or(Ok(()), |id| write!(f, " {id}"))
    }
}

impl TunnelKind {
    /// Its name as people write it.
    const fn title(self) -> &'static str {
        match self {
            Self::Vlan => "VLAN",
            Self::Pbb => "PBB",
            Self::Mpls => "MPLS",
            Self::Pppoe => "PPPoE",
            Self::Gre => "GRE",
            Self::GreInUdp => "GRE in UDP",
            Self::Eoip => "EoIP",
            Self::Erspan => "ERSPAN",
            Self::IpInIp => "IP in IP",
            Self::EtherIp => "EtherIP",
            Self::Vxlan => "VXLAN",
            Self::Geneve => "GENEVE",
            Self::GtpU => "GTP-U",
            Self::Teredo => "Teredo",
            Self::L2tp => "L2TP",
            Self::Lisp => "LISP",
            Self::Capwap => "CAPWAP",
            Self::Tzsp => "TZSP",
            Self::Ayiya => "AYIYA",
            Self::FabricPath => "FabricPath",
        }
    }

    /// Its name in machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vlan => "vlan",
            Self::Pbb => "pbb",
            Self::Mpls => "mpls",
            Self::Pppoe => "pppoe",
            Self::Gre => "gre",
            Self::GreInUdp => "gre_in_udp",
            Self::Eoip => "eoip",
            Self::Erspan => "erspan",
            Self::IpInIp => "ip_in_ip",
            Self::EtherIp => "etherip",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::GtpU => "gtp_u",
            Self::Teredo => "teredo",
            Self::L2tp => "l2tp",
            Self::Lisp => "lisp",
            Self::Capwap => "capwap",
            Self::Tzsp => "tzsp",
            Self::Ayiya => "ayiya",
            Self::FabricPath => "fabricpath",
        }
    }
}
