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
            let more = account.events.len().saturating_sub(MOST_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            entry(out, "", &format!("by {}{more}", proof.join(", ")), Paint::Dim, style)?;
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
        let mut line = Line::of(Paint::Strong, if at == 0 { name.to_owned() } else { String::new() }).left(NAME, "");
        line.push(paint, text);
        line.write(out, style)?;
    }
    Ok(())
}

const NAME: usize = 12;
/// How many connections are written, and how many calls are named for each.
const MOST: usize = 64;
const MOST_NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::script::story;

    /// What is written of so many connections, each with as many calls that the outcome rests on.
    fn told(connections: usize, calls: usize) -> String {
        let story = story("12us..13us C: socket() = 3\n 15us..34us C: connect() = -ECONNREFUSED");
        let mut account = story.accounts(&[], &[]).remove(0);
        account.events = vec![account.events[0]; calls];
        let mut out = Vec::new();
        accounts(&mut out, &story, &vec![account; connections], &Style::plain(180)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn of_many_connections_and_calls_the_first_are_written_and_the_others_counted() {
        let (all, more) = (told(MOST, 1), told(MOST + 2, 1));
        for text in [&all, &more] {
            assert_eq!(text.matches("by calls and states alone").count(), MOST, "{text}");
        }
        assert!(!all.contains("more not shown") && more.contains("2 connections more not shown"), "{more}");
        let named = |calls: usize| {
            let text = told(1, calls).split_whitespace().collect::<Vec<_>>().join(" ");
            (text.matches("connect(3) at").count(), text.ends_with(" and 1 more"))
        };
        assert_eq!((named(MOST_NAMED), named(MOST_NAMED + 1)), ((MOST_NAMED, false), (MOST_NAMED, true)));
    }
}
