//! The segments that are kept for a timeline, and the connections that they belong to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::batch::{Batch, Followed};
use super::growth::Growth;
use super::memory;
use crate::calls::PREVIEW;
use crate::flow::{Breakdowns, Conflicts, Connection, ConnectionId, FlowTable, Side};
use crate::story::{Observed, Passing, Quotation, Sighting, Trace, Witnessed};

/// Which connections' segments are kept for a timeline.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// None: memory does not grow with segments.
    #[default]
    Nothing,
    /// All of them.
    All,
    /// Of all of them, but no more than so many segments: the first ones.
    First(u64),
    /// Those of these connections, but no more than so many segments.
    Only(BTreeSet<ConnectionId>, u64),
}

impl Keep {
    /// Whether it keeps segments of that connection.
    fn keeps(&self, id: ConnectionId) -> bool {
        match self {
            Self::Nothing => false,
            Self::All | Self::First(_) => true,
            Self::Only(ids, _) => ids.contains(&id),
        }
    }

    /// How many segments it keeps at most.
    fn most(&self) -> u64 {
        match self {
            Self::First(most) | Self::Only(_, most) => *most,
            Self::Nothing | Self::All => u64::MAX,
        }
    }
}

/// What is kept, and of it the connections that have ended.
#[derive(Default)]
pub(super) struct Kept {
    keep: Keep,
    #[expect(clippy::vec_box, reason = "each is freed as soon as its event stands in its place")]
    sightings: BTreeMap<ConnectionId, Vec<Box<Sighting>>>,
    /// The ICMP errors that quote them.
    quotations: BTreeMap<ConnectionId, Vec<Quotation>>,
    /// Segments that were one too many to be kept.
    left_out: u64,
    /// Segments that are kept.
    held: u64,
    /// Octets that there still are for those to be kept.
    room: u64,
    ended: Vec<Connection>,
    conflicts: Conflicts,
    /// What is known of the passage of frames, where it is more than that they passed.
    passing: HashMap<u64, Passing>,
}

impl Kept {
    pub(super) fn of(keep: Keep) -> Self {
        Self { keep, room: u64::MAX, ..Self::default() }
    }

    pub(super) fn with_room(self, octets: u64) -> Self {
        Self { room: octets, ..self }
    }

    pub(super) fn with_passing(self, passing: HashMap<u64, Passing>) -> Self {
        Self { passing, ..self }
    }

    /// Takes in what is known of the passage of frames that were observed before.
    pub(super) fn know_passing(&mut self, passing: HashMap<u64, Passing>) {
        for sighting in self.sightings.values_mut().flatten() {
            let Some(known) = passing.get(&sighting.observed.segment.frame) else { continue };
            (sighting.sense, sighting.acts) = (known.sense, known.acts.clone());
            sighting.passage.clone_from(&known.passage);
        }
        self.passing = passing;
    }

    /// The segments that are kept, by connection.
    pub(super) fn sightings(&self) -> impl Iterator<Item = &Sighting> {
        self.sightings.values().flatten().map(|sighting| &**sighting)
    }

    /// The ICMP errors that are kept, and what is known of the passage of each.
    pub(super) fn quotations(&self) -> impl Iterator<Item = (&Quotation, Option<&Passing>)> {
        let all = self.quotations.values().flatten();
        all.map(|quotation| (quotation, self.passing.get(&quotation.quote.frame)))
    }

    pub(super) fn keeps_any(&self) -> bool {
        self.keep != Keep::Nothing
    }

    pub(super) fn held(&self) -> u64 {
        self.held
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Follows the segments of a batch, and keeps those wanted, or hands them on to the timeline that grows.
    pub(super) fn observe(
        &mut self,
        batch: &Batch,
        table: &mut FlowTable,
        mut growing: Option<&mut Growth>,
        mut breakdowns: Option<&mut Breakdowns>,
    ) {
        let Self { keep, sightings, quotations, held, room, left_out, conflicts, passing, .. } = self;
        let most = keep.most();
        batch.follow_with(table, |followed| {
            let (segment, step, more) = match followed {
                Followed::Segment(segment, step, more) => (segment, step, more),
                Followed::Quote(quote, error, connection) if keep.keeps(connection) => {
                    let quotation = Quotation { connection, error, quote: *quote };
                    match &mut growing {
                        Some(growing) => growing.hear(Witnessed::Quoted(Box::new(quotation))),
                        // What comes after segments that were left out is left out, too.
                        None if *held < most => {
                            *room = room.saturating_sub(memory::SEGMENT);
                            if *room > 0 {
                                quotations.entry(connection).or_default().push(quotation);
                            }
                        }
                        None => {}
                    }
                    return;
                }
                Followed::Quote(..) => return,
            };
            let Some(mut step) = step.filter(|step| keep.keeps(step.connection)) else { return };
            if let Some(breakdowns) = &mut breakdowns {
                breakdowns.observe(segment, &step);
            }
            let id = step.connection;
            if growing.as_ref().is_none_or(|growing| !growing.forgets()) {
                let is_new = step.opened || growing.is_none() && !sightings.contains_key(&id);
                let costs = memory::SEGMENT + if is_new { memory::CONNECTION } else { 0 };
                // What comes later is left out, too: a timeline with holes in it would be a false one.
                *room = if *held >= most { 0 } else { room.saturating_sub(costs) };
                if *room == 0 {
                    *left_out += 1;
                    return;
                }
                *held += 1;
            }
            conflicts.observe(segment, &mut step, more.payload);
            let preview = more.payload[..more.payload.len().min(PREVIEW)].to_vec();
            let from = step.from;
            let mut sighting =
                Sighting::passing(Observed { segment: *segment, step, preview, tunnel: more.tunnel, seen: more.seen });
            if let Some(Passing { sense, acts, passage }) = passing.get(&segment.frame).cloned() {
                (sighting.sense, sighting.acts, sighting.passage) = (sense, acts, passage);
            }
            match &mut growing {
                Some(growing) => {
                    if from == Side::Server {
                        sighting.ends.reverse();
                    }
                    growing.hear(Witnessed::Sighting(sighting));
                }
                None => sightings.entry(id).or_insert_with(|| Vec::with_capacity(1)).push(sighting),
            }
        });
    }

    /// Takes in that a connection has ended, of which segments may be kept.
    pub(super) fn end(&mut self, connection: Connection, growing: bool) {
        if growing || self.sightings.contains_key(&connection.id) {
            self.ended.push(connection);
        }
    }

    /// Adds to the summary of a connection what was found in its octets.
    pub(super) fn complete(&mut self, connection: &mut Connection) {
        if self.conflicts.is_empty() {
            return;
        }
        self.conflicts.end(connection);
    }

    /// Lets go of all kept segments but the first ones of the capture.
    pub(super) fn let_go_beyond(&mut self, most: usize) {
        let mut frames: Vec<u64> = self.sightings.values().flatten().map(|kept| kept.observed.segment.frame).collect();
        if frames.len() <= most {
            return;
        }
        let (_, first_gone, _) = frames.select_nth_unstable(most);
        let first_gone = *first_gone;
        let before = self.held;
        self.held = 0;
        for segments in self.sightings.values_mut() {
            segments.truncate(segments.partition_point(|kept| kept.observed.segment.frame < first_gone));
            self.held += segments.len() as u64;
        }
        self.sightings.retain(|_, segments| !segments.is_empty());
        self.quotations.values_mut().for_each(|errors| errors.retain(|error| error.quote.frame < first_gone));
        self.left_out += before - self.held;
    }

    /// The connections that have ended, by number, and the segments of each.
    pub(super) fn into_traces(mut self) -> (Vec<Trace>, Vec<Connection>) {
        let mut connections = self.sorted();
        let mut traces = Vec::new();
        connections.retain(|connection| {
            let Some(segments) = self.sightings.remove(&connection.id) else { return false };
            let errors = self.quotations.remove(&connection.id).unwrap_or_default();
            traces.push(Trace {
                id: connection.id,
                client: connection.client,
                server: connection.server,
                segments,
                errors,
            });
            true
        });
        (traces, connections)
    }

    /// The connections that have ended, by number.
    pub(super) fn into_connections(mut self) -> Vec<Connection> {
        self.sorted()
    }

    fn sorted(&mut self) -> Vec<Connection> {
        let mut connections = std::mem::take(&mut self.ended);
        connections.sort_by_key(|connection| connection.id);
        connections.iter_mut().for_each(|connection| self.complete(connection));
        connections
    }
}
