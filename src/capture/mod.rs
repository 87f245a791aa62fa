//! Where frames come from and where they are kept: capture files, live interfaces, and the writer.

mod allowance;
mod attachment;
mod closing;
mod compression;
mod feed;
mod file;
mod filter;
mod input;
mod interfaces;
mod live;
mod merged;
mod patient;
mod pcap;
mod pcapng;
mod place;
mod point;
mod privilege;
mod record;
mod series;
mod tape;
mod writer;

pub use allowance::{Allowance, Share};
pub use closing::{close_all_but, close_beside};
pub use feed::{Batch, Fed, Feed};
pub use file::{FileSource, Meter, hold};
pub use filter::Filter;
pub use interfaces::{Address, Interface, Link, default_interface, interfaces};
pub use live::{CaptureStats, Delivery, Live, Manner, OpenError, Scope, Tap};
pub use merged::Merged;
pub use place::NewFile;
pub use point::{CapturePoint, Heading, PointId, SeenAt};
pub use privilege::{
    LowPorts, Successor, acts_for, give_up_privilege, give_up_privilege_beside, give_up_privilege_inside,
    ways_to_capture,
};
pub use series::{Rotation, Series, Written};
pub use tape::{Given, Markers, OwnedFrame, Replay, Tape};
pub use writer::Writer;

use std::ops::ControlFlow;

use crate::time::Timestamp;

/// One captured frame, borrowed from its source until the next is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its number, counted from 1 over all frames of the capture, as Wireshark does.
    pub number: u64,
    /// When it was captured; `None` when the format does not say.
    pub at: Option<Timestamp>,
    /// How the bytes begin.
    pub link: LinkType,
    /// The bytes captured.
    pub bytes: &'a [u8],
    /// How many octets the frame had on the wire; more than `bytes` holds when a snap length cut it.
    pub wire_len: u32,
    /// Where it was captured, as far as its source says.
    pub seen: SeenAt,
}

impl Frame<'_> {
    /// Where it was captured, with what its link-layer header says where its source does not say which way it was going.
    pub fn seen(&self) -> SeenAt {
        self.seen.completed(self.link, self.bytes)
    }
}

/// A link-layer header type by its number in the LINKTYPE_ registry (tcpdump.org/linktypes.html).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LinkType(pub u16);

impl LinkType {
    /// LINKTYPE_ETHERNET.
    pub const ETHERNET: Self = Self(1);
    /// LINKTYPE_RAW: IPv4 or IPv6, without a link-layer header.
    pub const RAW: Self = Self(101);
    /// LINKTYPE_LINUX_SLL, the first Linux cooked header.
    pub const LINUX_SLL: Self = Self(113);
    /// LINKTYPE_LINUX_SLL2, the second Linux cooked header.
    pub const LINUX_SLL2: Self = Self(276);
}

/// A source of frames, in the order in which the capture holds them.
pub trait FrameSource {
    /// Yields the next frame, or `None` at the end.
    ///
    /// # Errors
    /// A [`CaptureError`] says where the source broke; frames before it were good, and no frame follows it.
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError>;

    /// The capture points known so far, by their [`PointId`]: that of every frame handed out is among them.
    ///
    /// More may follow, and those that are known keep their numbers. A source that knows nothing about where its frames
    /// are from has none.
    fn points(&self) -> &[CapturePoint] {
        &[]
    }

    /// Hands the next frames to `on`, at most `most` of them, until it breaks off; returns how many: fewer than that only at the end, or where `on` broke off.
    ///
    /// It is what [`next_frame`](Self::next_frame) yields, and faster where it is done for millions.
    ///
    /// # Errors
    /// As `next_frame`, and the first error of `on`.
    fn next_frames(
        &mut self,
        most: usize,
        mut on: impl FnMut(Frame<'_>) -> Result<ControlFlow<()>, CaptureError>,
    ) -> Result<usize, CaptureError>
    where
        Self: Sized,
    {
        for taken in 0..most {
            match self.next_frame()? {
                Some(frame) if on(frame)?.is_break() => return Ok(taken + 1),
                Some(_) => {}
                None => return Ok(taken),
            }
        }
        Ok(most)
    }
}

impl<S: FrameSource + ?Sized> FrameSource for Box<S> {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        (**self).next_frame()
    }

    fn points(&self) -> &[CapturePoint] {
        (**self).points()
    }
}

/// Why a source of frames could not be opened, or ended before its end; its message names the thing and the way out.
#[derive(Debug)]
pub struct CaptureError {
    /// One line for people, without a trailing full stop.
    pub message: String,
}

impl CaptureError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl std::fmt::Display for CaptureError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CaptureError {}

/// A name from outside, its control characters escaped, so that showing it cannot drive a terminal.
fn shown(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests;
