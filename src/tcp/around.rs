//! What an endpoint's machine is told of a segment beside the segment itself.

use crate::wire::Seq;

/// What is known of both streams when a segment passes, beside the segment itself.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// Whether the segment is new, or known from its end before.
    pub novelty: Novelty,
    /// The highest sequence number, plus length, seen from its sender, the segment included; `None` while none is known. No RST counts by its number.
    pub next: Option<Seq>,
    /// The sequence number up to which its sender's octets and FIN have been seen without a gap, the segment included.
    pub in_order: Seq,
    /// The highest sequence number, plus length, seen from its receiver; `None` while none is known.
    pub peer_next: Option<Seq>,
    /// The initial sequence number that the sender sent last, before this segment.
    pub isn: Option<Seq>,
    /// The initial sequence number that the receiver sent last.
    pub peer_isn: Option<Seq>,
    /// The number in the last acknowledgement of the receiver.
    pub peer_ack: Option<Seq>,
    /// The highest number that the receiver has acknowledged.
    pub peer_acked: Option<Seq>,
    /// The sequence number after the FIN that the receiver has sent.
    pub peer_fin: Option<Seq>,
    /// The room that the receiver announced last, in octets.
    pub room: u32,
    /// Whether the segment tells by SACK of octets that arrived twice (RFC 2883).
    pub tells_duplicate: bool,
    /// The sequence number of the last RST of the connection, before this segment.
    pub last_reset: Option<Seq>,
    /// The timestamp of the receiver's FIN as it was last repeated.
    pub peer_fin_again: Option<u32>,
    /// The timestamp of the receiver's SYN where that carried octets, and what the receiver sent after it has a newer one.
    pub peer_syn_stamp: Option<u32>,
}

impl Around {
    /// What is known of a segment that comes in order and is new, all before it having been seen up to `in_order`.
    pub const fn in_order(in_order: Seq) -> Self {
        Self {
            novelty: Novelty::New,
            next: None,
            in_order,
            peer_next: None,
            isn: None,
            peer_isn: None,
            peer_ack: None,
            peer_acked: None,
            peer_fin: None,
            room: u32::MAX,
            tells_duplicate: false,
            last_reset: None,
            peer_fin_again: None,
            peer_syn_stamp: None,
        }
    }
}

/// How new a segment is to the observer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Novelty {
    /// It shows what its sender did last.
    New,
    /// Segments that its sender sent later were captured before it: it proves nothing of the sender's state now.
    Overtaken,
    /// The same frame was captured before: it is no event at all.
    Copy,
}

/// What a RST does to its receiver (RFC 9293 section 3.10.7, RFC 5961 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetEffect {
    /// Its number is the next that is expected, as far as the observer can tell; in SYN-SENT, it acknowledges the SYN.
    Ends,
    /// It lies in the window, but is not the next: the receiver answers with a challenge ACK and goes on.
    Challenged,
    /// It lies outside the window, or does not acknowledge the SYN.
    Ignored,
}
