//! What became of segments between two capture points, in English.

use crate::flow::Side;
use crate::passage::{Change, Fate, Pair};
use crate::report::clock;
use crate::time::Span;
use crate::wire::Flags;

/// On which side of the middle it was lost, held up or reset: one sentence for each thing that there is to say.
pub(crate) fn verdict(pair: &Pair) -> Vec<String> {
    let mut sentences = Vec::new();
    for side in [Side::Client, Side::Server] {
        let (lost, sent) = (pair.count(side, Fate::Lost), pair.sent_by(side).count());
        if lost > 0 {
            let of = if lost == 1 { "1 segment".to_owned() } else { format!("{lost} segments") };
            sentences.push(format!(
                "{of} of the {}'s {sent} left its host and did not reach the {}'s: lost between the two points.",
                side.name(),
                side.peer().name()
            ));
        }
        let damaged = pair.count(side, Fate::Damaged);
        if damaged > 0 {
            let of = if damaged == 1 { "1 segment".to_owned() } else { format!("{damaged} segments") };
            sentences.push(format!("Octets of {of} of the {} were changed between the two points.", side.name()));
        }
        let doubled = pair.count(side, Fate::Duplicated);
        if doubled > 0 {
            let of = if doubled == 1 { "1 segment".to_owned() } else { format!("{doubled} segments") };
            sentences
                .push(format!("{of} of the {} arrived more than once: copied between the two points.", side.name()));
        }
        for forged in pair.sent_by(side).filter(|passage| passage.fate == Fate::Injected) {
            let is_reset = forged.arrived.iter().any(|segment| segment.flags.contains(Flags::RST));
            let what = if is_reset { "A RST" } else { "A segment" };
            sentences.push(format!(
                "{what} came to the {} in the {}'s name, whose host did not send it: it comes from between.",
                side.peer().name(),
                side.name()
            ));
        }
        let resets = pair
            .sent_by(side)
            .filter(|passage| passage.sent.as_ref().is_some_and(|segment| segment.flags.contains(Flags::RST)));
        if resets.count() > 0 {
            sentences.push(format!("The {} itself sent a RST.", side.name()));
        }
    }
    if sentences.is_empty() {
        sentences.push("Between the two points nothing was lost, copied or made up.".to_owned());
    }
    if let (Some([least, _, most]), Some([least_back, _, most_back])) =
        (pair.delays(Side::Client), pair.delays(Side::Server))
    {
        for (side, least, most) in [(Side::Client, least, most), (Side::Server, least_back, most_back)] {
            // What the clocks' error could hide is no delay.
            let error = pair.clocks.map_or(0, |clocks| clocks.error.as_nanos());
            if most.as_nanos() > 3 * least.as_nanos().max(1)
                && most.as_nanos() - least.as_nanos() > 2 * error.min(least.as_nanos().max(0))
            {
                sentences.push(format!(
                    "Segments of the {} were held up between the two points: the slowest took {} longer than the fastest.",
                    side.name(),
                    clock::duration(Span(most.as_nanos() - least.as_nanos()), "µ")
                ));
            }
        }
    }
    sentences
}

/// What was changed on the way.
pub(crate) fn change(change: Change) -> String {
    let number = |value: Option<u16>| value.map_or("none".to_owned(), |value| value.to_string());
    match change {
        Change::Mss(sent, arrived) => format!("MSS {} → {}", number(sent), number(arrived)),
        Change::WindowScale(sent, arrived) => {
            format!("window scale {} → {}", number(sent.map(u16::from)), number(arrived.map(u16::from)))
        }
        Change::Addresses => "addresses".to_owned(),
        Change::Numbers => "acknowledgement number".to_owned(),
        Change::SackPermitted => "SACK permitted".to_owned(),
        Change::Timestamps => "timestamps".to_owned(),
        Change::Window => "window".to_owned(),
        Change::Flags => "flags".to_owned(),
        Change::Octets => "octets".to_owned(),
        Change::Congestion => "marked: congestion experienced".to_owned(),
    }
}
