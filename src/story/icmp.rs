//! ICMP errors that quote a connection's segments: each joined to the segment that it quotes, and to the connect that it ends.

use super::connection::PerConnection;
use super::events::{Events, Order};
use super::ground::{Heard, Place};
use super::timeline::Timeline;
use super::{EventId, EventKind, IcmpEvent, Quotation};
use crate::calls::{Call, Effect, Errno};
use crate::flow::Side;
use crate::tcp::State;
use crate::time::{Span, Timestamp};
use crate::wire::{IcmpError, IcmpKind, Segment};

impl Timeline {
    /// Takes in that an ICMP error quotes a segment of a connection.
    ///
    /// It comes to the end that sent the segment. Of a connection that is not known, or not any more, nothing is told.
    pub(super) fn quoted(&mut self, quotation: Quotation) {
        let Quotation { connection: id, error, quote } = quotation;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let side = if quote.from() == connection.client { Side::Client } else { Side::Server };
        let segment = connection.quoted_by(side, &quote).map(|place| connection.seen[place].event);
        let latest = connection.seen.last().and_then(|seen| seen.latest).max(quote.at);
        let kind = EventKind::Icmp(Box::new(IcmpEvent { side, error, segment, quote }));
        let event = self.events.push(Order::of_frame(latest, quote.frame), quote.at, Some(id), kind);
        connection.events.push(event);
        let before = connection.seen.len();
        let heard = Heard { event, error, frame: quote.frame, at: quote.at, before };
        connection.ends[side as usize].heard = Some(heard);
        self.stale.insert(id);
    }
}

impl PerConnection {
    /// The newest segment of an end that is the one quoted, as far as the quotation goes.
    fn quoted_by(&self, side: Side, quote: &Segment) -> Option<Place> {
        let newest = self.seen.iter().enumerate().rev().take(LAST_ONES);
        let mut own = newest.filter(|(_, seen)| seen.from == side && seen.header.has_number_of_segment(quote));
        let last = own.next()?;
        // Segments with one number are told apart by their datagrams.
        let is_it = |(_, seen): &(Place, &super::connection::Seen)| seen.header.has_identification_of(quote);
        let found = if is_it(&last) { Some(last) } else { own.find(is_it) };
        Some(found.unwrap_or(last).0)
    }

    /// Names the ICMP error that made an end give up its SYN, where a witness alone says that it did.
    pub(super) fn give_up_by_icmp(&self, events: &mut Events, side: Side, event: EventId) {
        let Some(heard) = self.ends[side as usize].heard.filter(|heard| is_fatal(heard.error.kind)) else { return };
        let moved = events.transition(event);
        let gives_up = moved.from == Some(State::SynSent) && moved.to == State::Closed && moved.cause.is_none();
        let near = |(moved, heard): (Timestamp, Timestamp)| (Span(-LAG.0)..=LAG).contains(&moved.since(heard));
        let is_near = events.event(event).at.zip(heard.at).is_none_or(near);
        if gives_up && is_near {
            events.transition_mut(event).cause = Some(heard.event);
        }
    }
}

/// Whether Linux gives up a SYN because of such an error (tcp_v4_err in net/ipv4/tcp_ipv4.c).
fn is_fatal(kind: IcmpKind) -> bool {
    !matches!(kind, IcmpKind::FragmentationNeeded | IcmpKind::SourceQuench | IcmpKind::Other)
}

/// Whether a connect that failed with `errno` says what `error` says, as Linux has it (icmp_err_convert in net/ipv4/icmp.c,
/// icmpv6_err_convert in net/ipv6/icmp.c).
fn made_fail(error: &IcmpError, call: &Call) -> bool {
    use IcmpKind::*;
    let Some(errno) = call.errno().filter(|_| call.effect() == Effect::Connect) else { return false };
    match error.kind {
        NetworkUnreachable | NetworkProhibited => errno == Errno::ENETUNREACH,
        HostUnreachable | HostProhibited => errno == Errno::EHOSTUNREACH,
        TimeExceeded => errno == Errno::EHOSTUNREACH,
        Prohibited => errno == if error.from.is_ipv4() { Errno::EHOSTUNREACH } else { Errno::EACCES },
        PortUnreachable => errno == Errno::ECONNREFUSED,
        ProtocolUnreachable => errno == Errno::ENOPROTOOPT,
        FragmentationNeeded | SourceQuench | Other => false,
    }
}

/// The ICMP error that made a connect fail: it came while the call lasted, and says what the call's error says.
pub(super) fn ended_by(heard: Option<Heard>, call: &Call) -> Option<Heard> {
    let in_time = |heard: &Heard| {
        heard.at.is_none_or(|at| at >= call.entered && call.returned_at().is_none_or(|returned| at <= returned))
    };
    heard.filter(|heard| made_fail(&heard.error, call)).filter(in_time)
}

/// Among how many of a connection's last segments the one that is quoted is looked for.
const LAST_ONES: usize = 256;
/// How far apart the capture and the kernel may say that an ICMP error came and that it ended a connection.
const LAG: Span = Span::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::script::{Recording, lines, recording};
    use crate::story::{Evidence, Join, Lookup, Mechanism, Remark, SegmentEvent, Story, Why};

    /// The story of a script in which an error quotes its segment in frame `of`, so long after that one.
    fn told(script: &str, of: usize, later: Span, kind: IcmpKind, mtu: Option<u32>) -> Story {
        let Recording { mut traces, .. } = recording(script);
        let quoted = traces[0].segments[of - 1].observed.segment;
        let quote = Segment { frame: 99, at: quoted.at.map(|at| at.after(later)), ..quoted };
        let error = IcmpError { from: [10, 9, 9, 9].into(), kind, mtu };
        let connection = traces[0].id;
        traces[0].errors.push(Quotation { connection, error, quote });
        Recording { traces, ..recording(script) }.told()
    }

    fn segment(story: &Story, frame: u64) -> &SegmentEvent {
        let found = story.events.iter().find_map(|event| match &event.kind {
            EventKind::Segment(segment) if segment.segment.frame == frame => Some(segment),
            _ => None,
        });
        found.expect("a segment")
    }

    const LONG: &str = "
        7us C > S: S 0(0) mss 1460 sackok
        8us S > C: S. 0(0) ack 1 mss 1460 sackok
        9us C > S: . 1(0) ack 1
        40us C > S: . 1(1460) ack 1
        41us C > S: P. 1461(100) ack 1
        400us C > S: . 1(1360) ack 1
        401us C > S: . 1361(100) ack 1
        900us C > S: P. 1461(100) ack 1
    ";

    #[test]
    fn an_icmp_error_is_an_event_and_lets_go_again_in_shorter_segments_what_was_too_long() {
        let told = told(LONG, 4, Span::from_micros(300), IcmpKind::FragmentationNeeded, Some(1400));
        let rows = lines(&told);
        let place = |what: &str| rows.iter().position(|row| row.contains(what)).expect(what);
        assert!(rows[place(" icmp ")].ends_with(&format!("client icmp fragmentation_needed of {}", place("#4 ACK"))));
        assert_eq!(place(" icmp ") + 1, place("#6 ACK"), "{rows:#?}");
        for frame in [6, 7] {
            let cause = &segment(&told, frame).cause;
            assert_eq!(cause.why, Some(Why::PathMtu { frame: 99, mtu: 1400 }), "#{frame}");
            assert_eq!(cause.kernel, Some(Mechanism::Recovery));
            assert_eq!(cause.evidence, Evidence::Inferred(Join::Kernel(Mechanism::Recovery)));
            assert_eq!(cause.of.and_then(|of| told.frame_of(of)), Some(4));
        }
        assert_ne!(segment(&told, 8).cause.why, Some(Why::PathMtu { frame: 99, mtu: 1400 }), "it was never too long");
    }

    #[test]
    fn what_goes_again_for_another_reason_or_too_late_is_not_for_the_icmp_error() {
        let whys = |later, kind, mtu| segment(&told(LONG, 4, later, kind, mtu), 6).cause.why;
        let soon = Span::from_micros(300);
        for (later, kind, mtu) in [
            (soon, IcmpKind::FragmentationNeeded, Some(1300)),
            (soon, IcmpKind::FragmentationNeeded, Some(1500)),
            (soon, IcmpKind::FragmentationNeeded, None),
            (soon, IcmpKind::HostUnreachable, None),
            (Span::from_micros(370), IcmpKind::FragmentationNeeded, Some(1400)),
        ] {
            let why = whys(later, kind, mtu);
            assert!(why.is_some_and(|why| !matches!(why, Why::PathMtu { .. })), "{later:?} {kind:?} {mtu:?}: {why:?}");
        }
        let late = LONG.replace("400us", "40000us").replace("401us", "40001us").replace("900us", "40900us");
        let why = segment(&told(&late, 4, soon, IcmpKind::FragmentationNeeded, Some(1400)), 6).cause.why;
        assert!(!matches!(why, Some(Why::PathMtu { .. })), "{why:?}");
    }

    #[test]
    fn an_icmp_error_ends_the_connect_that_fails_by_what_it_says() {
        let script = |errno| {
            format!("1us..2us C: socket() = 3\n 5us..5000us C: connect(to S) = -{errno} in CLOSED\n 10us C > S: S 0(0)")
        };
        let ended = |errno, kind, later| {
            let told = told(&script(errno), 1, later, kind, None);
            let mut calls = told.events.iter().filter_map(|event| match &event.kind {
                EventKind::Call(call) if call.call.name() == "connect" => Some(call),
                _ => None,
            });
            let connect = calls.next().expect("a connect");
            (connect.completed_by.and_then(|by| told.frame_of(by)), connect.remark)
        };
        let soon = Span::from_micros(100);
        for (errno, kind) in [
            ("ECONNREFUSED", IcmpKind::PortUnreachable),
            ("EHOSTUNREACH", IcmpKind::HostUnreachable),
            ("EHOSTUNREACH", IcmpKind::HostProhibited),
            ("EHOSTUNREACH", IcmpKind::Prohibited),
            ("ENETUNREACH", IcmpKind::NetworkUnreachable),
        ] {
            let remark = Remark::AnsweredByIcmp { frame: 99, kind };
            assert_eq!(ended(errno, kind, soon), (Some(99), Some(remark)), "{errno}");
        }
        assert_eq!(ended("ECONNREFUSED", IcmpKind::HostUnreachable, soon), (None, Some(Remark::RefusedUnseen)));
        assert_eq!(ended("ETIMEDOUT", IcmpKind::HostUnreachable, soon).0, None);
        assert_eq!(
            ended("EHOSTUNREACH", IcmpKind::HostUnreachable, Span::from_millis(9)),
            (None, None),
            "after its return"
        );
    }

    #[test]
    fn an_icmp_error_names_one_of_the_last_segments_or_none() {
        let named = |later: usize| {
            let others: String = (0..later).map(|n| format!("{}us S > C: . 1(0) ack 1\n", 50 + n)).collect();
            let script = format!(
                "7us C > S: S 0(0)\n 8us S > C: S. 0(0) ack 1\n 9us C > S: . 1(0) ack 1\n 40us C > S: P. 1(10) ack 1\n{others}"
            );
            let told = told(&script, 4, Span::from_millis(1), IcmpKind::HostUnreachable, None);
            let icmp = told.events.iter().find_map(|event| match &event.kind {
                EventKind::Icmp(icmp) => Some(icmp.segment.and_then(|segment| told.frame_of(segment))),
                _ => None,
            });
            icmp.expect("it is told in any case")
        };
        assert_eq!(named(LAST_ONES - 1), Some(4));
        assert_eq!(named(LAST_ONES), None);
    }
}
