//! What each end of connections between two hosts saw itself, where a link's record says where each segment was seen.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use super::keep::Kept;
use crate::calls::{Call, Threads};
use crate::capture::PointId;
use crate::flow::{Connection, ConnectionId, FlowTable, Side, Totals};
use crate::kernel::{Answer, KernelEvent};
use crate::story::{Observed, Point, PointSighting, Quotation, Sighting, Story, Timeline, Trace};
use crate::time::Span;

/// One end, and what it saw.
pub(super) struct End {
    pub(super) side: Side,
    pub(super) story: Story,
    /// Which frames of the whole its frames are, by their numbers there.
    pub(super) frames: HashMap<u64, u64>,
}

/// What came to an end.
enum Came<'a> {
    Segment(&'a Sighting),
    Error(&'a Quotation),
}

/// What witnesses other than the captures said, which is told of each end.
pub(super) struct Words<'a> {
    pub(super) threads: &'a Threads,
    pub(super) calls: &'a [Call],
    pub(super) evidence: &'a [Answer],
    pub(super) kernel: &'a [KernelEvent],
    pub(super) rto_min: Option<Span>,
}

/// The stories of the ends, as far as it is known at which of them a point is.
pub(super) fn told(kept: &Kept, points: &[Point], words: &Words<'_>) -> Vec<End> {
    let points = (0..).zip(points).filter_map(|(number, point)| Some((PointId(number), point.side?)));
    let told = points.map(|(point, side)| {
        let (traces, connections, frames) = kept.seen_at(point);
        let timeline = Timeline::of(traces, words.calls.to_vec(), words.evidence, words.kernel, words.rto_min);
        End { side, story: timeline.finish(connections, words.threads.clone(), Totals::default()), frames }
    });
    told.collect()
}

impl Kept {
    /// The connections as they were seen at a point, and which frames of the whole are those there.
    fn seen_at(&self, point: PointId) -> (Vec<Trace>, Vec<Connection>, HashMap<u64, u64>) {
        let mut came: Vec<(PointSighting, Came<'_>)> = Vec::new();
        for sighting in self.sightings() {
            let there = sighting.passage.iter().filter(|seen| seen.seen.point == point);
            came.extend(there.map(|seen| (*seen, Came::Segment(sighting))));
        }
        for (quotation, passing) in self.quotations() {
            let there = passing.into_iter().flat_map(|passing| &passing.passage);
            let there = there.filter(|seen| seen.seen.point == point);
            came.extend(there.map(|seen| (*seen, Came::Error(quotation))));
        }
        came.sort_by_key(|(seen, _)| seen.frame);

        let mut table = FlowTable::new();
        let mut of: BTreeMap<ConnectionId, (Vec<Box<Sighting>>, Vec<Quotation>)> = BTreeMap::new();
        let mut frames = HashMap::new();
        for (PointSighting { seen, frame, at, sense }, came) in came {
            match came {
                Came::Segment(Sighting { observed, acts, .. }) => {
                    frames.insert(frame, observed.segment.frame);
                    let mut segment = observed.segment;
                    (segment.frame, segment.at) = (frame, at);
                    let Some(step) = table.observe(&segment) else { continue };
                    let (preview, tunnel) = (observed.preview.clone(), observed.tunnel.clone());
                    let connection = step.connection;
                    let mut sighting = Sighting::passing(Observed { segment, step, preview, tunnel, seen });
                    sighting.sense = sense.at_its_end(acts);
                    of.entry(connection).or_default().0.push(sighting);
                }
                Came::Error(Quotation { error, quote, .. }) => {
                    let mut quote = *quote;
                    (quote.frame, quote.at) = (frame, at);
                    let Some(connection) = table.quote(&quote, Some(*error)) else { continue };
                    of.entry(connection).or_default().1.push(Quotation { connection, error: *error, quote });
                }
            }
        }
        let mut connections = Vec::new();
        let Ok(_) = table.finish(|connection| {
            connections.push(connection);
            Ok::<_, Infallible>(())
        });
        connections.retain(|connection| of.contains_key(&connection.id));
        connections.sort_by_key(|connection| connection.id);
        let traces = connections.iter().filter_map(|connection| {
            let (segments, errors) = of.remove(&connection.id)?;
            let (client, server) = (connection.client, connection.server);
            Some(Trace { id: connection.id, client, server, segments, errors })
        });
        (traces.collect(), connections, frames)
    }
}
