//! One packet record of a capture file, and why there may be no next one.

use std::io;

use super::input::Input;
use super::{CaptureError, LinkType};
use crate::time::Timestamp;

/// One packet record, its bytes still in the input's window.
pub(super) struct Record {
    pub(super) at: Option<Timestamp>,
    pub(super) link: LinkType,
    pub(super) begin: usize,
    pub(super) captured: u32,
    pub(super) wire_len: u32,
}

impl Record {
    /// What stands where none was read yet.
    pub(super) const NONE: Self = Self { at: None, link: LinkType(0), begin: 0, captured: 0, wire_len: 0 };
}

/// Why a file can be read no further.
pub(super) enum Damage {
    /// It ends where it should go on: at which place.
    Cut(&'static str),
    /// It says what cannot be: what.
    Impossible(String),
    /// It is nothing that can be read: what it is, and the way out.
    Foreign(String),
    /// It has no octets.
    Empty,
    /// Reading or decompressing failed.
    Failed(io::Error),
}

impl Damage {
    pub(super) fn oversized(captured: u32) -> Self {
        Self::Impossible(format!(
            "the next one claims {captured} captured octets, and no capture holds more than {MAX_CAPTURED}"
        ))
    }

    /// A reader that failed looks like an early end: what it said is the reason.
    pub(super) fn explain(self, name: &str, frames: u64, input: &mut Input) -> CaptureError {
        input.take_failure().map_or(self, Self::from).told(name, frames)
    }

    pub(super) fn told(self, name: &str, frames: u64) -> CaptureError {
        let place = if frames == 0 { "before its first frame".into() } else { format!("after frame {frames}") };
        CaptureError::new(match self {
            Self::Cut(_) if frames == 0 => format!(
                "{name} is cut short before its first frame: nothing of it can be read; copy or capture it again"
            ),
            Self::Cut(place_in) => format!(
                "{name} is cut short after frame {frames}, {place_in}: \
                 it was copied or stopped while being written; the frames before that were read"
            ),
            Self::Impossible(what) if frames == 0 => format!("{name} is damaged before its first frame: {what}"),
            Self::Impossible(what) => {
                format!("{name} is damaged after frame {frames}: {what}; the frames before that were read")
            }
            Self::Foreign(what) => format!("{name} is not a capture that can be read: {what}"),
            Self::Empty => {
                format!("{name} is empty: a capture has at least a file header, so nothing was ever written to it")
            }
            Self::Failed(error) => format!("{name} cannot be read further {place}: {error}"),
        })
    }
}

/// What decompression says of its data is said of the file; the rest are the system's errors.
impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut("within its compressed data"),
            io::ErrorKind::InvalidData => Self::Impossible(error.to_string()),
            _ => Self::Failed(error),
        }
    }
}

/// As much of one frame as tcpdump or Wireshark ever write or read.
pub(super) const MAX_CAPTURED: u32 = 262_144;
