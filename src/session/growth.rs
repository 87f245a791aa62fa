//! A timeline that is told while it grows: each event once it is settled, and again where later evidence changes it.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use super::Sink;
use super::memory::{CONNECTION, SEGMENT};
use crate::calls::ThreadId;
use crate::flow::{Connection, ConnectionId};
use crate::story::{Changes, Diagnosis, EventId, Sorter, Timeline, Witnessed};
use crate::time::{Span, Timestamp};

/// What grows, and what of it was told.
#[derive(Default)]
pub(super) struct Growth {
    sorter: Sorter,
    timeline: Timeline,
    /// What became of the events each time the sorter let words go, and when that was; none of it is told yet.
    untold: VecDeque<(Timestamp, Changes)>,
    /// The first event that was not told.
    next: EventId,
    /// Connections to which no further segment can belong, and since when.
    ended: VecDeque<(Timestamp, Connection)>,
    /// Those of them some of whose sockets are still open.
    unreleased: Vec<Connection>,
    /// Threads that make no more calls, and since when.
    gone: VecDeque<(Timestamp, ThreadId)>,
    /// How many events are held at most; `None` where nothing is forgotten.
    most: Option<usize>,
    now: Option<Timestamp>,
    /// When it was looked last for what else can be forgotten.
    swept: Option<Timestamp>,
}

impl Growth {
    /// A timeline that forgets connections that were told, and holds so many events at most.
    ///
    /// A word that waits in the sorter counts as an event, and a connection as [`PER_CONNECTION`] more: for its place in the
    /// timeline, and what whoever tells it remembers of its rows.
    pub(super) fn within(events: usize) -> Self {
        let sorter = Sorter::of((events / 4).clamp(FEWEST_WAITING, Sorter::MOST));
        Self { most: Some(events), timeline: Timeline::forgetful(), sorter, ..Self::default() }
    }

    /// What is held, in events.
    fn held(&self) -> usize {
        let told = self.ended.len() + self.unreleased.len();
        self.timeline.held() + self.sorter.waiting() + PER_CONNECTION * (self.timeline.open() + told)
    }

    /// Whether it forgets connections that were told.
    pub(super) fn forgets(&self) -> bool {
        self.most.is_some()
    }

    /// Takes in what a witness saw.
    pub(super) fn hear(&mut self, witnessed: Witnessed) {
        self.sorter.put(witnessed);
    }

    /// Takes in that no further segment of a connection is to be expected; it is told once all of its events are.
    pub(super) fn end(&mut self, connection: Connection) {
        match self.now {
            Some(now) => self.ended.push_back((now.after(Sorter::LONGEST), connection)),
            None => self.ended.push_back((Timestamp::from_nanos(0), connection)),
        }
    }

    /// Takes in that a thread makes no more calls.
    pub(super) fn end_thread(&mut self, thread: ThreadId) {
        let now = self.now.unwrap_or(Timestamp::from_nanos(0));
        self.gone.push_back((now.after(Sorter::LONGEST), thread));
    }

    pub(super) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    pub(super) fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    pub(super) fn into_timeline(self) -> Timeline {
        self.timeline
    }

    /// Lets go of what need not wait any longer at this moment, and tells what is settled.
    ///
    /// # Errors
    /// Those of the sink.
    pub(super) fn pass(&mut self, now: Timestamp, sink: &mut dyn Sink) -> io::Result<()> {
        let now = self.now.map_or(now, |before| before.max(now));
        self.now = Some(now);
        self.sorter.pass(now);
        let mut moved = false;
        while let Some(word) = self.sorter.due() {
            self.timeline.take(word);
            moved = true;
        }
        if moved {
            let changes = self.timeline.settle();
            self.untold.push_back((now, changes));
        }
        let settled = |since: Timestamp| since.after(SETTLING) <= now;
        let count = self.untold.partition_point(|(since, _)| settled(*since));
        self.tell(count, sink)?;
        while self.ended.front().is_some_and(|(since, _)| settled(*since)) {
            let Some((_, connection)) = self.ended.pop_front() else { break };
            match self.timeline.is_released(connection.id) {
                true => self.tell_ended(connection, sink)?,
                // Its programs may still say something of it.
                false => self.unreleased.push(connection),
            }
        }
        while self.gone.front().is_some_and(|(since, _)| settled(*since)) {
            let Some((_, thread)) = self.gone.pop_front() else { break };
            self.sorter.end_thread(thread);
            self.timeline.end_thread(thread);
        }
        if self.forgets() && self.swept.is_none_or(|swept| now.since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.sweep(now, sink)?;
        }
        while self.most.is_some_and(|most| self.held() > most) {
            // Events of no connection are few: they are those of listening sockets.
            let Some(oldest) = self.timeline.oldest() else { break };
            self.tell(self.untold.len(), sink)?;
            let before = self.timeline.standing();
            match self.unreleased.iter().position(|connection| connection.id == oldest) {
                Some(place) => {
                    let connection = self.unreleased.swap_remove(place);
                    self.tell_ended(connection, sink)?;
                }
                None => {
                    let found = self.timeline.diagnose_part(oldest);
                    self.tell_found(&found, sink)?;
                    self.forget(oldest, sink);
                }
            }
            // It ends: each round forgets at least the event that was the oldest, and none is born meanwhile.
            let has_shrunk = self.timeline.standing() < before;
            debug_assert!(has_shrunk, "an event of {oldest:?} outlives its connection");
            if !has_shrunk {
                break;
            }
        }
        Ok(())
    }

    /// Tells the connections whose sockets were closed long after they had ended, and forgets what belongs to no connection.
    fn sweep(&mut self, now: Timestamp, sink: &mut dyn Sink) -> io::Result<()> {
        let (released, unreleased) = std::mem::take(&mut self.unreleased)
            .into_iter()
            .partition(|connection| self.timeline.is_released(connection.id));
        self.unreleased = unreleased;
        let released: Vec<Connection> = released;
        for connection in released {
            self.tell_ended(connection, sink)?;
        }
        let found = self.timeline.take_found();
        self.tell_found(&found, sink)?;
        let old = self.timeline.forgettable(self.next, now.after(Span(-KEPT.0)));
        let found = self.timeline.diagnose_unjoined(&old);
        self.tell_found(&found, sink)?;
        self.timeline.forget_unjoined(&old);
        sink.forgets_events(old.events());
        Ok(())
    }

    fn tell_found(&self, found: &[Diagnosis], sink: &mut dyn Sink) -> io::Result<()> {
        if found.is_empty() { Ok(()) } else { sink.diagnosed(&self.timeline, found) }
    }

    /// Lets go of everything: nothing more will come.
    ///
    /// # Errors
    /// Those of the sink.
    pub(super) fn finish(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let rest: Vec<Witnessed> = (&mut self.sorter).collect();
        rest.into_iter().for_each(|word| self.timeline.take(word));
        let changes = self.timeline.close();
        self.untold.push_back((self.now.unwrap_or(Timestamp::from_nanos(0)), changes));
        self.tell(self.untold.len(), sink)?;
        let found = self.timeline.take_found();
        self.tell_found(&found, sink)?;
        for connection in std::mem::take(&mut self.unreleased) {
            self.tell_ended(connection, sink)?;
        }
        while let Some((_, connection)) = self.ended.pop_front() {
            self.tell_ended(connection, sink)?;
        }
        Ok(())
    }

    /// Tells the first `count` of the changes that are not told, as one; what is told is told as it stands now.
    fn tell(&mut self, count: usize, sink: &mut dyn Sink) -> io::Result<()> {
        let mut amended = BTreeSet::new();
        let (first, mut until) = (self.next, None);
        for (_, changes) in self.untold.drain(..count) {
            amended.extend(changes.amended);
            self.next = EventId(changes.added.0.0 + changes.added.1);
            until = changes.until;
        }
        // What changed before it was told is told once.
        let amended: Vec<EventId> = amended.range(..first).copied().collect();
        let added = (first, self.next.0 - first.0);
        if count == 0 || added.1 == 0 && amended.is_empty() && until.is_some() {
            return Ok(());
        }
        sink.changes(&self.timeline, &Changes { added, amended, until })
    }

    fn tell_ended(&mut self, mut connection: Connection, sink: &mut dyn Sink) -> io::Result<()> {
        self.timeline.complete_summary(&mut connection);
        let id = connection.id;
        let found = self.timeline.diagnose(&connection);
        sink.connection(connection)?;
        self.tell_found(&found, sink)?;
        self.forget(id, sink);
        Ok(())
    }

    /// Forgets a connection; what becomes of its events is told no more.
    fn forget(&mut self, id: ConnectionId, sink: &mut dyn Sink) {
        self.timeline.forget(id);
        sink.forgets(id);
    }
}

/// What a connection costs besides its events, in events.
const PER_CONNECTION: usize = (CONNECTION / SEGMENT) as usize;
/// However little memory there is, so many words may wait for those before them.
const FEWEST_WAITING: usize = 1024;
/// How long an event is held back after the sorter let it go: what made a segment leave returns a moment later.
pub(super) const SETTLING: Span = Span::from_millis(40);
/// How often it is looked for what belongs to no connection and can be forgotten.
const SWEEP: Span = Span::from_millis(500);
/// How long after its return a call on no connection is kept.
const KEPT: Span = Span::from_millis(2000);
