//! What is another about a segment when it arrives.

use super::digest::Compared;
use super::placed::Placed;
use crate::wire::{Oddities, Segment};

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

    /// What is another; `is_part` where one capture has several segments as one, whose flags and octets cannot be compared.
    pub(super) fn all(sent: &Placed<'_>, arrived: &Placed<'_>, how: Compared, is_part: bool) -> Vec<Self> {
        let (one, other) = (&sent.taken.segment, &arrived.taken.segment);
        let mut changes = Vec::new();
        let mut note = |is_other: bool, change: Self| {
            if is_other {
                changes.push(change);
            }
        };
        note((one.from(), one.to()) != (other.from(), other.to()), Self::Addresses);
        note(sent.ack != arrived.ack, Self::Numbers);
        note(one.options.mss != other.options.mss, Self::Mss(one.options.mss, other.options.mss));
        let scales = (one.options.window_scale, other.options.window_scale);
        note(scales.0 != scales.1, Self::WindowScale(scales.0, scales.1));
        note(one.options.sack_permitted != other.options.sack_permitted, Self::SackPermitted);
        note(one.options.timestamps != other.options.timestamps, Self::Timestamps);
        note(one.window != other.window, Self::Window);
        if !is_part {
            note(one.flags != other.flags, Self::Flags);
            note(sent.digest(how) != arrived.digest(how), Self::Octets);
            let marks = |segment: &Segment| segment.oddities.contains(Oddities::CONGESTION_EXPERIENCED);
            note(marks(one) != marks(other), Self::Congestion);
        }
        changes
    }
}
