//! How text output looks: its width, its colours, its symbols and its clock, decided by whoever asks for it and by nothing else.

use std::fmt::Write as _;
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
    /// Bold and reverse alone, for terminals whose few colours nobody has measured.
    Attributes,
    /// Colours of the 256-colour cube, which look the same whatever the theme, and can be read on black and on white.
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
        let plain = match self.color {
            Color::Always => {
                paint.hue().map_or(plain.clone(), |hue| plain.color(colored::Color::AnsiColor(hue.code())))
            }
            Color::Never | Color::Attributes => plain,
        };
        match paint {
            Paint::Plain | Paint::Dim | Paint::Client | Paint::Server | Paint::Kernel => plain,
            // Where there is no colour for it, it is at least bold.
            Paint::Warn if self.color == Color::Always => plain,
            Paint::Strong | Paint::ClientStrong | Paint::ServerStrong | Paint::State | Paint::Warn | Paint::Bad => {
                plain.bold()
            }
            Paint::Alarm => plain.bold().reversed(),
        }
    }

    /// Adds `text` in the colours of `paint`, which must be escaped already.
    pub(super) fn put(&self, paint: Paint, text: &str, out: &mut String) {
        if self.color == Color::Never || paint == Paint::Plain {
            out.push_str(text);
        } else {
            _ = write!(out, "{}", self.paint(paint, text));
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

impl Paint {
    /// Its colour; `None` is the terminal's own foreground, which its theme makes legible.
    const fn hue(self) -> Option<Hue> {
        match self {
            Self::Plain | Self::Strong | Self::State => None,
            Self::Dim => Some(Hue::Grey),
            Self::Client | Self::ClientStrong => Some(Hue::Green),
            Self::Server | Self::ServerStrong => Some(Hue::Magenta),
            Self::Kernel => Some(Hue::Blue),
            Self::Warn | Self::Bad | Self::Alarm => Some(Hue::Red),
        }
    }
}

/// A colour of the 256-colour cube.
///
/// Themes change the first sixteen colours, but hardly ever these.
/// Only seven of them have a contrast of 4.5 : 1 or more both on black and on white (WCAG 2.2, success criterion 1.4.3).
/// "Faint" (SGR 2) is none of them: what it makes of a colour differs between terminals, and is mostly too little.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hue {
    /// `#00875f`.
    Green,
    /// `#5f5fff`.
    Blue,
    /// `#d700af`.
    Magenta,
    /// `#af5f5f`.
    Red,
    /// `#767676`.
    Grey,
}

impl Hue {
    /// Its number among the 256 colours.
    pub const fn code(self) -> u8 {
        match self {
            Self::Green => 29,
            Self::Blue => 63,
            Self::Magenta => 163,
            Self::Red => 131,
            Self::Grey => 243,
        }
    }
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
    /// The end of an arrow that does not arrive.
    pub(super) lost: &'static str,
    /// Where an arrow goes on in a later row, to the right and to the left.
    pub(super) falls: &'static str,
    pub(super) rises: &'static str,
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
    /// Before a row that was drawn before, and says something else now.
    pub(super) amended: &'static str,
}

const UNICODE: Glyphs = Glyphs {
    line: "─",
    rule: "━",
    lifeline: "│",
    from_left: "├",
    from_right: "┤",
    right: "►",
    left: "◄",
    lost: "✗",
    falls: "╲",
    rises: "╱",
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
    amended: "±",
};

const ASCII: Glyphs = Glyphs {
    line: "-",
    rule: "=",
    lifeline: "|",
    from_left: "|",
    from_right: "|",
    right: ">",
    left: "<",
    lost: "X",
    falls: "\\",
    rises: "/",
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
    amended: "+",
};

#[cfg(test)]
mod tests {
    use super::*;

    const PAINTS: [Paint; 12] = [
        Paint::Plain,
        Paint::Dim,
        Paint::Strong,
        Paint::Client,
        Paint::Server,
        Paint::ClientStrong,
        Paint::ServerStrong,
        Paint::State,
        Paint::Kernel,
        Paint::Warn,
        Paint::Bad,
        Paint::Alarm,
    ];

    /// The parts of one of the upper 240 colours: a cube of six levels, then 24 greys.
    fn parts(code: u8) -> [u8; 3] {
        const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
        match code {
            0..16 => panic!("{code} is a colour of the theme"),
            16..232 => [36, 6, 1].map(|weight| LEVELS[usize::from((code - 16) / weight % 6)]),
            232.. => [8 + 10 * (code - 232); 3],
        }
    }

    /// WCAG's relative luminance.
    fn luminance(parts: [u8; 3]) -> f64 {
        let linear = |part: u8| match f64::from(part) / 255.0 {
            low if low <= 0.04045 => low / 12.92,
            high => ((high + 0.055) / 1.055).powf(2.4),
        };
        let [red, green, blue] = parts.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// WCAG's contrast of two colours.
    fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// The numbers of the escape sequences in `text`.
    fn codes(text: &str) -> Vec<u8> {
        let sequences = text.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m'));
        sequences.flat_map(|(codes, _)| codes.split(';')).map(|code| code.parse().unwrap()).collect()
    }

    #[test]
    fn the_measure_is_right() {
        assert!((contrast([0; 3], [255; 3]) - 21.0).abs() < 1e-9);
        assert!((contrast([0x76; 3], [255; 3]) - 4.54).abs() < 0.005);
        assert_eq!(parts(163), [0xd7, 0, 0xaf]);
    }

    #[test]
    fn every_colour_can_be_read_on_black_and_on_white() {
        let style = Style { color: Color::Always, ..Style::plain(80) };
        let mut colours = 0;
        for paint in PAINTS {
            let (before, after) = style.marks(paint);
            assert!(before.is_empty() || codes(&after) == [0], "{paint:?}");
            let mut codes = codes(&before).into_iter();
            while let Some(code) = codes.next() {
                match code {
                    1 | 7 => {}
                    38 => {
                        assert_eq!(codes.next(), Some(5), "{paint:?}");
                        let colour = parts(codes.next().unwrap());
                        for ground in [[0; 3], [255; 3]] {
                            let contrast = contrast(colour, ground);
                            assert!(contrast >= 4.5, "{paint:?}: {colour:02x?} on {ground:02x?} is {contrast:.2}");
                        }
                        colours += 1;
                    }
                    other => panic!("{paint:?} uses SGR {other}, whose look depends on the theme"),
                }
            }
        }
        assert_eq!(colours, PAINTS.len() - 3, "all but the foreground's own");
    }

    #[test]
    fn a_terminal_of_few_colours_gets_attributes_alone() {
        let style = Style { color: Color::Attributes, ..Style::plain(80) };
        let used: std::collections::BTreeSet<u8> =
            PAINTS.iter().flat_map(|paint| codes(&style.marks(*paint).0)).collect();
        assert_eq!(used, [1, 7].into());
    }
}
