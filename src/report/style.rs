//! How text output looks: its width, its colours, its symbols and its clock, decided by whoever asks for it and by nothing else.

use std::sync::Once;

use colored::{ColoredString, Colorize};

use super::wording::{English, Wording};
use crate::time::Span;

/// How a text report is drawn.
///
/// It says everything: no sink looks at the environment, the terminal or the locale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// Columns to write in; lines are never wider (below [`Style::NARROWEST`] they are as if it were that).
    pub width: usize,
    /// Whether escape sequences for colour are written.
    pub color: Color,
    /// Which symbols are written.
    pub charset: Charset,
    /// How moments are written.
    pub clock: Clock,
    /// Seconds to add to UTC for dates and times of day; 0 prints `UTC`.
    pub utc_offset: i32,
    /// Whether runs of like segments are drawn as one.
    pub detail: Detail,
    /// A time since the first event for which the clock's column must have room, though nothing that late is in the story yet.
    pub room_until: Span,
}

/// Whether colour is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Color {
    /// No escape sequence at all.
    #[default]
    Never,
    /// The eight colours that every terminal has, so that its own theme decides how they look.
    Always,
}

/// Which symbols are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Charset {
    /// Box-drawing characters and arrows, in UTF-8.
    #[default]
    Unicode,
    /// ASCII only.
    Ascii,
}

/// How the moments of a timeline are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Clock {
    /// Seconds and microseconds since the first event.
    #[default]
    Elapsed,
    /// Time of day with microseconds, in the style's offset from UTC.
    TimeOfDay,
    /// Seconds and microseconds since the epoch.
    Epoch,
}

/// Whether each segment has an arrow of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Detail {
    /// Segments that follow one another, for the same reason and with nothing remarkable about them, share one from three on.
    #[default]
    Runs,
    /// Each has its own.
    Every,
}

impl Style {
    /// The fewest columns that a report is drawn in.
    pub const NARROWEST: usize = 40;
    /// From this width on the timeline is a ladder; below it is compact.
    pub const LADDER: usize = 100;
    /// More columns than these are left empty: a line that long is not followed by the eye.
    pub const WIDEST: usize = 180;

    /// The language of its sentences.
    pub(super) const fn wording(&self) -> &'static dyn Wording {
        &English
    }

    /// A style of `width` columns without colour, in Unicode, with elapsed time.
    pub const fn plain(width: usize) -> Self {
        Self {
            width,
            color: Color::Never,
            charset: Charset::Unicode,
            clock: Clock::Elapsed,
            utc_offset: 0,
            detail: Detail::Runs,
            room_until: Span(0),
        }
    }

    /// The columns that are really used.
    pub(super) fn columns(&self) -> usize {
        self.width.clamp(Self::NARROWEST, Self::WIDEST)
    }

    /// The symbols of its charset.
    pub(super) const fn glyphs(&self) -> &'static Glyphs {
        match self.charset {
            Charset::Unicode => &UNICODE,
            Charset::Ascii => &ASCII,
        }
    }

    /// `text` in the colours of `paint`, which must be escaped already.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> ColoredString {
        let plain = ColoredString::from(text);
        if self.color == Color::Never || paint == Paint::Plain {
            return plain;
        }
        // The library would ask the environment; nothing else in the program uses it, and without colour it is never reached.
        static ASKED_FOR: Once = Once::new();
        ASKED_FOR.call_once(|| colored::control::set_override(true));
        match paint {
            Paint::Plain => plain,
            Paint::Dim => plain.dimmed(),
            Paint::Strong => plain.bold(),
            Paint::Client => plain.cyan(),
            Paint::Server => plain.magenta(),
            Paint::ClientStrong => plain.cyan().bold(),
            Paint::ServerStrong => plain.magenta().bold(),
            Paint::State => plain.green().bold(),
            Paint::Kernel => plain.blue(),
            Paint::Warn => plain.yellow().bold(),
            Paint::Bad => plain.red().bold(),
            Paint::Alarm => plain.red().bold().reversed(),
        }
    }

    /// What [`Style::paint`] writes before a text, and what after it, for who writes many.
    pub(super) fn marks(&self, paint: Paint) -> (String, String) {
        let painted = self.paint(paint, "x").to_string();
        painted.split_once('x').map_or_else(Default::default, |(before, after)| (before.to_owned(), after.to_owned()))
    }
}

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Paint {
    #[default]
    Plain,
    Dim,
    Strong,
    Client,
    Server,
    ClientStrong,
    ServerStrong,
    State,
    Kernel,
    Warn,
    Bad,
    Alarm,
}

/// The symbols of a charset.
pub(super) struct Glyphs {
    pub(super) line: &'static str,
    pub(super) rule: &'static str,
    pub(super) lifeline: &'static str,
    pub(super) from_left: &'static str,
    pub(super) from_right: &'static str,
    pub(super) right: &'static str,
    pub(super) left: &'static str,
    pub(super) opens: &'static str,
    pub(super) waits: &'static str,
    pub(super) closes: &'static str,
    pub(super) hangs: &'static str,
    pub(super) ellipsis: &'static str,
    pub(super) becomes: &'static str,
    pub(super) because: &'static str,
    pub(super) dot: &'static str,
    pub(super) dash: &'static str,
    pub(super) note: &'static str,
}

const UNICODE: Glyphs = Glyphs {
    line: "─",
    rule: "━",
    lifeline: "│",
    from_left: "├",
    from_right: "┤",
    right: "►",
    left: "◄",
    opens: "┌",
    waits: "│",
    closes: "└",
    hangs: "╵",
    ellipsis: "…",
    becomes: "→",
    because: "←",
    dot: "·",
    dash: "–",
    note: "╰",
};

const ASCII: Glyphs = Glyphs {
    line: "-",
    rule: "=",
    lifeline: "|",
    from_left: "|",
    from_right: "|",
    right: ">",
    left: "<",
    opens: "/",
    waits: "|",
    closes: "\\",
    hangs: "'",
    ellipsis: "...",
    becomes: "->",
    because: "<-",
    dot: "|",
    dash: "-",
    note: "`",
};
