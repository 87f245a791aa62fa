//! Octets that come again at the same positions with another content: kept for a while, and compared.

use std::collections::{BTreeMap, HashMap};

use super::{Conflict, Connection, ConnectionId, Detail, FindingAt, Problem, ProblemKind, Side, Step};
use crate::tcp::Finding;
use crate::wire::Segment;

/// The last octets of each direction of connections, acknowledged or not: what is forged is often acknowledged before the true
/// octets come.
///
/// To read and keep them costs more than all else that the table does with a segment: so it is done only where it is asked for.
///
/// What is forgotten for want of room depends on the segments alone, not on when connections are told.
pub struct Conflicts {
    /// Of directions that sent something since the others were put aside.
    sent: HashMap<(ConnectionId, Side), Sent>,
    /// Those put aside, which are the next to be forgotten.
    aside: HashMap<(ConnectionId, Side), Sent>,
    /// How many octets the first ones take, and how many all may.
    octets: usize,
    room: usize,
    found: BTreeMap<ConnectionId, Found>,
    /// How many octets those take that are listed. What is told counts on until its connection is forgotten, so that what is
    /// listed does not depend on when that is, either.
    listed: usize,
}

/// What was found of one connection.
#[derive(Debug, Default)]
pub(super) struct Found {
    findings: Vec<FindingAt>,
    omitted: u64,
}

impl Found {
    /// Adds what was found to the summary of its connection.
    pub(super) fn complete(self, connection: &mut Connection) {
        connection.problem = self.problem().map(Box::new).or(connection.problem.take());
        let count = u32::try_from(self.findings.len() as u64 + self.omitted).unwrap_or(u32::MAX);
        let counts = connection.finding_counts.get_or_insert_with(|| Box::new([0; Finding::ALL.len()]));
        counts[Finding::ConflictingOctets as usize] = count;
        connection.findings.extend(self.findings);
        connection.findings.sort_by_key(|finding| finding.frame);
        connection.findings_omitted += self.omitted;
    }

    /// That octets were forged hurts a connection more than all else.
    fn problem(&self) -> Option<Problem> {
        let first = self.findings.first()?;
        let ttls = match &first.detail {
            Detail::Conflict(conflict) if conflict.ttls[0] != conflict.ttls[1] => {
                let [before, now] = conflict.ttls;
                Some([now, before])
            }
            _ => None,
        };
        let segments = (self.findings.len() as u64).saturating_add(self.omitted);
        Some(Problem { segments: Some(segments), ttls, ..Problem::new(ProblemKind::ConflictingOctets, first.side) })
    }
}

/// What one end sent, without overlaps, by position.
#[derive(Default)]
struct Sent {
    pieces: BTreeMap<u64, Piece>,
    octets: usize,
}

struct Piece {
    bytes: Box<[u8]>,
    frame: u64,
    ttl: u8,
}

impl Default for Conflicts {
    fn default() -> Self {
        Self::within(u64::MAX)
    }
}

impl Conflicts {
    /// What is kept takes no more than so many octets, and never more than `MOST_OCTETS`.
    pub fn within(octets: u64) -> Self {
        let room = usize::try_from(octets).map_or(MOST_OCTETS, |octets| octets.min(MOST_OCTETS));
        Self { sent: HashMap::new(), aside: HashMap::new(), octets: 0, room, found: BTreeMap::new(), listed: 0 }
    }

    /// Compares the octets of a segment with what was sent before, and keeps those that are new; adds what it finds to `step`.
    pub fn observe(&mut self, segment: &Segment, step: &mut Step, payload: &[u8]) {
        let Some(range) = step.stream.filter(|range| range.to - range.from == u64::from(segment.len)) else { return };
        // An old kind of keep-alive carries an octet of no meaning, and what is dropped was never sent for its receiver.
        if payload.is_empty() || segment.is_dropped() || step.findings.contains(Finding::KeepAlive) {
            return;
        }
        let direction = (step.connection, step.from);
        let sent = self.sent.entry(direction).or_insert_with(|| {
            let sent = self.aside.remove(&direction).unwrap_or_default();
            self.octets += sent.takes();
            sent
        });
        let before = sent.takes();
        let conflict = sent.take(range.from, payload, segment);
        self.octets = self.octets + sent.takes() - before;
        if self.octets > (self.room - self.listed.min(self.room / 4)) / 2 {
            (self.aside, self.octets) = (std::mem::take(&mut self.sent), 0);
        }
        let Some(conflict) = conflict else { return };
        step.findings.insert(Finding::ConflictingOctets);
        let found = self.found.entry(step.connection).or_default();
        // The first one is listed of every connection: it says what is wrong with that.
        let has_room = self.listed + PER_FOUND <= self.room / 4;
        if !found.findings.is_empty() && (found.findings.len() >= MOST_FOUND || !has_room) {
            found.omitted += 1;
            return;
        }
        if found.findings.is_empty() {
            found.findings.reserve_exact(1);
        }
        self.listed += PER_FOUND;
        found.findings.push(FindingAt {
            finding: Finding::ConflictingOctets,
            frame: Some(segment.frame),
            side: step.from,
            detail: Detail::Conflict(Box::new(conflict)),
        });
    }

    /// Whether nothing is kept and nothing was found.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.aside.is_empty() && self.found.is_empty()
    }

    /// Adds what was found to the summary of a connection that is over.
    pub fn complete(&mut self, connection: &mut Connection) {
        if let Some(found) = self.take(connection.id) {
            found.complete(connection);
        }
    }

    /// Takes what was found of a connection that is over.
    pub(super) fn take(&mut self, id: ConnectionId) -> Option<Found> {
        self.found.remove(&id)
    }

    /// The same of a connection of which nothing more is needed: also what it sent is forgotten.
    pub fn end(&mut self, connection: &mut Connection) {
        if let Some(found) = self.take(connection.id) {
            self.listed -= PER_FOUND * found.findings.len();
            found.complete(connection);
        }
        self.forget(connection.id);
    }

    /// Forgets what a connection sent that is over.
    fn forget(&mut self, id: ConnectionId) {
        for side in [Side::Client, Side::Server] {
            self.octets -= self.sent.remove(&(id, side)).map_or(0, |sent| sent.takes());
            self.aside.remove(&(id, side));
        }
    }
}

impl Sent {
    /// How much memory it takes, about.
    fn takes(&self) -> usize {
        if self.pieces.is_empty() { 0 } else { PER_DIRECTION + self.octets + PER_PIECE * self.pieces.len() }
    }

    /// Keeps the octets from `from` on that are new; returns the first conflict of the others with what was there.
    fn take(&mut self, from: u64, payload: &[u8], segment: &Segment) -> Option<Conflict> {
        let to = from + payload.len() as u64;
        let mut conflict = None;
        let mut gaps = Vec::new();
        let mut at = from;
        let first = self.pieces.range(..=from).next_back().map_or(from, |(start, _)| *start);
        for (start, piece) in self.pieces.range(first..to) {
            let end = start + piece.bytes.len() as u64;
            if end <= from {
                continue;
            }
            if *start > at {
                gaps.push(at..*start);
            }
            let (left, right) = (from.max(*start), to.min(end));
            let old = &piece.bytes[(left - start) as usize..(right - start) as usize];
            let new = &payload[(left - from) as usize..(right - from) as usize];
            if old != new && conflict.is_none() {
                conflict = Some(Conflict { frame: piece.frame, ttls: [piece.ttl, segment.ttl] });
            }
            at = at.max(right);
        }
        if at < to {
            gaps.push(at..to);
        }
        for gap in gaps {
            let bytes = payload[(gap.start - from) as usize..(gap.end - from) as usize].into();
            self.octets += (gap.end - gap.start) as usize;
            self.pieces.insert(gap.start, Piece { bytes, frame: segment.frame, ttl: segment.ttl });
        }
        while self.octets > MOST_OF_ONE || self.pieces.len() > MOST_PIECES {
            let Some((_, piece)) = self.pieces.pop_first() else { break };
            self.octets -= piece.bytes.len();
        }
        conflict
    }
}

/// How many octets of a direction are kept; those at the lowest positions go first.
const MOST_OF_ONE: usize = 256 << 10;
/// In how many pieces.
const MOST_PIECES: usize = 1024;
/// What a direction takes beside its pieces, and a piece beside its octets.
const PER_DIRECTION: usize = 512;
const PER_PIECE: usize = 80;
/// What a conflict takes that is listed, in a list that grows by its half or doubles.
const PER_FOUND: usize = 2 * size_of::<FindingAt>() + 2 * size_of::<Conflict>();
/// How many octets all directions may take, and a quarter of that the conflicts that are listed; beyond, those are forgotten that were silent for longest.
const MOST_OCTETS: usize = 64 << 20;
/// How many conflicts of a connection are listed.
const MOST_FOUND: usize = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::script;

    fn segment(frame: u64) -> Segment {
        let (_, segment, _) = script::read("0 C > S: . 1(0)").next().expect("a segment");
        Segment { frame, ..segment }
    }

    #[test]
    fn only_octets_that_differ_at_the_same_positions_conflict() {
        let mut sent = Sent::default();
        let mut take = |frame, from, payload: &[u8]| sent.take(from, payload, &segment(frame)).map(|told| told.frame);
        assert_eq!(take(1, 0, b"GET /a"), None);
        assert_eq!(take(2, 10, b"HTTP"), None);
        assert_eq!(take(3, 4, b"/a?xyzHT"), None, "overlaps on both sides and fills the hole");
        assert_eq!(take(4, 0, b"GET /a?xyzHTTP"), None);
        assert_eq!(take(5, 6, b"!xyz"), Some(3));
        assert_eq!(take(6, 2, b"T /b"), Some(1));
        assert_eq!(take(7, 9, b"zHTTP/1.1"), None);
        assert_eq!(take(8, 17, b"2"), Some(7), "what was new of it is kept");
    }

    #[test]
    fn what_is_kept_to_compare_is_bounded() {
        let mut sent = Sent::default();
        for place in 0..1000 {
            sent.take(place * 1000, &[7; 1000], &segment(1));
        }
        assert!(sent.octets <= MOST_OF_ONE && sent.octets > MOST_OF_ONE - 2000);
        assert!(sent.take(0, &[8; 10], &segment(2)).is_none(), "forgotten");
        assert!(sent.take(999_000, &[8; 10], &segment(2)).is_some());
        let mut sent = Sent::default();
        (0..3000).for_each(|place| assert!(sent.take(place * 2, &[7], &segment(1)).is_none()));
        assert_eq!(sent.pieces.len(), MOST_PIECES);
        let mut table = crate::flow::FlowTable::new();
        let mut conflicts = Conflicts::default();
        let full = vec![1; MOST_OF_ONE];
        for port in 1..=300 {
            let segment = Segment { src_port: port, len: full.len() as u32, ..segment(port.into()) };
            let mut step = table.observe(&segment).expect("not late");
            conflicts.observe(&segment, &mut step, &full);
            let kept = |sent: &HashMap<_, Sent>| sent.values().map(Sent::takes).sum::<usize>();
            assert_eq!(conflicts.octets, kept(&conflicts.sent));
            assert!(conflicts.octets + kept(&conflicts.aside) <= MOST_OCTETS + 2 * MOST_OF_ONE);
        }
        // The ones that spoke last are kept.
        assert!(conflicts.sent.len() + conflicts.aside.len() > 100);
        let (id, segment) = (ConnectionId(299), Segment { src_port: 300, len: 1, ..segment(301) });
        for _ in 0..MOST_FOUND + 5 {
            let mut step = table.observe(&segment).expect("not late");
            conflicts.observe(&segment, &mut step, &[2]);
            assert!(step.findings.contains(Finding::ConflictingOctets));
        }
        let found = conflicts.take(id).expect("conflicts");
        assert_eq!((found.findings.len(), found.omitted), (MOST_FOUND, 5));
        // Nothing is left of connections that are over.
        assert!(conflicts.octets > 0);
        (0..300).for_each(|id| conflicts.forget(ConnectionId(id)));
        assert_eq!((conflicts.octets, conflicts.sent.len(), conflicts.aside.len()), (0, 0, 0));
    }

    #[test]
    fn conflicts_of_all_connections_are_listed_as_far_as_there_is_room() {
        let mut table = crate::flow::FlowTable::new();
        // A quarter of it is for a hundred of them.
        let mut conflicts = Conflicts::within(400 * PER_FOUND as u64);
        let mut send = |conflicts: &mut Conflicts, port, octets: std::ops::Range<u8>| {
            let segment = Segment { src_port: port, len: 2, ..segment(1) };
            for octet in octets {
                let mut step = table.observe(&segment).expect("not late");
                conflicts.observe(&segment, &mut step, &[octet; 2]);
            }
            table.connection(&segment).expect("it is followed")
        };
        let mut connections = [1, 2, 3].map(|port| send(&mut conflicts, port, 0..61));
        let told = |conflicts: &Conflicts, one: &Connection| {
            let found = &conflicts.found[&one.id];
            (found.findings.len(), found.omitted, found.problem().and_then(|problem| problem.segments))
        };
        let all = connections.each_ref().map(|one| told(&conflicts, one));
        assert_eq!(all, [(60, 0, Some(60)), (40, 20, Some(60)), (1, 59, Some(60))]);
        let listed = |one: &Connection| {
            let found = one.findings.iter().filter(|found| found.finding == Finding::ConflictingOctets).count();
            (found, one.finding_counts.as_ref().map_or(0, |counts| counts[Finding::ConflictingOctets as usize]))
        };
        // What was told counts on, and what is forgotten does not.
        let second = conflicts.take(connections[1].id).expect("conflicts");
        second.complete(&mut connections[1]);
        assert_eq!(listed(&connections[1]), (40, 60));
        send(&mut conflicts, 3, 100..105);
        assert_eq!(told(&conflicts, &connections[2]), (1, 64, Some(65)));
        conflicts.end(&mut connections[0]);
        assert_eq!(listed(&connections[0]), (60, 60));
        send(&mut conflicts, 3, 100..105);
        assert_eq!(told(&conflicts, &connections[2]), (6, 64, Some(70)));
    }

    proptest! {
        /// Whatever pieces come, a conflict is told exactly where an octet is another than the first at its position.
        #[test]
        fn conflicts_are_those_of_single_octets(pieces in proptest::collection::vec((0u64..60, proptest::collection::vec(0u8..2, 1..20)), 1..30)) {
            let mut sent = Sent::default();
            let mut first = BTreeMap::new();
            for (from, payload) in pieces {
                let mut differs = false;
                for (at, octet) in payload.iter().enumerate() {
                    differs |= *first.entry(from + at as u64).or_insert(*octet) != *octet;
                }
                prop_assert_eq!(sent.take(from, &payload, &segment(1)).is_some(), differs);
            }
        }
    }
}
