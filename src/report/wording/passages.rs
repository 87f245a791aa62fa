//! What became of segments between two capture points, in English.

use crate::flow::Side;
use crate::passage::{Change, Fate, FoundBy, Pair, Tally};
use crate::report::clock;
use crate::time::Span;
use crate::wire::Flags;

/// On which side of the middle it was lost, held up or reset: one sentence for each thing that there is to say.
pub(crate) fn verdict(pair: &Pair, tallies: &[Tally; 2]) -> Vec<String> {
    let of = |side: Side| &tallies[side as usize];
    let mut sentences = Vec::new();
    if pair.found_by == FoundBy::Nothing {
        let lost = of(Side::Client).count(Fate::Lost);
        let clocks = if pair.clocks.is_none() { ", if its clock is right" } else { "" };
        sentences.push(format!(
            "Nothing of this connection reached the server's capture, which ran at that time{clocks}: {} of the client lost between the two points.",
            segments(lost)
        ));
        return sentences;
    }
    for side in [Side::Client, Side::Server] {
        let (own, peer) = (side.name(), side.peer().name());
        let tally = of(side);
        let (lost, sent) = (tally.count(Fate::Lost), tally.passages);
        if lost > 0 {
            sentences.push(format!(
                "{lost} of the {own}'s {} left its host and did not reach the {peer}'s: lost between the two points.",
                segments(sent)
            ));
        }
        let behind = tally.lost_behind;
        if behind > 0 {
            sentences.push(format!(
                "{} of the {own} passed the {peer}'s capture point, and the {peer} went on asking for the octets: lost behind that point.",
                segments(behind)
            ));
        }
        let damaged = tally.count(Fate::Damaged);
        if damaged > 0 {
            sentences.push(format!(
                "{} of the {own} changed between the two points, without the checksum.",
                segments(damaged)
            ));
        }
        let doubled = tally.count(Fate::Duplicated);
        if doubled > 0 {
            sentences.push(format!(
                "{} of the {own} arrived more than once: copied between the two points.",
                segments(doubled)
            ));
        }
        if let Some(most) = tally.longest_held_up {
            sentences.push(format!(
                "{} of the {own} held up between the two points: up to {} longer on the way than the fastest.",
                segments(tally.held_up),
                clock::duration(most, "µ")
            ));
        }
        // Hardly ever is there one to be looked for.
        let injected = if tally.count(Fate::Injected) > 0 { &pair.passages[..] } else { &[] };
        for forged in injected.iter().filter(|passage| passage.from == side && passage.fate == Fate::Injected) {
            let is_reset = pair.arrived(forged).any(|segment| segment.flags.contains(Flags::RST));
            let what = if is_reset { "A RST" } else { "A segment" };
            sentences.push(match pair.repeats(forged) {
                Some(frame) => format!(
                    "{what} came to the {peer} that the {own} had sent in an earlier connection, where it is #{frame} of the {peer}'s capture: a late copy, from between.",
                ),
                None => format!(
                    "{what} came to the {peer} in the {own}'s name, whose host did not send it: it comes from between.",
                ),
            });
        }
        let uncaptured = tally.count(Fate::Uncaptured);
        if uncaptured > 0 {
            sentences.push(format!(
                "{} of the {own} passed both points, by what followed, but one of the captures lacks {}.",
                segments(uncaptured),
                if uncaptured == 1 { "it" } else { "them" }
            ));
        }
        if tally.resets {
            sentences.push(format!("The {own} itself sent a RST."));
        }
    }
    if sentences.is_empty() {
        let unknown: usize = tallies.iter().map(|tally| tally.count(Fate::Unknown)).sum();
        sentences.push(match unknown {
            0 => "Between the two points nothing was lost, copied, held up or made up.".to_owned(),
            1 => "But for 1 segment that one of the captures alone has, and of which they do not tell, nothing was lost, copied, held up or made up between the two points.".to_owned(),
            _ => format!("But for {unknown} segments that one of the captures alone has, and of which they do not tell, nothing was lost, copied, held up or made up between the two points."),
        });
    }
    let fastest = |side: Side| of(side).fastest.map(Span::as_nanos);
    let round_trip = fastest(Side::Client).zip(fastest(Side::Server)).map(|(there, back)| there + back);
    for side in [Side::Client, Side::Server] {
        let Some((answer, round_trip)) = pair.slowest_answer(side).zip(round_trip) else { continue };
        if answer.as_nanos() > round_trip.max(SLOW) {
            sentences.push(format!(
                "The {}'s host took up to {} from octets that came to its own next ones, and the way both ways {}: that time passed at the {0}.",
                side.name(),
                clock::duration(answer, "µ"),
                clock::duration(Span(round_trip), "µ")
            ));
        }
    }
    sentences
}

fn segments(count: usize) -> String {
    if count == 1 { "1 segment".to_owned() } else { format!("{count} segments") }
}

/// An answer that comes within this, in nanoseconds, is not called slow.
const SLOW: i64 = 10_000_000;

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
