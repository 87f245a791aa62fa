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
        // Of options that were not captured nothing is known.
        let is_cut = [one, other].iter().any(|segment| segment.oddities.contains(Oddities::HEADER_CUT));
        let (ours, theirs) = (&one.options, &other.options);
        note(is_other(ours.mss, theirs.mss, is_cut), Self::Mss(ours.mss, theirs.mss));
        let scales = (ours.window_scale, theirs.window_scale);
        note(is_other(scales.0, scales.1, is_cut), Self::WindowScale(scales.0, scales.1));
        note(!is_cut && ours.sack_permitted != theirs.sack_permitted, Self::SackPermitted);
        note(is_other(ours.timestamps, theirs.timestamps, is_cut), Self::Timestamps);
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

/// Whether an option is another; where some were cut off, both captures must have it for that.
fn is_other<T: PartialEq>(sent: Option<T>, arrived: Option<T>, is_cut: bool) -> bool {
    let both = sent.is_some() && arrived.is_some();
    sent != arrived && (both || !is_cut)
}
