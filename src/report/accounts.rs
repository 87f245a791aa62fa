//! What calls and states alone say of connections of which no packet was captured: a block at the end of a timeline.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::diagnoses::named;
use super::style::{Charset, Paint, Style};
use super::text::{Line, counted, escape, wrap};
use super::timeline::words::{mark, witness};
use super::wording::{English, Wording};
use crate::flow::Side;
use crate::kernel::Witness;
use crate::story::{Account, EndAccount, Story};
use crate::time::Timestamp;

/// Writes for each connection its ends, the octets that its calls report, the states that witnesses named, and how it ended; nothing where
/// there is none. Of very many the first ones are written, and how many there are more.
///
/// # Errors
/// Whatever `out` answers.
pub fn accounts(out: &mut dyn Write, story: &Story, all: &[Account], style: &Style) -> io::Result<()> {
    let first = story.events.iter().filter_map(|event| event.at).min();
    let origin = first.unwrap_or_else(|| Timestamp::from_nanos(0));
    let arrow = if style.charset == Charset::Unicode { "→" } else { "->" };
    for account in all.iter().take(MOST) {
        let client = account.client.map_or_else(|| "?".to_owned(), |client| client.to_string());
        let title = Line::of(Paint::Strong, format!("{client} {arrow} {}", account.server));
        let by = Line::of(Paint::Dim, "  by calls and states alone");
        let title = if title.width() + by.width() <= style.columns() { title.joined(by) } else { title };
        title.cut(style.columns(), style.glyphs().ellipsis).write(out, style)?;
        for side in [Side::Client, Side::Server] {
            match &account.ends[side as usize] {
                Some(end) => {
                    entry(out, side.name(), &end_said(end, account.lacks_calls, story, style), Paint::Plain, style)?
                }
                None => entry(out, side.name(), "its calls are not watched", Paint::Dim, style)?,
            }
        }
        let mark = if account.is_inferred { "~" } else { "" };
        entry(out, "verdict", &format!("{mark}{}", English.account(account)), Paint::Strong, style)?;
        let proof: Vec<String> =
            account.events.iter().take(MOST_NAMED).filter_map(|id| named(&story[*id], origin, style)).collect();
        if !proof.is_empty() {
            entry(out, "", &format!("by {}", proof.join(", ")), Paint::Dim, style)?;
        }
        writeln!(out)?;
    }
    let named: BTreeSet<Witness> = all
        .iter()
        .flat_map(|of| of.ends.iter().flatten())
        .flat_map(|end| &end.states)
        .flat_map(|(_, by)| by)
        .copied()
        .collect();
    if !named.is_empty() {
        let named: Vec<_> = named.into_iter().map(|by| format!("{} {}", mark(by), witness(by))).collect();
        let said = format!("[ ] who said it: {}; ~ concluded from calls, and said by none", named.join(", "));
        for text in wrap(&said, style.columns(), style.glyphs().ellipsis) {
            Line::of(Paint::Dim, text).write(out, style)?;
        }
    }
    if let Some(more) = all.len().checked_sub(MOST).filter(|more| *more > 0) {
        let said = format!("{} more not shown; --format jsonl has all", counted(more as u64, "connection"));
        Line::of(Paint::Dim, said).write(out, style)?;
        writeln!(out)?;
    }
    Ok(())
}

/// What the calls of an end say, and the states of its socket.
fn end_said(end: &EndAccount, lacks_calls: bool, story: &Story, style: &Style) -> String {
    let mut said = Vec::new();
    if let Some((thread, process)) = story.threads.get(end.thread) {
        said.push(format!("{} ({})", escape(&thread.comm, style), process.pid));
    }
    let least = if lacks_calls { "at least " } else { "" };
    said.push(format!("sent {least}{} and received {least}{}", counted(end.sent, "octet"), end.received));
    let to = if style.charset == Charset::Unicode { " → " } else { " -> " };
    let states: Vec<String> = end
        .states
        .iter()
        .map(|(state, by)| {
            let marks: String = by.iter().map(|witness| mark(*witness)).collect();
            let name = state.map_or("no socket any more".to_owned(), |state| state.to_string());
            format!("{name} [{marks}]")
        })
        .collect();
    if !states.is_empty() {
        said.push(states.join(to));
    }
    said.join(&format!(" {} ", style.glyphs().dot))
}

fn entry(out: &mut dyn Write, name: &str, said: &str, paint: Paint, style: &Style) -> io::Result<()> {
    let room = style.columns().saturating_sub(NAME);
    for (at, text) in wrap(said, room, style.glyphs().ellipsis).into_iter().enumerate() {
        let mut line = Line::of(Paint::Strong, if at == 0 { name } else { "" }).left(NAME, "");
        line.push(paint, text);
        line.write(out, style)?;
    }
    Ok(())
}

const NAME: usize = 12;
/// How many connections are written, and how many calls are named for each.
const MOST: usize = 64;
const MOST_NAMED: usize = 8;
