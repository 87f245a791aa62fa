//! A connection of both captures, and what its passages are asked.

use super::passages::{Extra, Passage};
use super::{Captured, Change, Clocks, Fate, FoundBy, Taken};
use crate::flow::Side;
use crate::time::{Span, Timestamp};

/// A connection that was captured at both ends.
#[derive(Clone, Debug)]
pub struct Pair {
    /// As the client's capture has it.
    pub at_client: Captured,
    /// As the server's capture has it: with other addresses or ports where they are translated between (NAT).
    pub at_server: Captured,
    /// By what the two were found to be one.
    pub found_by: FoundBy,
    /// The server's clock against the client's, by all segments of the two captures; `None` where only one direction was seen to arrive.
    pub clocks: Option<Clocks>,
    /// Its segments, in the order in which they were sent, as far as the clocks tell.
    pub passages: Vec<Passage>,
    /// How many frames the client's capture, and the server's, hold a second time: they were captured twice, not sent twice.
    pub captured_twice: [u32; 2],
    /// What few of its passages have.
    pub(super) extras: Vec<Extra>,
    /// How long the fastest of each direction took, by the clocks; by the difference of both until these are known.
    pub(super) fastest: [Option<Span>; 2],
    /// When the first one whose time is known was at the client, by its clock.
    pub(super) began: Option<Timestamp>,
    /// Whether something arrived that was not seen to be sent.
    pub(super) has_unsent: bool,
    /// Whether its ends were taken for each other.
    pub(super) is_turned: bool,
    /// How many segments of each capture are second ones of the same frame.
    pub(super) seconds: [usize; 2],
    /// What each end took to answer.
    pub(super) slowest_answers: [Option<Span>; 2],
}

impl Pair {
    /// A connection of both captures whose segments are not paired yet.
    pub(super) fn new(at_client: Captured, at_server: Captured, found_by: FoundBy) -> Self {
        Self {
            at_client,
            at_server,
            found_by,
            clocks: None,
            passages: Vec::new(),
            captured_twice: [0; 2],
            extras: Vec::new(),
            fastest: [None; 2],
            began: None,
            has_unsent: false,
            is_turned: false,
            seconds: [0; 2],
            slowest_answers: [None; 2],
        }
    }

    /// The capture at one end.
    pub fn at(&self, side: Side) -> &Captured {
        match side {
            Side::Client => &self.at_client,
            Side::Server => &self.at_server,
        }
    }

    /// Whether its addresses or ports are others at the server.
    pub fn is_translated(&self) -> bool {
        self.at_client.ends != self.at_server.ends
    }

    /// A segment as it was captured at its sender's end.
    pub fn sent(&self, passage: &Passage) -> Option<&Taken> {
        self.at(passage.from).segments.get(passage.sent_at()? as usize)
    }

    /// The same at its receiver's end, where it came first.
    pub fn first_arrived(&self, passage: &Passage) -> Option<&Taken> {
        self.at(passage.from.peer()).segments.get(passage.arrived_at()? as usize)
    }

    /// The same at its receiver's end, each time that it came.
    pub fn arrived<'a>(&'a self, passage: &'a Passage) -> impl Iterator<Item = &'a Taken> {
        let copies = self.extra(passage).map_or(&[][..], |extra| &extra.copies);
        let at = |place: &u32| self.at(passage.from.peer()).segments.get(*place as usize);
        self.first_arrived(passage).into_iter().chain(copies.iter().filter_map(at))
    }

    /// A segment as it was captured at all: at its sender's end, or else at its receiver's.
    pub fn any(&self, passage: &Passage) -> Option<&Taken> {
        self.sent(passage).or_else(|| self.first_arrived(passage))
    }

    /// What was changed on its way.
    pub fn changes(&self, passage: &Passage) -> Vec<Change> {
        let (Some(sent), Some(first)) = (self.sent(passage), self.first_arrived(passage)) else { return Vec::new() };
        // Of several copies the one that it was paired with.
        let paired = self.extra(passage).map(|extra| extra.compared as usize);
        let arrived = paired.and_then(|place| self.at(passage.from.peer()).segments.get(place));
        passage.changes().each(self.is_translated(), sent, arrived.unwrap_or(first))
    }

    /// How much longer than the fastest of its direction it took, where that is remarkable.
    pub fn held_up(&self, passage: &Passage) -> Option<Span> {
        let fastest = self.fastest[passage.from as usize]?;
        passage.took().filter(|_| passage.is_held_up()).map(|took| took.less(fastest))
    }

    /// Of which segment of an earlier connection between the same ends it is a late copy: the frame in its receiver's capture.
    pub fn repeats(&self, passage: &Passage) -> Option<u64> {
        self.extra(passage)?.repeats
    }

    /// The passages of one direction.
    pub fn sent_by(&self, side: Side) -> impl Iterator<Item = &Passage> {
        self.passages.iter().filter(move |passage| passage.from == side)
    }

    /// How many passages of one direction had that fate.
    pub fn count(&self, side: Side, fate: Fate) -> usize {
        self.sent_by(side).filter(|passage| passage.fate == fate).count()
    }

    /// The longest time from octets that came to an end until it sent some of its own for the first time, by its own clock: what its host took to answer.
    pub fn slowest_answer(&self, side: Side) -> Option<Span> {
        self.slowest_answers[side as usize]
    }

    /// The shortest, the middle and the longest time on the way of one direction.
    pub fn delays(&self, side: Side) -> Option<[Span; 3]> {
        let mut all: Vec<Span> = self.sent_by(side).filter_map(Passage::took).collect();
        let middle = all.len() / 2;
        let (shortest, longest) = (*all.iter().min()?, *all.iter().max()?);
        Some([shortest, *all.select_nth_unstable(middle).1, longest])
    }

    fn extra(&self, passage: &Passage) -> Option<&Extra> {
        self.extras.get(passage.extra()?)
    }

    /// Adds what few passages have, where it has none of that yet.
    pub(super) fn extra_of(&mut self, passage: usize) -> &mut Extra {
        let place = self.passages[passage].extra().unwrap_or_else(|| {
            self.extras.push(Extra::default());
            self.extras.len() - 1
        });
        self.passages[passage].set_extra(place);
        &mut self.extras[place]
    }
}
