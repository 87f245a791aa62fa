//! A connection of which only one SYN was seen: kept in 64 octets until something else comes.

use std::net::SocketAddr;

use super::key::{Key, KeySide};
use super::{ConnState, Connection, ConnectionId, Ending, RolesBasis, Side, SideSummary, Step, Verdict};
use crate::tcp::{Around, Basis, Endpoint, FindingSet, State};
use crate::time::Timestamp;
use crate::wire::{Flags, Oddities, Options, Segment, Seq};

/// A SYN without anything remarkable, from which its segment can be made again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Attempt<K> {
    at: Option<Timestamp>,
    pub(super) id: u64,
    frame: u64,
    pub(super) key: K,
    /// The slots of the attempts that came before and after it.
    pub(super) neighbours: [u32; 2],
    seq: u32,
    timestamp: u32,
    window: u16,
    checksum: u16,
    ip_id: u16,
    mss: u16,
    oddities: u16,
    window_scale: u8,
    has: Has,
}

bitflags::bitflags! {
    /// What a SYN has.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    struct Has: u8 {
        const MSS = 0x01;
        const WINDOW_SCALE = 0x02;
        const SACK_PERMITTED = 0x04;
        const TIMESTAMPS = 0x08;
        const IP_ID = 0x10;
        const ECE = 0x20;
        const CWR = 0x40;
        /// It was sent by the higher end of the key.
        const FROM_HIGHER = 0x80;
    }
}

impl<K: Key> Attempt<K> {
    /// The attempt that begins with `segment`; `None` when that is not a SYN of the plain kind.
    pub(super) fn new(key: K, from: KeySide, id: u64, segment: &Segment) -> Option<Self> {
        let Segment { at, frame, seq, window, checksum, flags, ref options, .. } = *segment;
        let timestamps = options.timestamps.unwrap_or_default();
        let kept = Options {
            mss: options.mss,
            window_scale: options.window_scale,
            sack_permitted: options.sack_permitted,
            timestamps: options.timestamps.map(|(sent, _)| (sent, 0)),
            ..Options::default()
        };
        let is_plain = (flags - (Flags::ECE | Flags::CWR)) == Flags::SYN
            && *options == kept
            && (segment.len, segment.ack, segment.urgent) == (0, Seq(0), 0)
            && window != 0
            // A socket that is connected to itself takes its own SYN.
            && (segment.src_port != segment.dst_port || segment.src != segment.dst)
            && !segment.oddities.intersects(Oddities::BAD_CHECKSUM | Oddities::BAD_OFFSET);
        if !is_plain {
            return None;
        }
        let mut has = Has::empty();
        has.set(Has::MSS, options.mss.is_some());
        has.set(Has::WINDOW_SCALE, options.window_scale.is_some());
        has.set(Has::SACK_PERMITTED, options.sack_permitted);
        has.set(Has::TIMESTAMPS, options.timestamps.is_some());
        has.set(Has::IP_ID, segment.ip_id.is_some());
        has.set(Has::ECE, flags.contains(Flags::ECE));
        has.set(Has::CWR, flags.contains(Flags::CWR));
        has.set(Has::FROM_HIGHER, from == KeySide::Higher);
        Some(Self {
            at,
            id,
            frame,
            key,
            neighbours: [NONE; 2],
            seq: seq.0,
            timestamp: timestamps.0,
            window,
            checksum,
            ip_id: segment.ip_id.unwrap_or(0),
            mss: options.mss.unwrap_or(0),
            oddities: segment.oddities.bits() as u16,
            window_scale: options.window_scale.unwrap_or(0),
            has,
        })
    }

    /// The place in the key of the end that sent it.
    pub(super) fn from(&self) -> KeySide {
        if self.has.contains(Has::FROM_HIGHER) { KeySide::Higher } else { KeySide::Lower }
    }

    /// When it was captured.
    pub(super) fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// Whether `segment` is a SYN that opens another connection between the same ends.
    pub(super) fn is_outlived_by(&self, from: KeySide, segment: &Segment) -> bool {
        from == self.from() && segment.flags & (Flags::SYN | Flags::ACK) == Flags::SYN && segment.seq.0 != self.seq
    }

    /// The SYN as it was decoded, but for its time to live, which a connection is not judged by.
    pub(super) fn segment(&self) -> Segment {
        let [src, dst] = self.ends();
        let has = |what| self.has.contains(what);
        let mut flags = Flags::SYN;
        flags.set(Flags::ECE, has(Has::ECE));
        flags.set(Flags::CWR, has(Has::CWR));
        Segment {
            at: self.at,
            frame: self.frame,
            src: src.ip(),
            dst: dst.ip(),
            src_port: src.port(),
            dst_port: dst.port(),
            seq: Seq(self.seq),
            ack: Seq(0),
            flags,
            window: self.window,
            urgent: 0,
            checksum: self.checksum,
            ip_id: has(Has::IP_ID).then_some(self.ip_id),
            ttl: 0,
            len: 0,
            oddities: Oddities::from_bits_truncate(self.oddities.into()),
            options: Options {
                mss: self.mss(),
                window_scale: self.window_scale(),
                sack_permitted: has(Has::SACK_PERMITTED),
                timestamps: has(Has::TIMESTAMPS).then_some((self.timestamp, 0)),
                ..Options::default()
            },
        }
    }

    /// What the SYN did.
    pub(super) fn step(&self, segment: &Segment) -> Step {
        let [first, second, ..] = Endpoint::closed()
            .sent(segment, &Around::in_order(segment.end()))
            .map(|step| step.map(|step| (Side::Client, step)));
        Step {
            connection: ConnectionId(self.id),
            from: Side::Client,
            opened: true,
            findings: FindingSet::default(),
            seq: 0,
            ack: None,
            window: self.window.into(),
            stream: None,
            moves: [first, second, None, None, None, None, None, None],
        }
    }

    /// The connection as it is told when nothing else came.
    pub(super) fn summary(&self) -> Connection {
        let [client, server] = self.ends();
        Connection {
            id: ConnectionId(self.id),
            client,
            server,
            midstream: false,
            first: self.at,
            last: self.at,
            first_frame: self.frame,
            last_frame: self.frame,
            completeness: 1,
            conn_state: ConnState::S0,
            history: "S".into(),
            initial_rtt: None,
            client_state: Some(State::SynSent),
            server_state: None,
            client_state_basis: Some(Basis::Sent),
            server_state_basis: None,
            roles_basis: RolesBasis::Syn,
            closed_by: None,
            ending: Ending::Unanswered,
            verdict: Verdict::Unanswered { syns: 1, lasted: None, instead: None },
            problem: None,
            icmp: None,
            client_to_server: SideSummary {
                segments: 1,
                syn: 1,
                isn: Some(self.seq),
                mss: self.mss(),
                window_scale: self.window_scale(),
                sack_permitted: self.has.contains(Has::SACK_PERMITTED),
                timestamps: self.has.contains(Has::TIMESTAMPS),
                ..SideSummary::default()
            },
            server_to_client: SideSummary::default(),
            findings: Vec::new(),
            findings_omitted: 0,
            breakdown: None,
            finding_counts: None,
        }
    }

    /// The end that sent it, then the other.
    fn ends(&self) -> [SocketAddr; 2] {
        let [lower, higher] = self.key.ends();
        if self.from() == KeySide::Lower { [lower, higher] } else { [higher, lower] }
    }

    fn mss(&self) -> Option<u16> {
        self.has.contains(Has::MSS).then_some(self.mss)
    }

    fn window_scale(&self) -> Option<u8> {
        self.has.contains(Has::WINDOW_SCALE).then_some(self.window_scale)
    }
}

/// No slot: the end of the list of attempts.
pub(super) const NONE: u32 = u32::MAX;
