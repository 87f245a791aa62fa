//! One run over a capture: frames through the decoder and the table, and the chosen connections into a timeline, all told to one sink.

mod batch;
mod elsewhere;
mod ends;
mod growth;
mod keep;
mod memory;
mod sink;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

pub use batch::{Batch, More, Reader};
use batch::{Besides, Followed, Wanted};
use ends::End;
use growth::Growth;
pub use keep::Keep;
use keep::Kept;
pub use memory::Memory;
pub use sink::{Broken, Sink};

use crate::calls::{Call, ThreadId, Threads};
use crate::capture::{CaptureError, Frame, FrameSource, LinkType};
use crate::flow::{
    Breakdowns, Conflicts, Connection, ConnectionId, Ended, Evicted, FlowTable, Limits, Step, Tally, Totals,
};
use crate::kernel::{Answer, KernelEvent};
use crate::story::{LinkRecord, Passing, Point, PointSighting, Story, Timeline, Witnessed};
use crate::time::{Span, Timestamp};
use crate::wire::Checksums;

/// The state of a run.
pub struct Session {
    table: FlowTable,
    kept: Kept,
    telling: Telling,
    totals: Totals,
    unread: Option<LinkType>,
    checksums: Checksums,
    /// Where it was asked for.
    breakdowns: Option<Breakdowns>,
    /// Where they were asked for without a timeline, which has its own.
    conflicts: Option<Conflicts>,
    /// What the kernel's trace said, for the story at the end.
    kernel_events: Arc<Vec<KernelEvent>>,
    /// Where segments are captured, for the story at the end.
    points: Vec<Point>,
    /// Whether a link's record says where each segment was seen, so that each end has a story of its own.
    has_ends: bool,
    /// What the hosts' retransmission timers are never shorter than, where that is known.
    rto_min: Option<Span>,
}

/// What is told while the run goes on, besides the connections that end.
enum Telling {
    Nothing,
    Steps,
    Events(Box<Growth>),
}

impl Default for Session {
    fn default() -> Self {
        Self::new(Keep::default())
    }
}

/// A run from its beginning to its end.
impl Session {
    /// Takes frames from `source` to its end, or until `go_on` breaks off, and tells connections to `sink` as they end.
    ///
    /// # Errors
    /// The first damage of the capture, or of the output; what came before the damage has been observed, so [`finish`](Self::finish) still tells it.
    pub fn run<S: FrameSource>(
        &mut self,
        source: &mut S,
        wanted: impl FnMut(&Frame<'_>) -> Result<bool, CaptureError>,
        mut go_on: impl FnMut(u64) -> ControlFlow<()>,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let mut reader = self.reader(wanted);
        let mut batch = Batch::default();
        while self.advance(&mut reader, source, &mut batch, sink)? == More::Frames {
            if go_on(batch.last_frame()).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Does one step of a run: reads and decodes a batch, follows its segments, and tells what came of it.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn advance<S: FrameSource, W: FnMut(&Frame<'_>) -> Result<bool, CaptureError>>(
        &mut self,
        reader: &mut Reader<W>,
        source: &mut S,
        batch: &mut Batch,
        sink: &mut dyn Sink,
    ) -> Result<More, Broken> {
        let read = reader.fill(source, batch);
        self.take(batch, sink)?;
        read.map_err(Broken::Capture)
    }

    /// Follows the segments of a batch, and tells what came of it.
    ///
    /// # Errors
    /// The output could not be written.
    pub fn take(&mut self, batch: &Batch, sink: &mut dyn Sink) -> io::Result<()> {
        if let Telling::Steps = self.telling {
            self.count(batch);
            return batch.follow_each(&mut self.table, |segment, step, table| {
                let changed = step.opened || step.moves.iter().any(Option::is_some);
                let connection = if changed { table.connection(segment) } else { None };
                connection.map_or(Ok(()), |connection| sink.step(segment, step, &connection))
            });
        }
        self.follow(batch);
        let Self { table, breakdowns, conflicts, .. } = self;
        table.take_ended(|mut connection| {
            complete(&mut connection, breakdowns, conflicts);
            sink.connection(connection)
        })
    }

    /// Follows the segments of a batch; returns how many connections have ended and wait to be [handed over](Self::hand_over).
    pub fn follow(&mut self, batch: &Batch) -> usize {
        self.count(batch);
        let Self { table, kept, telling, breakdowns, conflicts, .. } = self;
        if !kept.keeps_any() {
            match (breakdowns, conflicts) {
                (None, None) => batch.follow(table, |_, _: Option<()>| {}),
                (Some(breakdowns), None) => batch.follow(table, |segment, step: Option<Step>| {
                    if let Some(step) = step {
                        breakdowns.observe(segment, &step);
                    }
                }),
                (breakdowns, Some(conflicts)) => batch.follow_with(table, |followed| {
                    let Followed::Segment(segment, Some(mut step), Besides { payload, .. }) = followed else { return };
                    if let Some(breakdowns) = breakdowns {
                        breakdowns.observe(segment, &step);
                    }
                    conflicts.observe(segment, &mut step, payload);
                }),
            }
            return table.end_quiet();
        }
        let mut growing = match telling {
            Telling::Events(growth) => Some(&mut **growth),
            Telling::Nothing | Telling::Steps => None,
        };
        kept.observe(batch, table, growing.as_deref_mut(), breakdowns.as_mut());
        end(table, kept, growing, breakdowns);
        0
    }

    /// Takes in what a witness other than the capture saw, for a run [that grows](Self::growing).
    pub fn hear(&mut self, witnessed: Witnessed) {
        if let Telling::Events(growth) = &mut self.telling {
            growth.hear(witnessed);
        }
    }

    /// Makes known who makes the calls of a run [that grows](Self::growing).
    pub fn know_threads(&mut self, threads: Threads) {
        if let Telling::Events(growth) = &mut self.telling {
            growth.timeline_mut().know_threads(threads);
        }
    }

    /// Makes known where the segments of a timeline are captured, where the source of frames does not say it.
    pub fn know_points(&mut self, points: impl IntoIterator<Item = Point>) {
        match &mut self.telling {
            Telling::Events(growth) => growth.timeline_mut().know_points(points),
            Telling::Nothing | Telling::Steps => self.points.extend(points),
        }
    }

    /// Makes known what a link between two hosts says of the frames that were taken in; each end's states are then those
    /// that the segments tell which it sent and received itself.
    ///
    /// The run must have taken in all frames, and not be one [that grows](Self::growing).
    pub fn know_link(&mut self, link: LinkRecord) {
        let first = self.points.len() as u32;
        self.points.extend(link.points);
        let mut passing = link.passing;
        let seen = passing.values_mut().flat_map(|passing| &mut passing.passage);
        seen.for_each(|PointSighting { seen, .. }| seen.point.0 += first);
        self.kept.know_passing(passing.into_iter().collect());
        self.has_ends = true;
        self.rto_min = link.rto_min;
    }

    /// Takes in that calls were made that are not known, in a run [that grows](Self::growing).
    pub fn lacks_calls(&mut self) {
        if let Telling::Events(growth) = &mut self.telling {
            growth.timeline_mut().lacks_calls();
        }
    }

    /// Takes in that a thread makes no more calls, in a run [that grows](Self::growing).
    pub fn end_thread(&mut self, thread: ThreadId) {
        if let Telling::Events(growth) = &mut self.telling {
            growth.end_thread(thread);
        }
    }

    /// Takes in that it is `now`, though nothing may have come: tells what time alone ends or settles.
    ///
    /// # Errors
    /// The output could not be written.
    pub fn pass(&mut self, now: Timestamp, sink: &mut dyn Sink) -> io::Result<()> {
        let Self { table, kept, telling, breakdowns, conflicts, .. } = self;
        table.pass(now);
        let Telling::Events(growth) = telling else {
            return table.take_ended(|mut connection| {
                complete(&mut connection, breakdowns, conflicts);
                sink.connection(connection)
            });
        };
        end(table, kept, Some(growth), breakdowns);
        growth.pass(now, sink)
    }

    /// Connections after one, by number, of which a run [that grows](Self::growing) saw no segment since a moment, though nothing has
    /// closed them, and whose sockets nobody who is watched is known to have; some of them, with their ends, the client's first.
    pub fn quiet(&self, after: Option<ConnectionId>, since: Timestamp) -> Vec<(ConnectionId, [SocketAddr; 2])> {
        match &self.telling {
            Telling::Events(growth) => growth.timeline().quiet(after, since),
            Telling::Nothing | Telling::Steps => Vec::new(),
        }
    }

    /// Takes in that the kernel had no socket of a connection any more at a moment: it is over, unless a segment was seen since.
    pub fn gone(&mut self, id: ConnectionId, ends: [SocketAddr; 2], at: Timestamp) {
        if let Telling::Events(growth) = &mut self.telling
            && growth.timeline_mut().has_gone(id, at)
        {
            self.table.give_up(ends);
        }
    }

    /// Tells all that a run [that grows](Self::growing) has not told yet: nothing more will come.
    ///
    /// # Errors
    /// The output could not be written.
    pub fn settle(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        match &mut self.telling {
            Telling::Events(growth) => growth.finish(sink),
            Telling::Nothing | Telling::Steps => Ok(()),
        }
    }

    /// Ends the run: tells the connections that are left, and the counts, which it returns.
    ///
    /// # Errors
    /// The output could not be written.
    pub fn finish(mut self, sink: &mut dyn Sink) -> io::Result<Totals> {
        self.settle(sink)?;
        let Self { table, kept, telling, breakdowns, conflicts, .. } = &mut self;
        let tally = table.finish(|mut connection| {
            complete(&mut connection, breakdowns, conflicts);
            kept.complete(&mut connection);
            if let Telling::Events(growth) = telling {
                growth.timeline_mut().complete_summary(&mut connection);
            }
            sink.connection(connection)
        })?;
        let totals = with(self.totals, tally, self.kept.left_out());
        sink.finish(&totals)?;
        Ok(totals)
    }

    /// Ends the run with the story of the connections that were kept, joined with the calls and the kernel's answers.
    ///
    /// `threads` are those that made the calls.
    pub fn story(self, threads: Threads, calls: Vec<Call>, evidence: &[Answer], dropped: Option<u64>) -> Story {
        let words = ends::Words {
            threads: &threads,
            calls: &calls,
            evidence,
            kernel: &self.kernel_events,
            rto_min: self.rto_min,
        };
        let ends = if self.has_ends { ends::told(&self.kept, &self.points, &words) } else { Vec::new() };
        let (timeline, connections, totals) = self.timeline(calls, evidence, dropped);
        let mut story = timeline.finish(connections, threads, totals);
        for End { side, story: there, frames } in ends {
            story.take_end(side, &there, &frames);
        }
        story
    }

    /// Ends the run with the timeline of the connections that were kept, which may go on: with their summaries, and the counts.
    ///
    /// A run [that grows](Self::growing) has heard its calls and answers already, and knows all of its connections and threads.
    pub fn timeline(
        mut self,
        calls: Vec<Call>,
        evidence: &[Answer],
        dropped: Option<u64>,
    ) -> (Timeline, Vec<Connection>, Totals) {
        let Self { table, kept, telling, breakdowns, .. } = &mut self;
        let growing = matches!(telling, Telling::Events(_));
        let Ok(tally) = table.finish(|mut connection| {
            divide(&mut connection, breakdowns);
            kept.end(connection, growing);
            Ok::<(), Infallible>(())
        });
        let mut totals = with(self.totals, tally, self.kept.left_out());
        totals.dropped = dropped;
        match self.telling {
            Telling::Events(growth) => (growth.into_timeline(), self.kept.into_connections(), totals),
            Telling::Nothing | Telling::Steps => {
                let (traces, connections) = self.kept.into_traces();
                let mut timeline = Timeline::of(traces, calls, evidence, &self.kernel_events, self.rto_min);
                timeline.know_points(self.points);
                (timeline, connections, totals)
            }
        }
    }

    fn count(&mut self, batch: &Batch) {
        batch.count(&mut self.totals);
        if !batch.points.is_empty() {
            self.know_points(batch.points.iter().map(|at| Point { at: at.clone(), side: None }));
        }
        self.unread = self.unread.or(batch.unread());
    }
}

/// How a run is to be, and how it stands.
impl Session {
    /// A run that has seen nothing yet.
    pub fn new(keep: Keep) -> Self {
        Self {
            table: FlowTable::new(),
            kept: Kept::of(keep),
            telling: Telling::Nothing,
            totals: Totals::default(),
            unread: None,
            checksums: Checksums::default(),
            breakdowns: None,
            conflicts: None,
            kernel_events: Arc::default(),
            points: Vec::new(),
            has_ends: false,
            rto_min: None,
        }
    }

    /// The same, where more is known of some frames than that they passed: that they did not arrive or were not sent, where
    /// else they were seen, and what the link says of them.
    pub fn with_passing(self, passing: HashMap<u64, Passing>) -> Self {
        Self { kept: self.kept.with_passing(passing), ..self }
    }

    /// The same, which tells its sink what each segment changes.
    pub fn telling_steps(self) -> Self {
        Self { telling: Telling::Steps, ..self }
    }

    /// The same, which tells its sink the events of a timeline while it grows, and keeps all of it.
    pub fn growing(self) -> Self {
        Self { telling: Telling::Events(Box::default()), ..self }
    }

    /// The same, which tells its sink the events of a timeline while it grows, and holds so many of them at most.
    ///
    /// A connection that was told is forgotten with its events. Where there are too many, the connections with the oldest ones
    /// are forgotten, and begin anew with their next segment.
    pub fn growing_within(self, events: usize) -> Self {
        Self { telling: Telling::Events(Box::new(Growth::within(events))), ..self }
    }

    /// The same, which keeps segments while there is room for what they and their connections take as a timeline.
    pub fn with_room(self, octets: u64) -> Self {
        Self { kept: self.kept.with_room(octets), ..self }
    }

    /// The same, whose story is joined with what the kernel's trace said; one [that grows](Self::growing) hears that as it comes.
    pub fn with_kernel_events(self, events: impl Into<Arc<Vec<KernelEvent>>>) -> Self {
        Self { kernel_events: events.into(), ..self }
    }

    /// The same, whose hosts' retransmission timers are never shorter than that; `None`: that is not known.
    ///
    /// It is for the story at the end.
    pub fn with_rto_min(self, rto_min: Option<Span>) -> Self {
        Self { rto_min, ..self }
    }

    /// The same, with other limits on what the table of connections keeps.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { table: FlowTable::with_limits(limits), ..self }
    }

    /// The same, with other checksums looked at than none; with [`Checksums::Controls`] wrong ones are believed only from
    /// senders whose checksums are right otherwise.
    pub fn with_checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    /// The same, which says where each connection's time went; what that takes is no more than so many octets.
    pub fn with_breakdowns(self, octets: u64) -> Self {
        Self { breakdowns: Some(Breakdowns::within(octets)), ..self }
    }

    /// The same, which compares octets that come again with those that came before; what that takes is no more than so many octets.
    ///
    /// A run that keeps segments does so anyway.
    pub fn with_conflicts(self, octets: u64) -> Self {
        Self { conflicts: Some(Conflicts::within(octets)), ..self }
    }

    /// A reader for this run, whose limits are those it is to have; `wanted` chooses frames by a filter: those left out keep their numbers and are not counted as frames read.
    pub fn reader<W>(&self, wanted: W) -> Reader<W> {
        let besides = match (self.kept.keeps_any(), &self.conflicts) {
            (true, _) => Wanted::All,
            (false, Some(_)) => Wanted::Octets,
            (false, None) => Wanted::Nothing,
        };
        Reader::new(self.checksums, besides, self.table.finder(), wanted)
    }

    /// The limits on what the table of connections keeps.
    pub fn limits(&self) -> Limits {
        self.table.limits()
    }

    /// How many octets those take that wait to be handed over.
    pub fn waiting(&self) -> usize {
        self.table.waiting()
    }

    /// Hands over the connections that have ended, in exchange for an empty `ended`.
    pub fn hand_over(&mut self, ended: &mut Ended) {
        self.table.hand_over(ended);
        if let Some(breakdowns) = &mut self.breakdowns {
            ended.divide(breakdowns);
        }
        if let Some(conflicts) = &mut self.conflicts {
            ended.compare(conflicts);
        }
    }

    /// How many connections have no breakdown because memory was short.
    pub fn undivided(&self) -> u64 {
        self.breakdowns.as_ref().map_or(0, Breakdowns::given_up)
    }

    /// Shows the connections that are followed, as they stand and in no order.
    pub fn each(&self, show: impl FnMut(Connection)) {
        self.table.each(show);
    }

    /// The counts so far.
    pub fn totals(&self) -> Totals {
        with(self.totals.clone(), self.table.tally(), self.kept.left_out())
    }

    /// The link type that left every frame so far unread, if there was one and nothing else.
    pub fn unread(&self) -> Option<LinkType> {
        self.unread.filter(|_| self.totals.skipped.link_type == self.totals.frames)
    }

    /// Lets go of all kept segments but the first ones of the capture.
    pub fn let_go_beyond(&mut self, most: usize) {
        self.kept.let_go_beyond(most);
    }

    /// How many segments are kept.
    pub fn held(&self) -> u64 {
        self.kept.held()
    }

    /// How many segments were not kept because [`Keep`] has a limit, or because there was no room for them.
    pub fn left_out(&self) -> u64 {
        self.kept.left_out()
    }
}

/// Takes the connections off the table that have ended, for the timeline that is made of them.
fn end(table: &mut FlowTable, kept: &mut Kept, mut growing: Option<&mut Growth>, breakdowns: &mut Option<Breakdowns>) {
    let Ok(()) = table.take_ended(|mut connection| {
        divide(&mut connection, breakdowns);
        match &mut growing {
            Some(growing) if growing.forgets() => {
                kept.complete(&mut connection);
                growing.end(connection);
            }
            _ => kept.end(connection, growing.is_some()),
        }
        Ok::<(), Infallible>(())
    });
}

/// Gives a connection its breakdown, where one was asked for.
fn divide(connection: &mut Connection, breakdowns: &mut Option<Breakdowns>) {
    if let Some(breakdowns) = breakdowns {
        connection.breakdown = breakdowns.take(connection);
    }
}

/// Gives a connection all that was asked for besides.
fn complete(connection: &mut Connection, breakdowns: &mut Option<Breakdowns>, conflicts: &mut Option<Conflicts>) {
    divide(connection, breakdowns);
    if let Some(conflicts) = conflicts {
        conflicts.complete(connection);
    }
}

fn with(totals: Totals, tally: Tally, left_out: u64) -> Totals {
    let Tally { connections, late_segments, evicted: let_go, omitted, numbers } = tally;
    let evicted = Evicted { connections: let_go, segments: left_out, findings: omitted };
    Totals { connections, late_segments, let_go, evicted, numbers, ..totals }
}
