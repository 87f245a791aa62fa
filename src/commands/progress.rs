//! Progress on a terminal: the countdown of TIME-WAIT, and how far a long file is read.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::{Charset, Color, Hue, Style, escape};
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
    ///
    /// It takes one line of the terminal, whose columns are `width`, and tells less where that is narrow.
    pub fn new(name: &str, octets: Option<u64>, show: Show, style: &Style, width: usize) -> Self {
        let bar = ProgressBar::with_draw_target(octets, target(show));
        let name = escape(name.rsplit('/').next().unwrap_or(name), style);
        let columns = name.chars().count().min(if width < WIDE { 10 } else { 20 });
        let shape = match (octets.is_some(), width < WIDE) {
            (true, false) => "{wide_bar}] {percent}%, {binary_bytes_per_sec}, {eta} left, {msg}",
            (true, true) => "{wide_bar}] {percent}%, {eta} left",
            (false, false) => "{bytes} read, {binary_bytes_per_sec}, {msg}",
            (false, true) => "{bytes} read",
        };
        let open = if octets.is_some() { "[" } else { "" };
        bar.set_style(template(&format!("{{prefix:{columns}!}} {open}{shape}"), style));
        bar.set_prefix(name);
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
        Color::Always => {
            let hue = Hue::Green.code();
            shape
                .replace("{bar:30}", &format!("{{bar:30.{hue}}}"))
                .replace("{wide_bar}", &format!("{{wide_bar:.{hue}}}"))
        }
        Color::Attributes | Color::Never => shape.to_owned(),
    };
    let shape = ProgressStyle::with_template(&shape).unwrap_or_else(|_| ProgressStyle::default_bar());
    shape.progress_chars(match style.charset {
        Charset::Unicode => "█▉▊▋▌▍▎▏ ",
        Charset::Ascii => "#> ",
    })
}

/// The columns of the terminal on standard error.
pub(super) fn columns() -> usize {
    terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.as_nanos() / 1_000_000).unwrap_or(0)
}

/// Columns that have room for everything.
const WIDE: usize = 80;

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal of so many columns, and what is written on its line.
    #[derive(Clone, Debug)]
    struct Line(u16, Arc<Mutex<String>>);

    impl TermLike for Line {
        fn width(&self) -> u16 {
            self.0
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.1.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.1.lock().unwrap().clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

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
        for color in [Color::Never, Color::Attributes, Color::Always] {
            for charset in [Charset::Unicode, Charset::Ascii] {
                let style = Style { color, charset, ..Style::plain(80) };
                for width in [40, 80] {
                    let reading = Reading::new("x.pcap", Some(100), Show::Nothing, &style, width);
                    reading.at(40, 12_345);
                    assert_eq!((reading.bar.position(), reading.bar.message().as_str()), (40, "12345 frames"));
                    Reading::new("-", None, Show::Nothing, &style, width).finish();
                }
            }
        }
    }

    #[test]
    fn a_bar_takes_one_line_whatever_the_terminals_width() {
        for width in [30, 50, 79, 80, 100, 200] {
            for octets in [Some(999_999_999_999), None] {
                let terminal = Line(width, Arc::default());
                let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
                let style = Style { charset: Charset::Ascii, ..Style::plain(80) };
                let name = "some/folder/a-capture-of-a-long-afternoon-with-a-long-name.pcap.zst";
                let reading = Reading::new(name, octets, Show::Nothing, &style, usize::from(width));
                reading.bar.set_draw_target(target);
                reading.at(555_555_555_555, 4_000_000_000);
                reading.bar.tick();
                let drawn = terminal.1.lock().unwrap().trim_end().to_owned();
                assert!(drawn.starts_with("a-capture"), "{drawn:?}");
                assert!(drawn.chars().count() <= usize::from(width), "{width} columns: {drawn:?}");
                assert_eq!(drawn.contains(" frames"), width >= 80, "{drawn:?}");
            }
        }
    }
}
