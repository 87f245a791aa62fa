//! The end of a run's report: what was run, how it ended, and by what it was watched.

use std::io::{self, Write};

use super::diagnoses::named;
use super::expression::Judged;
use super::style::{Charset, Paint, Style};
use super::text::{Line, counted, escape, wrap};
use crate::story::Story;
use crate::time::Timestamp;

/// What there is to say of a run besides its story.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunSummary {
    /// The words of the command, or of the server and its clients.
    pub command: Vec<String>,
    /// The exit status that the run ends with, if no expectation failed.
    pub status: u8,
    /// How many calls were seen.
    pub calls: u64,
    /// How many of them are not told.
    pub lost_calls: u64,
    /// By what calls were watched.
    pub backend: &'static str,
    /// Whether packets were captured.
    pub packets: bool,
    /// How the kernel's trace of states, resets and retransmissions was read; `None` where it was not.
    pub kernel_trace: Option<KernelTrace>,
}

/// That events of the kernel's trace are missing: the buffers were full, or the kernel wrote no record.
pub fn lost_events(lost: u64) -> String {
    let (events, were) = if lost == 1 { ("event", "was") } else { ("events", "were") };
    format!(
        "{lost} {events} of the kernel's trace {were} lost, of whatever connections: a transition without [k] need not be wrong"
    )
}

/// The same, of those about the connections of a run, which may be more than are counted.
pub fn missing_events(missing: u64) -> String {
    let (events, are) = if missing == 1 { ("event", "is") } else { ("events", "are") };
    format!(
        "{missing} {events} of the kernel's trace of these connections {are} missing: a transition without [k] need not be wrong"
    )
}

/// The same, of retransmissions and RSTs, whosesoever they were.
pub fn lost_resets(lost: u64) -> String {
    let (events, were) = if lost == 1 { ("event", "was") } else { ("events", "were") };
    format!(
        "{lost} {events} of the kernel's trace {were} lost that told of a RST or a retransmission, of whatever connections"
    )
}

/// The same, of congestion states, whosesoever they were, where something was sent again.
pub fn lost_congestion(lost: u64) -> String {
    let (events, were) = if lost == 1 { ("event", "was") } else { ("events", "were") };
    format!(
        "{lost} {events} of the kernel's trace {were} lost that told of a congestion state, of whatever connections: what a retransmission was for need not be what is told"
    )
}

/// What was read of the kernel's trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelTrace {
    /// How many of its events are about the connections.
    pub events: u64,
    /// How many of these are missing, at least.
    pub lost: u64,
    /// How many events of this host, about whatever connection, were lost.
    pub lost_on_host: u64,
}

/// Writes what was expected of a run, each with a mark whether it holds, and what refutes it.
///
/// # Errors
/// Whatever `out` answers.
pub fn assertions(out: &mut dyn Write, story: &Story, judged: &[Judged], style: &Style) -> io::Result<()> {
    if judged.is_empty() {
        return Ok(());
    }
    let (yes, no) = if style.charset == Charset::Unicode { ("✓", "✗") } else { ("ok", "NO") };
    let first = story.events.iter().filter_map(|event| event.at).min();
    let origin = first.unwrap_or_else(|| Timestamp::from_nanos(0));
    let room = style.columns().saturating_sub(MARK);
    for judged in judged {
        let (mark, paint) = if judged.holds { (yes, Paint::Strong) } else { (no, Paint::Bad) };
        let mut said = Vec::new();
        said.extend(judged.why.as_ref().map(|why| format!("cannot be decided: {why}")));
        said.extend(judged.connections.iter().take(MOST_NAMED).map(|id| format!("connection {}", id.0)));
        said.extend(judged.because.iter().take(MOST_NAMED).filter_map(|id| named(&story[*id], origin, style)));
        let more = (judged.connections.len() + judged.because.len()).saturating_sub(said.len());
        if more > 0 && judged.why.is_none() {
            said.push(format!("and {more} more"));
        }
        let lines = wrap(&escape(&judged.expr, style), room, style.glyphs().ellipsis)
            .into_iter()
            .map(|text| (text, Paint::Plain));
        let because = match said.is_empty() {
            true => Vec::new(),
            false => wrap(&escape(&said.join(", "), style), room, style.glyphs().ellipsis),
        };
        for (at, (text, text_paint)) in lines.chain(because.into_iter().map(|text| (text, Paint::Dim))).enumerate() {
            let mut line = Line::of(paint, if at == 0 { mark } else { "" }).left(MARK, "");
            line.push(text_paint, text);
            line.write(out, style)?;
        }
    }
    writeln!(out)
}

/// Columns of the mark, and how many connections and events are named.
const MARK: usize = 4;
const MOST_NAMED: usize = 8;

/// Writes the last line of a run.
///
/// # Errors
/// Whatever `out` answers.
pub fn run(out: &mut dyn Write, story: &Story, run: &RunSummary, style: &Style) -> io::Result<()> {
    let mut said = format!("{}: exit status {}; ", run.command.join(" "), run.status);
    said += &format!("{} by {}", counted(run.calls, "call"), run.backend);
    if run.lost_calls > 0 {
        said += &format!(", {} of which are not shown", run.lost_calls);
    }
    said += &match run.packets {
        true => format!(", {}", counted(story.totals.segments, "segment")),
        false => ", no packets captured".to_owned(),
    };
    if let Some(KernelTrace { events, lost, .. }) = run.kernel_trace {
        said += &format!(", {} of the kernel's trace", counted(events, "event"));
        if lost > 0 {
            said += &format!(" ({lost} more lost)");
        }
    }
    for text in wrap(&escape(&said, style), style.columns(), style.glyphs().ellipsis) {
        Line::of(Paint::Dim, text).write(out, style)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::ConnectionId;
    use crate::story::script::story;

    #[test]
    fn a_line_on_an_expectation_names_the_first_and_counts_the_others() {
        let story = story("12us..13us C: socket() = 3");
        let said = |connections: usize, events: usize| {
            let judged = Judged {
                expr: "false".into(),
                holds: false,
                because: vec![story.events[0].id; events],
                connections: (0..connections as u64).map(ConnectionId).collect(),
                why: None,
            };
            let mut out = Vec::new();
            assertions(&mut out, &story, &[judged], &Style::plain(180)).unwrap();
            let text = String::from_utf8(out).unwrap();
            let more = text.split_once(", and ").map_or("", |(_, more)| more.trim_end()).to_owned();
            (text.matches("connection ").count(), text.matches("socket(3)").count(), more)
        };
        let most = MOST_NAMED;
        assert_eq!(said(most, 0), (most, 0, String::new()));
        assert_eq!(said(most + 1, 0), (most, 0, "1 more".into()));
        assert_eq!(said(0, most), (0, most, String::new()));
        assert_eq!(said(0, most + 2), (0, most, "2 more".into()));
        assert_eq!(said(most + 1, most + 1), (most, most, "2 more".into()));
    }
}
