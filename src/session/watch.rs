//! A run over a capture that goes on: what each segment does is told at once, and connections can be seen while they live.

use super::trust::Trust;
use crate::capture::Frame;
use crate::flow::{Connection, Evicted, FlowTable, Limits, Step, Tally, Totals};
use crate::time::Timestamp;
use crate::wire::{Checksums, Decoder, Oddities, Segment};

/// The state of such a run.
pub struct Watch {
    decoder: Decoder,
    /// Whose wrong checksums are believed; `None` where all are, or none is looked at.
    trust: Option<Trust>,
    table: FlowTable,
    totals: Totals,
}

impl Watch {
    /// A run that has seen nothing yet.
    pub fn new(limits: Limits, checksums: Checksums) -> Self {
        let trust = (checksums == Checksums::Controls).then(Trust::default);
        let decoder = Decoder::default().with_checksums(checksums);
        Self { decoder, trust, table: FlowTable::with_limits(limits), totals: Totals::default() }
    }

    /// Takes one frame, and tells what each of its segments did; the table answers what has become of the connection.
    pub fn observe(&mut self, frame: &Frame<'_>, mut tell: impl FnMut(&Segment, &Step, &FlowTable)) {
        let Self { decoder, trust, table, totals } = self;
        totals.frames += 1;
        let decoded = decoder.decode(frame, |segment, _| {
            totals.segments += 1;
            let mut segment = *segment;
            if segment.oddities.intersects(Oddities::GOOD_CHECKSUM.union(Oddities::BAD_CHECKSUM))
                && let Some(trust) = trust
            {
                trust.note(&segment);
                if !trust.believes(&segment) {
                    segment.oddities.remove(Oddities::BAD_CHECKSUM);
                }
            }
            if let Some(step) = table.observe(&segment) {
                tell(&segment, &step, table);
            }
        });
        if let Err(skip) = decoded {
            totals.skipped.count(skip);
            if let Some((quote, error)) = decoder.quote() {
                table.quote(&quote, Some(error));
            }
        }
    }

    /// Tells the connections to which no further segment can belong at this moment, each once.
    ///
    /// # Errors
    /// The first error of `tell`.
    pub fn take_ended<E>(&mut self, now: Timestamp, tell: impl FnMut(Connection) -> Result<(), E>) -> Result<(), E> {
        self.table.pass(now);
        self.table.take_ended(tell)
    }

    /// Shows the connections that are followed, as they stand and in no order.
    pub fn each(&self, show: impl FnMut(Connection)) {
        self.table.each(show);
    }

    /// The counts so far.
    pub fn totals(&self) -> Totals {
        with(self.totals.clone(), self.table.tally())
    }

    /// Ends the run: tells the connections that are left, and returns the counts.
    ///
    /// # Errors
    /// The first error of `tell`.
    pub fn finish<E>(mut self, tell: impl FnMut(Connection) -> Result<(), E>) -> Result<Totals, E> {
        let tally = self.table.finish(tell)?;
        Ok(with(self.totals, tally))
    }
}

fn with(totals: Totals, tally: Tally) -> Totals {
    let Tally { connections, late_segments, evicted: let_go, omitted, numbers } = tally;
    let evicted = Evicted { connections: let_go, findings: omitted, ..totals.evicted };
    Totals { connections, late_segments, let_go, evicted, numbers, ..totals }
}
