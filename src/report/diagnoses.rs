//! What seems wrong with how programs use their sockets: a block at the end of a timeline.

use std::io::{self, Write};

use super::clock;
use super::style::{Paint, Style};
use super::text::{Line, escape, wrap};
use super::wording::{English, Wording};
use crate::story::{Diagnosis, Event, EventId, EventKind, Lookup, Story, Weight};
use crate::time::Timestamp;

/// Writes what seems wrong, faults before notes, each with the calls and segments that prove it; nothing where nothing does.
///
/// Of one kind no more than five are written by themselves, those included that were written before.
///
/// # Errors
/// Whatever `out` answers.
pub fn diagnoses(
    out: &mut dyn Write,
    story: &Story,
    found: &[Diagnosis],
    before: Found,
    style: &Style,
) -> io::Result<()> {
    let mut all = before;
    let first = story.events.iter().filter_map(|event| event.at).min();
    let origin = all.origin.or(first).unwrap_or_else(|| Timestamp::from_nanos(0));
    all.write(out, story, found, origin, style)?;
    for (name, more) in all.left_out() {
        let text = format!("{more} more of the kind {name} are not shown; --format jsonl has all");
        entry(out, "", Paint::Plain, (&text, Paint::Dim), style)?;
    }
    if all.counts.is_empty() { Ok(()) } else { writeln!(out) }
}

/// What seems wrong and was written, while the timeline of it grew or at its end.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The kinds in the order in which they were found, and how often each was.
    counts: Vec<(&'static str, usize)>,
    /// From when times are counted.
    origin: Option<Timestamp>,
}

impl Found {
    /// Writes what was found further, faults before notes; of one kind no more than five in all.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn write(
        &mut self,
        out: &mut dyn Write,
        known: &dyn Lookup,
        found: &[Diagnosis],
        origin: Timestamp,
        style: &Style,
    ) -> io::Result<()> {
        self.origin = Some(origin);
        for diagnosis in found {
            if !self.counts.iter().any(|(name, _)| *name == diagnosis.what.name()) {
                self.counts.push((diagnosis.what.name(), 0));
            }
        }
        for weight in [Weight::Fault, Weight::Note] {
            for diagnosis in found.iter().filter(|diagnosis| diagnosis.what.weight() == weight) {
                let count = self.counts.iter_mut().find(|(name, _)| *name == diagnosis.what.name());
                let Some((_, count)) = count else { continue };
                *count += 1;
                if *count > ALIKE {
                    continue;
                }
                let (name, paint) = match weight {
                    Weight::Fault => ("fault", Paint::Bad),
                    Weight::Note => ("note", Paint::Strong),
                };
                entry(out, name, paint, (&English.mistake(&diagnosis.what), Paint::Plain), style)?;
                entry(out, "", Paint::Plain, (&evidence(diagnosis, known, origin, style), Paint::Dim), style)?;
            }
        }
        Ok(())
    }

    /// The kinds of which some were not written, and how many those are.
    fn left_out(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        let more = |(name, count): &(&'static str, usize)| Some((*name, count.checked_sub(ALIKE).filter(|n| *n > 0)?));
        self.counts.iter().filter_map(more)
    }
}

fn entry(
    out: &mut dyn Write,
    name: &str,
    paint: Paint,
    (text, text_paint): (&str, Paint),
    style: &Style,
) -> io::Result<()> {
    let room = style.columns().saturating_sub(NAME);
    for (at, text) in wrap(text, room, style.glyphs().ellipsis).into_iter().enumerate() {
        let mut line = Line::of(paint, if at == 0 { name.to_owned() } else { String::new() }).left(NAME, "");
        line.push(text_paint, text);
        line.write(out, style)?;
    }
    Ok(())
}

/// Whose it is, and the events that prove it: calls by name and time, segments by frame.
fn evidence(diagnosis: &Diagnosis, known: &dyn Lookup, origin: Timestamp, style: &Style) -> String {
    let mut said = Vec::new();
    match (diagnosis.connection, diagnosis.side) {
        (Some(connection), Some(side)) => said.push(format!("connection {}, {}", connection.0, side.name())),
        (Some(connection), None) => said.push(format!("connection {}", connection.0)),
        _ => {}
    }
    // Calls are those of the process that is named before them; segments have none.
    let mut process = diagnosis.events.iter().find_map(|event| process_of(*event, known, style));
    said.extend(process.clone());
    for event in &diagnosis.events {
        let Some(name) = known.find(*event).and_then(|event| named(event, origin, style)) else { continue };
        let other = process_of(*event, known, style).filter(|other| process.as_ref() != Some(other));
        if other.is_some() {
            said.extend(other.clone());
            process = other;
        }
        said.push(name);
    }
    said.join(", ")
}

/// An event in short.
pub(super) fn named(event: &Event, origin: Timestamp, style: &Style) -> Option<String> {
    match &event.kind {
        EventKind::Call(call) => {
            let fd = call.call.fd().map_or(String::new(), |fd| fd.to_string());
            let at = event.at.map_or(String::new(), |at| format!(" at {}", clock::moment(at, origin, style)));
            Some(format!("{}({fd}){at}", call.call.name()))
        }
        EventKind::Segment(segment) => Some(format!("#{}", segment.segment.frame)),
        EventKind::Icmp(icmp) => Some(format!("#{}", icmp.quote.frame)),
        EventKind::Transition(_) | EventKind::Timer(_) | EventKind::Link(_) | EventKind::Kernel(_) => None,
    }
}

fn process_of(event: EventId, known: &dyn Lookup, style: &Style) -> Option<String> {
    let EventKind::Call(call) = &known.find(event)?.kind else { return None };
    let (thread, process) = known.threads().get(call.call.thread())?;
    Some(format!("{} ({})", escape(&thread.comm, style), process.pid))
}

const NAME: usize = 12;
/// How many of one kind are written by themselves.
const ALIKE: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{ConnectionId, Side};
    use crate::story::Mistake;

    fn written(found: &[Diagnosis]) -> String {
        let mut out = Vec::new();
        diagnoses(&mut out, &Story::default(), found, Found::default(), &Style::plain(80)).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn of(what: Mistake, connection: u64) -> Diagnosis {
        let (connection, side) = (Some(ConnectionId(connection)), Some(Side::Server));
        Diagnosis { what, connection, side, events: Vec::new() }
    }

    #[test]
    fn of_one_kind_five_are_written() {
        let found: Vec<_> = (0..8).map(|id| of(Mistake::ClosedByExit, id)).collect();
        let text = written(&found);
        assert_eq!(text.matches("No call closed the socket").count(), ALIKE);
        assert!(text.contains("connection 4, server") && !text.contains("connection 5, server"), "{text}");
        assert!(text.contains("3 more of the kind closed_by_exit"), "{text}");
    }

    #[test]
    fn faults_come_before_notes_and_nothing_wrong_is_no_line() {
        let text = written(&[of(Mistake::ClosedByExit, 0), of(Mistake::CloseWaitLeak, 1)]);
        assert!(text.find("fault").unwrap() < text.find("note").unwrap(), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(written(&[]), "");
    }

    #[test]
    fn every_kind_has_its_sentence_and_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = Mistake::NAMES.iter().collect();
        assert_eq!(names.len(), Mistake::NAMES.len());
        let docs = include_str!("../../docs/run.md");
        let schema = include_str!("../../docs/output.schema.json");
        for name in Mistake::NAMES {
            assert!(docs.contains(&format!("| `{name}` |")), "docs/run.md lacks {name}");
            assert!(schema.contains(&format!("\"{name}\"")), "the schema lacks {name}");
        }
    }
}
