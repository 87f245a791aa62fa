//! What a segment is by the segments before it, and what is kept of those an end has sent.

use std::collections::{BTreeMap, VecDeque};

use super::{EventId, Mechanism, Why};
use crate::flow::Range;
use crate::hash::HashMap;
use crate::time::{Span, Timestamp};
use crate::wire::IcmpError;

/// A segment's place among those of its connection, from 0 in the order of capture.
pub(super) type Place = usize;

/// What a segment is by the segments before it; what calls have to do with it comes later, and may come again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ground {
    /// The same frame as an earlier one.
    Copy { of: Option<Place> },
    /// What the kernel did, whatever was called.
    Kernel { mechanism: Mechanism, of: Option<Place>, why: Option<Why> },
    /// An acknowledgement that may have been held back for a while, though too shortly to be told from the path's own time.
    LateAck { of: Place },
    /// A SYN that opens the connection.
    Syn,
    /// A SYN, or a SYN-ACK, that was sent before.
    SynAgain { mechanism: Mechanism, of: Place, why: Why },
    /// An octet that probes a zero window.
    Probe { of: Option<Place> },
    /// Octets, or a FIN, or both.
    Octets { again: Option<Again>, released: Option<Place> },
    /// It announces room.
    WindowUpdate,
    /// A RST.
    Reset(Reset),
}

/// What was sent before is sent again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// Its first transmission, or what called it forth; `None` where the first was not captured.
    pub(super) of: Option<Place>,
    pub(super) mechanism: Mechanism,
    pub(super) why: Why,
}

/// A RST, and what went before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    /// The SYN that it refuses.
    pub(super) refuses: Option<Place>,
    /// The last keep-alive, unanswered.
    pub(super) unanswered: Option<Place>,
    /// The peer's last segment.
    pub(super) of: Option<Place>,
    pub(super) after_own_fin: bool,
    /// How far octets of the peer had come.
    pub(super) arrived: u64,
}

/// What one end has sent so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Its first SYN (or SYN-ACK).
    pub(super) syn: Option<Place>,
    /// Its first SYN-ACK.
    pub(super) syn_ack: Option<Place>,
    /// Its last SYN or SYN-ACK.
    pub(super) last_syn: Option<Place>,
    /// Its first FIN.
    pub(super) fin: Option<Place>,
    /// Its segments that took sequence space by their relative end: the newest of each.
    pub(super) ends: BTreeMap<i64, Place>,
    /// Octets sent for the first time, ascending: (positions, place).
    pub(super) octets: Vec<(Range, Place)>,
    /// By the number at which they begin, the last of the segments that were sent again.
    pub(super) again: HashMap<i64, Place>,
    /// The last segment it sent.
    pub(super) last: Option<Place>,
    /// The last segment it sent that is no RST.
    pub(super) last_word: Option<Place>,
    /// The last segment it sent that has to be answered: it took sequence space, or was a probe.
    pub(super) last_question: Option<Place>,
    /// A RST or SYN that calls for a challenge ACK and was not answered.
    pub(super) challenged: Option<Place>,
    /// Whether it has sent its SYN, and nothing that acknowledges the peer's.
    pub(super) is_opening: bool,
    /// Whether it answered the peer's SYN-ACK.
    pub(super) finished_handshake: bool,
    /// With which segment it did.
    pub(super) finished_at: Option<Place>,
    /// The acknowledgement number it sent last, relative; never an older one.
    pub(super) acked: Option<i64>,
    /// The shortest time that an answer of it took to pass the place of capture: the path there and back, and nothing held back.
    pub(super) quickest: Option<Span>,
    /// The longest one, of answers that are as plain.
    pub(super) slowest: Option<Span>,
    /// Where it reported a loss last: a duplicate acknowledgement, or a SACK block.
    pub(super) reported: Option<Place>,
    /// Where it opened a window of zero last.
    pub(super) opened: Option<Place>,
    /// Its last acknowledgements that were new or reported a loss: what makes the peer send.
    pub(super) prompts: VecDeque<Place>,
    /// Its last segments that are no copies.
    pub(super) recent: VecDeque<Place>,
    /// Where it left off when it last began to repair a loss: a timeout's repair, or a recovery.
    pub(super) repair: Option<(Repair, i64)>,
    /// The last segment that was sent again.
    pub(super) repaired: Option<Place>,
    /// How many segments that recovery sent again, less those that are known to have been needless.
    pub(super) recovered: u32,
    /// Where it left off when it last probed its tail.
    pub(super) probed: Option<i64>,
    /// Until what lies beyond that is acknowledged, the probe is known to have been needless, or a recovery begins, it sends no other one
    /// (tcp_process_tlp_ack in net/ipv4/tcp_input.c).
    pub(super) is_probing: bool,
    /// Since when a segment of it has been missing.
    pub(super) gap: Option<Place>,
    /// Its segment without octets that shows by its number how far it had sent.
    pub(super) furthest: Option<Place>,
    /// Whether the identifications of its datagrams count up: how often one was the next, less how often it was not.
    pub(super) counted_up: i32,
    /// The newest timestamp.
    pub(super) stamp: Option<u32>,
}

/// The last ICMP error that came to an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) event: EventId,
    pub(super) error: IcmpError,
    pub(super) frame: u64,
    pub(super) at: Option<Timestamp>,
    /// How many segments of the connection had been captured before.
    pub(super) before: Place,
}

/// How a loss is being repaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repair {
    Timeout,
    Recovery,
}

impl Sent {
    /// The relative number after the last octet, SYN or FIN that it sent.
    pub(super) fn highest(&self) -> Option<i64> {
        self.ends.last_key_value().map(|(end, _)| *end)
    }
}

pub(super) fn kernel(mechanism: Mechanism, of: Option<Place>, why: Why) -> Ground {
    Ground::Kernel { mechanism, of, why: Some(why) }
}

/// What a path's time may shrink to by chance, in nanoseconds.
pub(super) fn most_of(path: Span) -> i64 {
    // On one host the order of capture says more than so short a time.
    let path = if path <= Span(2 * JITTER.as_nanos()) { Span(0) } else { path };
    (path.as_nanos() / 8 * 7).saturating_sub(JITTER.as_nanos()).max(0)
}

/// Whether a timestamp is older than another, as they count on past 2^32.
pub(super) fn is_older(stamp: u32, other: u32) -> bool {
    stamp.wrapping_sub(other).cast_signed() < 0
}

/// Linux's clock may have ticks of 4 ms.
pub(super) const TICK: Span = Span::from_millis(4);

/// Linux's shortest retransmission timeout is 200 ms (TCP_RTO_MIN, include/net/tcp.h), less a tick.
pub(super) const MINIMUM_RTO: Span = Span::from_millis(196);

/// What happens within this time of a segment that arrived happens because of it.
pub(super) const MOMENT: Span = Span::from_millis(2);

/// How much two answers on the same host differ by chance.
const JITTER: Span = Span::from_micros(50);
