//! The calls of one end of a connection, the octets that they moved, and the segments that wait for such calls.

use std::collections::BTreeMap;

use super::EventId;
use super::ground::Place;
use crate::calls::{Call, Effect};
use crate::flow::Range;
use crate::time::Timestamp;

/// The calls of one end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct EndCalls {
    /// How many there are.
    count: u64,
    /// Sends that wrote octets, with the positions; contiguous and ascending.
    pub(super) sends: Vec<Moved>,
    /// Receives that read octets, with the positions; contiguous and ascending.
    pub(super) receives: Vec<Moved>,
    /// When the last of the receives returned.
    pub(super) last_read: Option<Timestamp>,
    /// Calls that closed the sending direction, in the order in which they were entered.
    closings: Vec<Interval>,
    /// It is not known how many octets its sends wrote, and its receives read.
    pub(super) is_uncounted: bool,
    pub(super) reads_uncounted: bool,
    /// The first connect.
    pub(super) connect: Option<EventId>,
    /// When SO_LINGER was set to a time of zero and when to something else, by turns, in the order of entry.
    lingers_zero: Vec<(Timestamp, bool)>,
}

/// A call that moved octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) range: Range,
    pub(super) interval: Interval,
}

/// A call, and when it was entered and returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) entered: Timestamp,
    pub(super) returned: Option<Timestamp>,
    pub(super) call: EventId,
}

impl EndCalls {
    /// Whether any call of this end was watched.
    pub(super) fn is_watched(&self) -> bool {
        self.count > 0
    }

    /// The sends that wrote any of these positions.
    pub(super) fn writers(&self, range: Range) -> impl ExactSizeIterator<Item = EventId> + '_ {
        overlapping(&self.sends, range).iter().map(|moved| moved.interval.call)
    }

    /// Whether a receive returned at `at` or later.
    pub(super) fn reads_on(&self, at: Option<Timestamp>) -> bool {
        at.is_none() || at <= self.last_read
    }

    /// The receives that read any of these positions and had not returned before `at`, with the first position that each wanted.
    pub(super) fn readers(&self, range: Range, at: Option<Timestamp>) -> impl Iterator<Item = (EventId, u64)> + '_ {
        let readers = overlapping(&self.receives, range).iter();
        let in_time =
            move |moved: &&Moved| at.is_none() || moved.interval.returned.is_none() || at <= moved.interval.returned;
        readers.filter(in_time).map(|moved| (moved.interval.call, moved.range.from))
    }

    /// When the `nth` send that wrote any of these positions was entered, and when it returned.
    pub(super) fn interval_of_writer(&self, range: Range, nth: usize) -> Option<(Timestamp, Timestamp)> {
        let interval = overlapping(&self.sends, range).get(nth)?.interval;
        Some((interval.entered, interval.returned?))
    }

    /// The last receive that was entered by `moment`, and the octets it read.
    pub(super) fn received_by(&self, moment: Option<Timestamp>) -> Option<(Range, EventId)> {
        let entered = self.receives.partition_point(|moved| is_entered(moved.interval.entered, moment));
        self.receives[..entered].last().map(|moved| (moved.range, moved.interval.call))
    }

    /// The last call that closed the sending direction and was entered by `moment`, and when it returned.
    pub(super) fn closed_by(&self, moment: Option<Timestamp>) -> Option<(EventId, Option<Timestamp>)> {
        let entered = self.closings.partition_point(|closing| is_entered(closing.entered, moment));
        self.closings[..entered].last().map(|closing| (closing.call, closing.returned))
    }

    /// The call that closed the sending direction: the first shutdown, close or exit, if it was entered by `moment`.
    pub(super) fn first_closing(&self, moment: Option<Timestamp>) -> Option<EventId> {
        self.closings.first().filter(|closing| is_entered(closing.entered, moment)).map(|closing| closing.call)
    }

    /// The call that closed the sending direction first.
    pub(super) fn closing(&self) -> Option<EventId> {
        self.closings.first().map(|closing| closing.call)
    }

    /// Whether SO_LINGER had been set to a time of zero.
    pub(super) fn lingers_zero(&self, moment: Option<Timestamp>) -> bool {
        let set = self.lingers_zero.iter().rfind(|(entered, _)| is_entered(*entered, moment));
        set.is_some_and(|(_, is_zero)| *is_zero)
    }

    /// Takes in that SO_LINGER was set to a time of zero, or to something else.
    pub(super) fn linger(&mut self, entered: Timestamp, is_zero: bool) {
        let place = self.lingers_zero.partition_point(|(known, _)| *known <= entered);
        let before = place.checked_sub(1).is_some_and(|last| self.lingers_zero[last].1);
        if before != is_zero {
            self.lingers_zero.insert(place, (entered, is_zero));
        }
    }

    /// Takes a call in; says what it may explain.
    pub(super) fn add(&mut self, call: &Call, id: EventId) -> Explains {
        let first = self.count == 0;
        self.count += 1;
        let effect = call.effect();
        if let Some(is_zero) = call.op.sets_linger_to_zero() {
            self.linger(call.entered, is_zero);
        }
        if effect == Effect::Connect {
            self.connect.get_or_insert(id);
        }
        let closes = closes(call);
        if closes {
            let interval = Interval { entered: call.entered, returned: call.returned_at(), call: id };
            let place = self.closings.partition_point(|known| (known.entered, known.call) < (call.entered, id));
            self.closings.insert(place, interval);
        }
        match (first, effect, closes) {
            (true, ..) => Explains::All,
            (_, Effect::Connect, _) => Explains::Syns,
            (.., true) => Explains::Closing(call.entered),
            _ => Explains::Nothing,
        }
    }

    /// Takes in that a call that was taken for a closing one has returned.
    pub(super) fn closed(&mut self, call: &Call, id: EventId) {
        let Some(place) = self.closings.iter().rposition(|known| known.call == id) else { return };
        if closes(call) {
            self.closings[place].returned = call.returned_at();
        } else {
            self.closings.remove(place);
        }
    }
}

/// Which segments of its end a call that has become known may explain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Explains {
    Nothing,
    /// Every one: it is the first call of the end.
    All,
    Syns,
    /// FINs, and RSTs since that moment.
    Closing(Timestamp),
    /// Window updates and RSTs since that moment.
    Reading(Timestamp),
}

/// Whether a call had been entered when `moment` came; where the moment is not known, it had.
fn is_entered(entered: Timestamp, moment: Option<Timestamp>) -> bool {
    moment.is_none_or(|moment| entered <= moment)
}

/// Whether a call ends the sending direction of its socket, as far as is known.
pub(super) fn closes(call: &Call) -> bool {
    matches!(call.effect(), Effect::ShutdownWrite | Effect::Close | Effect::Exit) && call.errno().is_none()
}

/// The entries of an ascending list of ranges without overlaps that share a position with `range`.
fn overlapping(list: &[Moved], range: Range) -> &[Moved] {
    let start = list.partition_point(|moved| moved.range.to <= range.from);
    let end = start + list[start..].partition_point(|moved| moved.range.overlaps(range));
    &list[start..end]
}

/// Segments of one end with octets that are not all claimed by calls: its own that wrote them, or the peer's that read them.
#[derive(Clone, Debug, Default)]
pub(super) struct Unclaimed {
    /// By their first position and their place, where they end.
    segments: BTreeMap<(u64, Place), u64>,
    claimed: u64,
    /// How far the claims were when the segments were last asked for.
    asked: u64,
}

impl Unclaimed {
    /// Adds a segment.
    pub(super) fn add(&mut self, range: Range, place: Place) {
        if range.to > self.claimed {
            self.segments.insert((range.from, place), range.to);
        }
    }

    /// Claims the positions up to `to`.
    pub(super) fn claim(&mut self, to: u64) {
        self.claimed = self.claimed.max(to);
    }

    /// The segments that hold positions claimed since this was called last.
    pub(super) fn newly_claimed(&mut self) -> Vec<Place> {
        if self.asked == self.claimed {
            return Vec::new();
        }
        self.asked = self.claimed;
        let holding: Vec<_> = self.segments.range(..(self.claimed, 0)).map(|(key, to)| (*key, *to)).collect();
        for (key, _) in holding.iter().filter(|(_, to)| *to <= self.claimed) {
            self.segments.remove(key);
        }
        holding.into_iter().map(|((_, place), _)| place).collect()
    }

    /// Claims positions that follow those claimed before: the segments that hold any of them and that are wanted, but no more than `most`, in order.
    pub(super) fn take(&mut self, range: Range, most: usize, wanted: impl Fn(Place) -> bool) -> Vec<Place> {
        self.claimed = range.to;
        let (mut holding, mut done) = (Vec::new(), Vec::new());
        for (&(from, place), &to) in self.segments.range(..(range.to, 0)) {
            if to > range.from && wanted(place) {
                if holding.len() > most {
                    break;
                }
                holding.push(place);
            }
            if to <= range.to {
                done.push((from, place));
            }
        }
        for key in done {
            self.segments.remove(&key);
        }
        holding.sort_unstable();
        holding
    }
}
