//! What is remarkable about a connection: counts of its findings, and the first of them.

use super::history::{Signs, side_of};
use super::symptoms::Symptoms;
use super::{Detail, FindingAt, FindingCounts, Icmp, Problem};
use crate::tcp::{Direction, Finding, FindingSet, Judgement, Stream};
use crate::time::{Span, Timestamp};

/// What only connections have of which something is remarkable.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// How often, by direction and by finding.
    pub(super) counts: [[u32; Finding::ALL.len()]; 2],
    pub(super) signs: [Signs; 2],
    /// How often the counts of SYN, FIN and RST came round to 0, by direction.
    pub(super) rounds: [[u32; 3]; 2],
    /// The first findings, at most [`Limits::findings`](super::Limits).
    pub(super) remarks: Vec<Remark>,
    pub(super) omitted: u64,
    /// ICMP errors that quote its segments.
    pub(super) icmp: Option<Icmp>,
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

impl Trouble {
    /// Counts the findings of the segment in `frame`, and keeps them while there are fewer than `most`.
    pub(super) fn note(&mut self, direction: Direction, frame: u64, noted: &Noted, most: usize) {
        for finding in noted.findings.iter() {
            self.counts[direction as usize][finding as usize] += 1;
            if self.remarks.len() >= most {
                self.omitted += 1;
                continue;
            }
            let amount = match finding {
                Finding::DuplicateAck => i64::from(noted.duplicate),
                Finding::AckedUnseen => noted.was_captured.into(),
                Finding::KeepAlive => noted.has_no_room.into(),
                _ => noted.since_advance.map_or(-1, Span::as_nanos),
            };
            self.remarks.push(Remark { finding, direction, frame, amount });
        }
    }

    /// How much memory it takes.
    #[inline]
    pub(super) fn extra(&self) -> usize {
        let symptoms = self.symptoms.as_ref().map_or(0, |symptoms| symptoms.room());
        let problem = self.problem.as_ref().map_or(0, |_| size_of::<Problem>());
        size_of::<Self>() + symptoms + problem + self.remarks.capacity() * size_of::<Remark>()
    }

    /// How often each finding was made, in both directions together; `None` where none was.
    pub(super) fn finding_counts(&self) -> Option<Box<FindingCounts>> {
        let [first, second] = &self.counts;
        let counts = std::array::from_fn(|at| first[at].saturating_add(second[at]));
        counts.iter().any(|count| *count > 0).then(|| Box::new(counts))
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

/// What is kept of a [`Judgement`] of which something is remarkable; the rest of it need not be worked out.
pub(super) struct Noted {
    pub(super) findings: FindingSet,
    since_advance: Option<Span>,
    duplicate: u16,
    was_captured: bool,
    /// Whether the receiver's window is zero.
    has_no_room: bool,
}

impl Noted {
    #[inline]
    pub(super) fn of(judged: &Judgement, receiver: &Stream) -> Self {
        let Judgement { findings, since_advance, duplicate, was_captured, .. } = *judged;
        Self { findings, since_advance, duplicate, was_captured, has_no_room: receiver.has_zero_window() }
    }
}

/// One finding of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remark {
    pub(super) finding: Finding,
    pub(super) direction: Direction,
    pub(super) frame: u64,
    /// Nanoseconds since the stream advanced last, negative where that is not known, or which of the duplicate acknowledgements it is,
    /// or 1 where all that is acknowledged was captured,
    /// or where a keep-alive meets a window of zero.
    amount: i64,
}

impl Remark {
    fn detail(&self) -> Detail {
        match self.finding {
            Finding::DuplicateAck => Detail::Number(u32::try_from(self.amount).unwrap_or(u32::MAX)),
            Finding::AckedUnseen if self.amount > 0 => Detail::Captured,
            Finding::KeepAlive if self.amount > 0 => Detail::NoRoom,
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
