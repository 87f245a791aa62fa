//! A live capture for programs.

use std::io::{self, Write};

use super::{Open, Teller};
use crate::capture::CaptureStats;
use crate::flow::{Connection, Step, Totals};
use crate::kernel::Witness;
use crate::report::Jsonl;
use crate::story::{Event, EventId, EventKind, Phase, Story, TransitionEvent};
use crate::tcp::{Rule, State};
use crate::time::Timestamp;
use crate::wire::Segment;

/// Tells it to programs: `opened`, `transition`, `drops` and `counts` lines as it happens, a `connection` line when no further segment can
/// belong to one, and the `totals` line at the end.
pub struct JsonLines<'a> {
    jsonl: Jsonl<'a>,
    next: u64,
}

impl<'a> JsonLines<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { jsonl: Jsonl::new(out), next: 0 }
    }

    fn next_id(&mut self) -> EventId {
        self.next += 1;
        EventId(self.next - 1)
    }
}

impl Teller for JsonLines<'_> {
    fn step(&mut self, segment: &Segment, step: &Step, connection: &Connection) -> io::Result<()> {
        if step.opened {
            let id = self.next_id();
            self.jsonl.opened(id, segment.at, connection)?;
        }
        for (side, moved) in step.moves.iter().flatten() {
            let transition = TransitionEvent {
                side: *side,
                from: moved.from,
                to: moved.to,
                cause: None,
                rule: moved.rule,
                evidence: vec![Witness::Segments],
                disagreement: None,
            };
            let event = Event {
                id: self.next_id(),
                at: segment.at,
                connection: Some(connection.id),
                phase: phase(connection, moved.rule),
                kind: EventKind::Transition(transition),
            };
            self.jsonl.event(&event, &Story::default())?;
        }
        Ok(())
    }

    fn told(&mut self, connection: Connection, _: Timestamp) -> io::Result<()> {
        self.jsonl.connection(&connection)
    }

    fn drops(&mut self, now: Timestamp, new: u64, stats: &CaptureStats) -> io::Result<()> {
        let id = self.next_id();
        self.jsonl.drops(Some(id), now, new, stats)
    }

    fn overview(
        &mut self,
        now: Timestamp,
        open: Open,
        totals: &Totals,
        stats: Option<&CaptureStats>,
    ) -> io::Result<()> {
        let id = self.next_id();
        self.jsonl.counts(id, now, open.count, totals, stats)
    }

    fn left(&mut self, connection: Connection) -> io::Result<()> {
        self.jsonl.connection(&connection)
    }

    fn finish(&mut self, totals: &Totals, _: Option<&CaptureStats>) -> io::Result<()> {
        self.jsonl.totals(totals)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.jsonl.flush()
    }
}

/// The part of its life in which a connection is, having just moved by `rule`.
fn phase(connection: &Connection, rule: Rule) -> Phase {
    let closing = [&connection.client_to_server, &connection.server_to_client].iter().any(|way| way.fin + way.rst > 0);
    if [connection.client_state, connection.server_state].contains(&Some(State::TimeWait)) {
        Phase::TimeWait
    } else if closing {
        Phase::Teardown
    } else if rule == Rule::OpenBothWays {
        Phase::Data
    } else {
        Phase::Handshake
    }
}
