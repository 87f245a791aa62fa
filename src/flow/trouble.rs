//! What is remarkable about a connection: counts of its findings, and the first of them.

use super::history::{Signs, side_of};
use super::symptoms::Symptoms;
use super::{Detail, FindingAt, FindingCounts, Icmp, Problem};
use crate::tcp::{Direction, Finding, FindingSet, Judgement, Moves, State, Stream};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment};

/// What only connections have of which something is remarkable.
///
/// Of many of them one or two things are, so that what is seldom needed has room only where it is.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) signs: [Signs; 2],
    /// The first findings, at most [`Limits::findings`](super::Limits).
    pub(super) remarks: Vec<Remark>,
    /// What there is beyond them.
    much: Option<Box<Much>>,
    /// ICMP errors that quote its segments.
    pub(super) icmp: Option<Box<Icmp>>,
    /// What went wrong, while the connection is followed.
    pub(super) symptoms: Option<Box<Symptoms>>,
    /// What hurt it most, once it is not.
    pub(super) problem: Option<Box<Problem>>,
    /// Where the capture began again from the first segment: the last time before that.
    pub(super) replayed_until: Option<Timestamp>,
    /// The timestamps of each direction's FIN as it was last repeated, and of its SYN where that carries octets.
    pub(super) fins_again: [Option<u32>; 2],
    pub(super) syns: [Option<u32>; 2],
    /// How much memory the table counts for the connection besides its slot.
    pub(super) weight: usize,
}

/// What only connections have of which very much is remarkable.
#[derive(Debug, Default)]
struct Much {
    /// How many findings were not kept.
    omitted: u64,
    /// How often each of them was made, by direction.
    counts: Counts,
    /// How often the counts of SYN, FIN and RST came round to 0, by direction.
    rounds: [[u32; 3]; 2],
}

/// How often, by direction and by finding.
pub(super) type Counts = [FindingCounts; 2];

impl Trouble {
    /// Counts the findings of the segment in `frame`, and keeps them while there are fewer than `most`.
    pub(super) fn note(&mut self, direction: Direction, frame: u64, noted: &Noted, most: usize) {
        for finding in noted.findings.iter() {
            if self.remarks.len() >= most {
                let much = self.much.get_or_insert_default();
                much.counts[direction as usize][finding as usize] += 1;
                much.omitted += 1;
                continue;
            }
            if self.remarks.capacity() == 0 {
                self.remarks.reserve_exact(FIRST);
            }
            let amount = match finding {
                Finding::DuplicateAck => i64::from(noted.duplicate),
                Finding::AckedUnseen => noted.was_captured.into(),
                Finding::KeepAlive => noted.has_no_room.into(),
                Finding::LostSegment => noted.is_syn.into(),
                Finding::Retransmission | Finding::OutOfOrder if noted.is_crossed && !self.has_crossed(direction) => {
                    IS_CROSSED
                }
                Finding::Retransmission | Finding::OutOfOrder if !noted.is_old && !noted.is_syn => IS_NEW,
                _ => noted.since_advance.map_or(-1, Span::as_nanos),
            };
            self.remarks.push(Remark { finding, direction, frame, amount });
        }
    }

    /// Whether an end has answered a SYN that crossed its own: what it sends then is that again.
    fn has_crossed(&self, direction: Direction) -> bool {
        self.remarks.iter().any(|remark| remark.direction == direction && remark.amount == IS_CROSSED)
    }

    /// Forgets all findings of one kind in one direction, but for how many were not kept.
    pub(super) fn retract(&mut self, finding: Finding, direction: Direction) {
        self.remarks.retain(|remark| remark.finding != finding || remark.direction != direction);
        if let Some(much) = &mut self.much {
            much.counts[direction as usize][finding as usize] = 0;
        }
    }

    /// That a count of SYNs, FINs or RSTs came round to 0.
    pub(super) fn note_round(&mut self, direction: Direction, control: usize) {
        self.much.get_or_insert_default().rounds[direction as usize][control] += 1;
    }

    /// How often the counts of SYN, FIN and RST came round to 0.
    pub(super) fn rounds(&self, direction: Direction) -> [u32; 3] {
        self.much.as_ref().map_or([0; 3], |much| much.rounds[direction as usize])
    }

    /// How many findings were not kept.
    pub(super) fn omitted(&self) -> u64 {
        self.much.as_ref().map_or(0, |much| much.omitted)
    }

    /// How much memory it takes.
    #[inline]
    pub(super) fn extra(&self) -> usize {
        let symptoms = self.symptoms.as_ref().map_or(0, |symptoms| symptoms.room());
        let problem = self.problem.as_ref().map_or(0, |_| size_of::<Problem>());
        let much = self.much.as_ref().map_or(0, |_| size_of::<Much>());
        let icmp = self.icmp.as_ref().map_or(0, |_| size_of::<Icmp>());
        size_of::<Self>() + symptoms + problem + much + icmp + self.remarks.capacity() * size_of::<Remark>()
    }

    /// How often each finding was made, those that were not kept included.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = self.much.as_ref().map_or_else(Counts::default, |much| much.counts);
        for remark in &self.remarks {
            counts[remark.direction as usize][remark.finding as usize] += 1;
        }
        counts
    }

    /// How often one finding was made in one direction.
    pub(super) fn count(&self, finding: Finding, direction: Direction) -> u32 {
        let is_it = |remark: &&Remark| remark.finding == finding && remark.direction == direction;
        let kept = self.remarks.iter().filter(is_it).count() as u32;
        kept + self.much.as_ref().map_or(0, |much| much.counts[direction as usize][finding as usize])
    }

    /// The findings that were kept.
    pub(super) fn findings(&self, client: Direction) -> Vec<FindingAt> {
        let tell = |remark: &Remark| FindingAt {
            finding: remark.finding,
            frame: Some(remark.frame),
            side: side_of(remark.direction, client),
            detail: remark.detail(),
        };
        self.remarks.iter().map(tell).collect()
    }
}

/// How often each finding was made, in both directions together; `None` where none was.
pub(super) fn in_both_directions([first, second]: &Counts) -> Option<Box<FindingCounts>> {
    let counts: FindingCounts = std::array::from_fn(|at| first[at].saturating_add(second[at]));
    counts.iter().any(|count| *count > 0).then(|| Box::new(counts))
}

/// What is kept of a [`Judgement`] of which something is remarkable; the rest of it need not be worked out.
pub(super) struct Noted {
    pub(super) findings: FindingSet,
    since_advance: Option<Span>,
    duplicate: u16,
    was_captured: bool,
    /// Whether it begins before the end of what its sender had sent.
    is_old: bool,
    is_syn: bool,
    /// Whether the receiver's window is zero.
    has_no_room: bool,
    /// Whether it acknowledges the SYN that crossed its sender's.
    is_crossed: bool,
}

impl Noted {
    #[inline]
    pub(super) fn of(segment: &Segment, judged: &Judgement, receiver: &Stream) -> Self {
        let Judgement { findings, since_advance, duplicate, was_captured, is_old, .. } = *judged;
        let (is_syn, has_no_room) = (segment.flags.contains(Flags::SYN), receiver.has_zero_window());
        Self { findings, since_advance, duplicate, was_captured, is_old, is_syn, has_no_room, is_crossed: false }
    }

    /// The same, of a segment that moved the ends so: a SYN-ACK by which a simultaneous open goes on is no repetition of the SYN.
    pub(super) fn moving(self, sender: &Moves) -> Self {
        let crossed = (Some(State::SynSent), State::SynReceived);
        let is_crossed = self.is_syn && sender.iter().flatten().any(|step| (step.from, step.to) == crossed);
        Self { is_crossed, ..self }
    }
}

/// One finding of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remark {
    pub(super) finding: Finding,
    pub(super) direction: Direction,
    pub(super) frame: u64,
    /// Nanoseconds since the stream advanced last, negative where that is not known, or which of the duplicate acknowledgements it is,
    /// or [`IS_NEW`], or [`IS_CROSSED`], or 1 where all that is acknowledged was captured,
    /// or where a SYN has another number,
    /// or where a keep-alive meets a window of zero.
    amount: i64,
}

impl Remark {
    fn detail(&self) -> Detail {
        match self.finding {
            Finding::DuplicateAck => Detail::Number(u32::try_from(self.amount).unwrap_or(u32::MAX)),
            Finding::AckedUnseen if self.amount > 0 => Detail::Captured,
            Finding::KeepAlive if self.amount > 0 => Detail::NoRoom,
            Finding::LostSegment if self.amount > 0 => Detail::OtherNumber,
            Finding::Retransmission | Finding::OutOfOrder if self.amount == IS_NEW => Detail::BelowReset,
            Finding::Retransmission | Finding::OutOfOrder if self.amount == IS_CROSSED => Detail::SynsCrossed,
            Finding::Retransmission
            | Finding::FastRetransmission
            | Finding::SpuriousRetransmission
            | Finding::OutOfOrder
            | Finding::Reordered
            | Finding::SentAgain => Detail::Since((self.amount >= 0).then_some(Span(self.amount))),
            _ => Detail::None,
        }
    }
}

/// Room for so many findings is made with the first: of most connections there are no more.
const FIRST: usize = 2;
/// The amount of what is a retransmission or out of order by the rule, though its octets are new; of the others it is a time, or -1.
const IS_NEW: i64 = -2;
/// That of a SYN-ACK which answers a SYN that crossed its sender's.
const IS_CROSSED: i64 = -3;
