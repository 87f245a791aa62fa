//! The rows of a view: a story's events in the order in which they are shown, with calls opened and closed.

use std::collections::BTreeMap;

use smallvec::{SmallVec, smallvec};

use super::lanes::Lanes;
use super::row::SLOTS;
use super::{Form, Index, LaneId, Moved, PerLane, Row, Slot, What};
use crate::calls::Effect;
use crate::story::{CallEvent, Event, EventId, EventKind, Phase, SegmentEvent};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

/// The rows of `events`, in order, with the return of each call where it happened.
pub(super) fn rows<'a>(index: &Index<'a>, lanes: &Lanes<'a>, events: &[&'a Event]) -> Vec<Row<'a>> {
    rows_on(index, lanes, events, &mut Open::of(lanes.len()), None)
}

/// What is open between the rows that were made of the events so far, and those of the events to come.
#[derive(Clone, Debug)]
pub struct Open {
    /// The calls that had not returned, with their lanes and slots.
    pub(super) calls: Vec<(EventId, LaneId, Option<usize>)>,
    slots: Vec<[bool; SLOTS]>,
    states: PerLane<Option<State>>,
    began: Vec<bool>,
}

impl Default for Open {
    /// Nothing is open at either of two ends.
    fn default() -> Self {
        Self::of(2)
    }
}

impl Open {
    /// Nothing is open in so many lanes.
    fn of(lanes: usize) -> Self {
        Self {
            calls: Vec::new(),
            slots: vec![[false; SLOTS]; lanes],
            states: smallvec![None; lanes],
            began: vec![false; lanes],
        }
    }

    /// The state of each lane.
    pub fn states(&self) -> &[Option<State>] {
        &self.states
    }

    /// The calls that have not returned.
    pub fn calls(&self) -> impl Iterator<Item = EventId> + '_ {
        self.calls.iter().map(|(call, ..)| *call)
    }

    /// Lets go of calls that will not be told of any more.
    pub fn forget(&mut self, is_gone: impl Fn(EventId) -> bool) {
        let (gone, calls) = std::mem::take(&mut self.calls).into_iter().partition(|(call, ..)| is_gone(*call));
        self.calls = calls;
        let gone: Vec<(EventId, LaneId, Option<usize>)> = gone;
        for (_, lane, slot) in gone {
            if let Some(slot) = slot {
                self.slots[lane.0][slot] = false;
            }
        }
    }

    /// Hands over the calls for which `is_theirs` holds, which other rows will close.
    pub fn hand_over(&mut self, to: &mut Self, is_theirs: impl Fn(EventId) -> bool) {
        let (theirs, own) = std::mem::take(&mut self.calls).into_iter().partition(|(call, ..)| is_theirs(*call));
        self.calls = own;
        let theirs: Vec<(EventId, LaneId, Option<usize>)> = theirs;
        for (call, lane, slot) in theirs {
            if let Some(slot) = slot {
                self.slots[lane.0][slot] = false;
            }
            to.calls.push((call, lane, None));
        }
    }
}

/// The rows of further `events`, where all that happened `until` then is among them; `None`: nothing more will come.
pub(super) fn rows_on<'a>(
    index: &Index<'a>,
    lanes: &Lanes<'a>,
    events: &[&'a Event],
    before: &mut Open,
    until: Option<Timestamp>,
) -> Vec<Row<'a>> {
    let ahead = Ahead::of(events, until);
    let mut plan = Plan {
        rows: Vec::with_capacity(events.len()),
        open: BTreeMap::new(),
        hanging: Vec::new(),
        slots: std::mem::take(&mut before.slots),
        states: std::mem::take(&mut before.states),
        began: std::mem::take(&mut before.began),
        phase: events.first().map_or(Phase::SetUp, |event| event.phase),
        under_way: BTreeMap::new(),
        arrived: Vec::new(),
    };
    for (id, lane, slot) in std::mem::take(&mut before.calls) {
        if let Some(EventKind::Call(call)) = index.event(id).map(|event| &event.kind) {
            plan.keep_open(OpenCall { id, call, lane, slot });
        }
    }
    for (at, event) in events.iter().enumerate() {
        if let Some(now) = event.at {
            plan.arrive_by(Some(now));
            plan.close_before(now);
        }
        plan.phase = event.phase;
        match &event.kind {
            EventKind::Call(call) => {
                let lane = lanes.of(event, index.side(call));
                let form = if ahead.is_seen_open(call, event, at) { Form::Entry } else { Form::Whole };
                plan.call(event, call, lane, form);
            }
            EventKind::Segment(segment) => {
                let [from, to] = [segment.from, segment.from.peer()].map(|side| lanes.of(event, side));
                plan.push(event.at, What::Segment { segment, from, to, departs: false });
                plan.depart(event, segment);
            }
            EventKind::Icmp(icmp) => {
                plan.push(event.at, What::Icmp { icmp, lane: lanes.of(event, icmp.side) });
            }
            EventKind::Link(link) => {
                let [from, to] = [link.from, link.from.peer()].map(|side| lanes.of(event, side));
                plan.push(event.at, What::Link { link, from, to });
            }
            // The states that it confirms and the segments that it explains have rows of their own.
            EventKind::Kernel(_) => {}
            EventKind::Timer(timer) => {
                plan.push(event.at, What::Timer { timer, lane: lanes.of(event, timer.side) });
            }
            EventKind::Transition(transition) => {
                let lane = lanes.of(event, transition.side);
                plan.moved(event, Moved { transition, lane, listener: event.connection.is_none() });
            }
        }
    }
    plan.arrive_by(None);
    match until {
        None => plan.close_all(),
        Some(until) => plan.close_before(until.after(Span(1))),
    }
    let open = plan.open.into_values().chain(plan.hanging);
    before.calls = open.map(|open| (open.id, open.lane, open.slot)).collect();
    (before.slots, before.states, before.began) = (plan.slots, plan.states, plan.began);
    plan.rows
}

/// What comes after each event, found without walking there.
struct Ahead<'a, 'b> {
    events: &'b [&'a Event],
    /// The latest time up to each event.
    latest: Vec<Option<Timestamp>>,
    /// The place of the next segment from each event on, or the end.
    segment: Vec<usize>,
    /// Up to when all that happened is among them; `None` where that is everything.
    until: Option<Timestamp>,
}

impl<'a, 'b> Ahead<'a, 'b> {
    fn of(events: &'b [&'a Event], until: Option<Timestamp>) -> Self {
        let mut latest = Vec::with_capacity(events.len());
        let mut so_far = None;
        for event in events {
            so_far = so_far.max(event.at);
            latest.push(so_far);
        }
        let mut segment = vec![events.len(); events.len() + 1];
        for at in (0..events.len()).rev() {
            let is_one = matches!(events[at].kind, EventKind::Segment(_));
            segment[at] = if is_one { at } else { segment[at + 1] };
        }
        Self { events, latest, segment, until }
    }

    /// Whether something happened between a call's entry, which is event `at`, and its return that makes it worth two rows.
    fn is_seen_open(&self, call: &CallEvent, event: &Event, at: usize) -> bool {
        if call.call.effect() == Effect::Exit {
            return false;
        }
        if self.until.is_some() && call.call.returned_at().is_none_or(|returned| Some(returned) > self.until) {
            return true;
        }
        let end = match call.call.returned_at() {
            Some(returned) => self.latest.partition_point(|latest| *latest <= Some(returned)),
            None => self.events.len(),
        };
        if self.segment[at + 1] < end {
            return true;
        }
        let waits = matches!(call.call.effect(), Effect::Accept | Effect::Connect | Effect::Receive);
        let own = |next: &Event| match &next.kind {
            EventKind::Transition(transition) => transition.cause == Some(event.id),
            _ => false,
        };
        waits && self.events.get(at + 1..end).is_some_and(|between| between.iter().any(|next| !own(next)))
    }
}

struct Plan<'a> {
    rows: Vec<Row<'a>>,
    /// The open calls that will return, by the time of it and the order in which they were entered.
    open: BTreeMap<(Timestamp, EventId), OpenCall<'a>>,
    /// The open calls that will not.
    hanging: Vec<OpenCall<'a>>,
    /// Which slots are taken, in each lane.
    slots: Vec<[bool; SLOTS]>,
    /// The state of each lane.
    states: PerLane<Option<State>>,
    /// Whether a lane's own socket has moved, after which its listening socket no longer speaks for it.
    began: Vec<bool>,
    phase: Phase,
    /// The segments that have left and will be seen to arrive, by the time of that, with the rows of their departures.
    under_way: BTreeMap<(Timestamp, EventId, usize), (usize, &'a SegmentEvent, Span)>,
    /// The highest frame that has arrived, from each lane to each.
    arrived: Vec<((LaneId, LaneId), u64)>,
}

struct OpenCall<'a> {
    id: EventId,
    call: &'a CallEvent,
    lane: LaneId,
    /// Its slot; more calls than there are slots do without.
    slot: Option<usize>,
}

impl<'a> Plan<'a> {
    fn push(&mut self, at: Option<Timestamp>, what: What<'a>) {
        let slots = self.slots.iter().map(waiting).collect();
        self.rows.push(Row { at, phase: self.phase, what, moves: Vec::new(), slots, states: self.states.clone() });
    }

    /// Takes in that a segment has left, whose row was just drawn.
    fn depart(&mut self, event: &Event, segment: &'a SegmentEvent) {
        let Some(left) = event.at else { return };
        let departure = self.rows.len() - 1;
        for (nth, at) in segment.arrivals().filter(|at| *at > left).enumerate() {
            self.under_way.insert((at, event.id, nth), (departure, segment, at.since(left)));
        }
    }

    /// Adds the arrivals up to that time, or all that are left, and the returns before each.
    fn arrive_by(&mut self, now: Option<Timestamp>) {
        while let Some(due) = self.under_way.first_entry().filter(|due| now.is_none_or(|now| due.key().0 <= now)) {
            let ((at, _, nth), (departure, segment, took)) = due.remove_entry();
            self.close_before(at);
            let is_next = departure + 1 == self.rows.len();
            let What::Segment { from, to, departs, .. } = &mut self.rows[departure].what else { continue };
            // What takes no time to speak of, and is passed by nothing, goes straight across.
            if nth == 0 && is_next && took < SLANTED {
                continue;
            }
            *departs = true;
            let (from, to, frame) = (*from, *to, segment.segment.frame);
            let overtaken = match self.arrived.iter_mut().find(|(way, _)| *way == (from, to)) {
                Some((_, latest)) => std::mem::replace(latest, frame.max(*latest)) > frame,
                None => {
                    self.arrived.push(((from, to), frame));
                    false
                }
            };
            let (again, overtaken) = (nth > 0, overtaken && nth == 0);
            self.push(Some(at), What::Arrival { segments: vec![segment], from, to, took, again, overtaken });
        }
    }

    fn call(&mut self, event: &Event, call: &'a CallEvent, lane: LaneId, form: Form) {
        let id = event.id;
        self.push(event.at, What::Call { id, call, lane, form });
        if form != Form::Entry {
            return;
        }
        let slots = &mut self.slots[lane.0];
        let slot = slots.iter().position(|taken| !taken);
        if let Some(slot) = slot {
            slots[slot] = true;
            self.mark(lane, slot, Slot::Opens);
        }
        self.keep_open(OpenCall { id, call, lane, slot });
    }

    fn keep_open(&mut self, open: OpenCall<'a>) {
        match open.call.call.returned_at() {
            Some(returned) => _ = self.open.insert((returned, open.id), open),
            None => self.hanging.push(open),
        }
    }

    /// Adds a transition to the row that brought it about, or gives it one of its own.
    fn moved(&mut self, event: &Event, moved: Moved<'a>) {
        let transition = moved.transition;
        let fits = self.rows.last().is_some_and(|row| {
            let same_moment = event.at.is_none() || event.at == row.at;
            match &row.what {
                What::Call { id, call, form: Form::Whole, .. } => {
                    let answered = call.call.info().map(|info| info.answered);
                    transition.cause == Some(*id) && event.at <= answered.max(call.call.returned_at()).max(row.at)
                }
                What::Call { id, .. } => same_moment && transition.cause == Some(*id),
                _ => same_moment,
            }
        });
        if !fits {
            self.push(event.at, What::Moves);
        }
        let end = moved.lane.0;
        if !moved.listener {
            self.began[end] = true;
        }
        if !moved.listener || !self.began[end] {
            self.states[end] = Some(transition.to);
        }
        if let Some(row) = self.rows.last_mut() {
            row.states.clone_from(&self.states);
            row.moves.push(moved);
        }
    }

    fn close_before(&mut self, now: Timestamp) {
        while let Some(due) = self.open.first_entry().filter(|due| due.key().0 < now) {
            let ((returned, _), open) = due.remove_entry();
            self.close(open, Some(returned), Form::Return);
        }
    }

    fn close_all(&mut self) {
        while let Some(((returned, _), open)) = self.open.pop_first() {
            self.close(open, Some(returned), Form::Return);
        }
        for open in std::mem::take(&mut self.hanging) {
            self.close(open, None, Form::Unreturned);
        }
    }

    fn close(&mut self, open: OpenCall<'a>, returned: Option<Timestamp>, form: Form) {
        let OpenCall { id, call, lane, slot } = open;
        self.push(returned, What::Call { id, call, lane, form });
        if let Some(slot) = slot {
            self.mark(lane, slot, if form == Form::Return { Slot::Closes } else { Slot::Hangs });
            self.slots[lane.0][slot] = false;
        }
    }

    fn mark(&mut self, lane: LaneId, at: usize, slot: Slot) {
        if let Some(row) = self.rows.last_mut() {
            set(&mut row.slots[lane.0], at, slot);
        }
    }
}

/// The slots of a lane up to the last that is taken, all of whose calls wait.
fn waiting(slots: &[bool; SLOTS]) -> SmallVec<[Slot; SLOTS]> {
    let used = slots.iter().rposition(|taken| *taken).map_or(0, |last| last + 1);
    slots[..used].iter().map(|taken| if *taken { Slot::Waits } else { Slot::Free }).collect()
}

/// From what time on the way a segment's arrival has a row of its own though nothing happens in between.
const SLANTED: Span = Span::from_millis(1);

fn set(slots: &mut SmallVec<[Slot; SLOTS]>, at: usize, slot: Slot) {
    if slots.len() <= at {
        slots.resize(at + 1, Slot::Free);
    }
    slots[at] = slot;
}
