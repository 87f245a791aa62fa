//! Progress on a terminal: the countdown of TIME-WAIT, and how far a long file is read.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::{Charset, Color, Style, escape};
use crate::time::Span;

/// Where progress is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Show {
    /// On standard error, which the caller knows to be a terminal.
    Terminal,
    /// Nowhere.
    Nothing,
}

/// A bar that empties while a kernel timer runs out.
#[derive(Debug)]
pub struct Countdown {
    bar: ProgressBar,
    total: Span,
}

impl Countdown {
    /// A countdown from `total`, labelled `what`, such as `TIME-WAIT on the client`.
    pub fn new(what: &str, total: Span, show: Show, style: &Style) -> Self {
        let bar = ProgressBar::with_draw_target(Some(millis(total)), target(show));
        bar.set_style(template("{prefix}  [{bar:30}] {msg}", style));
        bar.set_prefix(escape(what, style));
        Self { bar, total }
    }

    /// Draws how long it still takes, as the kernel said at last.
    pub fn remaining(&self, remaining: Span) {
        let left = millis(remaining).min(millis(self.total));
        self.bar.set_message(format!("{}.{} s left", left / 1000, left % 1000 / 100));
        self.bar.set_position(millis(self.total) - left);
    }

    /// Takes the bar off the terminal.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// A bar that fills while a capture is read.
#[derive(Debug)]
pub struct Reading {
    bar: ProgressBar,
}

impl Reading {
    /// A bar for `octets` of the file `name`; without a length (standard input) it only counts.
    pub fn new(name: &str, octets: Option<u64>, show: Show, style: &Style) -> Self {
        let bar = ProgressBar::with_draw_target(octets, target(show));
        let shape = if octets.is_some() {
            "{prefix}  [{bar:30}] {bytes}/{total_bytes}, {binary_bytes_per_sec}, {eta} left, {msg}"
        } else {
            "{prefix}  {bytes} read, {binary_bytes_per_sec}, {msg}"
        };
        bar.set_style(template(shape, style));
        bar.set_prefix(escape(name, style));
        Self { bar }
    }

    /// Draws that `octets` of the file and `frames` were read; cheap, for the bar redraws at most 20 times a second.
    pub fn at(&self, octets: u64, frames: u64) {
        self.bar.set_message(format!("{frames} frames"));
        self.bar.set_position(octets);
    }

    /// Takes the bar off the terminal.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// An interrupted wait must not leave half a bar behind.
impl Drop for Countdown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// An error in the middle of a file must not be printed onto the bar.
impl Drop for Reading {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn target(show: Show) -> ProgressDrawTarget {
    match show {
        Show::Terminal => ProgressDrawTarget::stderr(),
        Show::Nothing => ProgressDrawTarget::hidden(),
    }
}

fn template(shape: &str, style: &Style) -> ProgressStyle {
    let shape = match style.color {
        Color::Always => shape.replace("{bar:30}", "{bar:30.green}"),
        Color::Never => shape.to_owned(),
    };
    let shape = ProgressStyle::with_template(&shape).unwrap_or_else(|_| ProgressStyle::default_bar());
    shape.progress_chars(match style.charset {
        Charset::Unicode => "█▉▊▋▌▍▎▏ ",
        Charset::Ascii => "#> ",
    })
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.as_nanos() / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_countdown_goes_on_by_what_the_kernel_says() {
        let countdown = Countdown::new("TIME-WAIT", Span::from_millis(60_000), Show::Nothing, &Style::plain(80));
        countdown.remaining(Span::from_millis(59_940));
        assert_eq!((countdown.bar.position(), countdown.bar.message().as_str()), (60, "59.9 s left"));
        countdown.remaining(Span::from_millis(-1));
        assert_eq!(countdown.bar.position(), 60_000);
    }

    #[test]
    fn every_template_is_understood() {
        for color in [Color::Never, Color::Always] {
            for charset in [Charset::Unicode, Charset::Ascii] {
                let style = Style { color, charset, ..Style::plain(80) };
                let reading = Reading::new("x.pcap", Some(100), Show::Nothing, &style);
                reading.at(40, 12_345);
                assert_eq!((reading.bar.position(), reading.bar.message().as_str()), (40, "12345 frames"));
                Reading::new("-", None, Show::Nothing, &style).finish();
            }
        }
    }
}
