//! The table of connections: finds the one a segment belongs to, follows it, and tells it when it is over.

use std::fmt;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::key::{AnyKey, Key, Key4, Key6, Place};
use super::record::Record;
use super::{Connection, Step};
use crate::tcp::Finding;
use crate::wire::Segment;

/// All connections of a capture that are not over yet.
///
/// Connections are numbered from 0 in the order of their first segments, as Wireshark's `tcp.stream`.
/// A SYN without ACK whose sequence number differs from the first of its direction opens a new connection and ends the old one between the same ends;
/// a SYN that repeats, and a SYN-ACK with whatever number, belong to the connection that is there.
#[derive(Default)]
pub struct FlowTable {
    v4: Flows<Key4>,
    v6: Flows<Key6>,
    opened: u64,
    late: u64,
    /// Connections that are over and not yet told.
    ended: Vec<Connection>,
}

/// What a table counted over its whole life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Connections opened.
    pub connections: u64,
    /// Segments that came after their connection had been told.
    pub late_segments: u64,
}

impl FlowTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a segment; `None` when its connection was told and forgotten already.
    pub fn observe(&mut self, segment: &Segment) -> Option<Step> {
        let Self { v4, v6, opened, ended, .. } = self;
        Some(match AnyKey::of(segment) {
            AnyKey::V4(key, from) => v4.observe(key, from, segment, opened, ended),
            AnyKey::V6(key, from) => v6.observe(key, from, segment, opened, ended),
        })
    }

    /// Tells the connections that have ended since this was asked last.
    ///
    /// # Errors
    /// The first error of `tell`; the connections after it are kept.
    pub fn take_ended<E>(&mut self, mut tell: impl FnMut(Connection) -> Result<(), E>) -> Result<(), E> {
        for connection in self.ended.drain(..) {
            tell(connection)?;
        }
        Ok(())
    }

    /// Tells all connections that are left, by number, and empties the table.
    ///
    /// # Errors
    /// The first error of `tell`.
    pub fn finish<E>(&mut self, mut tell: impl FnMut(Connection) -> Result<(), E>) -> Result<Tally, E> {
        self.take_ended(&mut tell)?;
        let mut left: Vec<(u64, u32, bool)> = Vec::with_capacity(self.v4.records.len() + self.v6.records.len());
        left.extend(self.v4.slots().map(|(id, slot)| (id, slot, false)));
        left.extend(self.v6.slots().map(|(id, slot)| (id, slot, true)));
        left.sort_unstable();
        for (_, slot, wide) in left {
            let slot = slot as usize;
            tell(if wide { self.v6.records[slot].summary() } else { self.v4.records[slot].summary() })?;
        }
        let tally = self.tally();
        *self = Self::default();
        Ok(tally)
    }

    /// The connection that a segment belongs to, as it stands; `None` when there is none, or none any more.
    pub fn connection(&self, segment: &Segment) -> Option<Connection> {
        match AnyKey::of(segment) {
            AnyKey::V4(key, _) => self.v4.summary(key),
            AnyKey::V6(key, _) => self.v6.summary(key),
        }
    }

    /// Shows the connections that are followed, as they stand and in no order, those that are over and not yet forgotten among them.
    pub fn each(&self, mut show: impl FnMut(Connection)) {
        self.v4.slots().for_each(|(_, slot)| show(self.v4.records[slot as usize].summary()));
        self.v6.slots().for_each(|(_, slot)| show(self.v6.records[slot as usize].summary()));
    }

    /// What was counted so far.
    pub fn tally(&self) -> Tally {
        Tally { connections: self.opened, late_segments: self.late }
    }
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable").field("tally", &self.tally()).finish_non_exhaustive()
    }
}

/// The connections of one address family.
#[derive(Default)]
struct Flows<K> {
    index: HashTable<u32>,
    records: Vec<Record<K>>,
    hasher: RandomState,
}

impl<K: Key> Flows<K> {
    fn observe(
        &mut self,
        key: K,
        from: Place,
        segment: &Segment,
        opened: &mut u64,
        ended: &mut Vec<Connection>,
    ) -> Step {
        let Self { index, records, hasher } = self;
        let hash = hasher.hash_one(key);
        let found = index.find(hash, |slot| records[*slot as usize].key == key).copied();
        if let Some(slot) = found {
            let record = &mut records[slot as usize];
            if !record.is_outlived_by(from, segment) {
                return record.observe(from, segment, None);
            }
            ended.push(record.summary());
            *record = Record::new(key, from, *opened, segment);
            *opened += 1;
            return record.observe(from, segment, Some(&[Finding::PortReuse]));
        }
        let slot = records.len() as u32;
        records.push(Record::new(key, from, *opened, segment));
        *opened += 1;
        index.insert_unique(hash, slot, |slot| hasher.hash_one(records[*slot as usize].key));
        records[slot as usize].observe(from, segment, Some(&[]))
    }

    fn summary(&self, key: K) -> Option<Connection> {
        let found = self.index.find(self.hasher.hash_one(key), |slot| self.records[*slot as usize].key == key);
        found.map(|slot| self.records[*slot as usize].summary())
    }

    /// The number and the slot of each connection.
    fn slots(&self) -> impl Iterator<Item = (u64, u32)> {
        self.records.iter().zip(0..).map(|(record, slot)| (record.id, slot))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_live_connection_takes_less_than_400_octets() {
        // With its entry in the index.
        assert!(size_of::<Record<Key4>>() + 9 <= 400, "{}", size_of::<Record<Key4>>());
        assert_eq!(size_of::<crate::tcp::Stream>(), 128);
    }

    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::flow::{Closer, ConnState, Ending, Side};
    use crate::tcp::State;
    use crate::wire::script::{self, From};
    use crate::wire::{Flags, Seq};

    /// Follows a script whose lines end in the number of the segment's connection and its findings; returns all connections by number.
    fn check(script: &str) -> Vec<Connection> {
        let mut table = FlowTable::new();
        for (_, segment, expected) in script::read(script) {
            let step = table.observe(&segment).expect("not late");
            let mut words = vec![step.connection.0.to_string()];
            words.extend(step.findings.iter().map(|finding| finding.to_string()));
            if !expected.is_empty() {
                assert_eq!(words.join(" "), expected, "frame {}", segment.frame);
            }
        }
        let mut connections = Vec::new();
        let Ok(tally) = table.finish(|connection| {
            connections.push(connection);
            Ok::<_, Infallible>(())
        });
        assert_eq!(tally.connections, connections.len() as u64);
        connections.sort_by_key(|connection| connection.id);
        connections
    }

    fn only(script: &str) -> Connection {
        let connections = check(script);
        assert_eq!(connections.len(), 1);
        connections.into_iter().next().expect("one")
    }

    fn opened(script: &str) -> Connection {
        only(&format!(
            "
            0  < S  100(0)
            10 > S. 300(0) ack 101
            20 < .  101(0) ack 301
            {script}"
        ))
    }

    // ---- endings -------------------------------------------------------------------------------------------------

    #[test]
    fn the_end_that_closes_first_waits() {
        let connection = opened(
            "30 < P. 101(10) ack 301
             31 > P. 301(10) ack 111
             32 < F. 111(0)  ack 311
             33 > F. 311(0)  ack 112
             34 < .  112(0)  ack 312",
        );
        assert_eq!(connection.ending, Ending::Fin);
        assert_eq!(connection.closed_by, Some(Closer::Client));
        assert_eq!(connection.conn_state, ConnState::Sf);
        assert_eq!(connection.history, "ShADdFfA".replace("fA", "f"));
        assert_eq!(connection.completeness, 31);
        assert_eq!((connection.client_state, connection.server_state), (Some(State::TimeWait), Some(State::Closed)));
        assert_eq!(connection.client_to_server.octets, 10);
        assert!(connection.verdict.contains("client sent the first FIN"), "{}", connection.verdict);
    }

    #[test]
    fn fins_that_cross_close_both() {
        let connection = opened(
            "32 < F. 101(0) ack 301
             33 > F. 301(0) ack 101
             34 < .  102(0) ack 302
             35 > .  302(0) ack 102",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Fin, Some(Closer::Both)));
        assert_eq!(connection.client_state, Some(State::TimeWait));
        assert_eq!(connection.server_state, Some(State::TimeWait));
    }

    #[test]
    fn a_refused_connection() {
        let connection = only(
            "0   < S  100(0)
             0.1 > R. 0(0) ack 101",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Refused, Some(Closer::Server)));
        assert_eq!(connection.conn_state, ConnState::Rej);
        assert_eq!(connection.history, "Sr");
        assert_eq!(connection.completeness, 37);
        assert_eq!((connection.client_state, connection.server_state), (Some(State::Closed), Some(State::Closed)));
        assert_eq!(connection.initial_rtt.map(|rtt| rtt.0), Some(100_000));
    }

    #[test]
    fn an_unanswered_syn_is_counted_however_often_it_is_sent() {
        let connection = only(
            "0    < S 100(0) = 0
             1000 < S 100(0) = 0 retransmission
             3000 < S 100(0) = 0 retransmission",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Unanswered, None));
        assert_eq!(connection.conn_state, ConnState::S0);
        assert_eq!(connection.client_to_server.syn, 3);
        assert_eq!(connection.verdict, "Unanswered: 3 SYNs in 3.0 s, and nothing came back.");
        assert_eq!(connection.client_state, Some(State::SynSent));
    }

    #[test]
    fn octets_after_close_are_answered_with_a_reset() {
        let connection = opened(
            "30 < F. 101(0)  ack 301
             31 > .  301(0)  ack 102
             40 > P. 301(10) ack 102
             41 < R  102(0)",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Reset, Some(Closer::Client)));
        assert!(connection.verdict.contains("after the client had closed"), "{}", connection.verdict);
    }

    #[test]
    fn a_half_closed_connection_stays_so() {
        let connection = opened(
            "30 < F. 101(0)  ack 301
             31 > .  301(0)  ack 102",
        );
        assert_eq!((connection.ending, connection.conn_state), (Ending::HalfClosed, ConnState::S2));
        assert_eq!(connection.server_state, Some(State::CloseWait));
    }

    // ---- while they live -----------------------------------------------------------------------------------------

    #[test]
    fn a_connection_can_be_seen_while_it_lives() {
        let mut table = FlowTable::new();
        let mut seen = Vec::new();
        for (_, segment, _) in script::read(
            "0  < S  100(0)
             10 > S. 300(0) ack 101
             20 < P. 101(7) ack 301",
        ) {
            assert!(table.connection(&segment).is_some() == !seen.is_empty());
            table.observe(&segment);
            let connection = table.connection(&segment).expect("it is there");
            seen.push((connection.client_state, connection.client_to_server.octets));
            let mut all = Vec::new();
            table.each(|connection| all.push(connection));
            assert_eq!(all, [connection]);
        }
        assert_eq!(seen, [(Some(State::SynSent), 0), (Some(State::Established), 0), (Some(State::Established), 7)]);
    }

    // ---- mistakes that others made -------------------------------------------------------------------------------

    #[test]
    fn a_lone_reset_is_no_reset_of_a_connection_that_never_was() {
        let connection = only("0 > R 301(0)");
        assert_eq!((connection.ending, connection.closed_by), (Ending::Open, None));
        assert!(connection.midstream);
    }

    #[test]
    fn repeated_controls_open_nothing_and_move_no_state_twice() {
        let mut table = FlowTable::new();
        let script = "0    < S  100(0)         = 1
                      10   < S  100(0)         = 0
                      20   > S. 300(0) ack 101 = 2
                      21   > S. 300(0) ack 101 = 0
                      30   < .  101(0) ack 301 = 1
                      40   < F. 101(0) ack 301 = 2
                      440  < F. 101(0) ack 301 = 0
                      450  > .  301(0) ack 102 = 1";
        for (_, segment, expected) in script::read(script) {
            let step = table.observe(&segment).expect("not late");
            assert_eq!(step.connection.0, 0);
            assert_eq!(step.moves.iter().flatten().count().to_string(), expected, "frame {}", segment.frame);
        }
    }

    #[test]
    fn a_syn_ack_with_another_number_stays_in_its_connection() {
        let connection = only(
            "0    < S  100(0)         = 0
             10   > S. 300(0) ack 101 = 0
             1010 > S. 700(0) ack 101 = 0 lost_segment
             1020 < .  101(0) ack 701 = 0 acked_unseen
             1030 > P. 701(5) ack 101 = 0",
        );
        assert_eq!(connection.server_to_client.isn, Some(300));
        assert_eq!(connection.server_to_client.unique_octets, 5);
    }

    #[test]
    fn ports_used_again_are_another_connection() {
        let connections = check(
            "0    < S  100(0)          = 0
             10   > S. 300(0) ack 101  = 0
             20   < .  101(0) ack 301  = 0
             30   < F. 101(0) ack 301  = 0
             31   > F. 301(0) ack 102  = 0
             32   < .  102(0) ack 302  = 0
             90   < S  9000(0)         = 1 port_reuse
             91   > S. 8000(0) ack 9001 = 1
             92   < .  9001(0) ack 8001 = 1
             93   < P. 9001(5) ack 8001 = 1",
        );
        assert_eq!(connections.len(), 2);
        assert_eq!(connections[0].ending, Ending::Fin);
        assert_eq!(connections[1].client_to_server.octets, 5);
        assert_eq!(connections[1].findings.len(), 1);
    }

    #[test]
    fn a_connection_with_itself_has_one_end_that_does_both() {
        let mut table = FlowTable::new();
        for (_, mut segment, _) in script::read("0 < S 100(0)\n 1 < S. 100(0) ack 101\n 2 < P. 101(5) ack 101") {
            (segment.dst, segment.dst_port) = (segment.src, segment.src_port);
            assert_eq!(table.observe(&segment).expect("not late").from, Side::Client);
        }
        let Ok(_) = table.finish(|connection| {
            assert_eq!(connection.client, connection.server);
            assert_eq!(connection.client_to_server.octets, 5);
            assert_eq!(connection.client_state, Some(State::Established));
            Ok::<_, Infallible>(())
        });
    }

    #[test]
    fn both_ends_on_one_address_are_two_ends() {
        let mut table = FlowTable::new();
        for (from, mut segment, _) in script::read("0 < S 100(0)\n 1 > S. 300(0) ack 101\n 2 < . 101(0) ack 301") {
            segment.dst = std::net::Ipv4Addr::LOCALHOST.into();
            segment.src = segment.dst;
            let side = if from == From::Client { Side::Client } else { Side::Server };
            assert_eq!(table.observe(&segment).expect("not late").from, side);
        }
        assert_eq!(table.tally().connections, 1);
    }

    #[test]
    fn a_syn_ack_that_is_seen_first_comes_from_the_server() {
        let connection = only(
            "0 > S. 300(0) ack 101 = 0
             1 < .  101(0) ack 301 = 0",
        );
        assert_eq!(connection.client.port(), 5000);
        assert_eq!(connection.history, "^hA");
        assert_eq!(connection.conn_state, ConnState::S1);
    }

    #[test]
    fn findings_are_bounded_and_the_rest_is_counted() {
        let mut script = String::from("0 < S 100(0)\n 1 > S. 300(0) ack 101\n 2 < . 101(0) ack 301\n");
        for at in 0..150 {
            script.push_str(&format!("{} < . 101(0) ack 301 = 0 duplicate_ack\n", 3 + at));
        }
        let connection = only(&script);
        assert_eq!((connection.findings.len(), connection.findings_omitted), (100, 50));
        assert_eq!(connection.client_to_server.duplicate_acks, 150);
    }

    prop_compose! {
        fn any_segment()(
            flip: bool, flags in 0u16..0x200, seq in 0u32..2_000, ack in 0u32..2_000, len in 0u32..500,
            window in 0u16..1_000, offset in prop_oneof![Just(0u32), Just(u32::MAX - 900)], millis in 0u32..5_000,
        ) -> Segment {
            let line = format!("{millis} {} . 0({len}) win {window}", if flip { ">" } else { "<" });
            let (_, mut segment, _) = script::read(&line).next().expect("a segment");
            segment.flags = Flags::from_bits_truncate(flags);
            (segment.seq, segment.ack) = (Seq(seq.wrapping_add(offset)), Seq(ack.wrapping_add(offset)));
            segment
        }
    }

    proptest! {
        /// Whatever comes, nothing panics, and every segment and octet is in exactly one connection.
        #[test]
        fn any_segments_are_counted_once(segments in proptest::collection::vec(any_segment(), 0..80)) {
            let mut table = FlowTable::new();
            for segment in &segments {
                prop_assert!(table.observe(segment).is_some());
            }
            let (mut counted, mut octets) = (0, 0);
            let Ok(_) = table.finish(|connection| {
                for side in [&connection.client_to_server, &connection.server_to_client] {
                    counted += side.segments;
                    octets += side.octets;
                    assert!(side.unique_octets <= side.octets);
                }
                Ok::<_, Infallible>(())
            });
            prop_assert_eq!(counted, segments.len() as u64);
            prop_assert_eq!(octets, segments.iter().map(|segment| u64::from(segment.len)).sum::<u64>());
        }
    }
}
