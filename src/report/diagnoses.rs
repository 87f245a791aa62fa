//! What seems wrong with how programs use their sockets: a block at the end of a timeline.

use std::collections::HashMap;
use std::io::{self, Write};

use super::clock;
use super::style::{Paint, Style};
use super::text::{Line, escape, wrap};
use super::wording::{English, Wording};
use crate::story::{Diagnosis, EventId, EventKind, Story, Weight};
use crate::time::Timestamp;

/// Writes what seems wrong, faults before notes, each with the calls and segments that prove it; nothing where nothing does.
///
/// Of one kind no more than five are written by themselves.
///
/// # Errors
/// Whatever `out` answers.
pub fn diagnoses(out: &mut dyn Write, story: &Story, found: &[Diagnosis], style: &Style) -> io::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let first = story.events.iter().filter_map(|event| event.at).min();
    let origin = first.unwrap_or_else(|| Timestamp::from_nanos(0));
    let room = style.columns().saturating_sub(NAME);
    let entry = |out: &mut dyn Write, name: &str, paint: Paint, text: &str, text_paint: Paint| {
        for (at, text) in wrap(text, room, style.glyphs().ellipsis).into_iter().enumerate() {
            let mut line = Line::of(paint, if at == 0 { name } else { "" }).left(NAME, "");
            line.push(text_paint, text);
            line.write(out, style)?;
        }
        Ok::<_, io::Error>(())
    };
    let mut written: HashMap<&str, usize> = HashMap::new();
    for weight in [Weight::Fault, Weight::Note] {
        for diagnosis in found.iter().filter(|diagnosis| diagnosis.what.weight() == weight) {
            let before = written.entry(diagnosis.what.name()).or_default();
            *before += 1;
            if *before > ALIKE {
                continue;
            }
            let (name, paint) = match weight {
                Weight::Fault => ("fault", Paint::Bad),
                Weight::Note => ("note", Paint::Strong),
            };
            entry(out, name, paint, &English.mistake(&diagnosis.what), Paint::Plain)?;
            entry(out, "", Paint::Plain, &evidence(diagnosis, story, origin, style), Paint::Dim)?;
        }
    }
    for (name, more) in left_out(found, &written) {
        let text = format!("{more} more of the kind {name} are not shown; --format jsonl has all");
        entry(out, "", Paint::Plain, &text, Paint::Dim)?;
    }
    writeln!(out)
}

/// The kinds of which some were not written, in the order in which they were found, and how many those are.
fn left_out(found: &[Diagnosis], written: &HashMap<&str, usize>) -> Vec<(&'static str, usize)> {
    let mut names: Vec<&'static str> = Vec::new();
    for diagnosis in found {
        if !names.contains(&diagnosis.what.name()) {
            names.push(diagnosis.what.name());
        }
    }
    let more = |name: &'static str| Some((name, written.get(name)?.checked_sub(ALIKE).filter(|more| *more > 0)?));
    names.into_iter().filter_map(more).collect()
}

/// Whose it is, and the events that prove it: calls by name and time, segments by frame.
fn evidence(diagnosis: &Diagnosis, story: &Story, origin: Timestamp, style: &Style) -> String {
    let mut said = Vec::new();
    match (diagnosis.connection, diagnosis.side) {
        (Some(connection), Some(side)) => said.push(format!("connection {}, {}", connection.0, side.name())),
        (Some(connection), None) => said.push(format!("connection {}", connection.0)),
        _ => {}
    }
    let process = diagnosis.events.iter().find_map(|event| process_of(*event, story, style));
    said.extend(process);
    said.extend(diagnosis.events.iter().filter_map(|event| {
        let event = &story[*event];
        match &event.kind {
            EventKind::Call(call) => {
                let fd = call.call.fd().map_or(String::new(), |fd| fd.to_string());
                let at = event.at.map_or(String::new(), |at| format!(" at {}", clock::moment(at, origin, style)));
                Some(format!("{}({fd}){at}", call.call.name()))
            }
            EventKind::Segment(segment) => Some(format!("#{}", segment.segment.frame)),
            EventKind::Transition(_) | EventKind::Timer(_) | EventKind::Link(_) => None,
        }
    }));
    said.join(", ")
}

fn process_of(event: EventId, story: &Story, style: &Style) -> Option<String> {
    let EventKind::Call(call) = &story[event].kind else { return None };
    let (thread, process) = story.threads.get(call.call.thread())?;
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
        diagnoses(&mut out, &Story::default(), found, &Style::plain(80)).unwrap();
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
