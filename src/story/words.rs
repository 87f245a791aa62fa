//! The words of a recording, in the order in which a timeline is told them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;
use std::net::SocketAddr;
use std::vec::IntoIter;

use super::witnessed::Moment;
use super::{Quotation, Sighting, Trace, Witnessed};
use crate::calls::Call;
use crate::kernel;
use crate::time::Timestamp;

/// The words of a recording in the order in which they are to be told.
pub(super) fn words<'a>(
    traces: Vec<Trace>,
    calls: Vec<Call>,
    evidence: &'a [kernel::Answer],
    events: &'a [kernel::KernelEvent],
) -> Words<'a> {
    let mut traces = traces;
    let errors = traces.iter_mut().flat_map(|trace| std::mem::take(&mut trace.errors));
    let errors = errors.map(|quotation| (Moment::of_segment(quotation.quote.at, quotation.quote.frame), quotation));
    let events = events.iter().map(|event| (Moment::of_event(event), Other::Kernel(event)));
    let answers = evidence.iter().map(|answer| (Moment::of_answer(answer), Other::Answered(answer)));
    let errors = errors.map(|(moment, quotation)| (moment, Other::Quoted(Box::new(quotation))));
    let mut others: Vec<(Moment, Other<'_>)> = events.chain(answers).chain(errors).collect();
    others.sort_by_key(|(moment, _)| *moment);
    let mut words = Words {
        calls: Spoken::of(calls),
        others: others.into_iter().peekable(),
        traces: Vec::new(),
        next: BinaryHeap::with_capacity(traces.len()),
    };
    for Trace { client, server, segments, .. } in traces {
        words.traces.push(Pending { ends: [client, server], segments: segments.into_iter(), latest: None });
        words.wait_for(words.traces.len() - 1);
    }
    words
}

/// Calls and samples in order, and the segments of each connection in the order of their capture.
pub(super) struct Words<'a> {
    calls: Spoken,
    others: Peekable<IntoIter<(Moment, Other<'a>)>>,
    traces: Vec<Pending>,
    /// The next segment of each connection that has one.
    next: BinaryHeap<Reverse<(Moment, usize)>>,
}

/// What is neither a call nor a segment.
enum Other<'a> {
    Kernel(&'a kernel::KernelEvent),
    Answered(&'a kernel::Answer),
    Quoted(Box<Quotation>),
}

/// What calls are, in order: a call is taken apart when it is entered, so that only those wait that have not returned by then.
struct Spoken {
    /// By the moments of their entry.
    calls: Peekable<IntoIter<Call>>,
    /// The returns of those that were entered, and what was said after them.
    open: BinaryHeap<Later>,
}

/// A word that comes after the entry of its call; the earliest is the greatest.
struct Later(Moment, Witnessed);

struct Pending {
    ends: [SocketAddr; 2],
    segments: IntoIter<Box<Sighting>>,
    /// The latest time of the segments so far.
    latest: Option<Timestamp>,
}

impl Words<'_> {
    /// Puts the next segment of a connection among the next ones.
    fn wait_for(&mut self, trace: usize) {
        let pending = &mut self.traces[trace];
        if let Some(next) = pending.segments.as_slice().first() {
            pending.latest = pending.latest.max(next.observed.segment.at);
            self.next.push(Reverse((Moment::of_segment(pending.latest, next.observed.segment.frame), trace)));
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Witnessed;

    fn next(&mut self) -> Option<Witnessed> {
        let segment = self.next.peek().map(|Reverse((moment, _))| *moment);
        let other = self.others.peek().map(|(moment, _)| *moment);
        let spoken = self.calls.moment();
        // Of words of one moment none is before the other, but segments come after all.
        let is_first = |moment: Moment, rest: [Option<Moment>; 2]| rest.into_iter().flatten().all(|at| moment < at);
        if let Some(moment) = spoken
            && is_first(moment, [other, segment])
        {
            return self.calls.next();
        }
        if let Some(moment) = other
            && is_first(moment, [segment, None])
        {
            return self.others.next().map(|(_, word)| word.told());
        }
        let Reverse((_, trace)) = self.next.pop()?;
        let pending = &mut self.traces[trace];
        let mut sighting = pending.segments.next()?;
        sighting.ends = pending.ends;
        self.wait_for(trace);
        Some(Witnessed::Sighting(sighting))
    }
}

impl Other<'_> {
    fn told(self) -> Witnessed {
        match self {
            Self::Kernel(event) => Witnessed::Kernel(event.clone()),
            Self::Answered(answer) => Witnessed::Answered(answer.clone()),
            Self::Quoted(quotation) => Witnessed::Quoted(quotation),
        }
    }
}

impl Spoken {
    fn of(mut calls: Vec<Call>) -> Self {
        calls.sort_by_key(|call| (call.entered, call.id.n, call.id.thread));
        Self { calls: calls.into_iter().peekable(), open: BinaryHeap::new() }
    }

    /// The moment of the next word.
    fn moment(&mut self) -> Option<Moment> {
        let entered = self.calls.peek().map(Moment::of_entry);
        let later = self.open.peek().map(|Later(moment, _)| *moment);
        entered.into_iter().chain(later).min()
    }

    fn next(&mut self) -> Option<Witnessed> {
        let later = self.open.peek().map(|Later(moment, _)| *moment);
        let is_entry = |call: &Call| later.is_none_or(|later| Moment::of_entry(call) < later);
        let Some(call) = self.calls.next_if(is_entry) else { return self.open.pop().map(|Later(_, word)| word) };
        let mut words = Witnessed::of_call(call);
        let (_, entered) = words.next()?;
        self.open.extend(words.map(|(moment, word)| Later(moment, word)));
        Some(entered)
    }
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.cmp(&self.0)
    }
}
