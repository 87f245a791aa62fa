//! Two captures of the same connections, told: for people, as JSON lines, and as CSV.

use std::io::{self, Write};

use serde::Serialize;

use super::clock;
use super::style::{Charset, Style};
use super::text::escape;
use super::wording::passages::{change, verdict};
use crate::flow::Side;
use crate::passage::{Change, Fate, FoundBy, Pair, Passage};
use crate::time::Span;
use crate::wire::Segment;

/// Writes what became of the segments of each connection, for people.
///
/// # Errors
/// Those of the output, here as in the others.
pub fn text(out: &mut dyn Write, pairs: &[Pair], style: &Style) -> io::Result<()> {
    for (number, pair) in pairs.iter().enumerate() {
        let mut shown = String::new();
        let [client, server] = pair.at_client.ends;
        shown += &format!("connection {number}  {client} → {server}\n");
        if pair.is_translated() {
            let [client, server] = pair.at_server.ends;
            shown += &format!("at the server  {client} → {server}  (found by {})\n", pair.found_by.name());
        }
        match pair.clocks {
            Some(clocks) => {
                let ahead = if clocks.offset.as_nanos() < 0 { "behind" } else { "ahead of" };
                let offset = duration(Span(clocks.offset.as_nanos().abs()));
                shown += &format!("clocks         the server's is {offset} {ahead} the client's");
                if clocks.error.as_nanos() > 0 {
                    shown += &format!(", ± {}", duration(clocks.error));
                }
                match clocks.drift_ppb {
                    Some(drift) => shown += &format!("; it gains {:.1} ppm\n", drift as f64 / 1000.0),
                    None => shown += "; whether it gains cannot be told\n",
                }
                if !clocks.is_even {
                    shown += "               one of them was set meanwhile: no one offset fits all segments\n";
                }
            }
            None if pair.found_by == FoundBy::Nothing => {
                shown += "clocks         cannot be compared: they are taken to agree\n"
            }
            None => shown += "clocks         cannot be compared: segments of one direction only were seen to arrive\n",
        }
        for side in [Side::Client, Side::Server] {
            let arrow = format!("{} → {}", side.name(), side.peer().name());
            shown += &format!("{arrow:<15}  {}", counts(pair, side));
            if let Some([least, middle, most]) = pair.delays(side) {
                let [least, middle, most] = [least, middle, most].map(duration);
                shown += &format!("; one way {least} at least, {middle} in the middle, {most} at most");
            }
            shown.push('\n');
        }
        for (twice, side) in pair.captured_twice.iter().zip([Side::Client, Side::Server]) {
            if *twice > 0 {
                let name = side.name();
                shown += &format!(
                    "               {twice} frames are in the {name}'s capture a second time, and are left out\n"
                );
            }
        }
        for passage in pair.passages.iter().filter(|passage| is_remarkable(passage)) {
            shown += &format!("  {}\n", line(pair, passage));
        }
        for (n, sentence) in verdict(pair).iter().enumerate() {
            shown += &format!("{:<15}{sentence}\n", if n == 0 { "verdict" } else { "" });
        }
        shown.push('\n');
        if style.charset == Charset::Ascii {
            shown = shown.replace('→', "->").replace('±', "+-").replace('µ', "u");
        }
        for line in shown.lines() {
            writeln!(out, "{}", escape(line, style))?;
        }
    }
    Ok(())
}

/// Writes a `clock` line for each connection, and then a `passage` line for each of its segments.
///
/// # Errors
/// Those of the output.
pub fn json_lines(out: &mut dyn Write, pairs: &[Pair]) -> io::Result<()> {
    let mut lines = super::jsonl::Jsonl::new(out);
    for (number, pair) in pairs.iter().enumerate() {
        lines.line(&ClockLine::of(number, pair))?;
        for passage in &pair.passages {
            lines.line(&PassageLine::of(number, pair, passage))?;
        }
    }
    lines.flush()
}

/// Writes a record for each segment.
///
/// # Errors
/// Those of the output.
pub fn csv(out: &mut dyn Write, pairs: &[Pair]) -> io::Result<()> {
    writeln!(
        out,
        "connection,from,flags,seq,ack,octets,client_frame,client_at,server_frame,server_at,fate,took_ns,held_up_ns,overtaken,lost_behind,repeats,changed"
    )?;
    for (number, pair) in pairs.iter().enumerate() {
        for passage in &pair.passages {
            let line = PassageLine::of(number, pair, passage);
            let optional = |value: Option<i64>| value.map_or(String::new(), |value| value.to_string());
            let at = |point: &str| line.seen.iter().find(|seen| seen.point == point);
            let seen = |point: &str| match at(point) {
                Some(seen) => format!("{},{}", seen.frame, seen.at.map_or(String::new(), |at| at.to_string())),
                None => ",".to_owned(),
            };
            writeln!(
                out,
                "{number},{},\"{}\",{},{},{},{},{},{},{},{},{},{},{},{}",
                line.from,
                line.flags,
                line.seq,
                optional(line.ack),
                line.octets,
                seen("client"),
                seen("server"),
                line.fate.unwrap_or_default(),
                optional(line.took_ns),
                optional(line.held_up_ns),
                line.overtaken,
                line.lost_behind,
                line.repeats.map_or(String::new(), |frame| frame.to_string()),
                line.changed.join(" "),
            )?;
        }
    }
    Ok(())
}

fn duration(span: Span) -> String {
    clock::duration(span, "µ")
}

#[derive(Serialize)]
struct ClockLine {
    r#type: &'static str,
    connection: usize,
    point: &'static str,
    found_by: &'static str,
    offset_ns: Option<i64>,
    error_ns: Option<i64>,
    drift_ppb: Option<i64>,
    even: Option<bool>,
    at: Option<crate::time::Timestamp>,
    captured_twice: [u32; 2],
    client: String,
    server: String,
    nat: Option<Nat>,
    verdict: String,
}

#[derive(Serialize)]
struct Nat {
    client: String,
    server: String,
}

impl ClockLine {
    fn of(connection: usize, pair: &Pair) -> Self {
        let [client, server] = pair.at_client.ends.map(|end| end.to_string());
        let [nat_client, nat_server] = pair.at_server.ends.map(|end| end.to_string());
        Self {
            r#type: "clock",
            connection,
            point: "server",
            found_by: pair.found_by.name(),
            offset_ns: pair.clocks.map(|clocks| clocks.offset.as_nanos()),
            error_ns: pair.clocks.map(|clocks| clocks.error.as_nanos()),
            drift_ppb: pair.clocks.and_then(|clocks| clocks.drift_ppb),
            even: pair.clocks.map(|clocks| clocks.is_even),
            at: pair.clocks.map(|clocks| clocks.at),
            captured_twice: pair.captured_twice,
            client,
            server,
            nat: pair.is_translated().then_some(Nat { client: nat_client, server: nat_server }),
            verdict: verdict(pair).join(" "),
        }
    }
}

#[derive(Serialize)]
struct PassageLine {
    r#type: &'static str,
    connection: usize,
    from: &'static str,
    flags: String,
    seq: i64,
    ack: Option<i64>,
    octets: u32,
    seen: Vec<Seen>,
    fate: Option<&'static str>,
    took_ns: Option<i64>,
    held_up_ns: Option<i64>,
    overtaken: bool,
    lost_behind: bool,
    repeats: Option<u64>,
    changed: Vec<&'static str>,
}

#[derive(Serialize)]
struct Seen {
    point: &'static str,
    frame: u64,
    at: Option<crate::time::Timestamp>,
}

impl PassageLine {
    fn of(connection: usize, pair: &Pair, passage: &Passage) -> Self {
        let segment = pair.any(passage);
        let seen = |side: Side, segment: &Segment| Seen { point: side.name(), frame: segment.frame, at: segment.at };
        let sent = pair.sent(passage).map(|segment| seen(passage.from, segment));
        let arrived = pair.arrived(passage).map(|segment| seen(passage.from.peer(), segment));
        Self {
            r#type: "passage",
            connection,
            from: passage.from.name(),
            flags: segment.map_or_else(String::new, |segment| segment.flags.to_string()),
            seq: passage.seq,
            ack: passage.ack,
            octets: passage.octets,
            seen: sent.into_iter().chain(arrived).collect(),
            fate: passage.fate.name(),
            took_ns: passage.took.map(Span::as_nanos),
            held_up_ns: passage.held_up.map(Span::as_nanos),
            overtaken: passage.is_overtaken,
            lost_behind: passage.is_lost_behind,
            repeats: passage.repeats,
            changed: passage.changed.iter().map(|change| change.name()).collect(),
        }
    }
}

fn counts(pair: &Pair, side: Side) -> String {
    let all = pair.sent_by(side).count();
    let mut text = if all == 1 { "1 segment".to_owned() } else { format!("{all} segments") };
    for fate in Fate::KNOWN {
        let count = pair.count(side, fate);
        if let (Some(name), true) = (fate.name(), count > 0) {
            text += &format!(", {count} {name}");
        }
    }
    let unknown = pair.count(side, Fate::Unknown);
    if unknown > 0 {
        text += &format!(", {unknown} in one of the captures alone");
    }
    text
}

/// Whether there is more to say of it than that it arrived.
fn is_remarkable(passage: &Passage) -> bool {
    !matches!(passage.fate, Fate::Arrived | Fate::Unknown)
        || passage.is_overtaken
        || passage.is_lost_behind
        || passage.held_up.is_some()
        || passage.changed.iter().any(|change| *change != Change::Addresses)
}

fn line(pair: &Pair, passage: &Passage) -> String {
    let Some(segment) = pair.any(passage) else { return String::new() };
    let mut text = format!("#{}", segment.frame);
    text += match (passage.sent, passage.from) {
        (Some(_), Side::Client) | (None, Side::Server) => " of the client's capture  ",
        (Some(_), Side::Server) | (None, Side::Client) => " of the server's capture  ",
    };
    text += &format!("{} seq {}", segment.flags, passage.seq);
    if passage.octets > 0 {
        text += &format!(" len {}", passage.octets);
    }
    if passage.octets < segment.len {
        text += &format!(" of {}", segment.len);
    }
    text += ": ";
    if let (Some(name), true) = (passage.fate.name(), passage.fate != Fate::Arrived) {
        text += name;
        if passage.fate == Fate::Lost {
            text += " on the way to the ";
            text += passage.from.peer().name();
        }
    } else {
        text += "arrived";
    }
    if let Some(frame) = passage.repeats {
        text += &format!(", a late copy of #{frame}");
    }
    if passage.is_lost_behind {
        text += &format!(", and lost behind the {}'s capture point", passage.from.peer().name());
    }
    if let Some(more) = passage.held_up {
        text += &format!(", held up for {}", duration(more));
    }
    if passage.is_overtaken {
        text += ", overtaken by a later one";
    }
    let changed: Vec<_> = passage.changed.iter().map(|of| change(*of)).collect();
    if !changed.is_empty() {
        text += &format!(", changed ({})", changed.join(", "));
    }
    text
}
