//! Where a connection's time went, in an English sentence that names the largest parts.

use super::amount::Amount;
use crate::flow::{Class, Parts};
use crate::time::Span;

/// The sentence: the largest parts first, until they are most of the time.
pub(super) fn time_spent(total: &Parts) -> String {
    let whole = total.sum();
    let largest = total.largest();
    let Some((first, most)) = largest.first().copied() else {
        return "Took no time: its last segment is not later than its first.".to_owned();
    };
    if share(most, whole) >= NEARLY_ALL {
        let all = if most == whole { "all" } else { "nearly all" };
        return format!("Took {}, {all} of it {}{}.", Amount(whole).rough(), verb(first), rest(first));
    }
    let mut named = Vec::new();
    let (mut covered, mut waited) = (0, false);
    for (class, span) in largest {
        if !named.is_empty()
            && (share(span, whole) < LEAST_NAMED || share(Span(covered), whole) >= MOST || named.len() == 3)
        {
            break;
        }
        covered += span.as_nanos();
        // It is said once that something was waited for.
        let verb = if waited && verb(class) == WAITING { "" } else { verb(class) };
        waited |= verb == WAITING;
        named.push(format!("{} {verb}{}", Amount(span).rough(), rest(class)));
    }
    let last = named.pop().unwrap_or_default();
    let list = if named.is_empty() { last } else { format!("{} and {last}", named.join(", ")) };
    format!("Took {}, of which {list}.", Amount(whole).rough())
}

/// What a class is called in a legend.
pub(super) fn class(class: Class) -> &'static str {
    match class {
        Class::Handshake => "handshake",
        Class::ClientProgram => "client's program",
        Class::ServerProgram => "server's program",
        Class::SenderProgram => "sender's program",
        Class::ReceiverWindow => "receiver's window",
        Class::ZeroWindow => "zero window",
        Class::Network => "network",
        Class::Timeout => "retransmission timeout",
        Class::FastRecovery => "fast recovery",
        Class::DelayedAck => "delayed ACK",
        Class::Closing => "closing",
        Class::Idle => "idle",
        Class::Unknown => "unknown",
    }
}

fn verb(class: Class) -> &'static str {
    match class {
        Class::ClientProgram | Class::ServerProgram | Class::Timeout | Class::DelayedAck => WAITING,
        Class::SenderProgram | Class::ReceiverWindow => "limited by ",
        Class::ZeroWindow => "blocked by ",
        Class::Handshake | Class::FastRecovery => "in ",
        Class::Network => "on ",
        Class::Closing | Class::Idle | Class::Unknown => "",
    }
}

fn rest(class: Class) -> &'static str {
    match class {
        Class::ClientProgram => "for the client's program",
        Class::ServerProgram => "for the server's program",
        Class::Timeout => "for retransmission timeouts",
        Class::DelayedAck => "for delayed ACKs",
        Class::SenderProgram => "the sending program or its send buffer",
        Class::ReceiverWindow => "the receiver's window",
        Class::ZeroWindow => "a zero window",
        Class::Handshake => "the handshake",
        Class::FastRecovery => "fast recovery",
        Class::Network => "the network",
        Class::Closing => "closing",
        Class::Idle => "idle",
        Class::Unknown => "unexplained",
    }
}

/// How much of the whole it is, in percent.
fn share(part: Span, whole: Span) -> i128 {
    i128::from(part.as_nanos()) * 100 / i128::from(whole.as_nanos().max(1))
}

const WAITING: &str = "waiting ";
/// From this share on, in percent, a part is nearly all.
const NEARLY_ALL: i128 = 95;
/// Parts are named until this share is.
const MOST: i128 = 75;
/// No smaller part is named, but the largest.
const LEAST_NAMED: i128 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(parts: &[(Class, i64)]) -> String {
        time_spent(&parts.iter().map(|(class, millis)| (*class, Span::from_millis(*millis))).collect())
    }

    #[test]
    fn the_largest_parts_are_named() {
        assert_eq!(
            said(&[
                (Class::ServerProgram, 21_400),
                (Class::Timeout, 18_000),
                (Class::Network, 7_000),
                (Class::Idle, 900)
            ]),
            "Took 47 s, of which 21 s waiting for the server's program and 18 s for retransmission timeouts."
        );
        assert_eq!(
            said(&[(Class::Network, 96), (Class::Handshake, 4)]),
            "Took 100 ms, nearly all of it on the network."
        );
        assert_eq!(said(&[(Class::ClientProgram, 7_450)]), "Took 7.4 s, all of it waiting for the client's program.");
        assert_eq!(
            said(&[(Class::ReceiverWindow, 400_000), (Class::ZeroWindow, 300_000), (Class::SenderProgram, 290_000)]),
            "Took 16 min 30 s, of which 6 min 40 s limited by the receiver's window, 5 min 0 s blocked by a zero window \
             and 4 min 50 s limited by the sending program or its send buffer."
        );
        assert_eq!(said(&[]), "Took no time: its last segment is not later than its first.");
    }

    #[test]
    fn a_small_part_is_not_named_and_the_largest_always() {
        let of_all: Vec<_> = Class::ALL.iter().map(|class| (*class, 1)).collect();
        assert_eq!(said(&of_all), "Took 13 ms, of which 1.0 ms in the handshake.");
    }
}
