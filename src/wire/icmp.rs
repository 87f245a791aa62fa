//! What an ICMP error says of the packet that it quotes (RFC 792, RFC 1191, RFC 4443).

use std::net::IpAddr;

/// An ICMP error, without what it quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpError {
    /// Who sent it.
    pub from: IpAddr,
    /// What it says.
    pub kind: IcmpKind,
    /// Of [`IcmpKind::FragmentationNeeded`]: the largest packet that goes on from there, where the error tells it.
    pub mtu: Option<u32>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $words:literal;)*) => {
        /// What an ICMP error says, of IPv4 and of IPv6 alike.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum IcmpKind { $($(#[$doc])* $variant,)* }

        impl IcmpKind {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in machine-readable output.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its name as RFC 792 and RFC 1812 write it.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)* }
            }
        }
    };
}

kinds! {
    /// Codes 0, 6, 8 and 11 of type 3; of IPv6 type 1 code 0, no route.
    NetworkUnreachable = "network_unreachable", "network unreachable";
    /// Codes 1, 7 and 12 of type 3; of IPv6 type 1 code 3, address unreachable.
    HostUnreachable = "host_unreachable", "host unreachable";
    /// Code 2 of type 3.
    ProtocolUnreachable = "protocol_unreachable", "protocol unreachable";
    /// Code 3 of type 3; of IPv6 type 1 code 4.
    PortUnreachable = "port_unreachable", "port unreachable";
    /// Code 4 of type 3; of IPv6 type 2, packet too big.
    FragmentationNeeded = "fragmentation_needed", "fragmentation needed";
    /// Code 9 of type 3.
    NetworkProhibited = "network_prohibited", "network administratively prohibited";
    /// Code 10 of type 3.
    HostProhibited = "host_prohibited", "host administratively prohibited";
    /// Codes 13 to 15 of type 3; of IPv6 type 1 codes 1, 5 and 6.
    Prohibited = "prohibited", "communication administratively prohibited";
    /// Type 11; of IPv6 type 3.
    TimeExceeded = "time_exceeded", "time to live exceeded";
    /// Type 4.
    SourceQuench = "source_quench", "source quench";
    /// Type 12; of IPv6 type 4, and all else.
    Other = "other", "parameter problem";
}

impl IcmpError {
    /// The error with this type, this code and this second word of its header.
    pub(super) fn new(from: IpAddr, kind: u8, code: u8, word: u32) -> Self {
        use IcmpKind::*;
        let what = match (from.is_ipv4(), kind, code) {
            (true, 3, 0 | 6 | 8 | 11) | (false, 1, 0) => NetworkUnreachable,
            (true, 3, 1 | 7 | 12) | (false, 1, 3) => HostUnreachable,
            (true, 3, 2) => ProtocolUnreachable,
            (true, 3, 3) | (false, 1, 4) => PortUnreachable,
            (true, 3, 4) | (false, 2, _) => FragmentationNeeded,
            (true, 3, 9) => NetworkProhibited,
            (true, 3, 10) => HostProhibited,
            (true, 3, 13..=15) | (false, 1, 1 | 5 | 6) => Prohibited,
            (true, 11, _) | (false, 3, _) => TimeExceeded,
            (true, 4, _) => SourceQuench,
            _ => Other,
        };
        let mtu = if from.is_ipv4() { word & 0xffff } else { word };
        Self { from, kind: what, mtu: (what == FragmentationNeeded && mtu > 0).then_some(mtu) }
    }
}
