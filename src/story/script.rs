//! Plays scripts of the one notation through the real table and timeline, for the tests of the joins.

use std::convert::Infallible;

use super::{EventKind, Lookup, Observed, Sighting, Story, Timeline, Trace};
use crate::calls::{Call, Threads};
use crate::capture::SeenAt;
use crate::flow::{Connection, ConnectionId, FlowTable, Side, Totals};
use crate::kernel::Evidence;
use crate::script;
use crate::tcp::{Finding, State};

/// Tells the story of a script.
pub(super) fn story(script: &str) -> Story {
    recording(script).told()
}

/// What a script holds.
#[derive(Clone)]
pub(super) struct Recording {
    pub(super) traces: Vec<Trace>,
    pub(super) connections: Vec<Connection>,
    pub(super) threads: Threads,
    pub(super) calls: Vec<Call>,
    pub(super) evidence: Vec<Evidence>,
}

impl Recording {
    pub(super) fn told(self) -> Story {
        let Self { traces, connections, threads, calls, evidence } = self;
        Timeline::of(traces, calls, &evidence).finish(connections, threads, Totals::default())
    }
}

/// What a script holds; findings that stand behind `=` of a segment are those that the table has.
pub(super) fn recording(script: &str) -> Recording {
    let performed = script::performed(script);
    let mut table = FlowTable::new();
    let mut observed: Vec<(ConnectionId, Observed)> = Vec::new();
    for placed in performed.segments {
        let segment = placed.segment;
        let step = table.observe(&segment).expect("not late");
        if let Some(expected) = placed.expected {
            let findings: Vec<_> = step.findings.iter().map(Finding::name).collect();
            assert_eq!(findings.join(" "), expected, "frame {}", segment.frame);
        }
        let tunnel = placed.tunnel.into();
        let seen = SeenAt::default();
        observed.push((step.connection, Observed { segment, step, preview: Vec::new(), tunnel, seen }));
    }
    let mut connections = Vec::new();
    let Ok(_) = table.finish(|connection| {
        connections.push(connection);
        Ok::<_, Infallible>(())
    });
    connections.sort_by_key(|connection| connection.id);
    let of =
        |id| observed.iter().filter(move |(of, _)| *of == id).map(|(_, observed)| Sighting::passing(observed.clone()));
    let trace = |Connection { id, client, server, .. }: &Connection| Trace {
        id: *id,
        client: *client,
        server: *server,
        segments: of(*id).collect(),
    };
    let traces = connections.iter().map(trace).collect();
    Recording { traces, connections, threads: performed.threads, calls: performed.calls, evidence: performed.answers }
}

/// The story in one line an event, events numbered from 0.
pub(super) fn lines(story: &Story) -> Vec<String> {
    story
        .events
        .iter()
        .map(|event| {
            let what = match &event.kind {
                EventKind::Call(call) => {
                    let mut text = format!("{} {}", call.side.map_or("-", Side::name), call.call.name());
                    if let Some(stream) = call.stream {
                        text += &format!(" [{},{})", stream.from, stream.to);
                    }
                    if !call.sent.is_empty() {
                        text += &format!(" sent {:?}", story.frames_of(&call.sent));
                    }
                    if !call.brought_by.is_empty() {
                        text += &format!(" got {:?}", story.frames_of(&call.brought_by));
                    }
                    if let Some(frame) = call.completed_by.and_then(|id| story.frame_of(id)) {
                        text += &format!(" done by {frame}");
                    }
                    text
                }
                EventKind::Segment(segment) => {
                    let mut text = format!("#{} {}", segment.segment.frame, segment.segment.flags);
                    if !segment.cause.calls.is_empty() {
                        let calls: Vec<_> = segment.cause.calls.iter().map(|id| id.0).collect();
                        text += &format!(" by {calls:?}");
                    }
                    if let Some(kernel) = segment.cause.kernel {
                        text += &format!(" kernel {}", kernel.name());
                    }
                    if let Some(of) = segment.cause.of {
                        text += &format!(" of {}", of.0);
                    }
                    if segment.cause.is_inferred() {
                        text += " inferred";
                    }
                    text
                }
                EventKind::Transition(step) => {
                    let from = step.from.map_or("?", State::name);
                    let mut text = format!(
                        "{} {from}>{} of {}",
                        step.side.name(),
                        step.to,
                        step.cause.map_or(-1, |id| id.0 as i64)
                    );
                    if step.evidence.len() > 1 || step.disagreement.is_some() {
                        text += &format!(" {:?}", step.evidence);
                    }
                    if step.disagreement.is_some() {
                        text += " DISAGREES";
                    }
                    text
                }
                EventKind::Timer(timer) => {
                    format!("{} timer of {}", timer.side.name(), timer.cause.map_or(-1, |id| id.0 as i64))
                }
            };
            format!("{} {what}", event.id.0)
        })
        .collect()
}
