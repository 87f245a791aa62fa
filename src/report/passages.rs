//! Two captures of the same connections, told: for people, as JSON lines, and as CSV.

use std::io::{self, Write};
use std::ops::Range;

use super::clock::push_duration;
use super::csv::write_moment;
use super::jsonl::passage::{clock_line, passage_line};
use super::style::{Charset, Style};
use super::text::{digits, push_end, push_flags, push_signed};
use super::wording::passages::{change, verdict};
use crate::flow::Side;
use crate::passage::{Fate, FoundBy, Pair, Passage, Tally};
use crate::share::Share;
use crate::time::Span;
use crate::wire::Flags;

/// Writes what became of the segments of each connection, for people.
///
/// # Errors
/// Those of the output, here as in the others.
pub fn text(out: &mut dyn Write, pairs: &[Pair], style: &Style, share: &impl Share) -> io::Result<()> {
    in_portions(out, pairs, share, Whole::Pairs, |out, text: &mut String, number, pair, _| {
        text.clear();
        connection(text, number, pair);
        if style.charset == Charset::Ascii {
            *text = text.replace('→', "->").replace('±', "+-").replace('µ', "u");
        }
        out.extend_from_slice(text.as_bytes());
    })
}

/// Writes a `clock` line for each connection, and then a `passage` line for each of its segments.
///
/// # Errors
/// Those of the output.
pub fn json_lines(out: &mut dyn Write, pairs: &[Pair], share: &impl Share) -> io::Result<()> {
    in_portions(out, pairs, share, Whole::Passages, |out, text: &mut String, number, pair, passages| {
        if passages.start == 0 {
            clock_line(out, number, pair);
        }
        pair.passages[passages].iter().for_each(|passage| passage_line(out, text, number, pair, passage));
    })
}

/// Writes a record for each segment.
///
/// # Errors
/// Those of the output.
pub fn csv(out: &mut dyn Write, pairs: &[Pair], share: &impl Share) -> io::Result<()> {
    writeln!(
        out,
        "connection,from,flags,seq,ack,octets,client_frame,client_at,server_frame,server_at,fate,took_ns,held_up_ns,overtaken,lost_behind,repeats,changed"
    )?;
    in_portions(out, pairs, share, Whole::Passages, |out, text: &mut String, number, pair, passages| {
        text.clear();
        pair.passages[passages].iter().for_each(|passage| record(text, number, pair, passage));
        out.extend_from_slice(text.as_bytes());
    })
}

/// What is told in one go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Pairs,
    Passages,
}

/// A portion of what is told: which passages of which pairs, and their text.
#[derive(Default)]
struct Portion {
    parts: Vec<(usize, Range<usize>)>,
    text: Vec<u8>,
}

/// Writes what `tell` makes of all passages, in their order; it is made side by side, portion by portion.
fn in_portions(
    out: &mut dyn Write,
    pairs: &[Pair],
    share: &impl Share,
    whole: Whole,
    tell: impl Fn(&mut Vec<u8>, &mut String, usize, &Pair, Range<usize>) + Sync,
) -> io::Result<()> {
    let mut left = pairs.iter().enumerate().peekable();
    let mut told = 0;
    let begin = |portion: &mut Portion| {
        portion.parts.clear();
        let mut room = PORTION;
        while room > 0
            && let Some((number, pair)) = left.peek()
        {
            let all = pair.passages.len();
            let end = if whole == Whole::Pairs { all } else { all.min(told + room) };
            portion.parts.push((*number, told..end));
            // A pair costs something besides its passages.
            room = room.saturating_sub(end - told + 1);
            told = end;
            if end == all {
                left.next();
                told = 0;
            }
        }
        !portion.parts.is_empty()
    };
    let make = |room: &mut String, Portion { parts, text }: &mut Portion| {
        text.clear();
        for (number, passages) in parts {
            tell(text, room, *number, &pairs[*number], passages.clone());
        }
    };
    share.in_order(begin, make, |portion| out.write_all(&portion.text))
}

/// Adds what became of the segments of a connection, for people.
///
/// Of what it is made of only addresses and numbers come from outside: there is nothing to escape.
fn connection(text: &mut String, number: usize, pair: &Pair) {
    let tallies = pair.tallies();
    text.push_str("connection ");
    digits(text, number as u64);
    text.push_str("  ");
    push_ends(text, pair.at_client.ends);
    text.push('\n');
    if pair.is_translated() {
        text.push_str("at the server  ");
        push_ends(text, pair.at_server.ends);
        text.push_str("  (found by ");
        text.push_str(pair.found_by.name());
        text.push_str(")\n");
    }
    push_clocks(text, pair);
    for (side, tally) in [Side::Client, Side::Server].into_iter().zip(&tallies) {
        text.push_str(match side {
            Side::Client => "client → server  ",
            Side::Server => "server → client  ",
        });
        push_counts(text, tally);
        if let Some([least, middle, most]) = pair.delays(side) {
            text.push_str("; one way ");
            push_duration(text, least, "µ");
            text.push_str(" at least, ");
            push_duration(text, middle, "µ");
            text.push_str(" in the middle, ");
            push_duration(text, most, "µ");
            text.push_str(" at most");
        }
        text.push('\n');
    }
    for (twice, side) in pair.captured_twice.iter().zip([Side::Client, Side::Server]) {
        if *twice > 0 {
            let name = side.name();
            *text +=
                &format!("               {twice} frames are in the {name}'s capture a second time, and are left out\n");
        }
    }
    for passage in pair.passages.iter().filter(|passage| is_remarkable(passage)) {
        text.push_str("  ");
        push_passage(text, pair, passage);
        text.push('\n');
    }
    for (n, sentence) in verdict(pair, &tallies).iter().enumerate() {
        text.push_str(if n == 0 { "verdict        " } else { "               " });
        text.push_str(sentence);
        text.push('\n');
    }
    text.push('\n');
}

fn push_ends(text: &mut String, [client, server]: [std::net::SocketAddr; 2]) {
    push_end(text, client);
    text.push_str(" → ");
    push_end(text, server);
}

/// Adds how the clocks stand to each other.
fn push_clocks(text: &mut String, pair: &Pair) {
    text.push_str("clocks         ");
    let Some(clocks) = pair.clocks else {
        text.push_str(match pair.found_by {
            FoundBy::Nothing => "cannot be compared: they are taken to agree\n",
            _ => "cannot be compared: segments of one direction only were seen to arrive\n",
        });
        return;
    };
    text.push_str("the server's is ");
    push_duration(text, Span(clocks.offset.as_nanos().abs()), "µ");
    text.push_str(if clocks.offset.as_nanos() < 0 { " behind the client's" } else { " ahead of the client's" });
    if clocks.error.as_nanos() > 0 {
        text.push_str(", ± ");
        push_duration(text, clocks.error, "µ");
    }
    match clocks.drift_ppb {
        Some(drift) => *text += &format!("; it gains {:.1} ppm\n", drift as f64 / 1000.0),
        None => text.push_str("; whether it gains cannot be told\n"),
    }
    if !clocks.is_even {
        text.push_str("               one of them was set meanwhile: no one offset fits all segments\n");
    }
}

/// Adds the record of a passage.
fn record(text: &mut String, number: usize, pair: &Pair, passage: &Passage) {
    digits(text, number as u64);
    text.push(',');
    text.push_str(passage.from.name());
    text.push_str(",\"");
    push_flags(text, pair.any(passage).map_or(Flags::empty(), |taken| taken.flags));
    text.push_str("\",");
    push_signed(text, passage.seq);
    text.push(',');
    push_known(text, passage.ack());
    text.push(',');
    digits(text, passage.octets.into());
    let (sent, arrived) = (pair.sent(passage), pair.first_arrived(passage));
    let (at_client, at_server) = if passage.from == Side::Client { (sent, arrived) } else { (arrived, sent) };
    for taken in [at_client, at_server] {
        text.push(',');
        if let Some(taken) = taken {
            digits(text, taken.frame());
        }
        text.push(',');
        if let Some(at) = taken.and_then(|taken| taken.at) {
            write_moment(text, at);
        }
    }
    text.push(',');
    text.push_str(passage.fate.name().unwrap_or_default());
    text.push(',');
    push_known(text, passage.took().map(Span::as_nanos));
    text.push(',');
    push_known(text, pair.held_up(passage).map(Span::as_nanos));
    for is_so in [passage.is_overtaken(), passage.is_lost_behind()] {
        text.push_str(if is_so { ",true" } else { ",false" });
    }
    text.push(',');
    if let Some(frame) = pair.repeats(passage) {
        digits(text, frame);
    }
    text.push(',');
    for (n, change) in pair.changes(passage).iter().enumerate() {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(change.name());
    }
    text.push('\n');
}

fn push_known(text: &mut String, number: Option<i64>) {
    if let Some(number) = number {
        push_signed(text, number);
    }
}

/// Adds how many segments had which fate.
fn push_counts(text: &mut String, tally: &Tally) {
    digits(text, tally.passages as u64);
    text.push_str(if tally.passages == 1 { " segment" } else { " segments" });
    for fate in Fate::KNOWN {
        let count = tally.count(fate);
        if let (Some(name), true) = (fate.name(), count > 0) {
            text.push_str(", ");
            digits(text, count as u64);
            text.push(' ');
            text.push_str(name);
        }
    }
    let unknown = tally.count(Fate::Unknown);
    if unknown > 0 {
        text.push_str(", ");
        digits(text, unknown as u64);
        text.push_str(" in one of the captures alone");
    }
}

/// Whether there is more to say of it than that it arrived.
fn is_remarkable(passage: &Passage) -> bool {
    !matches!(passage.fate, Fate::Arrived | Fate::Unknown)
        || passage.is_overtaken()
        || passage.is_lost_behind()
        || passage.is_held_up()
        || passage.is_changed()
}

/// Adds what became of a segment.
fn push_passage(text: &mut String, pair: &Pair, passage: &Passage) {
    let Some(segment) = pair.any(passage) else { return };
    text.push('#');
    digits(text, segment.frame());
    text.push_str(match (passage.sent_at(), passage.from) {
        (Some(_), Side::Client) | (None, Side::Server) => " of the client's capture  ",
        (Some(_), Side::Server) | (None, Side::Client) => " of the server's capture  ",
    });
    push_flags(text, segment.flags);
    text.push_str(" seq ");
    push_signed(text, passage.seq);
    if passage.octets > 0 {
        text.push_str(" len ");
        digits(text, passage.octets.into());
    }
    if passage.octets < segment.len {
        text.push_str(" of ");
        digits(text, segment.len.into());
    }
    text.push_str(": ");
    if let (Some(name), true) = (passage.fate.name(), passage.fate != Fate::Arrived) {
        text.push_str(name);
        if passage.fate == Fate::Lost {
            text.push_str(" on the way to the ");
            text.push_str(passage.from.peer().name());
        }
    } else {
        text.push_str("arrived");
    }
    if let Some(frame) = pair.repeats(passage) {
        text.push_str(", a late copy of #");
        digits(text, frame);
    }
    if passage.is_lost_behind() {
        text.push_str(", and lost behind the ");
        text.push_str(passage.from.peer().name());
        text.push_str("'s capture point");
    }
    if let Some(more) = pair.held_up(passage) {
        text.push_str(", held up for ");
        push_duration(text, more, "µ");
    }
    if passage.is_overtaken() {
        text.push_str(", overtaken by a later one");
    }
    let changed: Vec<_> = pair.changes(passage).into_iter().map(change).collect();
    if !changed.is_empty() {
        text.push_str(", changed (");
        text.push_str(&changed.join(", "));
        text.push(')');
    }
}

/// How many passages a portion has.
const PORTION: usize = 2048;
