//! One end's machine of RFC 9293, driven by the segments that the end sends and receives.

use super::State;
use crate::wire::{Flags, Segment, Seq};

/// The machine of one end, as a passive observer runs it: 20 octets, `Copy`.
///
/// What an end sent it has certainly done; what was sent to it counts as received when the observer saw it pass, in sequence.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    state: Option<State>,
    /// Set once this end sent a SYN: its first sequence number.
    isn: Option<Seq>,
    /// Set once this end sent a FIN: the sequence number after it.
    fin_end: Option<Seq>,
}

/// A step of an end's machine from one state to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The state it left; `None` when it was not known.
    pub from: Option<State>,
    /// The state it entered.
    pub to: State,
    /// The arm of the machine that moved it.
    pub rule: Rule,
}

/// The moves that one segment causes at one end: none, one or two.
pub type Moves = [Option<Move>; 2];

/// The arms of the machine, each one sentence (RFC 9293 section 3.10; the numbers in `docs/timeline.md`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// Placeholder.
    SynSent,
}

impl Endpoint {
    /// An end before anything: CLOSED.
    pub const fn closed() -> Self {
        Self { state: Some(State::Closed), isn: None, fin_end: None }
    }

    /// An end that waits for a SYN: LISTEN.
    pub const fn listening() -> Self {
        Self { state: Some(State::Listen), isn: None, fin_end: None }
    }

    /// An end whose past was not seen.
    pub const fn unknown() -> Self {
        Self { state: None, isn: None, fin_end: None }
    }

    /// Its state; `None` while not known.
    pub const fn state(&self) -> Option<State> {
        self.state
    }

    /// The end sent `segment`.
    pub fn sent(&mut self, _segment: &Segment) -> Moves {
        [None; 2]
    }

    /// `segment`, sent by the peer, reached the end; `in_order` is the sequence number up to which the peer's octets (and its FIN) have been seen without a gap.
    pub fn received(&mut self, _segment: &Segment, _in_order: Seq) -> Moves {
        let _ = Flags::ACK;
        [None; 2]
    }
}
