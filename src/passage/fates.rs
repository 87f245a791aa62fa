//! What became of each segment between the two points, by all that both captures show.

use std::collections::HashSet;
use std::net::IpAddr;

use super::behind::{Sent, acknowledged_unseen, lost_behind};
use super::connections::{Capture, Captured};
use super::matching::{Couple, couples};
use super::placed::{Bases, Placed};
use super::repeated::tell_repeated;
use super::segments::pair_segments;
use super::share::Share;
use super::{Clocks, Fate, FoundBy, Pair, Paired, Passage};
use crate::flow::Side;
use crate::time::{Span, Timestamp};
use crate::wire::Flags;

/// Pairs the connections of two captures, and the segments of each; `offset` is the server's clock minus the client's, where it is known.
///
/// It takes time in proportion to the segments, but for sorting them. What can be done side by side is shared out by `share`; the result does
/// not depend on it.
pub fn pair(at_client: Capture, at_server: Capture, offset: Option<Span>, share: &impl Share) -> Paired {
    let reaches = [at_client.reach(), at_server.reach()];
    let is_empty = at_server.connections().is_empty();
    let mut captures = [(at_client, Vec::new()), (at_server, Vec::new())];
    share.each(&mut captures, |(capture, connections)| *connections = std::mem::take(capture).into_connections());
    let [(_, here), (_, there)] = captures;
    let (couples, left) = couples(here, there);
    let mut servers: HashSet<IpAddr> = left.iter().map(|captured| captured.ends[1].ip()).collect();
    servers.extend(couples.iter().filter_map(|couple| Some(couple.at_server.as_ref()?.0.ends[1].ip())));
    // What came between the same ends, and could not be told to be this connection, may be it: nothing of it is said to be lost.
    let ends = |captured: &Captured| [captured.ends[0].min(captured.ends[1]), captured.ends[0].max(captured.ends[1])];
    let unpaired: HashSet<_> = left.iter().map(ends).collect();
    let mut paired = Paired::default();
    paired.alone[1] = left.iter().map(|captured| captured.ends).collect();
    let mut unanswered = Vec::new();
    let mut coupled = Vec::new();
    for Couple { at_client, at_server, is_open } in couples {
        match at_server {
            Some((there, found_by)) => coupled.push((Some(Box::new((at_client, there, found_by))), None)),
            // Whose server has a capture, which has nothing of it.
            None if is_open || unpaired.contains(&ends(&at_client)) => paired.alone[0].push(at_client.ends),
            None if is_empty || servers.contains(&at_client.ends[1].ip()) => unanswered.push(at_client),
            None => paired.alone[0].push(at_client.ends),
        }
    }
    share.each(&mut coupled, |(found, pair)| *pair = found.take().map(|found| Box::new(joined(*found))));
    paired.pairs = coupled.into_iter().filter_map(|(_, pair)| Some(*pair?)).collect();
    let clocks = match (offset, reaches[0]) {
        (Some(offset), Some([began, _])) => Some(Clocks::given(offset, began)),
        _ => estimate(&paired.pairs),
    };
    for at_client in unanswered {
        let ends = at_client.ends;
        let nothing = Captured::nothing_of(&at_client);
        let pair = pair_segments(at_client, nothing, FoundBy::Nothing);
        let judge = Judge { clocks, reaches, longest: Span(0) };
        // Where nothing says how the clocks stand, they are taken to be right.
        let is_covered = pair
            .at_client
            .segments
            .iter()
            .all(|taken| taken.segment.at.is_some_and(|at| judge.covers(Side::Server, at) == [true; 2]));
        if is_covered { paired.pairs.push(pair) } else { paired.alone[0].push(ends) }
    }
    share.each(&mut paired.pairs, |pair| finish(pair, clocks, reaches));
    let began = |pair: &Pair| pair.at_client.segments.first().and_then(|taken| taken.segment.at);
    paired.pairs.sort_by_key(began);
    tell_repeated(&mut paired.pairs);
    paired
}

/// A connection of both captures with its segments paired.
fn joined((at_client, at_server, found_by): (Captured, Captured, FoundBy)) -> Pair {
    let pair = pair_segments(at_client, at_server, found_by);
    // The client's capture is that of the end that is called client, whichever end opened the connection.
    if is_backward(&pair) { turned(pair) } else { pair }
}

/// Whether segments arrived before they were sent, wherever the clocks stand: then each capture was taken at the other end.
fn is_backward(pair: &Pair) -> bool {
    let shortest = |side: Side| {
        pair.sent_by(side).filter_map(|passage| difference(pair, passage)).map(|(_, took)| took.as_nanos()).min()
    };
    shortest(Side::Client).zip(shortest(Side::Server)).is_some_and(|(there, back)| there.saturating_add(back) < 0)
}

/// The same with the ends for each other, if that is better.
fn turned(pair: Pair) -> Pair {
    let other = pair_segments(pair.at_client.clone().turned(), pair.at_server.clone().turned(), pair.found_by);
    if is_backward(&other) { pair } else { other }
}

/// Estimates the clocks from all segments that arrived in one piece.
fn estimate(pairs: &[Pair]) -> Option<Clocks> {
    let of = |side: Side| -> Vec<(Timestamp, Span)> {
        let passages = pairs.iter().flat_map(|pair| pair.sent_by(side).map(move |passage| (pair, passage)));
        passages.filter_map(|(pair, passage)| difference(pair, passage)).collect()
    };
    Clocks::of(&of(Side::Client), &of(Side::Server))
}

/// The time that it took, by the difference of both clocks, and when by the client's.
fn difference(pair: &Pair, passage: &Passage) -> Option<(Timestamp, Span)> {
    let sent = pair.sent(passage)?.at?;
    let arrived = pair.arrived(passage).next()?.at?;
    let when = if passage.from == Side::Client { sent } else { arrived };
    Some((when, arrived.since(sent)))
}

/// What the captures cover, by which clocks.
struct Judge {
    clocks: Option<Clocks>,
    reaches: [Option<[Timestamp; 2]>; 2],
    longest: Span,
}

impl Judge {
    /// A moment of one end's clock by the client's.
    fn by_clients(&self, side: Side, at: Timestamp) -> Timestamp {
        match (side, self.clocks) {
            (Side::Server, Some(clocks)) => clocks.to_clients(at),
            _ => at,
        }
    }

    /// Whether the capture at one end had begun at a moment by the client's clock, and still ran for as long after it as any segment took.
    fn covers(&self, side: Side, at: Timestamp) -> [bool; 2] {
        self.reaches[side as usize].map_or([false; 2], |[began, ended]| {
            let (began, ended) = (self.by_clients(side, began), self.by_clients(side, ended));
            [began <= at, at.after(self.longest) < ended]
        })
    }

    /// Whether it ran already when something was sent that came to the other end then; without clocks nothing says how long that took.
    fn covers_sending(&self, side: Side, arrived: Timestamp) -> bool {
        self.clocks.is_some()
            && self.reaches[side as usize].is_some_and(|[began, ended]| {
                let (began, ended) = (self.by_clients(side, began), self.by_clients(side, ended));
                began.after(self.longest) < arrived && arrived <= ended.after(self.longest)
            })
    }
}

fn finish(pair: &mut Pair, clocks: Option<Clocks>, reaches: [Option<[Timestamp; 2]>; 2]) {
    pair.clocks = clocks;
    let mut passages = std::mem::take(&mut pair.passages);
    for passage in &mut passages {
        passage.took = clocks.and_then(|clocks| took(pair, passage, &clocks));
    }
    mark_held_up(&mut passages);
    let longest = passages.iter().filter_map(|passage| passage.took).max().unwrap_or(Span(0));
    let judge = Judge { clocks, reaches, longest };
    let [here, there] = Bases::of(&pair.at_client, &pair.at_server, pair.found_by);
    for side in [Side::Client, Side::Server] {
        let mut own: Vec<&mut Passage> = passages.iter_mut().filter(|passage| passage.from == side).collect();
        let (senders, receivers) = if side == Side::Client { (here, there) } else { (there, here) };
        let sent = senders.place(pair.at(side), side);
        let arrived = receivers.place(pair.at(side.peer()), side);
        let answers = receivers.place(pair.at(side.peer()), side.peer());
        judge_lost(&judge, pair, &mut own, &arrived, &answers);
        judge_unsent(&judge, pair, &mut own, &sent);
        let behind: HashSet<u32> = lost_behind(&arrived, &answers).into_iter().collect();
        for passage in own {
            let last = passage.copies.last().or(passage.arrived.as_ref());
            passage.is_lost_behind = passage.fate == Fate::Arrived && last.is_some_and(|place| behind.contains(place));
        }
    }
    // In the order of sending, by the client's clock.
    let moment = |passage: &Passage| {
        let (segment, at) = match pair.sent(passage) {
            Some(sent) => (sent, passage.from),
            None => (pair.arrived(passage).next()?, passage.from.peer()),
        };
        segment.at.map(|moment| judge.by_clients(at, moment))
    };
    passages.sort_by_cached_key(moment);
    pair.passages = passages;
}

/// What was sent and did not arrive: lost, where the other capture went on; unless its receiver has acknowledged it, without another one that arrived.
fn judge_lost(
    judge: &Judge,
    pair: &Pair,
    passages: &mut [&mut Passage],
    arrived: &[Placed<'_>],
    answers: &[Placed<'_>],
) {
    let is_missing = |passage: &Passage| passage.sent.is_some() && passage.arrived.is_none();
    if !passages.iter().any(|passage| is_missing(passage)) {
        return;
    }
    // That the other capture ran is shown by when it is known to have run, or by what it has of later.
    let is_arrived = |passage: &&mut Passage| passage.sent.is_some() && passage.arrived.is_some();
    let (first, last) = (passages.iter().position(is_arrived), passages.iter().rposition(is_arrived));
    for (place, passage) in
        passages.iter_mut().enumerate().filter(|(_, passage)| is_missing(passage) && !passage.is_open)
    {
        let at = pair.sent(passage).and_then(|sent| sent.at);
        let at = at.filter(|_| judge.clocks.is_some() || pair.found_by == FoundBy::Nothing);
        let at = at.map(|at| judge.by_clients(passage.from, at));
        let [began, goes_on] = at.map_or([false; 2], |at| judge.covers(passage.from.peer(), at));
        // What was sent before may have been under way for long: without clocks it has to do.
        let is_after = began || at.is_none() && first.is_some_and(|first| first < place);
        if is_after && (last.is_some_and(|last| place < last) || goes_on) {
            passage.fate = Fate::Lost;
        }
    }
    let mut missing: Vec<usize> = (0..passages.len()).filter(|place| is_missing(passages[*place])).collect();
    missing.sort_by_key(|place| passages[*place].seq);
    // Between which numbers some were not looked at.
    let mut open: Option<(i64, i64)> = None;
    let longest = missing.iter().map(|place| i64::from(passages[*place].octets.max(1))).max().unwrap_or(0);
    for (from, to, answer) in acknowledged_unseen(arrived, answers) {
        let acknowledged = pair.at(passages[0].from.peer()).segments[answer as usize].segment.at;
        let is_it = |passage: &Passage| {
            let end = passage.seq.saturating_add(i64::from(passage.octets.max(1)));
            let sent = pair.sent(passage).and_then(|sent| sent.at);
            let is_before = sent.zip(acknowledged).is_none_or(|(sent, acknowledged)| {
                judge.by_clients(passage.from, sent) <= judge.by_clients(passage.from.peer(), acknowledged)
            });
            let takes = passage.octets > 0
                || pair.any(passage).is_some_and(|segment| segment.flags.intersects(Flags::SYN | Flags::FIN));
            // What came before the capture began is no gap in it.
            let began =
                sent.is_some_and(|sent| judge.covers(passage.from.peer(), judge.by_clients(passage.from, sent))[0]);
            takes && is_before && began && from < end
        };
        let at = |number: i64| missing.partition_point(|place| passages[*place].seq < number);
        // Ranges do not overlap, so each is looked at once that begins in one; those that begin before it may reach into many.
        let (earliest, inside, beyond) = (at(from.saturating_sub(longest)), at(from), at(to));
        let begin = earliest.max(inside.saturating_sub(LOOKED_AT));
        if earliest < begin {
            let (low, high) = (passages[missing[earliest]].seq, passages[missing[begin - 1]].seq);
            open = Some(open.map_or((low, high), |(least, most)| (least.min(low), most.max(high))));
        }
        let around = missing[begin..beyond].iter().copied();
        let before: Vec<usize> = around.filter(|place| is_it(passages[*place])).collect();
        // Of several transmissions any may be the one: only what is certain is told.
        let transmissions: Vec<&[usize]> =
            before.chunk_by(|one, other| passages[*one].seq == passages[*other].seq).collect();
        for alike in transmissions {
            let fate = if alike.len() == 1 { Fate::Uncaptured } else { Fate::Unknown };
            alike.iter().for_each(|place| passages[*place].fate = fate);
        }
    }
    let Some((low, high)) = open else { return };
    for place in missing {
        let passage = &mut *passages[place];
        if passage.fate == Fate::Lost && (low..=high).contains(&passage.seq) {
            passage.fate = Fate::Unknown;
        }
    }
}

/// What arrived and was not sent: made up between, where the sender's capture ran; unless that capture lacks what its end must have sent.
fn judge_unsent(judge: &Judge, pair: &Pair, passages: &mut [&mut Passage], sent: &[Placed<'_>]) {
    if passages.iter().all(|passage| passage.sent.is_some()) {
        return;
    }
    let known = Sent::of(sent);
    let first = passages.iter().filter(|passage| passage.sent.is_some()).filter_map(|passage| passage.arrived).min();
    for passage in passages.iter_mut().filter(|passage| passage.sent.is_none() && !passage.is_open) {
        let Some(segment) = pair.arrived(passage).next() else { continue };
        let takes = i64::from(segment.seq_len());
        let at = segment.at.map(|at| judge.by_clients(passage.from.peer(), at));
        // What came before anything that was seen to be sent may have been sent before that capture began.
        let is_early = first.is_none_or(|first| passage.arrived.is_some_and(|at| at < first));
        let covered = at.is_some_and(|at| judge.covers_sending(passage.from, at));
        // Or it was under way for long: its sender's own clock says so, or its numbers.
        let stamp = segment.options.timestamps.map(|(value, _)| value);
        let is_older = sent.first().is_some_and(|first| match (stamp, first.stamp()) {
            (Some(stamp), Some(first)) => stamp.wrapping_sub(first).cast_signed() < 0,
            (None, None) => passage.seq.saturating_add(takes) <= first.seq,
            _ => false,
        });
        passage.fate = match () {
            () if is_older => Fate::Unknown,
            () if known.lacks(passage.seq, passage.seq.saturating_add(takes)) => Fate::Uncaptured,
            () if is_early && !covered || pair.found_by == FoundBy::Nothing => Fate::Unknown,
            () => Fate::Injected,
        };
    }
}

/// Marks those that took much longer than the fastest of their direction: by more than half of the shortest round trip, and by more than the
/// hosts themselves may hold up a frame.
fn mark_held_up(passages: &mut [Passage]) {
    let shortest =
        |side: Side| passages.iter().filter(|passage| passage.from == side).filter_map(|passage| passage.took).min();
    let (Some(there), Some(back)) = (shortest(Side::Client), shortest(Side::Server)) else { return };
    let remarkable = Span((there.as_nanos() + back.as_nanos()) / 2).max(JITTER);
    for passage in passages {
        let fastest = if passage.from == Side::Client { there } else { back };
        let more = passage.took.map(|took| took.less(fastest));
        passage.held_up = more.filter(|more| *more > remarkable);
    }
}

fn took(pair: &Pair, passage: &Passage, clocks: &Clocks) -> Option<Span> {
    let (sent, arrived) = (pair.sent(passage)?.at?, pair.arrived(passage).next()?.at?);
    Some(match passage.from {
        Side::Client => clocks.to_clients(arrived).since(sent),
        Side::Server => arrived.since(clocks.to_clients(sent)),
    })
}

/// By how much a frame's time may be off though nothing held it up on the way: it waits for a processor, at either end.
const JITTER: Span = Span::from_millis(2);
/// How many segments are looked at that begin before a range and may reach into it.
pub(super) const LOOKED_AT: usize = 256;
