//! What is another about a segment when it arrives.

use super::digest::Compared;
use super::placed::Placed;
use super::taken::Taken;

/// A part of a segment that is another when it arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// An address or a port.
    Addresses,
    /// A sequence or acknowledgement number, by another amount than all others.
    Numbers,
    /// The maximum segment size: sent, arrived.
    Mss(Option<u16>, Option<u16>),
    /// The window scale: sent, arrived.
    WindowScale(Option<u8>, Option<u8>),
    /// SACK permitted.
    SackPermitted,
    /// The timestamps.
    Timestamps,
    /// The window.
    Window,
    /// The flags.
    Flags,
    /// The octets.
    Octets,
    /// The congestion mark of the IP header (CE).
    Congestion,
}

impl Change {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Numbers => "numbers",
            Self::Mss(..) => "mss",
            Self::WindowScale(..) => "window_scale",
            Self::SackPermitted => "sack_permitted",
            Self::Timestamps => "timestamps",
            Self::Window => "window",
            Self::Flags => "flags",
            Self::Octets => "octets",
            Self::Congestion => "congestion",
        }
    }
}

/// Which parts of a segment are others when it arrives.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Changes(u16);

impl Changes {
    const NUMBERS: Self = Self(1);
    const MSS: Self = Self(1 << 1);
    const WINDOW_SCALE: Self = Self(1 << 2);
    const SACK_PERMITTED: Self = Self(1 << 3);
    const TIMESTAMPS: Self = Self(1 << 4);
    const WINDOW: Self = Self(1 << 5);
    const FLAGS: Self = Self(1 << 6);
    const OCTETS: Self = Self(1 << 7);
    const CONGESTION: Self = Self(1 << 8);

    /// What is another, besides addresses and ports; `is_part` where one capture has several segments as one, whose flags and octets cannot be compared.
    pub(super) fn of(sent: &Placed<'_>, arrived: &Placed<'_>, how: Compared, is_part: bool) -> Self {
        let (one, other) = (sent.taken, arrived.taken);
        // Of options that were not captured nothing is known.
        let is_cut = one.is_cut_short() || other.is_cut_short();
        let all = Self::NUMBERS.when(sent.ack != arrived.ack)
            | Self::MSS.when(is_other(one.mss(), other.mss(), is_cut))
            | Self::WINDOW_SCALE.when(is_other(one.window_scale(), other.window_scale(), is_cut))
            | Self::SACK_PERMITTED.when(!is_cut && one.permits_sack() != other.permits_sack())
            | Self::TIMESTAMPS.when(is_other(one.timestamps(), other.timestamps(), is_cut))
            | Self::WINDOW.when(one.window != other.window);
        if is_part {
            return Self(all);
        }
        let whole = Self::FLAGS.when(one.flags != other.flags)
            | Self::OCTETS.when(one.digest(how) != other.digest(how))
            | Self::CONGESTION.when(one.is_marked() != other.is_marked());
        Self(all | whole)
    }

    /// Whether nothing is.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether anything is that a receiver looks at.
    pub(super) fn concern_the_segment(self) -> bool {
        self.0 & !Self::CONGESTION.0 != 0
    }

    /// Each of them, in the order in which they are told, of a segment that was sent and arrived.
    pub(super) fn each(self, is_translated: bool, sent: &Taken, arrived: &Taken) -> Vec<Change> {
        let mut changes = Vec::new();
        if is_translated {
            changes.push(Change::Addresses);
        }
        if self.is_empty() {
            return changes;
        }
        let named = [
            (Self::NUMBERS, Change::Numbers),
            (Self::MSS, Change::Mss(sent.mss(), arrived.mss())),
            (Self::WINDOW_SCALE, Change::WindowScale(sent.window_scale(), arrived.window_scale())),
            (Self::SACK_PERMITTED, Change::SackPermitted),
            (Self::TIMESTAMPS, Change::Timestamps),
            (Self::WINDOW, Change::Window),
            (Self::FLAGS, Change::Flags),
            (Self::OCTETS, Change::Octets),
            (Self::CONGESTION, Change::Congestion),
        ];
        changes.extend(named.into_iter().filter(|(flag, _)| self.0 & flag.0 != 0).map(|(_, change)| change));
        changes
    }

    /// The flag, if that is so.
    fn when(self, is_so: bool) -> u16 {
        self.0 * u16::from(is_so)
    }
}

/// Whether an option is another; where some were cut off, both captures must have it for that.
fn is_other<T: PartialEq>(sent: Option<T>, arrived: Option<T>, is_cut: bool) -> bool {
    let both = sent.is_some() && arrived.is_some();
    sent != arrived && (both || !is_cut)
}
