//! The table of connections: finds the one a segment belongs to, follows it, and emits it once it is closed.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;

use super::bundle::{self, Bundle, Finder};
use super::ended::Ended;
use super::flows::Flows;
use super::key::{AnyKey, Key4, Key6};
use super::ledger::Ledger;
use super::limits::{Limits, Tally};
use super::{Connection, ConnectionId, Reply, Step};
use crate::time::Timestamp;
use crate::wire::{IcmpError, Segment};

/// All connections of a capture that are not emitted yet.
///
/// Connections are numbered from 0 in the order of their first segments, as Wireshark's `tcp.stream`.
/// A SYN without ACK whose sequence number differs from the first of its direction opens a new connection, and the old one between the same ends is emitted;
/// a SYN that repeats, and a SYN-ACK with whatever number, belong to the connection that is there.
///
/// A connection is emitted once, when no further segment can belong to it: see [`Limits`].
/// A segment that comes after that all the same opens nothing; it is counted as late.
#[derive(Default)]
pub struct FlowTable {
    v4: Flows<Key4>,
    v6: Flows<Key6>,
    ledger: Ledger,
}

impl FlowTable {
    /// An empty table with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty table.
    pub fn with_limits(limits: Limits) -> Self {
        Self { ledger: Ledger::new(limits, Finder::default()), ..Self::default() }
    }

    /// Takes a segment; `None` when its connection was emitted already.
    pub fn observe(&mut self, segment: &Segment) -> Option<Step> {
        let Self { v4, v6, ledger } = self;
        match AnyKey::of(segment) {
            AnyKey::V4(key, from) => v4.observe(ledger.finder.hash_one(key), key, from, segment, ledger),
            AnyKey::V6(key, from) => v6.observe(ledger.finder.hash_one(key), key, from, segment, ledger),
        }
    }

    /// Takes a TCP header that an ICMP error quotes, and what the error says.
    ///
    /// It is no segment of its connection, but Wireshark gives the connection its number by it, and counts its flags for completeness.
    /// Returns that connection, where it has segments.
    pub fn quote(&mut self, quote: &Segment, error: Option<IcmpError>) -> Option<ConnectionId> {
        let Self { v4, v6, ledger } = self;
        match AnyKey::of(quote) {
            AnyKey::V4(key, from) => v4.quote(key, from, quote, error, ledger),
            AnyKey::V6(key, from) => v6.quote(key, from, quote, error, ledger),
        }
    }

    /// Takes some segments of a bundle one after the other, as [`observe`](Self::observe) does, and hands on what each did, if anybody asks.
    ///
    /// It is faster than one at a time: what they need of memory is fetched for [`AT_ONCE`](Self::AT_ONCE) of them together.
    /// The bundle must have been filled with the [`finder`](Self::finder) of this table.
    pub fn observe_all<A: Reply>(
        &mut self,
        bundle: &Bundle,
        range: Range<usize>,
        mut done: impl FnMut(&Segment, Option<A>),
    ) {
        let chunk = |from: usize| from..range.end.min(from + Self::AT_ONCE);
        let mut now = chunk(range.start);
        self.expect(bundle, now.clone());
        while !now.is_empty() {
            // While some are followed, what the next ones need is on its way.
            let next = chunk(now.end);
            self.expect(bundle, next.clone());
            let Self { v4, v6, ledger } = self;
            for place in now {
                bundle.with(place, |hash, key, segment| {
                    debug_assert_eq!(hash, ledger.finder.hash(&key), "a bundle for another table");
                    let answer = match key {
                        AnyKey::V4(key, from) => v4.observe(hash, key, from, segment, ledger),
                        AnyKey::V6(key, from) => v6.observe(hash, key, from, segment, ledger),
                    };
                    done(segment, answer);
                });
            }
            now = next;
        }
    }

    /// Has what is known of the connections of at most [`AT_ONCE`](Self::AT_ONCE) segments fetched.
    fn expect(&self, bundle: &Bundle, range: Range<usize>) {
        for hash in bundle.hashes(range) {
            // Of one family there are nearly always none.
            if !self.v4.index.is_empty() {
                self.v4.prefetch(hash);
            }
            if !self.v6.index.is_empty() {
                self.v6.prefetch(hash);
            }
        }
    }

    /// What a [`Bundle`] for this table is filled with.
    pub fn finder(&self) -> Finder {
        self.ledger.finder.clone()
    }

    /// How many segments are best taken at a time.
    pub const AT_ONCE: usize = bundle::AT_ONCE;

    /// Emits the connections that no further segment can belong to, as far as the last segment's time shows.
    ///
    /// # Errors
    /// The first error of `tell`; the connections after it are lost.
    pub fn take_ended<E>(&mut self, tell: impl FnMut(Connection) -> Result<(), E>) -> Result<(), E> {
        self.end_quiet();
        self.ledger.ended.tell(tell)
    }

    /// Hands over the connections that no further segment can belong to, in exchange for an empty `ended` to put the next ones in.
    pub fn hand_over(&mut self, ended: &mut Ended) {
        debug_assert!(ended.is_empty());
        std::mem::swap(&mut self.ledger.ended, ended);
    }

    /// What it keeps at most.
    pub fn limits(&self) -> Limits {
        self.ledger.limits
    }

    /// How much memory those take that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.ledger.ended.octets()
    }

    /// Ends the connections that were quiet for long enough, as far as the last segment's time shows; returns how many wait to be taken.
    pub fn end_quiet(&mut self) -> usize {
        if let Some(now) = self.ledger.now {
            self.v4.end_quiet(now, &mut self.ledger);
            self.v6.end_quiet(now, &mut self.ledger);
        }
        self.ledger.ended.len()
    }

    /// Emits all connections that are left, by number, and empties the table.
    ///
    /// # Errors
    /// The first error of `tell`.
    pub fn finish<E>(&mut self, mut tell: impl FnMut(Connection) -> Result<(), E>) -> Result<Tally, E> {
        self.v4.end_half_open(&mut self.ledger);
        self.v6.end_half_open(&mut self.ledger);
        self.ledger.ended.tell(&mut tell)?;
        let (left4, left6) = (self.v4.left(), self.v6.left());
        let (mut left4, mut left6) = (left4.iter().peekable(), left6.iter().peekable());
        let now = self.ledger.now;
        loop {
            let is_of_4 = match (left4.peek(), left6.peek()) {
                (Some(one), Some(other)) => one < other,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            let next = if is_of_4 { left4.next() } else { left6.next() };
            let Some(entry) = next.map(|left| left.entry()) else { break };
            let connection = if is_of_4 { self.v4.summary(entry, now) } else { self.v6.summary(entry, now) };
            self.ledger.tally.omitted += connection.findings_omitted;
            tell(connection)?;
        }
        let tally = self.tally();
        let (limits, finder) = (self.ledger.limits, self.ledger.finder.clone());
        *self = Self { ledger: Ledger::new(limits, finder), ..Self::default() };
        Ok(tally)
    }

    /// Says that it is `now`, though no segment came; a live capture may be quiet for long.
    pub fn pass(&mut self, now: Timestamp) {
        self.ledger.now = self.ledger.now.max(Some(now));
    }

    /// Ends the connection between two ends, if there is one: no further segment of it will come, though none has closed it.
    pub fn give_up(&mut self, [one, other]: [SocketAddr; 2]) {
        let Self { v4, v6, ledger } = self;
        match AnyKey::between(one, other) {
            AnyKey::V4(key, _) => v4.give_up(key, ledger),
            AnyKey::V6(key, _) => v6.give_up(key, ledger),
        }
    }

    /// The connection that a segment belongs to, as it stands; `None` when there is none, or none any more.
    pub fn connection(&self, segment: &Segment) -> Option<Connection> {
        match AnyKey::of(segment) {
            AnyKey::V4(key, _) => self.v4.summary_of(self.ledger.finder.hash_one(key), key),
            AnyKey::V6(key, _) => self.v6.summary_of(self.ledger.finder.hash_one(key), key),
        }
    }

    /// Shows the connections that are followed, as they stand and in no order, those that are closed and not yet emitted among them.
    pub fn each(&self, mut show: impl FnMut(Connection)) {
        self.v4.entries().for_each(|entry| show(self.v4.summary(entry, self.ledger.now)));
        self.v6.entries().for_each(|entry| show(self.v6.summary(entry, self.ledger.now)));
        self.v4.half_open.iter().for_each(|old| show(old.record.summary()));
        self.v6.half_open.iter().for_each(|old| show(old.record.summary()));
    }

    /// What was counted so far.
    pub fn tally(&self) -> Tally {
        Tally { numbers: self.ledger.next, ..self.ledger.tally }
    }
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable").field("tally", &self.tally()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::super::attempt::Attempt;
    use super::super::flows::MOST_HALF_OPEN;
    use super::super::record::Record;
    use super::*;
    use crate::flow::RolesBasis;
    use crate::flow::{Closer, ConnState, Ending, Instead, Side};
    use crate::flow::{ResetKind, Verdict};
    use crate::script::{self, Actor};
    use crate::tcp::Basis;
    use crate::tcp::State;
    use crate::time::Span;
    use crate::wire::{Flags, IcmpKind, Oddities, Seq};

    #[test]
    fn a_live_connection_takes_less_than_400_octets() {
        // With its entry in the index.
        assert!(size_of::<Record<Key4>>() + 9 <= 400, "{}", size_of::<Record<Key4>>());
        assert_eq!(size_of::<Attempt<Key4>>(), 64);
        assert_eq!(size_of::<crate::tcp::Stream>(), 128);
    }

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
            0  C > S: S  100(0)
            10 S > C: S. 300(0) ack 101
            20 C > S: .  101(0) ack 301
            {script}"
        ))
    }

    // ---- endings -------------------------------------------------------------------------------------------------

    #[test]
    fn the_end_that_closes_first_waits() {
        let connection = opened(
            "30 C > S: P. 101(10) ack 301
             31 S > C: P. 301(10) ack 111
             32 C > S: F. 111(0)  ack 311
             33 S > C: F. 311(0)  ack 112
             34 C > S: .  112(0)  ack 312",
        );
        assert_eq!(connection.ending, Ending::Fin);
        assert_eq!(connection.closed_by, Some(Closer::Client));
        assert_eq!(connection.conn_state, ConnState::Sf);
        assert_eq!(connection.history, "ShADdFf");
        assert_eq!(connection.completeness, 31);
        assert_eq!((connection.client_state, connection.server_state), (Some(State::TimeWait), Some(State::Closed)));
        assert_eq!(connection.client_to_server.octets, 10);
        assert_eq!(connection.verdict, Verdict::Closed { first: Side::Client, left: crate::flow::Left::TimeWait });
    }

    /// The states that the last segment of a script leads through.
    fn last_moves(script: &str) -> Vec<(Side, State)> {
        let mut table = FlowTable::new();
        let steps = script::read(script).map(|(_, segment, _)| table.observe(&segment).expect("not late"));
        let last = steps.last().expect("a segment");
        last.moves.iter().flatten().map(|(side, step)| (*side, step.to)).collect()
    }

    #[test]
    fn a_reset_arrives_after_the_fin_that_passed_before_it() {
        // What the client acknowledged meanwhile was on its way.
        let moves = last_moves(
            "0  C > S: S  100(0)
             10 S > C: S. 300(0)  ack 101
             20 C > S: .  101(0)  ack 301
             30 S > C: F. 301(0)  ack 101
             31 C > S: P. 101(10) ack 301
             32 S > C: R  302(0)",
        );
        let client: Vec<_> = moves.into_iter().filter(|(side, _)| *side == Side::Client).collect();
        assert_eq!(client, [(Side::Client, State::CloseWait), (Side::Client, State::Closed)]);
    }

    #[test]
    fn a_bare_reset_after_octets_and_a_fin_says_that_no_socket_took_the_handshake() {
        let moves = last_moves(
            "0  C > S: S  100(0)
             10 S > C: S. 300(0)  ack 101
             20 C > S: .  101(0)  ack 301
             30 C > S: F. 101(10) ack 301
             31 S > C: R  301(0)",
        );
        let server: Vec<_> = moves.into_iter().filter(|(side, _)| *side == Side::Server).map(|(_, to)| to).collect();
        assert_eq!(server, [State::Established, State::SynReceived, State::Closed]);
    }

    #[test]
    fn an_end_that_goes_on_after_its_bare_reset_takes_the_steps_again_that_it_took_back() {
        let moves = last_moves(
            "0  C > S: S  100(0)
             10 S > C: S. 300(0)  ack 101
             20 C > S: .  101(0)  ack 301
             30 C > S: F. 101(10) ack 301
             31 S > C: R  301(0)
             40 S > C: .  301(0)  ack 112",
        );
        let server: Vec<_> = moves.into_iter().filter(|(side, _)| *side == Side::Server).map(|(_, to)| to).collect();
        assert_eq!(server, [State::SynReceived, State::Established, State::CloseWait]);
    }

    #[test]
    fn fins_that_cross_close_both() {
        let connection = opened(
            "32 C > S: F. 101(0) ack 301
             33 S > C: F. 301(0) ack 101
             34 C > S: .  102(0) ack 302
             35 S > C: .  302(0) ack 102",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Fin, Some(Closer::Both)));
        assert_eq!(connection.client_state, Some(State::TimeWait));
        assert_eq!(connection.server_state, Some(State::TimeWait));
    }

    #[test]
    fn of_a_history_without_end_the_first_letters_are_kept() {
        let resets: String = (0..60).map(|n| format!("{} S > C: R {}(0)\n", 20 + n, 1000 * (n + 1))).collect();
        let connection = only(&format!("0 C > S: S 100(0)\n10 S > C: S. 300(0) ack 101\n{resets}"));
        assert_eq!(connection.server_to_client.rst, 60);
        assert_eq!(connection.history.to_string(), format!("Sh{}", "r".repeat(22)));
    }

    #[test]
    fn a_segment_with_a_wrong_checksum_is_counted_and_moves_no_state() {
        let follow = |script: &str, wrong: &[u64]| {
            let mut table = FlowTable::new();
            for (_, mut segment, _) in script::read(script) {
                if wrong.contains(&segment.frame) {
                    segment.oddities |= Oddities::BAD_CHECKSUM;
                }
                let step = table.observe(&segment).expect("not late");
                let is_found = step.findings.contains(crate::tcp::Finding::BadChecksum);
                assert_eq!(is_found, wrong.contains(&segment.frame));
                assert!(!is_found || step.moves == [None; 8], "{step:?}");
            }
            let mut told = Vec::new();
            let Ok(_) = table.finish(|connection| {
                told.push(connection);
                Ok::<_, Infallible>(())
            });
            told.remove(0)
        };
        let script = "
            0   C > S: S  100(0)
            5   C > S: S  100(0)
            10  S > C: S. 300(0) ack 101
            20  C > S: .  101(0) ack 301
            30  S > C: R. 301(0) ack 101
            40  C > S: P. 101(5) ack 301
            41  S > C: .  301(0) ack 106";
        let connection = follow(script, &[1, 5]);
        assert_eq!((connection.ending, connection.closed_by), (Ending::Open, None));
        assert_eq!([connection.client_state, connection.server_state], [Some(State::Established); 2]);
        assert_eq!((connection.history.to_string().as_str(), connection.conn_state), ("CShAcDa", ConnState::S1));
        assert_eq!(
            (connection.client_to_server.syn, connection.server_to_client.rst, connection.completeness),
            (2, 1, 47)
        );
        let refused = follow("0 C > S: S 100(0)\n 1 S > C: R. 0(0) ack 101", &[2]);
        assert_eq!((refused.ending, refused.client_state), (Ending::Unanswered, Some(State::SynSent)));
        let verdict = Verdict::Unanswered { syns: 1, lasted: None, instead: Some(Instead::Damaged) };
        assert_eq!(refused.verdict, verdict);
        let syn = follow("0 C > S: S 100(0)", &[1]);
        assert_eq!((syn.ending, syn.client_state, syn.history.to_string().as_str()), (Ending::Unanswered, None, "C"));
    }

    #[test]
    fn of_a_capture_that_holds_itself_twice_the_second_half_is_copies() {
        let script = "
            0  C > S: S  100(0)         id -
            10 S > C: S. 300(0) ack 101 id -
            20 C > S: .  101(0) ack 301 id -
            30 C > S: P. 101(5) ack 301 id -
            31 S > C: .  301(0) ack 106 id -
            32 C > S: F. 106(0) ack 301 id -
            33 S > C: F. 301(0) ack 107 id -
            34 C > S: .  107(0) ack 302 id -";
        let segments: Vec<_> = script::read(script).map(|line| line.1).collect();
        let mut table = FlowTable::new();
        segments.iter().for_each(|segment| assert!(table.observe(segment).expect("not late").findings.is_empty()));
        let once = table.connection(&segments[0]).expect("one");
        for segment in &segments {
            let again = Segment { frame: segment.frame + 8, ..*segment };
            let step = table.observe(&again).expect("not late");
            assert!(step.findings.contains(crate::tcp::Finding::CapturedTwice), "frame {}", again.frame);
            assert_eq!(step.moves, [None; 8]);
        }
        let twice = table.connection(&segments[0]).expect("one");
        assert_eq!((twice.client_state, twice.server_state), (once.client_state, once.server_state));
        assert_eq!((&twice.verdict, twice.ending, twice.closed_by), (&once.verdict, once.ending, once.closed_by));
        // What comes later than all that is none of it.
        let after = Segment { at: Some(Timestamp::from_nanos(i64::MAX / 2)), frame: 20, ..segments[5] };
        let step = table.observe(&after).expect("not late");
        assert!(!step.findings.contains(crate::tcp::Finding::CapturedTwice), "{:?}", step.findings);
    }

    #[test]
    fn icmp_errors_are_counted_by_the_connection_that_they_quote() {
        let error = |kind, mtu| IcmpError { from: std::net::Ipv4Addr::LOCALHOST.into(), kind, mtu };
        let follow = |script: &str, errors: &[(u64, IcmpError)]| {
            let mut table = FlowTable::new();
            for (_, segment, _) in script::read(script) {
                table.observe(&segment);
                for (_, error) in errors.iter().filter(|(frame, _)| *frame == segment.frame) {
                    table.quote(&segment, Some(*error));
                }
            }
            let mut told = Vec::new();
            let Ok(_) = table.finish(|connection| {
                told.push(connection);
                Ok::<_, Infallible>(())
            });
            told.remove(0)
        };
        let prohibited = error(IcmpKind::HostProhibited, None);
        let syns = "0 C > S: S 100(0)\n 1000 C > S: S 100(0)\n 3000 C > S: S 100(0)";
        let frames: Vec<u64> = script::read(syns).map(|(_, segment, _)| segment.frame).collect();
        let answered = follow(syns, &[(frames[0], prohibited), (frames[1], prohibited), (frames[2], prohibited)]);
        assert_eq!(answered.icmp, Some(crate::flow::Icmp { last: prohibited, errors: 3 }));
        assert_eq!(
            (answered.ending, answered.conn_state, answered.completeness),
            (Ending::Unanswered, ConnState::S0, 1)
        );
        let one = follow("0 C > S: S 100(0)", &[(1, prohibited)]);
        assert_eq!((one.icmp.map(|icmp| icmp.errors), one.ending), (Some(1), Ending::Unanswered));
        let open = "0 C > S: S 100(0)\n 1 S > C: S. 300(0) ack 101\n 2 C > S: . 101(0) ack 301\n 3 C > S: P. 101(1448) ack 301";
        let needed = error(IcmpKind::FragmentationNeeded, Some(1400));
        let last = script::read(open).last().expect("a segment").1.frame;
        let open = follow(open, &[(last, needed)]);
        assert_eq!(open.icmp.map(|icmp| icmp.last), Some(needed));
        assert_eq!((open.client_state_basis, open.roles_basis), (Some(Basis::Sent), RolesBasis::Syn));
        assert_eq!(follow("0 S > C: S. 300(0) ack 101", &[]).roles_basis, RolesBasis::SynAck);
        let midstream = follow("0 S > C: . 301(0) ack 101", &[]);
        assert_eq!((midstream.roles_basis, midstream.client.port()), (RolesBasis::Port, 5000));
        let same = follow("C = 10.0.0.1:179\nS = 10.0.0.2:179\n0 S > C: . 301(0) ack 101", &[]);
        assert_eq!((same.roles_basis, same.client.ip()), (RolesBasis::FirstSegment, [10, 0, 0, 2].into()));
        let lower = follow("C = 10.0.0.1:9000\nS = 10.0.0.2:40000\n0 C > S: . 101(0) ack 301", &[]);
        assert_eq!((lower.roles_basis, lower.client.port()), (RolesBasis::Port, 40000));
    }

    #[test]
    fn of_an_end_that_was_not_captured_nothing_is_said() {
        let script = "
            0  C > S: S  100(0)
            20 C > S: .  101(0)   ack 301
            30 C > S: P. 101(10)  ack 301
            70 C > S: F. 111(0)   ack 1301";
        let connection = only(script);
        assert_eq!((connection.ending, connection.conn_state), (Ending::Open, ConnState::Sh));
        assert_eq!(connection.verdict, Verdict::OneDirection { captured: Side::Client, closed: true, reset: false });
        assert_eq!((connection.server_state, connection.server_state_basis), (None, None));
        let reset = only(&format!("{script}\n 80 C > S: R. 112(0) ack 1301"));
        assert_eq!((reset.ending, reset.server_state, reset.server_state_basis), (Ending::Reset, None, None));
        assert_eq!(reset.client_state, Some(State::Closed));
        assert_eq!(reset.verdict, Verdict::OneDirection { captured: Side::Client, closed: true, reset: true });
        assert_eq!(reset.closed_by, Some(Closer::Client));
        let connection = only("0 S > C: S. 300(0) ack 101\n 1 S > C: P. 301(9) ack 101");
        assert_eq!(connection.verdict, Verdict::OneDirection { captured: Side::Server, closed: false, reset: false });
    }

    #[test]
    fn a_refused_connection() {
        let connection = only(
            "0   C > S: S  100(0)
             0.1 S > C: R. 0(0) ack 101",
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
            "0    C > S: S 100(0) = 0
             1000 C > S: S 100(0) = 0 retransmission
             3000 C > S: S 100(0) = 0 retransmission",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Unanswered, None));
        assert_eq!(connection.conn_state, ConnState::S0);
        assert_eq!(connection.client_to_server.syn, 3);
        assert!(
            matches!(connection.verdict, Verdict::Unanswered { syns: 3, lasted: Some(_), instead: None }),
            "{:?}",
            connection.verdict
        );
        assert_eq!(connection.client_state, Some(State::SynSent));
    }

    #[test]
    fn a_syn_with_reset_is_no_unanswered_syn() {
        let connection = only("0 C > S: SR 100(0) = 0 inconsistent_flags");
        assert_eq!((connection.ending, connection.closed_by, connection.completeness), (Ending::Open, None, 1));
        assert_eq!(connection.verdict, Verdict::OnlySynsWithReset);
    }

    /// tshark 4.0: on a fresh 4-tuple the RST of the first segment counts once a second segment came, on a used one at once.
    #[test]
    fn a_first_segment_that_uses_ports_again_counts_at_once() {
        let connections = check(
            "0  C > S: S   100(0)         = 0
             1  S > C: R.  0(0) ack 101   = 0
             2  C > S: SR  500(0)         = 1 port_reuse inconsistent_flags
             3  C > S: SF  900(0)         = 2 port_reuse inconsistent_flags
             4  C > S: S   1300(5)        = 3 port_reuse",
        );
        let completeness: Vec<_> = connections.iter().map(|connection| connection.completeness).collect();
        assert_eq!(completeness, [37, 33, 1, 1]);
        assert_eq!(connections[1].verdict, Verdict::OnlySynsWithReset);
        let fresh = only("0 C > S: SR 100(0)\n 1 C > S: SR 100(0)");
        assert_eq!(fresh.completeness, 33);
    }

    #[test]
    fn octets_after_close_are_answered_with_a_reset() {
        let connection = opened(
            "30 C > S: F. 101(0)  ack 301
             31 S > C: .  301(0)  ack 102
             40 S > C: P. 301(10) ack 102
             41 C > S: R  102(0)",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Reset, Some(Closer::Client)));
        assert_eq!(connection.verdict, Verdict::Reset { by: Side::Client, kind: ResetKind::OctetsAfterClose });
    }

    #[test]
    fn a_reset_after_keep_alives_without_an_answer_says_so() {
        let connection = opened(
            "1000000 C > S: .  100(0) ack 301
             1000010 S > C: .  301(0) ack 101
             2000000 C > S: .  100(0) ack 301
             3000000 C > S: R. 101(0) ack 301",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Reset, Some(Closer::Client)));
        assert_eq!(connection.verdict, Verdict::Reset { by: Side::Client, kind: ResetKind::KeepAlivesUnanswered });
    }

    #[test]
    fn a_fin_that_its_receiver_ignores_closes_nothing() {
        let strays = [
            // Below the window.
            "60 C > S: F. 50(0)  ack 301",
            // It acknowledges what was never sent (3.10.7.4), or nothing; octets lie where it should.
            "60 C > S: F. 111(0) ack 9000",
            "60 C > S: F  111(0)",
        ];
        for stray in strays {
            let script = format!(
                "30  C > S: P. 101(10) ack 301
                 31  S > C: .  301(0)  ack 111
                 {stray}
                 100 C > S: P. 111(10) ack 301
                 101 S > C: .  301(0)  ack 121"
            );
            let connection = opened(&script);
            assert_eq!((connection.ending, connection.closed_by), (Ending::Open, None), "{stray}");
            assert_eq!(connection.conn_state, ConnState::S1, "{stray}");
            assert_eq!([connection.client_state, connection.server_state], [Some(State::Established); 2], "{stray}");
            let closed = opened(&format!(
                "{script}
                 110 C > S: F. 121(0) ack 301
                 111 S > C: F. 301(0) ack 122
                 112 C > S: .  122(0) ack 302"
            ));
            assert_eq!((closed.ending, closed.closed_by), (Ending::Fin, Some(Closer::Client)), "{stray}");
            let states = (closed.client_state, closed.server_state);
            assert_eq!(states, (Some(State::TimeWait), Some(State::Closed)), "{stray}");
        }
    }

    #[test]
    fn what_a_bare_reset_has_in_its_acknowledgement_field_is_none() {
        let moves = last_moves(
            "0  C > S: S  100(0)
             10 S > C: S. 300(0)  ack 101
             20 C > S: .  101(0)  ack 301
             30 C > S: F. 101(0)  ack 301
             31 S > C: P. 301(4)  ack 102
             32 C > S: R  102(0)
             33 S > C: F. 305(0)  ack 102",
        );
        let server: Vec<_> = moves.into_iter().filter(|(side, _)| *side == Side::Server).map(|(_, to)| to).collect();
        assert_eq!(server, [State::CloseWait, State::LastAck, State::Closed]);
    }

    #[test]
    fn a_fin_that_numbers_showed_is_acknowledged_like_another() {
        let connection = opened(
            "30 S > C: F. 301(0) ack 101
             50 C > S: .  101(0) ack 302
             70 C > S: .  102(0) ack 302
             90 S > C: .  302(0) ack 102",
        );
        assert_eq!((connection.client_state, connection.server_state), (Some(State::Closed), Some(State::TimeWait)));
        assert_eq!(connection.verdict, Verdict::Closed { first: Side::Server, left: crate::flow::Left::TimeWait });
    }

    #[test]
    fn a_half_closed_connection_stays_so() {
        let connection = opened(
            "30 C > S: F. 101(0)  ack 301
             31 S > C: .  301(0)  ack 102",
        );
        assert_eq!((connection.ending, connection.conn_state), (Ending::HalfClosed, ConnState::S2));
        assert_eq!(connection.server_state, Some(State::CloseWait));
    }

    #[test]
    fn whether_an_end_closed_is_not_known_where_more_of_it_was_acknowledged_than_captured() {
        use crate::flow::Verdict::CloseUnseen;
        let connection = opened(
            "30 C > S: F. 101(0)  ack 301
             31 S > C: .  301(0)  ack 102
             40 C > S: .  102(0)  ack 302",
        );
        let (by, of) = (Side::Client, Side::Server);
        assert_eq!(connection.verdict, CloseUnseen { by: Some(by), of, beyond: 1 });
        assert_eq!((connection.ending, connection.conn_state), (Ending::HalfClosed, ConnState::S2));
        assert_eq!((connection.client_state, connection.server_state), (None, None));
        assert_eq!((connection.client_state_basis, connection.server_state_basis), (None, None));
        let connection = opened("40 C > S: . 101(0) ack 1301");
        assert_eq!(connection.verdict, CloseUnseen { by: None, of, beyond: 1000 });
        // Amid a connection an end that sends no octets may have closed before.
        let quiet = "0 C > S: F. 101(0) ack 301\n 10 S > C: . 301(0) ack 102";
        assert_eq!(only(quiet).verdict, CloseUnseen { by: Some(Side::Client), of: Side::Server, beyond: 0 });
        let speaks = only(&format!("{quiet}\n 20 S > C: P. 301(9) ack 102"));
        assert!(matches!(speaks.verdict, Verdict::HalfClosed { by: Side::Client, .. }), "{speaks:?}");
        assert_eq!(connection.client_state, Some(State::Established));
        // What was captured after all, or was never acknowledged, leaves nothing open.
        let connection = opened("40 C > S: . 101(0) ack 302\n 41 S > C: P. 301(1) ack 101");
        assert_eq!(connection.verdict, Verdict::Established);
    }

    #[test]
    fn resets_that_do_not_acknowledge_the_syn_answer_nothing() {
        let script = "
            0    C > S: S  100(0)
            1    S > C: R. 0(0) ack 55 = 0 reset_out_of_window
            1000 C > S: S  100(0)
            1001 S > C: R  0(0)        = 0 reset_out_of_window";
        let connection = only(script);
        assert_eq!((connection.ending, connection.closed_by), (Ending::Unanswered, None));
        assert_eq!((connection.conn_state, connection.client_state), (ConnState::S0, Some(State::SynSent)));
        let (instead, lasted) = (Some(Instead::Reset), Some(Span::from_millis(1000)));
        assert_eq!(connection.verdict, Verdict::Unanswered { syns: 2, lasted, instead });
        let refused = only(&format!("{script}\n 2000 C > S: S 100(0)\n 2001 S > C: R. 0(0) ack 101"));
        assert_eq!((refused.ending, refused.conn_state), (Ending::Refused, ConnState::Rej));
    }

    #[test]
    fn a_reset_that_ended_nothing_is_no_ending_for_conn_state() {
        // In SYN-SENT the client answers an acknowledgement of an older connection with a RST, and goes on.
        let answered = "
            0    C > S: S  100(0)
            1    S > C: .  900(0) ack 5000
            2    C > S: R  5000(0)
            1000 C > S: S  100(0)
            1001 S > C: S. 300(0) ack 101
            1002 C > S: .  101(0) ack 301";
        let connection = only(answered);
        assert_eq!((connection.ending, connection.conn_state), (Ending::Open, ConnState::S1));
        assert_eq!([connection.client_state, connection.server_state], [Some(State::Established); 2]);
        let closed = only(&format!(
            "{answered}
            1010 C > S: F. 101(0) ack 301
            1011 S > C: F. 301(0) ack 102
            1012 C > S: .  102(0) ack 302"
        ));
        assert_eq!((closed.ending, closed.conn_state), (Ending::Fin, ConnState::Sf));
        let unanswered = only(&answered.lines().take(4).collect::<Vec<_>>().join("\n"));
        let verdict = Verdict::Unanswered { syns: 1, lasted: None, instead: Some(Instead::Ack) };
        assert_eq!((unanswered.ending, unanswered.verdict), (Ending::Unanswered, verdict));
        // Of an open connection: what comes after it is new, whatever number the RST had.
        let went_on =
            opened("30 C > S: R 500(0) = 0 reset_challenged\n 130 C > S: P. 101(9) ack 301 = 0 retransmission");
        assert_eq!(went_on.findings[1].detail, crate::flow::Detail::BelowReset);
        // SYNs that cross: each is sent once more, with the acknowledgement, and after that again.
        let crossed = only(
            "0 C > S: S 100(0)\n 10 S > C: S 300(0)\n 20 S > C: S. 300(0) ack 101\n 20.1 C > S: S. 100(0) ack 301
             500 S > C: S. 300(0) ack 101",
        );
        let told: Vec<_> = crossed.findings.iter().map(|found| (found.frame, found.detail.clone())).collect();
        let again = crate::flow::Detail::Since(Some(Span::from_millis(490)));
        let crossed = crate::flow::Detail::SynsCrossed;
        assert_eq!(told, [(Some(3), crossed.clone()), (Some(4), crossed), (Some(5), again)]);
        // Outside the window: ignored.
        let ignored = opened("30 S > C: P. 301(9) ack 101\n 31 C > S: . 101(0) ack 310\n 32 S > C: R 301(0)");
        assert_eq!((ignored.ending, ignored.conn_state), (Ending::Open, ConnState::S1));
    }

    // ---- while they live -----------------------------------------------------------------------------------------

    #[test]
    fn a_connection_can_be_seen_while_it_lives() {
        let mut table = FlowTable::new();
        let mut seen = Vec::new();
        for (_, segment, _) in script::read(
            "0  C > S: S  100(0)
             10 S > C: S. 300(0) ack 101
             20 C > S: P. 101(7) ack 301",
        ) {
            assert_eq!(table.connection(&segment).is_none(), seen.is_empty());
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
        let connection = only("0 S > C: R 301(0)");
        assert_eq!((connection.ending, connection.closed_by), (Ending::Open, None));
        assert!(connection.midstream);
    }

    #[test]
    fn a_reset_that_its_receiver_does_not_heed_ends_nothing() {
        let connection = only(
            "0  C > S: S  100(0)         win 1000 = 0
             10 S > C: S. 300(0) ack 101 win 1000 = 0
             20 C > S: .  101(0) ack 301 win 1000 = 0
             30 S > C: P. 301(10) ack 101 win 1000 = 0
             31 C > S: .  101(0)  ack 311 win 1000 = 0
             40 S > C: R  5000(0)         = 0 reset_out_of_window
             41 S > C: R  301(0)          = 0 reset_out_of_window
             42 S > C: R  400(0)          = 0 reset_challenged",
        );
        assert_eq!((connection.ending, connection.client_state), (Ending::Open, Some(State::Established)));
        assert_eq!(connection.server_state, Some(State::Established));
    }

    #[test]
    fn repeated_controls_open_nothing_and_move_no_state_twice() {
        let mut table = FlowTable::new();
        let script = "0    C > S: S  100(0)         = 1
                      10   C > S: S  100(0)         = 0
                      20   S > C: S. 300(0) ack 101 = 2
                      21   S > C: S. 300(0) ack 101 = 0
                      30   C > S: .  101(0) ack 301 = 1
                      40   C > S: F. 101(0) ack 301 = 2
                      440  C > S: F. 101(0) ack 301 = 2
                      450  S > C: .  301(0) ack 102 = 1";
        for (_, segment, expected) in script::read(script) {
            let step = table.observe(&segment).expect("not late");
            assert_eq!(step.connection.0, 0);
            assert_eq!(step.moves.iter().flatten().count().to_string(), expected, "frame {}", segment.frame);
        }
    }

    #[test]
    fn a_syn_ack_with_another_number_stays_in_its_connection() {
        let connection = only(
            "0    C > S: S  100(0)         = 0
             10   S > C: S. 300(0) ack 101 = 0
             1010 S > C: S. 700(0) ack 101 = 0 lost_segment
             1020 C > S: .  101(0) ack 701 = 0 acked_unseen
             1030 S > C: P. 701(5) ack 101 = 0",
        );
        assert_eq!(connection.server_to_client.isn, Some(300));
        assert_eq!(connection.server_to_client.unique_octets, 5);
    }

    #[test]
    fn ports_used_again_are_another_connection() {
        let connections = check(
            "0    C > S: S  100(0)          = 0
             10   S > C: S. 300(0) ack 101  = 0
             20   C > S: .  101(0) ack 301  = 0
             30   C > S: F. 101(0) ack 301  = 0
             31   S > C: F. 301(0) ack 102  = 0
             32   C > S: .  102(0) ack 302  = 0
             90   C > S: S  9000(0)         = 1 port_reuse
             91   S > C: S. 8000(0) ack 9001 = 1
             92   C > S: .  9001(0) ack 8001 = 1
             93   C > S: P. 9001(5) ack 8001 = 1",
        );
        assert_eq!(connections.len(), 2);
        assert_eq!(connections[0].ending, Ending::Fin);
        assert_eq!(connections[1].client_to_server.octets, 5);
        assert_eq!(connections[1].findings.len(), 1);
    }

    /// RFC 9293 figure 9: the client has lost its state and opens anew; the server answers by the old connection, and is reset.
    #[test]
    fn a_half_open_connection_is_discovered_by_a_new_syn() {
        let script = "
            0     C > S: S  100(0)           = 0
            10    S > C: S. 300(0) ack 101   = 0
            20    C > S: .  101(0) ack 301   = 0
            60000 C > S: S  9000(0)          = 1 port_reuse
            60010 S > C: .  301(0) ack 101   = 1
            60011 C > S: R  101(0)           = 1
            61000 C > S: S  9000(0)
            61010 S > C: S. 7000(0) ack 9001
            61011 C > S: .  9001(0) ack 7001
            61020 C > S: F. 9001(0) ack 7001
            61030 S > C: F. 7001(0) ack 9002";
        let connections = check(script);
        let old = &connections[0];
        assert_eq!((old.ending, old.closed_by), (Ending::Reset, Some(Closer::Client)));
        assert_eq!(old.verdict, Verdict::Reset { by: Side::Client, kind: ResetKind::NoConnection });
        assert_eq!([old.client_state, old.server_state], [Some(State::Closed); 2]);
        assert_eq!(old.conn_state, ConnState::Rsto);
        // What was captured of it is what it was before.
        assert_eq!((old.client_to_server.rst, old.last_frame, old.history.to_string().as_str()), (0, 3, "ShA"));
        let new = &connections[1];
        assert_eq!((new.ending, new.conn_state, new.client_to_server.rst), (Ending::Fin, ConnState::Sf, 1));
        // Where the server takes the new SYN at once, nobody knows how the old one ended.
        let taken = check(
            &script
                .lines()
                .filter(|line| !line.contains("60010") && !line.contains("60011"))
                .collect::<Vec<_>>()
                .join("\n"),
        );
        assert_eq!(taken[0].verdict, Verdict::Established);
        // A RST that answers no acknowledgement of it aborts the new one.
        let aborted = check(&script.lines().take(5).chain(["60011 C > S: R 9001(0)"]).collect::<Vec<_>>().join("\n"));
        assert_eq!((aborted[0].ending, aborted[1].ending), (Ending::Open, Ending::Reset));
    }

    #[test]
    fn few_half_open_connections_wait_for_their_end() {
        let mut table = FlowTable::new();
        for port in 0..=MOST_HALF_OPEN as u16 {
            for (_, mut segment, _) in
                script::read("0 C > S: P. 100(9) ack 301\n 1 S > C: . 301(0) ack 109\n 2 C > S: S 9000(0)")
            {
                let of_client = if segment.src_port == 5000 { &mut segment.src_port } else { &mut segment.dst_port };
                *of_client = 10_000 + port;
                table.observe(&segment).expect("not late");
            }
        }
        assert_eq!((table.v4.half_open.len(), table.ledger.ended.len()), (MOST_HALF_OPEN, 1));
        let Ok(tally) = table.finish(|_| Ok::<_, Infallible>(()));
        assert_eq!(tally.connections, 2 * (MOST_HALF_OPEN as u64 + 1));
    }

    #[test]
    fn a_connection_with_itself_has_one_end_that_does_both() {
        let mut table = FlowTable::new();
        let mut path = Vec::new();
        for (_, mut segment, _) in script::read(
            "0 C > S: S 100(0)
             1 C > S: S. 100(0) ack 101
             2 C > S: P. 101(5) ack 101
             3 C > S: . 106(0) ack 106
             4 C > S: F. 106(0) ack 106
             5 C > S: . 107(0) ack 107",
        ) {
            (segment.dst, segment.dst_port) = (segment.src, segment.src_port);
            let step = table.observe(&segment).expect("not late");
            assert_eq!(step.from, Side::Client);
            path.extend(step.moves.into_iter().flatten().map(|(side, step)| {
                assert_eq!(side, Side::Client);
                step.to
            }));
        }
        // As Linux has it: it takes its own SYN and its own FIN.
        use State::{Closing, Established, FinWait1, SynReceived, SynSent, TimeWait};
        assert_eq!(path, [SynSent, SynReceived, Established, FinWait1, Closing, TimeWait]);
        let Ok(_) = table.finish(|connection| {
            assert_eq!(connection.client, connection.server);
            assert_eq!(connection.client_to_server.octets, 5);
            assert_eq!(connection.client_state, Some(TimeWait));
            assert_eq!(connection.server_state, Some(TimeWait), "one socket is both ends");
            assert_eq!(connection.ending, Ending::Fin);
            Ok::<_, Infallible>(())
        });
    }

    #[test]
    fn both_ends_on_one_address_are_two_ends() {
        let mut table = FlowTable::new();
        for (from, mut segment, _) in
            script::read("0 C > S: S 100(0)\n 1 S > C: S. 300(0) ack 101\n 2 C > S: . 101(0) ack 301")
        {
            segment.dst = std::net::Ipv4Addr::LOCALHOST.into();
            segment.src = segment.dst;
            let side = if from == Actor::CLIENT { Side::Client } else { Side::Server };
            assert_eq!(table.observe(&segment).expect("not late").from, side);
        }
        assert_eq!(table.tally().connections, 1);
    }

    #[test]
    fn a_syn_ack_that_is_seen_first_comes_from_the_server() {
        let connection = only(
            "0 S > C: S. 300(0) ack 101 = 0
             1 C > S: .  101(0) ack 301 = 0",
        );
        assert_eq!(connection.client.port(), 5000);
        assert_eq!(connection.history, "^hA");
        assert_eq!(connection.conn_state, ConnState::S1);
    }

    #[test]
    fn floods_of_controls_are_counted_to_the_last() {
        let mut table = FlowTable::new();
        let (_, mut syn, _) = script::read("0 C > S: S 100(0)").next().expect("a segment");
        for _ in 0..1000 {
            table.observe(&syn);
        }
        syn.flags = Flags::RST;
        for _ in 0..70_000 {
            table.observe(&syn);
        }
        let Ok(_) = table.finish(|connection| {
            assert_eq!((connection.client_to_server.syn, connection.client_to_server.rst), (1000, 70_000));
            Ok::<_, Infallible>(())
        });
    }

    #[test]
    fn findings_are_bounded_and_the_rest_is_counted() {
        let mut script = String::from("0 C > S: S 100(0)\n 1 S > C: S. 300(0) ack 101\n 2 C > S: . 101(0) ack 301\n");
        for at in 0..150 {
            script.push_str(&format!("{} C > S: . 101(0) ack 301 = 0 duplicate_ack\n", 3 + at));
        }
        let connection = only(&script);
        assert_eq!((connection.findings.len(), connection.findings_omitted), (100, 50));
        assert_eq!(connection.client_to_server.duplicate_acks, 150);
    }

    // ---- data offsets that cannot be ------------------------------------------------------------------------------

    /// Follows a script in which `!` before the time marks a data offset below 5 words, `?` one beyond the segment.
    fn with_bad_offsets(script: &str) -> Vec<Connection> {
        let mut table = FlowTable::new();
        let marks: Vec<_> = script.lines().map(|line| line.trim().chars().next()).collect();
        for ((_, mut segment, _), mark) in script::read(&script.replace(['!', '?'], "")).zip(marks) {
            segment.oddities = match mark {
                Some('!') => Oddities::BAD_OFFSET,
                Some('?') => Oddities::BAD_OFFSET | Oddities::BAD_OPTIONS,
                _ => Oddities::empty(),
            };
            table.observe(&segment).expect("not late");
        }
        let mut connections = Vec::new();
        let Ok(_) = table.finish(|connection| {
            connections.push(connection);
            Ok::<_, Infallible>(())
        });
        connections.sort_by_key(|connection| connection.id);
        connections
    }

    /// tshark 4.0 gives up at such a header: it counts the segment and its octets, and heeds none of its flags.
    #[test]
    fn a_header_that_is_too_short_is_counted_and_says_nothing() {
        let connections = with_bad_offsets(
            "0    C > S: S  100(0)
             !5   S > C: S. 300(4) ack 101
             10   S > C: S. 300(0) ack 101
             !15  C > S: .  101(4) ack 301
             20   C > S: .  101(0) ack 301
             !30  C > S: F. 101(4) ack 301
             !40  S > C: R. 301(4) ack 101",
        );
        let [connection] = &connections[..] else { panic!("{connections:?}") };
        let (client, server) = (&connection.client_to_server, &connection.server_to_client);
        assert_eq!((client.segments, client.syn, client.fin, client.octets), (4, 1, 0, 8));
        assert_eq!((server.segments, server.syn, server.rst, server.octets), (3, 1, 0, 8));
        assert_eq!((connection.completeness, connection.ending), (7, Ending::Open));
        assert_eq!(connection.client_state, Some(State::Established));
        assert_eq!(connection.initial_rtt.map(|rtt| rtt.0), Some(20_000_000));
        assert_eq!(connection.history, "ShA");
        assert!(connection.findings.iter().all(|finding| finding.frame != Some(6)), "{:?}", connection.findings);
    }

    /// tshark 4.0 counts its flags, and leaves it out of the sequence analysis.
    #[test]
    fn a_header_beyond_its_segment_counts_by_its_flags_and_moves_nothing() {
        let connections = with_bad_offsets(
            "0    C > S: S  100(0)
             10   S > C: S. 300(0) ack 101
             20   C > S: .  101(0) ack 301
             ?30  C > S: F. 101(0) ack 301
             ?40  S > C: R. 301(0) ack 101
             50   C > S: P. 101(5) ack 301",
        );
        let [connection] = &connections[..] else { panic!("{connections:?}") };
        assert_eq!((connection.client_to_server.fin, connection.server_to_client.rst), (1, 1));
        assert_eq!((connection.completeness, connection.ending), (63, Ending::Open));
        assert_eq!(connection.client_state, Some(State::Established));
        assert_eq!(connection.findings, []);
    }

    #[test]
    fn a_syn_with_a_bad_offset_opens_a_connection_all_the_same() {
        let short = with_bad_offsets(
            "!0 C > S: S 100(4)\n 1 C > S: S 100(0)\n 2 S > C: S. 300(0) ack 101\n !3 C > S: S 900(4)",
        );
        assert_eq!(short.iter().map(|connection| connection.completeness).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((short[0].client_to_server.syn, short[1].client_to_server.syn), (1, 0));
        // Where its numbers begin is not known from one beyond its segment.
        let beyond = with_bad_offsets("?0 C > S: S 100(0)\n 1 C > S: S 900(0)\n 2 S > C: S. 300(0) ack 901");
        assert_eq!(beyond.iter().map(|connection| connection.completeness).collect::<Vec<_>>(), [3]);
        assert_eq!(beyond[0].client_to_server.syn, 2);
    }

    // ---- quoted in ICMP errors -----------------------------------------------------------------------------------

    #[test]
    fn a_quoted_header_takes_a_number_and_is_no_segment() {
        let mut table = FlowTable::new();
        let port = |line: &str, port: u16| {
            let (from, mut segment, _) = script::read(line).next().expect("a segment");
            *(if from == Actor::CLIENT { &mut segment.src_port } else { &mut segment.dst_port }) = port;
            segment
        };
        table.quote(&port("0 C > S: S 100(0)", 1), None);
        table.quote(&port("0 C > S: S 100(0)", 2), None);
        table.observe(&port("1 C > S: S 100(0)", 3));
        table.observe(&port("2 C > S: S 100(0)", 2));
        table.observe(&port("3 S > C: R. 0(0) ack 101", 2));
        table.quote(&port("4 C > S: . 101(0) ack 301", 3), None);
        table.each(|connection| assert_ne!(connection.client.port(), 1));
        let mut told = Vec::new();
        let Ok(tally) = table.finish(|connection| {
            let segments = connection.client_to_server.segments;
            told.push((connection.id.0, connection.client.port(), connection.completeness, segments));
            Ok::<_, Infallible>(())
        });
        assert_eq!(told, [(1, 2, 37, 1), (2, 3, 5, 1)]);
        assert_eq!(tally.connections, 2);
    }

    // ---- limits --------------------------------------------------------------------------------------------------

    /// A table's connections in the order in which they are told, after a script of SYNs and others to many ports.
    fn told(limits: Limits, lines: impl IntoIterator<Item = (u16, &'static str)>) -> (Vec<Connection>, Tally) {
        let mut table = FlowTable::with_limits(limits);
        let mut connections = Vec::new();
        let mut tell = |connection| {
            connections.push(connection);
            Ok::<_, Infallible>(())
        };
        for (port, line) in lines {
            let (from, mut segment, _) = script::read(line).next().expect("a segment");
            *(if from == Actor::CLIENT { &mut segment.src_port } else { &mut segment.dst_port }) = port;
            table.observe(&segment);
            let Ok(()) = table.take_ended(&mut tell);
        }
        let Ok(tally) = table.finish(&mut tell);
        (connections, tally)
    }

    #[test]
    fn what_is_closed_is_emitted_when_it_was_quiet_for_long() {
        let limits = Limits { linger: Span::from_millis(1000), ..Limits::default() };
        let (connections, tally) = told(
            limits,
            [
                (1, "0 C > S: S 100(0)"),
                (2, "1 C > S: S 100(0)"),
                (2, "2 S > C: R. 0(0) ack 101"),
                (3, "900 C > S: S 100(0)"),
                (2, "1500 S > C: R. 0(0) ack 101"),
                (3, "1600 S > C: S. 300(0) ack 101"),
                (3, "9000 C > S: . 101(0) ack 301"),
                (2, "9001 S > C: R. 0(0) ack 101"),
            ],
        );
        let order: Vec<_> =
            connections.iter().map(|connection| (connection.client.port(), connection.ending)).collect();
        assert_eq!(order, [(1, Ending::Unanswered), (2, Ending::Refused), (3, Ending::Open)]);
        assert_eq!(connections[1].server_to_client.rst, 2);
        assert_eq!((tally.late_segments, tally.evicted), (1, 0));
    }

    #[test]
    fn of_too_many_attempts_the_oldest_is_evicted() {
        let limits = Limits { half_open: 10, ..Limits::default() };
        let (connections, tally) = told(limits, (1..=100).map(|port| (port, "0 C > S: S 100(0)")));
        let order: Vec<_> = connections.iter().map(|connection| connection.id.0).collect();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert!((58..=90).contains(&tally.evicted), "{tally:?}");
        assert_eq!(connections.len(), 100);
    }

    /// Connections of `count` clients, each with `holes` holes; their order is that of the rounds.
    fn with_holes(limits: Limits, count: u32, holes: u32, closing: bool) -> (FlowTable, Vec<Connection>) {
        let mut table = FlowTable::with_limits(limits);
        let mut told = Vec::new();
        let mut frame = 0;
        for round in 0..=holes {
            for client in 0..count {
                frame += 1;
                let mut segment = script::read("0 C > S: . 1(4) ack 1").next().expect("a line").1;
                segment.src = std::net::Ipv4Addr::from_bits(0x0a00_0000 + client).into();
                (segment.frame, segment.seq) = (frame, Seq(1 + 16 * round));
                if closing && round == holes {
                    segment.flags |= Flags::RST;
                }
                table.observe(&segment);
                let Ok(()) = table.take_ended(|connection| {
                    told.push(connection);
                    Ok::<_, Infallible>(())
                });
            }
        }
        (table, told)
    }

    #[test]
    fn findings_and_holes_take_no_more_memory_than_they_may() {
        let limits = Limits { octets: 200_000, ..Limits::default() };
        let (mut table, mut told) = with_holes(limits, 200, 100, false);
        assert!(table.ledger.extra <= 200_000, "{}", table.ledger.extra);
        assert!(!told.is_empty());
        let tally = table.tally();
        assert_eq!(tally.evicted, told.len() as u64);
        // Each segment is in one connection, or came too late.
        let Ok(tally) = table.finish(|connection| {
            told.push(connection);
            Ok::<_, Infallible>(())
        });
        let counted: u64 = told.iter().map(|one| one.client_to_server.segments + one.server_to_client.segments).sum();
        assert_eq!(counted + tally.late_segments, 200 * 101);
        // What was found is counted, if not listed.
        let (listed, omitted) = told.iter().fold((0, 0), |(listed, omitted), one| {
            (listed + one.findings.len() as u64, omitted + one.findings_omitted)
        });
        assert_eq!(omitted, tally.omitted);
        assert!(omitted > 0 && listed > 0);
        assert!(told.iter().all(|one| one.findings.len() <= 100));
    }

    #[test]
    fn closed_ones_are_emitted_before_others_are_evicted() {
        let limits = Limits { octets: 400_000, ..Limits::default() };
        let (table, told) = with_holes(limits, 50, 100, true);
        assert!(table.ledger.extra <= 400_000, "{}", table.ledger.extra);
        let (other, none) = with_holes(Limits::default(), 50, 100, true);
        assert!(none.is_empty() && other.ledger.extra > 400_000 / 2, "{}", other.ledger.extra);
        assert_eq!(table.tally().evicted, told.iter().filter(|one| one.ending == Ending::Open).count() as u64);
    }

    #[test]
    fn what_findings_and_holes_take_is_known_to_the_octet() {
        let (mut table, _) = with_holes(Limits { closed: 3, ..Limits::default() }, 20, 30, true);
        let all: usize = (0..table.v4.records.slots()).map(|slot| table.v4.records.at(slot).extra()).sum();
        assert_eq!(table.ledger.extra, all);
        assert!(all > 0);
        table.pass(Timestamp::from_nanos(i64::MAX));
        table.end_quiet();
    }

    #[test]
    fn of_too_many_that_are_only_quoted_the_first_are_known() {
        let mut table = FlowTable::new();
        for client in 0..70_000 {
            let mut quote = script::read("0 C > S: . 1(4) ack 1").next().expect("a line").1;
            quote.src = std::net::Ipv4Addr::from_bits(0x0a00_0000 + client).into();
            table.quote(&quote, None);
        }
        assert_eq!((table.tally().numbers, table.tally().connections), (1 << 16, 0));
    }

    #[test]
    fn limits_fit_the_memory_there_is() {
        for octets in [25_000_000_u64, 200_000_000, 1_600_000_000, 1 << 40] {
            let limits = Limits::within(octets);
            let taken = limits.octets
                + (limits.open + limits.closed) * (size_of::<Record<Key6>>() + 16)
                + limits.half_open * (size_of::<Attempt<Key4>>() + 16);
            assert!(taken as u64 <= octets, "{limits:?} take {taken}");
        }
        assert_eq!(Limits::within(u64::MAX), Limits::default());
    }

    #[test]
    fn of_too_many_open_ones_a_quiet_one_is_evicted() {
        let limits = Limits { open: 10, ..Limits::default() };
        let (connections, tally) = told(limits, (1..=300).map(|port| (port, "0 C > S: . 101(1) ack 301")));
        assert_eq!((connections.len(), tally.connections, tally.evicted), (300, 300, 290));
    }

    #[test]
    fn of_too_many_closed_ones_the_first_is_emitted() {
        let limits = Limits { closed: 2, ..Limits::default() };
        let lines = (1..=5).flat_map(|port| [(port, "0 C > S: S 100(0)"), (port, "1 S > C: R. 0(0) ack 101")]);
        let (connections, tally) = told(limits, lines.chain([(1, "2 S > C: R. 0(0) ack 101")]));
        assert_eq!(connections.iter().map(|connection| connection.id.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!((tally.late_segments, tally.evicted), (1, 0));
    }

    proptest! {
        /// A SYN alone is told and followed the same whether it is kept small or not.
        #[test]
        fn an_attempt_is_a_record_in_fewer_octets(
            flip: bool, seq: u32, window in 1u16.., mss: Option<u16>, window_scale: Option<u8>, sack_permitted: bool,
            timestamp: Option<u32>, ip_id: Option<u16>, checksum: u16, ecn: bool,
        ) {
            let (_, mut segment, _) = script::read("7 C > S: S 100(0)").next().expect("a segment");
            if flip {
                (segment.src, segment.dst) = (segment.dst, segment.src);
            }
            (segment.seq, segment.window, segment.ip_id, segment.checksum) = (Seq(seq), window, ip_id, checksum);
            segment.options.mss = mss;
            segment.options.window_scale = window_scale;
            segment.options.sack_permitted = sack_permitted;
            segment.options.timestamps = timestamp.map(|timestamp| (timestamp, 0));
            segment.flags.set(Flags::ECE | Flags::CWR, ecn);
            let AnyKey::V4(key, from) = AnyKey::of(&segment) else { panic!("IPv4") };
            let attempt = Attempt::new(key, from, 5, &segment).expect("plain");
            prop_assert_eq!(attempt.segment(), Segment { ttl: 0, ..segment });
            let mut record = Record::new(key, from, 5, &segment);
            let (_, step) = record.observe::<Step>(from, &segment, Some(&[]), 100);
            prop_assert_eq!(format!("{:?}", attempt.step(&segment)), format!("{step:?}"));
            prop_assert_eq!(attempt.summary(), record.summary());
        }
    }

    prop_compose! {
        fn any_segment()(
            flip: bool, flags in 0u16..0x200, seq in 0u32..2_000, ack in 0u32..2_000, len in 0u32..500,
            window in 0u16..1_000, offset in prop_oneof![Just(0u32), Just(u32::MAX - 900)], millis in 0u32..5_000,
        ) -> Segment {
            let line = format!("{millis} {}: . 0({len}) win {window}", if flip { "S > C" } else { "C > S" });
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
