//! One run over a capture: frames through the decoder and the table into a sink, and the chosen connections into a story.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;

use crate::calls::{Call, PREVIEW};
use crate::capture::{CaptureError, Frame, FrameSource, LinkType};
use crate::flow::{self, Connection, ConnectionId, FlowTable, Observed, Story, Totals, Trace};
use crate::kernel::Evidence;
use crate::wire::{Decoder, Skip};

/// Where a run tells what it found.
pub trait Sink {
    /// Tells one connection; called once for each, when nothing more can happen to it.
    ///
    /// # Errors
    /// The output could not be written.
    fn connection(&mut self, connection: &Connection) -> io::Result<()>;

    /// Ends the output with the counts.
    ///
    /// # Errors
    /// The output could not be written.
    fn finish(&mut self, totals: &Totals) -> io::Result<()>;
}

/// Which connections' segments are kept for a timeline.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// None: memory does not grow with segments.
    #[default]
    Nothing,
    /// All of them.
    All,
    /// These.
    Only(BTreeSet<ConnectionId>),
}

impl Keep {
    fn keeps(&self, id: ConnectionId) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Only(ids) => ids.contains(&id),
        }
    }
}

/// Why a run ended before its capture did.
#[derive(Debug)]
pub enum Broken {
    /// The capture is damaged, or could not be read on; everything before that was told.
    Capture(CaptureError),
    /// The output could not be written.
    Output(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The state of a run.
#[derive(Default)]
pub struct Session {
    decoder: Decoder,
    table: FlowTable,
    keep: Keep,
    kept: BTreeMap<ConnectionId, Vec<Observed>>,
    totals: Totals,
    unread: Option<LinkType>,
}

impl Session {
    /// A run that has seen nothing yet.
    pub fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Takes frames from `source` to its end, or until `go_on` breaks off, and tells connections to `sink` as they end.
    ///
    /// `wanted` chooses frames by a filter; those left out keep their numbers and are not counted as frames read.
    ///
    /// # Errors
    /// The first damage of the capture, or of the output; what came before the damage has been observed, so [`finish`](Self::finish) still tells it.
    pub fn run(
        &mut self,
        source: &mut dyn FrameSource,
        mut wanted: impl FnMut(&Frame<'_>) -> Result<bool, CaptureError>,
        mut go_on: impl FnMut(u64) -> ControlFlow<()>,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        loop {
            let frame = match source.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(damage) => return Err(Broken::Capture(damage)),
            };
            if wanted(&frame).map_err(Broken::Capture)? {
                self.observe(&frame);
            }
            if frame.number % BATCH == 0 {
                let number = frame.number;
                self.tell_ended(sink)?;
                if go_on(number).is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// Takes one frame.
    pub fn observe(&mut self, frame: &Frame<'_>) {
        let Self { decoder, table, keep, kept, totals, unread } = self;
        totals.frames += 1;
        let decoded = decoder.decode(frame, |segment, payload| {
            totals.segments += 1;
            let Some(step) = table.observe(&segment) else { return };
            if keep.keeps(step.connection) {
                let preview = payload[..payload.len().min(PREVIEW)].to_vec();
                kept.entry(step.connection).or_default().push(Observed { segment, step, preview });
            }
        });
        if let Err(skip) = decoded {
            totals.skipped.count(skip);
            if skip == Skip::LinkType {
                unread.get_or_insert(frame.link);
            }
        }
    }

    /// The link type that left every frame so far unread, if there was one and nothing else.
    pub fn unread(&self) -> Option<LinkType> {
        self.unread.filter(|_| self.totals.skipped.link_type == self.totals.frames)
    }

    /// Ends the run: tells the connections that are left, and the counts; returns how many connections there were.
    ///
    /// # Errors
    /// The output could not be written.
    pub fn finish(mut self, sink: &mut dyn Sink) -> io::Result<u64> {
        let totals = self.end(|connection| sink.connection(&connection))?;
        sink.finish(&totals)?;
        Ok(totals.connections)
    }

    /// Ends the run with the story of the connections that were kept, joined with the calls and the kernel's answers.
    pub fn story(mut self, calls: Vec<Call>, evidence: &[Evidence], dropped: Option<u64>) -> Story {
        let mut connections = Vec::new();
        let Ok(mut totals) = self.end(|connection| {
            connections.push(connection);
            Ok::<(), std::convert::Infallible>(())
        });
        totals.dropped = dropped;
        connections.sort_by_key(|connection| connection.id);
        let mut kept = self.kept;
        let mut traces = Vec::new();
        connections.retain(|connection| {
            let Some(segments) = kept.remove(&connection.id) else { return false };
            traces.push(Trace { id: connection.id, client: connection.client, server: connection.server, segments });
            true
        });
        flow::tell(&traces, connections, calls, evidence, totals)
    }

    fn tell_ended(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        // A story needs the summaries of its connections at the end.
        if self.keep != Keep::Nothing {
            return Ok(());
        }
        self.table.take_ended(|connection| sink.connection(&connection))
    }

    fn end<E>(&mut self, tell: impl FnMut(Connection) -> Result<(), E>) -> Result<Totals, E> {
        let counts = self.table.finish(tell)?;
        self.totals.connections = counts.connections;
        self.totals.late_segments = counts.late_segments;
        self.totals.let_go = counts.let_go;
        Ok(std::mem::take(&mut self.totals))
    }
}

/// After how many frames the table is asked for connections that have ended.
const BATCH: u64 = 1024;
