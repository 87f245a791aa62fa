//! The `clock` and the `passage` lines of two captures, written member by member.

use super::lines::Lines;
use crate::flow::Side;
use crate::passage::{Pair, Passage, Taken};
use crate::report::text::push_flags;
use crate::report::wording::passages::verdict;
use crate::time::Span;
use crate::wire::Flags;

/// Adds how the clocks of a connection's captures stand to each other.
pub(in crate::report) fn clock_line(out: &mut Vec<u8>, connection: usize, pair: &Pair) {
    let mut lines = Lines(std::mem::take(out));
    let clocks = pair.clocks;
    lines.text(r#"{"type":"clock","connection":"#).number(connection as u64);
    lines.text(r#","point":"server","found_by":"#).name(pair.found_by.name());
    lines.text(r#","offset_ns":"#).put(clocks.map(|clocks| clocks.offset));
    lines.text(r#","error_ns":"#).put(clocks.map(|clocks| clocks.error));
    lines.text(r#","drift_ppb":"#).put(clocks.and_then(|clocks| clocks.drift_ppb).map(Span));
    lines.text(r#","even":"#).put(clocks.map(|clocks| clocks.is_even));
    lines.text(r#","at":"#).put(clocks.map(|clocks| clocks.at));
    let [here, there] = pair.captured_twice;
    lines.text(r#","captured_twice":["#).number(here.into()).text(",").number(there.into()).text("]");
    lines.ends(pair.at_client.ends.map(|end| end.to_string()));
    lines.text(r#","nat":"#);
    if pair.is_translated() {
        let [client, server] = pair.at_server.ends.map(|end| end.to_string());
        lines.text(r#"{"client":"#).put(client.as_str()).text(r#","server":"#).put(server.as_str()).text("}");
    } else {
        lines.text("null");
    }
    lines.text(r#","verdict":"#).put(verdict(pair, &pair.tallies()).join(" ").as_str()).text("}\n");
    *out = lines.0;
}

/// Adds what became of a segment; `flags` is room for the names of its control bits.
pub(in crate::report) fn passage_line(
    out: &mut Vec<u8>,
    flags: &mut String,
    connection: usize,
    pair: &Pair,
    passage: &Passage,
) {
    let mut lines = Lines(std::mem::take(out));
    flags.clear();
    push_flags(flags, pair.any(passage).map_or(Flags::empty(), |taken| taken.flags));
    lines.text(r#"{"type":"passage","connection":"#).number(connection as u64);
    lines.text(r#","from":"#).put(passage.from).text(r#","flags":""#).text(flags);
    lines.text(r#"","seq":"#).put(Span(passage.seq)).text(r#","ack":"#).put(passage.ack().map(Span));
    lines.text(r#","octets":"#).number(passage.octets.into()).text(r#","seen":["#);
    let sent = pair.sent(passage);
    if let Some(sent) = sent {
        lines.seen(passage.from, sent);
    }
    for (n, arrived) in pair.arrived(passage).enumerate() {
        if n > 0 || sent.is_some() {
            lines.text(",");
        }
        lines.seen(passage.from.peer(), arrived);
    }
    lines.text(r#"],"fate":"#);
    match passage.fate.name() {
        Some(name) => lines.name(name),
        None => lines.text("null"),
    };
    lines.text(r#","took_ns":"#).put(passage.took()).text(r#","held_up_ns":"#).put(pair.held_up(passage));
    lines.text(r#","overtaken":"#).put(passage.is_overtaken());
    lines.text(r#","lost_behind":"#).put(passage.is_lost_behind());
    lines.text(r#","repeats":"#).put(pair.repeats(passage)).text(r#","changed":["#);
    for (n, change) in pair.changes(passage).iter().enumerate() {
        lines.text(if n > 0 { "," } else { "" }).name(change.name());
    }
    lines.text("]}\n");
    *out = lines.0;
}

impl Lines {
    fn ends(&mut self, [client, server]: [String; 2]) {
        self.text(r#","client":"#).put(client.as_str()).text(r#","server":"#).put(server.as_str());
    }

    /// Where and when a segment was captured.
    fn seen(&mut self, point: Side, taken: &Taken) {
        self.text(r#"{"point":"#).put(point).text(r#","frame":"#).number(taken.frame());
        self.text(r#","at":"#).put(taken.at).text("}");
    }
}
