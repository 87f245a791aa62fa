//! Why each segment was sent: first what the segments before it say, then the calls whose octets it carries or that asked for it.

use super::connection::{Expected, PerConnection, Place};
use super::end_calls::EndCalls;
use super::ground::{Again, Ground, Reset};

use super::{EventId, Evidence, Join, Mechanism, Unwatched, Why};
use crate::kernel::{Congestion, Witness};
use crate::script::LinkAct;
use crate::time::Timestamp;
use crate::wire::Flags;

/// The cause of one segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) calls: Vec<EventId>,
    pub(super) kernel: Option<Mechanism>,
    pub(super) of: Option<Place>,
    pub(super) why: Option<Why>,
    pub(super) evidence: Option<Evidence>,
    /// What the link did that made it.
    pub(super) link: Option<EventId>,
    /// Whether no call of the sender was watched.
    pub(super) unwatched: bool,
}

impl PerConnection {
    /// The cause of the segment at `place`, as far as it is known now.
    pub(super) fn explain(&mut self, place: Place) -> Found {
        let seen = &self.seen[place];
        if let Some((event, LinkAct::Injected)) = seen.act {
            let evidence = Some(Evidence::Witnessed(Witness::Link));
            return Found { link: Some(event), evidence, ..Found::default() };
        }
        let (side, ground, at) = (seen.from, seen.ground, seen.at);
        let calls = &self.ends[side as usize].calls;
        let is_watched = calls.is_watched();
        let mut found = match ground {
            Ground::Copy { of } => {
                return Found { of, evidence: Some(Evidence::Joined(Join::SameFrame)), ..Found::default() };
            }
            Ground::Kernel { mechanism, of, why } => Found { kernel: Some(mechanism), of, why, ..Found::default() },
            Ground::Syn => self.opening(place),
            Ground::LateAck { of } => Found { kernel: Some(Mechanism::Ack), of: Some(of), ..Found::default() },
            Ground::SynAgain { mechanism, of, why } => {
                let calls = calls.connect.filter(|_| !seen.flags.contains(Flags::ACK)).into_iter().collect();
                Found { calls, ..by_kernel(mechanism, Some(of), why) }
            }
            Ground::Probe { of } => {
                let calls = self.writers(place);
                Found { calls, ..by_kernel(Mechanism::ZeroWindowProbe, of, Why::NoRoom) }
            }
            Ground::WindowUpdate => {
                let calls = calls.received_by(at).map(|(_, call)| call).into_iter().collect();
                Found { calls, ..by_kernel(Mechanism::WindowUpdate, None, Why::RoomMade) }
            }
            Ground::Octets { again, released } => self.octets(place, again, released),
            Ground::Reset(reset) => by_reset(&reset, at, self.seen[place].flags, calls),
        };
        found.unwatched = found.calls.is_empty() && !is_watched;
        let seen = &self.seen[place];
        found.evidence = Some(match ground {
            // What an acknowledgement says is plain; that it was not held back for a while is concluded.
            Ground::LateAck { .. } => Evidence::Inferred(Join::Kernel(Mechanism::Ack)),
            // Where nothing that was captured calls for it, nothing joins it.
            Ground::Reset(_) if found.kernel == Some(Mechanism::Reset) && found.of.is_none() => {
                Evidence::Inferred(Join::Kernel(Mechanism::Reset))
            }
            _ => evidence(found.kernel, seen.flags, seen.stream.is_some()),
        });
        if let Some(said) = seen.confirmed {
            overrule(&mut found, said);
        }
        found
    }

    /// The cause of a SYN: the call that connected; with Fast Open, the send whose octets it carries.
    fn opening(&mut self, place: Place) -> Found {
        let writers = self.writers(place);
        let calls = &self.ends[self.seen[place].from as usize].calls;
        match (writers.is_empty(), calls.connect) {
            (false, _) => Found { calls: writers, ..Found::default() },
            (true, Some(connect)) => Found { calls: vec![connect], ..Found::default() },
            (true, None) => by_kernel(Mechanism::Unknown, None, Why::Unwatched(Unwatched::Connect)),
        }
    }

    /// The calls that wrote what the segment at `place` carries, as many as may be joined to it.
    fn writers(&mut self, place: Place) -> Vec<EventId> {
        let seen = &self.seen[place];
        let Some(range) = seen.stream else { return Vec::new() };
        let writers = self.ends[seen.from as usize].calls.writers(range);
        let joined = self.joined.take(seen.joins, writers);
        self.seen[place].joins = joined.len();
        joined
    }

    /// The cause of octets for the first time or again, with or without a FIN, or of a FIN alone.
    fn octets(&mut self, place: Place, again: Option<Again>, released: Option<Place>) -> Found {
        let mut calls = self.writers(place);
        let written = calls.len();
        let seen = &self.seen[place];
        let own = &self.ends[seen.from as usize].calls;
        let fin = seen.flags.contains(Flags::FIN);
        if fin {
            calls.extend(own.first_closing(seen.at));
        }
        if let Some(Again { of, mechanism, why }) = again {
            return Found { calls, ..by_kernel(mechanism, of, why) };
        }
        let (kernel, why) = match (calls.is_empty(), fin, own.is_watched()) {
            (false, ..) => (None, self.why_late(place, written, released)),
            (true, true, true) => (Some(Mechanism::Exit), Some(Why::ProcessEnded)),
            (true, true, false) => (Some(Mechanism::Unknown), Some(Why::Unwatched(Unwatched::Close))),
            (true, false, true) if own.is_uncounted => (Some(Mechanism::Unknown), Some(Why::NotCounted)),
            (true, false, true) => (Some(Mechanism::Unknown), Some(Why::NotWritten)),
            (true, false, false) => (Some(Mechanism::Unknown), Some(Why::Unwatched(Unwatched::Send))),
        };
        Found { calls, kernel, why, ..Found::default() }
    }

    /// Why octets left the host only after the calls that wrote them had returned.
    fn why_late(&self, place: Place, writers: usize, released: Option<Place>) -> Option<Why> {
        let seen = &self.seen[place];
        let last = writers.checked_sub(1)?;
        let (entered, returned) = self.ends[seen.from as usize].calls.interval_of_writer(seen.stream?, last)?;
        let released = &self.seen[released?];
        // What came before the octets were written cannot have let them go.
        let waited = seen.at? > returned && released.at? >= entered;
        waited.then_some(Why::Waited { released_by: released.frame })
    }
}

/// The cause of a RST of an end with these calls.
fn by_reset(reset: &Reset, at: Option<Timestamp>, flags: Flags, calls: &EndCalls) -> Found {
    if let Some(syn) = reset.refuses {
        return by_kernel(Mechanism::Reset, Some(syn), Why::PortClosed);
    }
    let gives_up = reset.unanswered.map(|last| by_kernel(Mechanism::KeepAlive, Some(last), Why::KeepAlivesUnanswered));
    if !calls.is_watched() {
        // Linux aborts a socket with RST and ACK; what finds no socket is answered with its own number, and no ACK.
        return gives_up.unwrap_or_else(|| match flags.contains(Flags::ACK) {
            true => by_kernel(Mechanism::Unknown, reset.of, Why::Unwatched(Unwatched::Abort)),
            false => by_kernel(Mechanism::Reset, reset.of, Why::NoSocket),
        });
    }
    let Some((closing, returned)) = calls.closed_by(at) else {
        return gives_up.unwrap_or_else(|| by_kernel(Mechanism::Reset, reset.of, Why::NotAcceptable));
    };
    // An abort acknowledges (tcp_send_active_reset); what has no ACK answers a segment that found no open socket.
    if !flags.contains(Flags::ACK) {
        let why = if reset.after_own_fin { Why::SocketClosed } else { Why::NoSocket };
        return by_kernel(Mechanism::Reset, reset.of, why);
    }
    let during = returned.is_none_or(|returned| at.is_none_or(|at| at <= returned));
    if !during && !reset.after_own_fin && !flags.contains(Flags::ACK) {
        // The call has aborted the connection before: this one answers what found no socket any more.
        return by_kernel(Mechanism::Reset, reset.of, Why::NoSocket);
    }
    if during || !reset.after_own_fin {
        let unread = reset.arrived.saturating_sub(calls.received_by(at).map_or(0, |(read, _)| read.to));
        // The kernel looks for unread octets first (tcp_close).
        let why = match (unread, calls.lingers_zero(at)) {
            // How many were read is not known.
            _ if calls.reads_uncounted => None,
            (1.., _) => Some(Why::Unread(unread)),
            (0, true) => Some(Why::LingerZero),
            // Where no octet came, none was unread.
            (0, false) => (reset.arrived > 0).then_some(Why::UnreadOnTheWay),
        };
        return Found { calls: vec![closing], why, ..Found::default() };
    }
    by_kernel(Mechanism::Reset, reset.of, Why::SocketClosed)
}

/// What the kernel said of a segment goes before what was concluded.
fn overrule(found: &mut Found, said: Expected) {
    let is_said = match said {
        // In which way the kernel was sending then says what it sent again for; that it did says nothing of that.
        Expected::Retransmission(state) => state.is_some_and(|state| repairs(found, state)),
        // Of a RST for no reason that says anything, the cause is what was concluded.
        Expected::Reset(reason) => reason.is_some(),
        Expected::SynAgain => true,
    };
    if is_said {
        found.evidence = Some(Evidence::Witnessed(Witness::Kernel));
    }
    match said {
        // That it was sent again is known, though the first transmission was not captured.
        Expected::Retransmission(_) | Expected::SynAgain
            if found.kernel.is_none_or(|kernel| kernel == Mechanism::Unknown) =>
        {
            (found.kernel, found.why) = (Some(Mechanism::Recovery), None);
            found.evidence = Some(Evidence::Inferred(Join::Kernel(Mechanism::Recovery)));
        }
        Expected::Reset(Some(why)) if !says_more(found.why, why) => {
            found.why = Some(why);
            if found.calls.is_empty() && found.kernel.is_none_or(|kernel| kernel == Mechanism::Unknown) {
                found.kernel = Some(Mechanism::Reset);
            }
        }
        Expected::Retransmission(_) | Expected::SynAgain | Expected::Reset(_) => {}
    }
}

/// Puts the mechanism by which a kernel sends again in that congestion state in the place of what was concluded; whether the state says it.
///
/// `is_first`: nothing was sent again in it before.
fn repairs(found: &mut Found, (state, is_first): (Congestion, bool)) -> bool {
    // By these it is sent again in whatever state (tcp_simple_retransmit, tcp_rcv_fastopen_synack, tcp_ack_update_window).
    if matches!(found.why, Some(Why::PathMtu { .. } | Why::SynOctetsRefused | Why::WindowOpened)) {
        return false;
    }
    let (mechanism, why) = match state {
        // tcp_enter_loss in net/ipv4/tcp_input.c.
        Congestion::Loss if is_first => (Mechanism::RetransmissionTimeout, Why::TimerExpired),
        Congestion::Loss => (Mechanism::RetransmissionTimeout, Why::AfterTimeout),
        // tcp_enter_recovery, in the same file.
        Congestion::Recovery => (Mechanism::FastRetransmit, Why::LossReported),
        // Without a loss that it knows of, only tcp_send_loss_probe in net/ipv4/tcp_output.c sends again.
        Congestion::Open | Congestion::Disorder | Congestion::Cwr => {
            (Mechanism::TailLossProbe, Why::TailUnacknowledged)
        }
    };
    if found.kernel != Some(mechanism) {
        (found.kernel, found.why) = (Some(mechanism), Some(why));
    }
    true
}

/// Whether what was concluded is the kernel's reason, and tells more of it.
fn says_more(concluded: Option<Why>, said: Why) -> bool {
    matches!((concluded, said), (Some(Why::Unread(_)), Why::UnreadOnTheWay) | (Some(Why::PortClosed), Why::NoSocket))
}

/// On what a cause rests that no witness spoke of.
fn evidence(kernel: Option<Mechanism>, flags: Flags, has_octets: bool) -> Evidence {
    match kernel {
        Some(mechanism) if mechanism.is_joined() => Evidence::Joined(Join::Kernel(mechanism)),
        Some(mechanism) => Evidence::Inferred(Join::Kernel(mechanism)),
        None if flags.contains(Flags::RST) => Evidence::Joined(Join::Abort),
        None if flags.contains(Flags::SYN) && !has_octets => Evidence::Joined(Join::Connect),
        None => Evidence::Joined(if has_octets { Join::Octets } else { Join::Close }),
    }
}

fn by_kernel(mechanism: Mechanism, of: Option<Place>, why: Why) -> Found {
    Found { kernel: Some(mechanism), of, why: Some(why), ..Found::default() }
}
