//! What became of each segment between the two points, by all that both captures show.

use std::collections::HashSet;
use std::net::IpAddr;

use super::behind::{Sent, acknowledged_unseen};
use super::clocks::Edge;
use super::connections::{Capture, Captured, Seconds};
use super::matching::{Matched, matched, orient};
use super::passages::Passage;
use super::placed::{Bases, Row};
use super::repeated::tell_repeated;
use super::segments::{Room, pair_segments};
use super::taken::Taken;
use super::{Clocks, Fate, FoundBy, Pair, Paired};
use crate::flow::{Ends, Side};
use crate::share::Share;
use crate::time::{Span, Timestamp};
use crate::wire::Flags;

/// Pairs the connections of two captures, and the segments of each; `offset` is the server's clock minus the client's, where it is known.
///
/// It takes time in proportion to the segments, but for sorting them. What can be done side by side is shared out by `share`; the result does
/// not depend on it.
pub fn pair(at_client: Capture, at_server: Capture, offset: Option<Span>, share: &impl Share) -> Paired {
    let reaches = [at_client.reach(), at_server.reach()];
    let is_empty = at_server.connections().is_empty();
    let (here, there) = (at_client.into_connections(), at_server.into_connections());
    let matched = matched(&here, &there);
    let mut there: Vec<Option<Captured>> = there.into_iter().map(Some).collect();
    let mut pairs = Vec::with_capacity(matched.len());
    let mut unmatched = Vec::new();
    for (mut at_client, Matched { found, is_open }) in here.into_iter().zip(matched) {
        match found.and_then(|(place, found_by)| Some((there[place].take()?, found_by))) {
            Some((mut at_server, found_by)) => {
                orient(&mut at_client, &mut at_server, found_by);
                pairs.push(Pair::new(at_client, at_server, found_by));
            }
            None => unmatched.push(Unmatched { captured: at_client, is_open, seconds: 0 }),
        }
    }
    let not_open = |captured| Unmatched { captured, is_open: false, seconds: 0 };
    let mut left: Vec<Unmatched> = there.into_iter().flatten().map(not_open).collect();
    let mut alone = [Vec::new(), left.iter().map(|of| of.captured.ends).collect()];
    share.each(&mut pairs, join);
    leave_out_seconds(&mut pairs, [&mut unmatched, &mut left], share);
    let mut unanswered = Vec::new();
    if !unmatched.is_empty() {
        let mut servers: HashSet<IpAddr> = left.iter().map(|of| of.captured.ends[1].ip()).collect();
        servers.extend(pairs.iter().map(|pair: &Pair| pair.at_server.ends[1].ip()));
        // What came between the same ends, and could not be told to be this connection, may be it: nothing of it is said to be lost.
        let unpaired: HashSet<Ends> = left.iter().map(|of| Ends::between(of.captured.ends)).collect();
        for Unmatched { captured: at_client, is_open, .. } in unmatched {
            if is_open || unpaired.contains(&Ends::between(at_client.ends)) {
                alone[0].push(at_client.ends);
            } else if is_empty || servers.contains(&at_client.ends[1].ip()) {
                // Its server has a capture, which has nothing of it.
                unanswered.push(at_client);
            } else {
                alone[0].push(at_client.ends);
            }
        }
    }
    let clocks = match (offset, reaches[0]) {
        (Some(offset), Some([began, _])) => Some(Clocks::given(offset, began)),
        _ => estimate(&pairs, share),
    };
    let found = pairs.len();
    let judge = Judge { clocks, reaches, longest: Span(0) };
    for at_client in unanswered {
        // Where nothing says how the clocks stand, they are taken to be right.
        let covered = |taken: &Taken| taken.at.is_some_and(|at| judge.covers(Side::Server, at) == [true; 2]);
        if at_client.segments.iter().all(covered) {
            let nothing = Captured::nothing_of(&at_client);
            pairs.push(Pair::new(at_client, nothing, FoundBy::Nothing));
        } else {
            alone[0].push(at_client.ends);
        }
    }
    share.each(&mut pairs[found..], |room, pair| pair_segments(pair, room));
    share.each(&mut pairs, |room, pair| finish(pair, clocks, reaches, room));
    let began = |pair: &Pair| pair.at_client.segments.first().and_then(|taken| taken.at);
    pairs.sort_by_key(began);
    tell_repeated(&mut pairs);
    Paired { pairs, alone }
}

/// A connection of one capture that is not found in the other.
struct Unmatched {
    captured: Captured,
    is_open: bool,
    /// How many of its segments are second ones.
    seconds: usize,
}

/// Of a capture that holds most frames twice, leaves out the second ones, and pairs what is left.
fn leave_out_seconds(pairs: &mut [Pair], unmatched: [&mut Vec<Unmatched>; 2], share: &impl Share) {
    let mut holds_twice = [false; 2];
    for ((side, holds_twice), unmatched) in
        [Side::Client, Side::Server].into_iter().zip(&mut holds_twice).zip(unmatched)
    {
        share.each(unmatched, |seconds: &mut Seconds, of| of.seconds = seconds.of(&of.captured.segments));
        let of_pairs = pairs.iter().map(|pair| (pair.seconds[side as usize], pair.at(side).segments.len()));
        let of_others = unmatched.iter().map(|of| (of.seconds, of.captured.segments.len()));
        let (count, all) = of_pairs.chain(of_others).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        *holds_twice = Seconds::are_its_way(count, all);
        if *holds_twice {
            share.each(unmatched, |seconds, of| of.captured.leave_out(seconds));
        }
    }
    if holds_twice == [false; 2] {
        return;
    }
    share.each(pairs, |room: &mut Room, pair| {
        if std::mem::take(&mut pair.is_turned) {
            turn(pair);
        }
        for (captured, holds_twice) in [&mut pair.at_client, &mut pair.at_server].into_iter().zip(holds_twice) {
            if holds_twice {
                captured.leave_out(&mut room.seconds);
            }
        }
        join(room, pair);
    });
}

/// Pairs the segments of a connection of both captures.
fn join(room: &mut Room, pair: &mut Pair) {
    pair.seconds = [&pair.at_client, &pair.at_server].map(|captured| room.seconds.of(&captured.segments));
    pair_segments(pair, room);
    // The client's capture is that of the end that is called client, whichever end opened the connection.
    if is_backward(pair) {
        turn(pair);
        pair_segments(pair, room);
        pair.is_turned = !is_backward(pair);
        if !pair.is_turned {
            turn(pair);
            pair_segments(pair, room);
        }
    }
}

/// Whether segments arrived before they were sent, wherever the clocks stand: then each capture was taken at the other end.
fn is_backward(pair: &Pair) -> bool {
    let [there, back] = pair.fastest.map(|fastest| fastest.map(Span::as_nanos));
    there.zip(back).is_some_and(|(there, back)| there.saturating_add(back) < 0)
}

/// Takes the ends for each other.
fn turn(pair: &mut Pair) {
    pair.at_client.turn();
    pair.at_server.turn();
}

/// Estimates the clocks from all segments that arrived in one piece.
fn estimate(pairs: &[Pair], share: &impl Share) -> Option<Clocks> {
    let at = pairs.iter().filter_map(|pair| pair.began).min()?;
    // Few connections with very many segments are shared out, too.
    let at_once = (pairs.len() / PARTS).clamp(1, AT_ONCE);
    let mut edges: Vec<(&[Pair], [Edge; 2])> = pairs.chunks(at_once).map(|part| (part, Default::default())).collect();
    share.each(&mut edges, |points: &mut [Vec<(i64, i64)>; 2], (pairs, edges)| {
        for pair in *pairs {
            for passage in &pair.passages {
                if let Some((when, took)) = difference(pair, passage) {
                    points[passage.from as usize].push((when.since(at).as_nanos(), took.as_nanos()));
                }
            }
            edges.iter_mut().zip(&mut *points).for_each(|(edge, points)| edge.add(points));
        }
        edges.iter_mut().for_each(Edge::close);
    });
    let [there, back] = [0, 1].map(|side| Edge::around(edges.iter().map(|(_, edges)| &edges[side])));
    Clocks::of(at, &there, &back)
}

/// When it was at the client, by the client's clock, and the time that it took by the difference of both; before that is told by the clocks.
#[inline]
fn difference(pair: &Pair, passage: &Passage) -> Option<(Timestamp, Span)> {
    let took = passage.took()?;
    let place = if passage.from == Side::Client { passage.sent_at() } else { passage.arrived_at() };
    Some((pair.at_client.segments[place? as usize].at?, took))
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

/// Says of each passage what the clocks and the captures of the whole tell.
fn finish(pair: &mut Pair, clocks: Option<Clocks>, reaches: [Option<[Timestamp; 2]>; 2], room: &mut Room) {
    pair.clocks = clocks;
    let mut passages = std::mem::take(&mut pair.passages);
    let (mut fastest, mut longest) = ([None::<Span>; 2], None);
    room.order.clear();
    for (place, passage) in (0u32..).zip(&mut passages) {
        let (moment, took) = told_by(pair, passage, clocks.as_ref());
        room.order.push((moment, place));
        passage.take_time(took);
        if let Some(took) = took {
            let fastest = &mut fastest[passage.from as usize];
            *fastest = Some(fastest.map_or(took, |fastest| fastest.min(took)));
            longest = longest.max(Some(took));
        }
    }
    pair.fastest = fastest;
    mark_held_up(&mut passages, fastest);
    let judge = Judge { clocks, reaches, longest: longest.unwrap_or(Span(0)) };
    let from_server = passages.partition_point(|passage| passage.from == Side::Client);
    let (of_client, of_server) = passages.split_at_mut(from_server);
    for (side, own) in [(Side::Client, of_client), (Side::Server, of_server)] {
        let is_missing = own.iter().any(is_missing);
        let is_unsent = own.iter().any(|passage| passage.sent_at().is_none());
        if !is_missing && !is_unsent {
            continue;
        }
        let [here, there] = Bases::of(&pair.at_client, &pair.at_server, pair.found_by);
        let (senders, receivers) = if side == Side::Client { (here, there) } else { (there, here) };
        let [[first, second], _] = &mut room.places;
        if is_missing {
            let arrived = receivers.place(pair.at(side.peer()), side, first);
            let answers = receivers.place(pair.at(side.peer()), side.peer(), second);
            judge_lost(&judge, pair, own, arrived, answers);
        }
        if is_unsent {
            judge_unsent(&judge, pair, own, senders.place(pair.at(side), side, first));
        }
    }
    pair.has_unsent = passages.iter().any(|passage| passage.sent_at().is_none());
    put_in_order(&mut passages, &mut room.order);
    pair.passages = passages;
}

/// Puts them in order of their moments, and then of their places.
fn put_in_order(passages: &mut [Passage], order: &mut [(Option<Timestamp>, u32)]) {
    // They come in two parts that are nearly in order: what is made for that sorts them.
    order.sort();
    for place in 0..order.len() {
        let mut from = order[place].1 as usize;
        // What was there has been exchanged for another meanwhile.
        while from < place {
            from = order[from].1 as usize;
        }
        order[place].1 = from as u32;
        passages.swap(place, from);
    }
}

/// Whether it was sent and did not arrive.
fn is_missing(passage: &Passage) -> bool {
    passage.sent_at().is_some() && passage.arrived_at().is_none()
}

/// What was sent and did not arrive: lost, where the other capture went on; unless its receiver has acknowledged it, without another one that arrived.
fn judge_lost(judge: &Judge, pair: &Pair, passages: &mut [Passage], arrived: Row<'_>, answers: Row<'_>) {
    // That the other capture ran is shown by when it is known to have run, or by what it has of later.
    let is_arrived = |passage: &Passage| passage.sent_at().is_some() && passage.arrived_at().is_some();
    let (first, last) = (passages.iter().position(is_arrived), passages.iter().rposition(is_arrived));
    for (place, passage) in
        passages.iter_mut().enumerate().filter(|(_, passage)| is_missing(passage) && !passage.is_open())
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
    let mut missing: Vec<usize> = (0..passages.len()).filter(|place| is_missing(&passages[*place])).collect();
    missing.sort_by_key(|place| passages[*place].seq);
    // Between which numbers some were not looked at.
    let mut open: Option<(i64, i64)> = None;
    let longest = missing.iter().map(|place| i64::from(passages[*place].octets.max(1))).max().unwrap_or(0);
    for (from, to, answer) in acknowledged_unseen(arrived, answers) {
        let acknowledged = pair.at(passages[0].from.peer()).segments[answer as usize].at;
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
        let before: Vec<usize> = around.filter(|place| is_it(&passages[*place])).collect();
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
        let passage = &mut passages[place];
        if passage.fate == Fate::Lost && (low..=high).contains(&passage.seq) {
            passage.fate = Fate::Unknown;
        }
    }
}

/// What arrived and was not sent: made up between, where the sender's capture ran; unless that capture lacks what its end must have sent.
fn judge_unsent(judge: &Judge, pair: &Pair, passages: &mut [Passage], sent: Row<'_>) {
    let known = Sent::of(sent);
    let was_sent = |passage: &&Passage| passage.sent_at().is_some();
    let first = passages.iter().filter(was_sent).filter_map(Passage::arrived_at).min();
    for passage in passages.iter_mut().filter(|passage| passage.sent_at().is_none() && !passage.is_open()) {
        let Some(segment) = pair.first_arrived(passage) else { continue };
        let takes = i64::from(segment.seq_len());
        let at = segment.at.map(|at| judge.by_clients(passage.from.peer(), at));
        // What came before anything that was seen to be sent may have been sent before that capture began.
        let is_early = first.is_none_or(|first| passage.arrived_at().is_some_and(|at| at < first));
        let covered = at.is_some_and(|at| judge.covers_sending(passage.from, at));
        // Or it was under way for long: its sender's own clock says so, or its numbers.
        let is_older = sent.first().is_some_and(|first| match (segment.stamp(), first.taken.stamp()) {
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
fn mark_held_up(passages: &mut [Passage], fastest: [Option<Span>; 2]) {
    let [Some(there), Some(back)] = fastest else { return };
    let remarkable = Span((there.as_nanos() + back.as_nanos()) / 2).max(JITTER);
    for passage in passages {
        let fastest = if passage.from == Side::Client { there } else { back };
        if passage.took().is_some_and(|took| took.less(fastest) > remarkable) {
            passage.hold_up();
        }
    }
}

/// When it was sent, or else when it came, by the client's clock, and how long it took by the clocks.
#[inline]
fn told_by(pair: &Pair, passage: &Passage, clocks: Option<&Clocks>) -> (Option<Timestamp>, Option<Span>) {
    let by_clients = |side: Side, at: Timestamp| match (side, clocks) {
        (Side::Server, Some(clocks)) => clocks.to_clients(at),
        _ => at,
    };
    if let Some((when, took)) = difference(pair, passage) {
        // The other moment is the server's.
        return match passage.from {
            Side::Client => {
                let arrived = clocks.map(|clocks| clocks.to_clients(when.after(took)));
                (Some(when), arrived.map(|arrived| arrived.since(when)))
            }
            Side::Server => {
                let sent = when.after(Span(-took.as_nanos()));
                let by_clocks = by_clients(Side::Server, sent);
                (Some(by_clocks), clocks.map(|_| when.since(by_clocks)))
            }
        };
    }
    let (taken, side) = match pair.sent(passage) {
        Some(sent) => (Some(sent), passage.from),
        None => (pair.first_arrived(passage), passage.from.peer()),
    };
    (taken.and_then(|taken| taken.at).map(|at| by_clients(side, at)), None)
}

/// By how much a frame's time may be off though nothing held it up on the way: it waits for a processor, at either end.
const JITTER: Span = Span::from_millis(2);
/// How many connections are looked at for the clocks at once.
const AT_ONCE: usize = 64;
/// In how many parts they are looked at, where there are fewer.
const PARTS: usize = 64;
/// How many segments are looked at that begin before a range and may reach into it.
pub(super) const LOOKED_AT: usize = 256;
