//! What is told of one connection: who, how much, how it ended, and a verdict.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::{Breakdown, Closer, ConnState, ConnectionId, Ending, Letters, Problem, Side, Verdict};
use crate::kernel::Witness;
use crate::tcp::{Basis, Finding, State};
use crate::time::{Span, Timestamp};
use crate::wire::{IcmpError, Tunnel};

/// The summary of one connection.
#[derive(Clone, PartialEq, Debug)]
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// The end that opened it (see [`Side::Client`]).
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// Whether the capture began after it had: no SYN was seen.
    pub midstream: bool,
    /// When its first segment was captured.
    pub first: Option<Timestamp>,
    /// When its last segment was captured.
    pub last: Option<Timestamp>,
    /// The number of its first frame.
    pub first_frame: u64,
    /// The number of its last frame.
    pub last_frame: u64,
    /// Wireshark's `tcp.completeness`: SYN 1, SYN-ACK 2, ACK 4, DATA 8, FIN 16, RST 32.
    pub completeness: u8,
    /// Zeek's connection state.
    pub conn_state: ConnState,
    /// Zeek's history.
    pub history: Letters,
    /// From the SYN to the ACK that ends the handshake (Wireshark's `tcp.analysis.initial_rtt`).
    pub initial_rtt: Option<Span>,
    /// The client's state as of the last segment.
    pub client_state: Option<State>,
    /// The server's state, likewise.
    pub server_state: Option<State>,
    /// What the client's state rests on; `None` where the state is not known.
    pub client_state_basis: Option<Basis>,
    /// What the server's state rests on.
    pub server_state_basis: Option<Basis>,
    /// What says which end is the client.
    pub roles_basis: RolesBasis,
    /// Who ended it.
    pub closed_by: Option<Closer>,
    /// How it ended.
    pub ending: Ending,
    /// How it ended, with what that rests on.
    pub verdict: Verdict,
    /// What hurt it most; `None` where nothing stands out.
    pub problem: Option<Box<Problem>>,
    /// The ICMP errors that quote its segments; `None` where there is none.
    pub icmp: Option<Icmp>,
    /// What the client sent.
    pub client_to_server: SideSummary,
    /// What the server sent.
    pub server_to_client: SideSummary,
    /// Remarkable segments; the first ones when there are very many (`findings_omitted` counts the rest).
    pub findings: Vec<FindingAt>,
    /// How many findings were counted but not kept.
    pub findings_omitted: u64,
    /// Where its time went; `None` where nobody asked for it, and where its times are not known.
    pub breakdown: Option<Box<Breakdown>>,
    /// How often each finding was made, in the order of [`Finding::ALL`], those that were not kept included; `None` where none was.
    pub finding_counts: Option<Box<FindingCounts>>,
}

/// A number for each of [`Finding::ALL`].
pub type FindingCounts = [u32; Finding::ALL.len()];

impl Connection {
    /// From its first segment to its last, where both have times; never negative, though the frames' clock may have stepped back in between.
    pub fn duration(&self) -> Option<Span> {
        self.first.zip(self.last).map(|(first, last)| last.since(first).max(Span(0)))
    }
}

/// ICMP errors that quote a connection's segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Icmp {
    /// The last of them.
    pub last: IcmpError,
    /// How many there were.
    pub errors: u32,
}

/// What one end sent, and what was measured on it.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
pub struct SideSummary {
    /// Segments.
    pub segments: u64,
    /// Sum of payload lengths, in octets.
    pub octets: u64,
    /// Octets with each stream position counted once.
    pub unique_octets: u64,
    /// Segments with SYN (a SYN-ACK counts).
    pub syn: u64,
    /// Segments with FIN.
    pub fin: u64,
    /// Segments with RST.
    pub rst: u64,
    /// The first initial sequence number it sent.
    pub isn: Option<u32>,
    /// The maximum segment size it announced.
    pub mss: Option<u16>,
    /// The window scale it announced.
    pub window_scale: Option<u8>,
    /// Whether it permitted SACK.
    pub sack_permitted: bool,
    /// Whether it offered timestamps.
    pub timestamps: bool,
    /// Segments flagged retransmission, fast or spurious.
    pub retransmissions: u64,
    /// Of these, the fast ones.
    pub fast_retransmissions: u64,
    /// Of these, the spurious ones.
    pub spurious_retransmissions: u64,
    /// Segments out of order.
    pub out_of_order: u64,
    /// Duplicate acknowledgements.
    pub duplicate_acks: u64,
    /// Segments before which one was not captured.
    pub lost_segments: u64,
    /// Acknowledgements of segments that were not captured.
    pub acked_unseen: u64,
    /// Zero windows announced.
    pub zero_windows: u64,
    /// Segments that filled the peer's window.
    pub window_fulls: u64,
    /// Window updates.
    pub window_updates: u64,
    /// Keep-alives.
    pub keep_alives: u64,
    /// Zero-window probes.
    pub zero_window_probes: u64,
    /// The shortest time from a segment of this end to its acknowledgement (Karn's rule), in nanoseconds.
    pub rtt_min_ns: Option<i64>,
    /// The mean of those times.
    pub rtt_avg_ns: Option<i64>,
    /// The longest.
    pub rtt_max_ns: Option<i64>,
}

/// What says which end of a connection is the client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RolesBasis {
    /// It sent the first SYN without ACK.
    Syn,
    /// It received the first SYN-ACK.
    SynAck,
    /// No SYN was captured: the other end has a well-known port, or else the lower one.
    Port,
    /// It sent the first segment; no SYN was captured, and the ports are the same.
    FirstSegment,
}

impl RolesBasis {
    /// Each of them.
    pub const ALL: &'static [Self] = &[Self::Syn, Self::SynAck, Self::Port, Self::FirstSegment];

    /// Its name in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::SynAck => "syn_ack",
            Self::Port => "port",
            Self::FirstSegment => "first_segment",
        }
    }
}

/// One finding, with the frame it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FindingAt {
    /// What.
    pub finding: Finding,
    /// In which frame; `None` for a finding about a call or a kernel's word.
    pub frame: Option<u64>,
    /// The end that sent the frame, or that it is about.
    pub side: Side,
    /// What else is known of it.
    pub detail: Detail,
}

/// The facts of one finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Its name says all.
    None,
    /// How long before it the stream had advanced last; `None` where the capture does not say.
    Since(Option<Span>),
    /// Which one it is of those that are alike: of the duplicate acknowledgements.
    Number(u32),
    /// The tunnels that a segment came in, and those of the first segment of its end; outermost first.
    Tunnels(Box<[Box<[Tunnel]>; 2]>),
    /// What it acknowledges was captured, in a repetition that reached further than the segment before.
    Captured,
    /// Of a keep-alive: the peer's window is zero, so that it probes that.
    NoRoom,
    /// Of a SYN: it begins anew, at another number than the one before, so that nothing is missing.
    OtherNumber,
    /// Of a retransmission, or of what is out of order, by the rule: its octets are new, and only the number of a RST before it was higher.
    BelowReset,
    /// Of a SYN-ACK that is a retransmission, or out of order, by the rule: its sender's SYN crossed the peer's, which it acknowledges.
    SynsCrossed,
    /// What it was compared with.
    Conflict(Box<Conflict>),
    /// What a witness said, and what the segments say.
    Disagreement(Box<Disagreement>),
}

/// What a segment was compared with that carries other octets at the same positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The frame of the segment that came before.
    pub frame: u64,
    /// The time to live of that one, and of this one.
    pub ttls: [u8; 2],
}

/// A witness's word for the state of an end, which no state fits that the segments show at that time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disagreement {
    /// Who said it.
    pub witness: Witness,
    /// The state it said; `None`: that there is no socket.
    pub said: Option<State>,
    /// The state by the segments; `None` where it is not known.
    pub segments: Option<State>,
    /// The call after which it was asked.
    pub after: Option<Cow<'static, str>>,
}

/// Counts over a whole capture.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Frames read.
    pub frames: u64,
    /// TCP segments among them.
    pub segments: u64,
    /// Connections.
    pub connections: u64,
    /// Numbers given: those of the connections, and of those that nothing but ICMP errors quoted.
    pub numbers: u64,
    /// Frames that held no segment, by reason (see [`crate::wire::Skip`]).
    pub skipped: crate::wire::Skipped,
    /// Segments that came after their connection had been told and forgotten.
    pub late_segments: u64,
    /// Connections that were told before they were over, because there were too many (see [`super::Limits`]).
    pub let_go: u64,
    /// What was not kept for want of memory, or beyond what is ever kept.
    pub evicted: Evicted,
    /// Frames whose time is before that of the frame before them: the capture is not in order of time.
    pub steps_back: u64,
    /// Frames the kernel's capture buffer dropped, of a live capture.
    pub dropped: Option<u64>,
}

/// What was seen and counted, but not kept until it would have been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Evicted {
    /// Connections that were told before they were over: as many as were let go.
    pub connections: u64,
    /// Segments that a timeline leaves out.
    pub segments: u64,
    /// Findings that no connection lists.
    pub findings: u64,
}
