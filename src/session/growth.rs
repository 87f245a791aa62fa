//! A timeline that is told while it grows: each event once it is settled, and again where later evidence changes it.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use super::Sink;
use crate::flow::{Connection, ConnectionId};
use crate::story::{Changes, EventId, Lookup, Sorter, Timeline, Witnessed};
use crate::time::{Span, Timestamp};

/// What grows, and what of it was told.
#[derive(Default)]
pub(super) struct Growth {
    sorter: Sorter,
    timeline: Timeline,
    /// Up to which event all were born when the sorter had let their words go, and when that was.
    born: VecDeque<(Timestamp, EventId)>,
    /// The first event that was not told.
    next: EventId,
    /// Events that were told and have changed since, and since when the first of them.
    amended: BTreeSet<EventId>,
    amended_since: Option<Timestamp>,
    /// Connections to which no further segment can belong, and since when.
    ended: VecDeque<(Timestamp, Connection)>,
    /// How many events are held at most; `None` where nothing is forgotten.
    most: Option<usize>,
    now: Option<Timestamp>,
}

impl Growth {
    /// A timeline that forgets connections that were told, and holds so many events at most.
    pub(super) fn within(events: usize) -> Self {
        Self { most: Some(events), ..Self::default() }
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
            self.note(&changes, now);
        }
        let settled = |since: Timestamp| since.after(SETTLING) <= now;
        let mut until = None;
        while let Some((_, last)) = self.born.front().filter(|(since, _)| settled(*since)) {
            until = Some(*last);
            self.born.pop_front();
        }
        if until.is_some() || self.amended_since.is_some_and(settled) {
            self.tell(until.unwrap_or(self.next), sink)?;
        }
        while self.ended.front().is_some_and(|(since, _)| settled(*since)) {
            let Some((_, connection)) = self.ended.pop_front() else { break };
            self.tell_ended(connection, sink)?;
        }
        while self.most.is_some_and(|most| self.timeline.held() > most) {
            // Events of no connection are few: they are those of listening sockets.
            let Some(oldest) = self.timeline.oldest() else { break };
            self.tell_all(sink)?;
            self.forget(oldest, sink)?;
        }
        Ok(())
    }

    /// Lets go of everything: nothing more will come.
    ///
    /// # Errors
    /// Those of the sink.
    pub(super) fn finish(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let rest: Vec<Witnessed> = (&mut self.sorter).collect();
        rest.into_iter().for_each(|word| self.timeline.take(word));
        let changes = self.timeline.close();
        let now = self.now.unwrap_or(Timestamp::from_nanos(0));
        self.note(&changes, now);
        self.tell_all(sink)?;
        while let Some((_, connection)) = self.ended.pop_front() {
            self.tell_ended(connection, sink)?;
        }
        Ok(())
    }

    fn note(&mut self, changes: &Changes, now: Timestamp) {
        let (first, count) = changes.added;
        if count > 0 {
            self.born.push_back((now, EventId(first.0 + count)));
        }
        // What was not told yet is told as it stands then.
        let told = changes.amended.iter().copied().filter(|id| *id < self.next);
        self.amended.extend(told);
        if !self.amended.is_empty() {
            self.amended_since.get_or_insert(now);
        }
    }

    fn tell_all(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let until = std::mem::take(&mut self.born).back().map_or(self.next, |(_, last)| *last);
        self.tell(until, sink)
    }

    /// Tells the events up to `until`, and those that were amended.
    fn tell(&mut self, until: EventId, sink: &mut dyn Sink) -> io::Result<()> {
        let added = (self.next, until.0 - self.next.0);
        self.next = until;
        self.amended_since = None;
        let amended = std::mem::take(&mut self.amended).into_iter().collect();
        sink.changes(&self.timeline, &Changes { added, amended })
    }

    fn tell_ended(&mut self, mut connection: Connection, sink: &mut dyn Sink) -> io::Result<()> {
        self.timeline.complete_summary(&mut connection);
        let id = connection.id;
        sink.connection(connection)?;
        self.forget(id, sink)
    }

    /// Forgets a connection all of whose events were told.
    fn forget(&mut self, id: ConnectionId, sink: &mut dyn Sink) -> io::Result<()> {
        self.timeline.forget(id);
        self.amended.retain(|event| self.timeline.find(*event).is_some());
        sink.forgets(id);
        Ok(())
    }
}

/// How long an event is held back after the sorter let it go: what made a segment leave returns a moment later.
pub(super) const SETTLING: Span = Span::from_millis(40);
