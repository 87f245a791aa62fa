//! The end of a run's report: what was run, how it ended, and by what it was watched.

use std::io::{self, Write};

use super::style::{Paint, Style};
use super::text::{Line, counted, escape, wrap};
use crate::story::Story;

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
}

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
    for text in wrap(&escape(&said, style), style.columns(), style.glyphs().ellipsis) {
        Line::of(Paint::Dim, text).write(out, style)?;
    }
    Ok(())
}
