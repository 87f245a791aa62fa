//! Where a segment was seen on its way, and what that says of its ends.

use crate::capture::{CapturePoint, LinkType, SeenAt};
use crate::flow::Side;
use crate::script::LinkAct;
use crate::time::Timestamp;

/// A place where segments of a story were captured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    /// The place.
    pub at: CapturePoint,
    /// The end at whose host it is; `None` where that is not known, or it is both.
    pub side: Option<Side>,
}

impl Point {
    /// An interface that is captured live, where both ends of its connections may be.
    pub fn live(interface: &str) -> Self {
        let at = CapturePoint {
            file: None,
            interface: Some(interface.to_owned()),
            description: None,
            link: LinkType::ETHERNET,
        };
        Self { at, side: None }
    }
}

/// One sighting of a segment on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PointSighting {
    /// Where, and which way it was going there.
    pub seen: SeenAt,
    /// The frame it was in, by its number in the capture of that point.
    pub frame: u64,
    /// When; `None` where the capture does not say.
    pub at: Option<Timestamp>,
    /// What its being seen there says of its ends.
    pub sense: Sense,
}

/// What the sighting of a segment says of its ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// It was seen as it left its sender's host: it was sent; whether it arrives is another sighting's matter.
    Leaves,
    /// It was seen as it arrived at its receiver's host.
    Arrives,
    /// It was seen on its way, at the only capture point: it was sent, and is believed to have arrived until hindsight shows that it had not.
    #[default]
    Passes,
}

impl Sense {
    /// What a sighting at an end says in the story of that end alone, where the link did so much with the segment.
    ///
    /// What came there came for certain, but for what was damaged, which TCP does not take. What left is believed to have arrived.
    #[must_use]
    pub fn at_its_end(self, acts: &[LinkAct]) -> Self {
        match self {
            Self::Arrives if acts.contains(&LinkAct::Damaged) => Self::Leaves,
            Self::Arrives => Self::Arrives,
            Self::Leaves | Self::Passes => Self::Passes,
        }
    }
}

/// What is known of the passage of a frame beside that it was captured.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Passing {
    /// What its sighting says of its ends.
    pub sense: Sense,
    /// What the link between them did with it.
    pub acts: Vec<LinkAct>,
    /// Every sighting of it, in order of time, where there are several; else empty.
    pub passage: Vec<PointSighting>,
}
