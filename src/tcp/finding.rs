//! What is remarkable about a segment, under the field's own names.

use std::fmt;

macro_rules! findings {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One remarkable thing about one segment; the names are Wireshark's where it has one.
        ///
        /// `fwd` is the side that sent the segment, `rev` its peer; `nextseq` is the highest seq+len seen from fwd (a SYN or FIN counts one).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Finding { $($(#[$doc])* $variant,)* }

        impl Finding {
            /// Every finding, in the order in which they are listed for one segment.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in machine-readable output.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

findings! {
    /// One octet at nextseq while rev's window is zero.
    ZeroWindowProbe = "zero_window_probe",
    /// A window of zero without SYN, FIN or RST.
    ZeroWindow = "zero_window",
    /// Starts past nextseq and is no RST: a segment before it was not captured.
    LostSegment = "lost_segment",
    /// No or one octet at nextseq − 1 without SYN, FIN or RST.
    KeepAlive = "keep_alive",
    /// No octets, a nonzero window other than the last, seq at nextseq, the last ack again, no SYN, FIN or RST.
    WindowUpdate = "window_update",
    /// Octets that end exactly where rev's window ends, its scale being known; no SYN, FIN or RST.
    WindowFull = "window_full",
    /// Repeats the last ACK with a nonzero window when rev's last segment was a keep-alive.
    KeepAliveAck = "keep_alive_ack",
    /// Repeats the last ACK with a zero window when rev's last segment was a zero-window probe.
    ZeroWindowProbeAck = "zero_window_probe_ack",
    /// No octets, the same nonzero window, seq at nextseq, the last ack again, no SYN, FIN or RST.
    DuplicateAck = "duplicate_ack",
    /// Acknowledges past the highest sequence number seen from rev.
    AckedUnseen = "acked_unseen",
    /// Octets that rev had already acknowledged in full.
    SpuriousRetransmission = "spurious_retransmission",
    /// Starts before nextseq, at the ack that rev repeated at least twice, within 20 ms of it.
    FastRetransmission = "fast_retransmission",
    /// Starts before nextseq, sooner after nextseq advanced than the initial RTT (3 ms if unknown), and does not end at nextseq.
    OutOfOrder = "out_of_order",
    /// Starts before nextseq, and none of the three above.
    Retransmission = "retransmission",
    /// A SYN with a new initial sequence number on a 4-tuple that was used before.
    PortReuse = "port_reuse",
    /// The same frame captured a second time: not a segment sent twice.
    ///
    /// It has the same TCP header and IP identification as one of the two segments before it in its direction, or, once
    /// a copy was seen or octets came again in an old datagram, of the 16 before it, at most a second ago; without an identification, it takes
    /// sequence space and came at most a millisecond after. Its time to live may be another.
    /// So is each segment of a capture that begins again from the connection's first segment, with the same times. Ours, beside the rule's verdict.
    CapturedTwice = "captured_twice",
    /// Flagged as a retransmission, but it brings octets that were not seen before, and its IP identification is just below that of the segment that advanced the stream last
    /// (where either has none, or 0: its timestamp is older): it was sent before that one, and overtaken. Ours, beside the rule's verdict.
    Reordered = "reordered",
    /// Flagged as out of order, but its IP identification is just above that of the segment that advanced the stream last
    /// (where either has none, or 0: its timestamp is newer): it was sent after that one, so again. Ours, beside the rule's verdict.
    SentAgain = "sent_again",
    /// Its first SACK block tells of octets that arrived twice (RFC 2883): what was sent again had not been lost.
    DuplicateSack = "duplicate_sack",
    /// A reset that its receiver ignores: its sequence number lies outside the window, or it does not acknowledge the SYN (RFC 9293 section 3.10.7, RFC 5961).
    ResetOutOfWindow = "reset_out_of_window",
    /// A reset inside the receiver's window whose sequence number is not the next: the receiver answers with a challenge ACK and goes on (RFC 5961 section 3.2).
    ResetChallenged = "reset_challenged",
    /// Flags that do not go together: SYN with FIN or RST, or FIN with RST.
    InconsistentFlags = "inconsistent_flags",
    /// A verifiable checksum that is wrong: the receiver dropped it.
    BadChecksum = "bad_checksum",
    /// Octets that differ in content from those sent before at the same stream positions, of which the last 256 KiB of a direction are kept: no retransmission. Found in timelines, and where findings are asked for.
    ConflictingOctets = "conflicting_octets",
    /// Octets from an end whose receiver had already closed: they are lost, and a reset follows.
    DataAfterClose = "data_after_close",
    /// The kernel's word for an end's state differs from what the segments say.
    StateDisagreement = "state_disagreement",
    /// It came in another tunnel than the segments of its end before: connections of two networks with the same addresses and ports may be one here.
    OtherTunnel = "other_tunnel",
    /// ECE without SYN: its sender received a segment that a router had marked for congestion, and says so until the peer answers with CWR (RFC 3168).
    ///
    /// Not where the SYN offered accurate ECN (AE), which counts with these flags.
    EcnEcho = "ecn_echo",
    /// CWR without SYN: its sender has reduced its congestion window, as ECE asked for, or after a loss (RFC 3168). Not where the SYN offered accurate ECN.
    WindowReduced = "window_reduced",
}

impl Finding {
    /// Whether it takes the segment for one that was sent before.
    pub const fn is_retransmission(self) -> bool {
        FindingSet::RETRANSMISSIONS.contains(self)
    }
}

/// A set of findings about one segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FindingSet(u32);

impl FindingSet {
    const RETRANSMISSIONS: Self =
        Self::of(&[Finding::Retransmission, Finding::FastRetransmission, Finding::SpuriousRetransmission]);
    const REPEATS: Self = Self(Self::RETRANSMISSIONS.0 | Self::of(&[Finding::OutOfOrder, Finding::KeepAlive]).0);

    const fn of(findings: &[Finding]) -> Self {
        let (mut set, mut at) = (Self(0), 0);
        while at < findings.len() {
            set.insert(findings[at]);
            at += 1;
        }
        set
    }

    /// Whether one of them takes the segment for one that was sent before.
    pub const fn has_retransmission(self) -> bool {
        self.0 & Self::RETRANSMISSIONS.0 != 0
    }

    /// Whether by one of them the segment repeats sequence space, so that a time measured on it would be ambiguous:
    /// it was sent before, comes out of order, or is a keep-alive.
    pub const fn repeats(self) -> bool {
        self.0 & Self::REPEATS.0 != 0
    }

    /// Adds a finding.
    pub const fn insert(&mut self, finding: Finding) {
        self.0 |= 1 << finding as u8;
    }

    /// Takes a finding out.
    pub const fn remove(&mut self, finding: Finding) {
        self.0 &= !(1 << finding as u8);
    }

    /// Whether it holds the finding.
    pub const fn contains(self, finding: Finding) -> bool {
        self.0 & (1 << finding as u8) != 0
    }

    /// Whether nothing is remarkable.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The findings it holds, in the order of [`Finding::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Finding> {
        Finding::ALL.iter().copied().filter(move |finding| self.contains(*finding))
    }
}

impl fmt::Debug for FindingSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<Finding> for FindingSet {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        let mut set = Self::default();
        for finding in findings {
            set.insert(finding);
        }
        set
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_each_finding_once() {
        let set: FindingSet = Finding::ALL.iter().copied().collect();
        assert!(Finding::ALL.len() <= 32);
        assert_eq!(set.iter().collect::<Vec<_>>(), Finding::ALL);
    }
}
