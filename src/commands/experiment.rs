//! What is left of an experiment once it was played: TIME-WAIT is waited for, and the capture kept.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::Path;

use super::expected::Expected;
use super::interrupt::{INTERRUPTED, Interrupt, NOT_ALL};
use super::progress::{Countdown, Show};
use super::{Failure, Outcome, complain};
use crate::calls::Kept;
use crate::capture::Writer;
use crate::cli::Demo;
use crate::kernel::Answer;
use crate::lab::{self, Recording};
use crate::report::{self, Judged, Style};
use crate::story::Story;

/// An experiment that is asked for.
pub(super) struct Experiment<'a> {
    pub(super) options: &'a Demo,
    pub(super) interrupt: &'a Interrupt,
    pub(super) expected: &'a Expected,
}

impl Experiment<'_> {
    /// Stays until TIME-WAIT is over, if that is asked for, and hears what sock_diag says of it; returns whether it stayed to the end.
    pub(super) fn wait(
        &self,
        recording: &Recording,
        style: &Style,
        mut hear: impl FnMut(&Answer) -> ControlFlow<()>,
    ) -> Result<bool, Failure> {
        let Some(longest) = lab::longest_wait(&recording.evidence).filter(|_| self.options.wait) else {
            return Ok(true);
        };
        let show = if io::stderr().is_terminal() { Show::Terminal } else { Show::Nothing };
        let bar = Countdown::new("TIME-WAIT", longest, show, style);
        let watched = lab::watch_time_wait(recording, |answer| {
            if let Some(timer) = answer.timer {
                bar.remaining(timer.remaining);
            }
            hear(answer)
        });
        bar.finish();
        watched.map(|()| !self.interrupt.is_interrupted()).map_err(|error| Failure::new(format!("demo: {error}")))
    }

    /// Keeps what was recorded, if that is asked for.
    pub(super) fn save(&self, recording: &Recording, story: &Story, kept: &Kept) -> Result<(), Failure> {
        self.options.save.as_ref().map_or(Ok(()), |path| save(path, recording, story, kept))
    }

    /// What became of telling: whether it was cut, because the time for it after an interrupt was over, which is said and is no failure.
    pub(super) fn until_over(&self, told: io::Result<()>) -> io::Result<bool> {
        if told.is_err() && self.interrupt.is_time_up() {
            self.interrupt.say_once(NOT_ALL);
            return Ok(true);
        }
        told.map(|()| false)
    }

    /// What became of it: whether it stayed to the end of TIME-WAIT, and whether its telling was cut.
    pub(super) fn outcome(
        &self,
        recording: &Recording,
        judged: &[Judged],
        stayed: bool,
        is_cut: bool,
    ) -> Result<Outcome, Failure> {
        let outcome = self.expected.outcome(judged, "demo")?;
        if recording.interrupted {
            self.interrupt.say_once(INTERRUPTED);
            return Ok(Outcome::Incomplete);
        }
        if self.options.wait && !stayed && self.interrupt.is_interrupted() {
            self.interrupt.say_once("interrupted: the end of TIME-WAIT was not waited for");
            return Ok(Outcome::Incomplete);
        }
        Ok(if is_cut { Outcome::Incomplete } else { outcome })
    }
}

/// Keeps the capture in a file: a pcapng gets comments on its packets, and the calls and the kernel's answers with it.
fn save(path: &Path, recording: &Recording, story: &Story, kept: &Kept) -> Result<(), Failure> {
    let mut writer = Writer::create(path)?;
    writer.interface(&recording.capture.interface, "tcpflow demo");
    let mut comments = if writer.keeps_more() { report::comments(story) } else { BTreeMap::new() };
    for frame in &recording.frames {
        writer.write(&frame.as_frame(), &comments.remove(&frame.number).unwrap_or_default())?;
    }
    let what = if writer.keeps_more() {
        writer.dropped(recording.capture.dropped);
        writer.attach(&kept.to_bytes())?;
        "frames, with the calls and the kernel's answers,"
    } else {
        "frames (a .pcapng would keep the calls, too)"
    };
    writer.finish()?;
    complain(&format!("{} {what} are in {}", recording.frames.len(), path.display()));
    Ok(())
}
