//! The rows of a ladder: a story's events put in the order in which they are drawn, with calls opened and closed.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::calls::{Effect, SocketId};
use crate::flow::{Connection, ConnectionId, Side};
use crate::kernel::Witness;
use crate::story::{
    CallEvent, Event, EventId, EventKind, Mechanism, Phase, SegmentEvent, Story, TimerEvent, TransitionEvent,
};
use crate::tcp::{Finding, State};
use crate::time::Timestamp;
use crate::wire::Flags;

/// One row of a ladder.
pub(super) struct Row<'a> {
    /// When; `None` when the capture does not say.
    pub(super) at: Option<Timestamp>,
    pub(super) phase: Phase,
    pub(super) what: What<'a>,
    /// Transitions of that same moment, which the row's own event or its cause brought about.
    pub(super) moves: Vec<Moved<'a>>,
    /// The calls that are open at each end while the row is drawn, by slot.
    pub(super) lanes: [Vec<Lane>; 2],
    /// The states of both ends after the row.
    pub(super) states: [Option<State>; 2],
}

/// What a row shows.
pub(super) enum What<'a> {
    Call {
        id: EventId,
        call: &'a CallEvent,
        side: Side,
        form: Form,
    },
    Segment(&'a SegmentEvent),
    /// Segments that followed one another, drawn as one; at least [`SHORTEST_RUN`].
    Run(Vec<&'a SegmentEvent>),
    Timer(&'a TimerEvent),
    /// Only its moves.
    Moves,
}

/// Which part of a call a row shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// All of it: nothing else happened while it lasted.
    Whole,
    /// Its entry; its return follows.
    Entry,
    /// Its return.
    Return,
    /// That it has not returned when the story ends.
    Unreturned,
}

/// A transition as a row shows it.
pub(super) struct Moved<'a> {
    pub(super) transition: &'a TransitionEvent,
    /// Whether it is a listening socket that moved, and not the connection.
    pub(super) listener: bool,
}

/// A slot beside an end's calls, where an open call draws its line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    Free,
    Opens,
    Waits,
    Closes,
    Hangs,
}

/// What is looked up in a story while it is drawn.
pub(super) struct Index<'a> {
    pub(super) story: &'a Story,
    events: HashMap<Option<ConnectionId>, Vec<&'a Event>>,
    segments: HashMap<u64, &'a SegmentEvent>,
    ordinals: HashMap<EventId, u64>,
    listeners: HashSet<SocketId>,
    /// The frame that each frame captured twice is a copy of.
    copies: HashMap<u64, u64>,
}

impl<'a> Index<'a> {
    pub(super) fn new(story: &'a Story) -> Self {
        let mut events: HashMap<_, Vec<_>> = HashMap::new();
        let mut segments = HashMap::new();
        let mut listeners = HashSet::new();
        let mut counts: HashMap<(Option<ConnectionId>, Side, &str), Vec<EventId>> = HashMap::new();
        for event in &story.events {
            events.entry(event.connection).or_default().push(event);
            match &event.kind {
                EventKind::Segment(segment) => {
                    segments.insert(segment.segment.frame, &**segment);
                }
                EventKind::Call(call) => {
                    if let (Effect::Bind | Effect::Listen | Effect::Accept, Some(socket)) =
                        (call.call.effect(), call.call.socket())
                    {
                        listeners.insert(socket);
                    }
                }
                _ => {}
            }
        }
        let copies = copies(story);
        let mut index = Self { story, events, segments, ordinals: HashMap::new(), listeners, copies };
        for event in story.events.iter().filter(|event| event.connection.is_some()) {
            if let EventKind::Call(call) = &event.kind {
                let key = (event.connection, index.side(call), call.call.name());
                counts.entry(key).or_default().push(event.id);
            }
        }
        index.ordinals =
            counts.into_values().filter(|ids| ids.len() > 1).flat_map(|ids| ids.into_iter().zip(1..)).collect();
        index
    }

    /// The events of one connection, or those of none, in order.
    pub(super) fn events_of(&self, connection: Option<ConnectionId>) -> &[&'a Event] {
        self.events.get(&connection).map_or(&[], Vec::as_slice)
    }

    /// The segment in that frame.
    pub(super) fn segment(&self, frame: u64) -> Option<&'a SegmentEvent> {
        self.segments.get(&frame).copied()
    }

    /// The frame that the one with this number is a copy of, where it was captured twice.
    pub(super) fn copied(&self, frame: u64) -> Option<u64> {
        self.copies.get(&frame).copied()
    }

    /// Which of the calls of its name on its connection and at its end it is, from 1; `None` when it is the only one.
    pub(super) fn ordinal(&self, call: EventId) -> Option<u64> {
        self.ordinals.get(&call).copied()
    }

    /// The event with that number, if the story holds it.
    pub(super) fn event(&self, id: EventId) -> Option<&'a Event> {
        usize::try_from(id.0).ok().and_then(|at| self.story.events.get(at)).filter(|event| event.id == id)
    }

    /// The column of a call: that of its end, or for a socket without a connection that of a server if it was bound to listen.
    pub(super) fn side(&self, call: &CallEvent) -> Side {
        call.side.unwrap_or_else(|| match call.call.socket() {
            Some(socket) if self.listeners.contains(&socket) => Side::Server,
            _ => Side::Client,
        })
    }

    /// The connections that are drawn: those chosen, or all.
    pub(super) fn chosen(&self, chosen: &[ConnectionId]) -> Vec<&'a Connection> {
        let wanted = |connection: &&Connection| chosen.is_empty() || chosen.contains(&connection.id);
        self.story.connections.iter().filter(wanted).collect()
    }
}

/// For each frame that was captured twice, the one before with the same segment.
fn copies(story: &Story) -> HashMap<u64, u64> {
    let segments = || {
        story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Segment(segment) => {
                let s = &segment.segment;
                Some((segment, (event.connection, segment.from, segment.seq, segment.ack, s.flags, s.len)))
            }
            _ => None,
        })
    };
    let is_copy = |segment: &SegmentEvent| segment.findings.contains(Finding::CapturedTwice);
    let wanted: HashSet<_> = segments().filter(|(segment, _)| is_copy(segment)).map(|(_, what)| what).collect();
    let (mut originals, mut copies) = (HashMap::new(), HashMap::new());
    for (segment, what) in segments().filter(|(_, what)| wanted.contains(what)) {
        match originals.get(&what) {
            Some(original) if is_copy(segment) => _ = copies.insert(segment.segment.frame, *original),
            _ => _ = originals.insert(what, segment.segment.frame),
        }
    }
    copies
}

/// The rows of `events`, in order, with the return of each call where it happened.
pub(super) fn rows<'a>(index: &Index<'a>, events: &[&'a Event]) -> Vec<Row<'a>> {
    let ahead = Ahead::of(events);
    let mut plan = Plan {
        rows: Vec::new(),
        open: BTreeMap::new(),
        hanging: Vec::new(),
        slots: [[false; LANES]; 2],
        states: [None; 2],
        began: [false; 2],
        phase: Phase::SetUp,
    };
    for (at, event) in events.iter().enumerate() {
        if let Some(now) = event.at {
            plan.close_before(now);
        }
        plan.phase = event.phase;
        match &event.kind {
            EventKind::Call(call) => {
                let side = index.side(call);
                let form = if ahead.is_seen_open(call, event, at) { Form::Entry } else { Form::Whole };
                plan.call(event, call, side, form);
            }
            EventKind::Segment(segment) => plan.push(event.at, What::Segment(segment)),
            EventKind::Timer(timer) => plan.push(event.at, What::Timer(timer)),
            EventKind::Transition(transition) => {
                plan.moved(event, Moved { transition, listener: event.connection.is_none() });
            }
        }
    }
    plan.close_all();
    plan.rows
}

/// The rows with their runs of like segments drawn as one: those of one end that carry octets, or those that only acknowledge.
///
/// A run never reorders a conversation: where the other end's octets lie between, it breaks.
pub(super) fn folded(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    let mut out: Vec<Row<'_>> = Vec::new();
    let mut stretch: Vec<Row<'_>> = Vec::new();
    // The end whose octets the stretch holds.
    let mut speaker = None;
    for row in rows {
        let ordinary = match &row.what {
            What::Segment(segment) if row.moves.is_empty() && is_ordinary(segment) => Some(*segment),
            _ => None,
        };
        let speaks = ordinary.filter(|segment| segment.stream.is_some()).map(|segment| segment.from);
        let is_answer = speaks.is_some() && speaker.is_some() && speaks != speaker;
        if ordinary.is_none() || is_answer || stretch.first().is_some_and(|first| first.phase != row.phase) {
            fold(&mut stretch, &mut out);
            speaker = None;
        }
        speaker = speaker.or(speaks);
        if ordinary.is_some() { stretch.push(row) } else { out.push(row) }
    }
    fold(&mut stretch, &mut out);
    out
}

/// Draws a stretch of ordinary segments as one run for each end and kind, where that saves rows.
fn fold<'a>(stretch: &mut Vec<Row<'a>>, out: &mut Vec<Row<'a>>) {
    let mut runs: Vec<(Row<'a>, Vec<&'a SegmentEvent>)> = Vec::new();
    let kind = |segment: &SegmentEvent| (segment.from, segment.stream.is_some());
    for row in stretch.drain(..) {
        let What::Segment(segment) = row.what else { continue };
        match runs.iter_mut().find(|(_, run)| kind(run[0]) == kind(segment)) {
            Some((_, run)) => run.push(segment),
            None => runs.push((row, vec![segment])),
        }
    }
    // A few segments are drawn one by one, in the order in which they came.
    if runs.iter().all(|(_, run)| run.len() < SHORTEST_RUN) {
        let Some((first, _)) = runs.first() else { return };
        let (phase, lanes, states) = (first.phase, first.lanes.clone(), first.states);
        let mut each: Vec<&SegmentEvent> = runs.into_iter().flat_map(|(_, run)| run).collect();
        each.sort_by_key(|segment| segment.segment.frame);
        out.extend(each.into_iter().map(|segment| Row {
            at: segment.segment.at,
            phase,
            what: What::Segment(segment),
            moves: Vec::new(),
            lanes: lanes.clone(),
            states,
        }));
        return;
    }
    for (row, run) in runs {
        let what = if let [one] = run[..] { What::Segment(one) } else { What::Run(run) };
        out.push(Row { what, ..row });
    }
}

/// Whether nothing about a segment asks for a row of its own.
fn is_ordinary(segment: &SegmentEvent) -> bool {
    let cause = &segment.cause;
    let sent_once = cause.kernel.is_none_or(|kernel| matches!(kernel, Mechanism::Ack | Mechanism::Unknown));
    !segment.segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST | Flags::URG)
        && segment.findings.is_empty()
        && sent_once
}

/// What comes after each event, found without walking there.
struct Ahead<'a, 'b> {
    events: &'b [&'a Event],
    /// The latest time up to each event.
    latest: Vec<Option<Timestamp>>,
    /// The place of the next segment from each event on, or the end.
    segment: Vec<usize>,
}

impl<'a, 'b> Ahead<'a, 'b> {
    fn of(events: &'b [&'a Event]) -> Self {
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
        Self { events, latest, segment }
    }

    /// Whether something happened between a call's entry, which is event `at`, and its return that makes it worth two rows.
    fn is_seen_open(&self, call: &CallEvent, event: &Event, at: usize) -> bool {
        if call.call.effect() == Effect::Exit {
            return false;
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
    open: BTreeMap<(Timestamp, EventId), Open<'a>>,
    /// The open calls that will not.
    hanging: Vec<Open<'a>>,
    /// Which lanes are taken, at each end.
    slots: [[bool; LANES]; 2],
    states: [Option<State>; 2],
    /// Whether an end's own socket has moved, after which its listening socket no longer speaks for it.
    began: [bool; 2],
    phase: Phase,
}

struct Open<'a> {
    id: EventId,
    call: &'a CallEvent,
    side: Side,
    /// Its lane; more calls than there are lanes do without.
    slot: Option<usize>,
}

impl<'a> Plan<'a> {
    fn push(&mut self, at: Option<Timestamp>, what: What<'a>) {
        let lanes = [self.lanes(Side::Client), self.lanes(Side::Server)];
        self.rows.push(Row { at, phase: self.phase, what, moves: Vec::new(), lanes, states: self.states });
    }

    fn call(&mut self, event: &Event, call: &'a CallEvent, side: Side, form: Form) {
        let id = event.id;
        self.push(event.at, What::Call { id, call, side, form });
        if form != Form::Entry {
            return;
        }
        let slots = &mut self.slots[side as usize];
        let slot = slots.iter().position(|taken| !taken);
        if let Some(slot) = slot {
            slots[slot] = true;
            self.mark(side, slot, Lane::Opens);
        }
        let open = Open { id, call, side, slot };
        match call.call.returned_at() {
            Some(returned) => _ = self.open.insert((returned, id), open),
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
        let end = transition.side as usize;
        if !moved.listener {
            self.began[end] = true;
        }
        if !moved.listener || !self.began[end] {
            self.states[end] = Some(transition.to);
        }
        if let Some(row) = self.rows.last_mut() {
            row.states = self.states;
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

    fn close(&mut self, open: Open<'a>, returned: Option<Timestamp>, form: Form) {
        let Open { id, call, side, slot } = open;
        self.push(returned, What::Call { id, call, side, form });
        if let Some(slot) = slot {
            self.mark(side, slot, if form == Form::Return { Lane::Closes } else { Lane::Hangs });
            self.slots[side as usize][slot] = false;
        }
    }

    fn lanes(&self, side: Side) -> Vec<Lane> {
        let slots = &self.slots[side as usize];
        let used = slots.iter().rposition(|taken| *taken).map_or(0, |last| last + 1);
        slots[..used].iter().map(|taken| if *taken { Lane::Waits } else { Lane::Free }).collect()
    }

    fn mark(&mut self, side: Side, slot: usize, lane: Lane) {
        if let Some(row) = self.rows.last_mut() {
            set(&mut row.lanes[side as usize], slot, lane);
        }
    }
}

/// From how many segments on a run is drawn as one.
const SHORTEST_RUN: usize = 3;

/// How many open calls have a line beside an end's calls at the same time: more would leave no room for what is said.
const LANES: usize = 6;

/// Whether a transition rests on the segments alone.
pub(super) fn is_inferred(transition: &TransitionEvent) -> bool {
    transition.evidence == [Witness::Segments]
}

fn set(lanes: &mut Vec<Lane>, slot: usize, lane: Lane) {
    if lanes.len() <= slot {
        lanes.resize(slot + 1, Lane::Free);
    }
    lanes[slot] = lane;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// The rows that are left of these segments: who sends, how many octets; each is 1 µs after the one before.
    fn rows_of(segments: &[(Side, usize)]) -> Vec<String> {
        let mut t = sample::Teller::new();
        t.connection = Some(ConnectionId(0));
        t.phase = Phase::Data;
        let (mut at, mut ends) = (0, [1, 1]);
        for &(side, octets) in segments {
            let (mine, peer) = (side as usize, side.peer() as usize);
            t.segment(at, side, Flags::ACK, (ends[mine], ends[peer], octets), sample::by(&[]));
            ends[mine] += octets as i64;
            at += 1;
        }
        let story = t.story;
        let index = Index::new(&story);
        let rows = folded(rows(&index, index.events_of(Some(ConnectionId(0)))));
        let said = |row: &Row<'_>| match &row.what {
            What::Segment(segment) => format!("{}", segment.segment.frame),
            What::Run(run) => run.iter().map(|one| one.segment.frame.to_string()).collect::<Vec<_>>().join("+"),
            _ => panic!("only segments"),
        };
        rows.iter().map(said).collect()
    }

    #[test]
    fn a_run_breaks_where_the_other_ends_octets_lie_between() {
        use Side::{Client, Server};
        let round = [(Client, 10), (Server, 0), (Server, 10), (Client, 0)];
        let three: Vec<_> = round.into_iter().cycle().take(12).collect();
        let told: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        assert_eq!(rows_of(&three), told, "rounds of request and reply stay in order");
        // Acknowledgements between do not break it: they answer, but say nothing.
        let bulk = [(Client, 9), (Client, 9), (Server, 0), (Client, 9), (Client, 9), (Server, 0), (Server, 0)];
        assert_eq!(rows_of(&bulk), ["1+2+4+5", "3+6+7"]);
        let reply = [(Server, 5), (Server, 5), (Server, 5)];
        assert_eq!(rows_of(&[&bulk[..], &reply[..]].concat()), ["1+2+4+5", "3+6+7", "8+9+10"]);
    }

    #[test]
    fn a_crowd_of_open_calls_takes_few_lanes_and_each_is_drawn_entering_and_returning() {
        const CROWD: i64 = 20_000;
        let mut t = sample::Teller::new();
        t.connection = Some(ConnectionId(0));
        let calls: Vec<EventId> = (0..CROWD)
            .map(|n| t.call((n, 3 * CROWD - n), Side::Server, "recv(64, 0)", Effect::Receive, 4, 1))
            .collect();
        for id in calls.iter().step_by(2) {
            t.call_mut(*id).call.returned = None;
        }
        t.segment(CROWD, Side::Client, Flags::ACK, (1, 1, 1), sample::by(&[]));
        let story = t.story;
        let index = Index::new(&story);
        let rows = rows(&index, index.events_of(Some(ConnectionId(0))));
        let drawn = |wanted: Form| {
            rows.iter().filter(|row| matches!(row.what, What::Call { form, .. } if form == wanted)).count() as i64
        };
        assert_eq!([Form::Entry, Form::Return, Form::Unreturned].map(drawn), [CROWD, CROWD / 2, CROWD / 2]);
        assert_eq!(rows.iter().map(|row| row.lanes[Side::Server as usize].len()).max(), Some(LANES));
        let last = rows.last().expect("rows");
        assert_eq!(last.at, None, "what never returns is told last");
        let returned: Vec<_> = rows.iter().filter_map(|row| row.at).collect();
        assert!(returned.is_sorted(), "returns are in order of time");
    }
}
