//! Resolves how text looks: what was asked for, the terminal, the environment.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use crate::cli::{self, Look, Time};
use crate::report::{Charset, Clock, Color, Detail, Style};
use crate::time::{Span, Timestamp};

/// The style of text on standard output.
pub(super) fn style(look: &Look) -> Style {
    style_or(look, DEFAULT_WIDTH)
}

/// The style of a table: where nothing says how wide the page is, as wide as whole lines are, for whoever searches them.
pub(super) fn table(look: &Look) -> Style {
    style_or(look, Style::WIDEST)
}

/// The style of messages on standard error.
pub(super) fn messages() -> Style {
    let ascii = std::io::stderr().is_terminal() && !utf8();
    Style { charset: if ascii { Charset::Ascii } else { Charset::Unicode }, ..Style::plain(DEFAULT_WIDTH) }
}

/// The style of text that goes to `stream`.
pub(super) fn on(look: &Look, stream: Stream) -> Style {
    match stream {
        Stream::Output => style(look),
        Stream::Errors => {
            let terminal = std::io::stderr().is_terminal();
            styled(look, terminal, width_of(std::io::stderr()), DEFAULT_WIDTH)
        }
        Stream::File => styled(look, false, None, DEFAULT_WIDTH),
    }
}

/// Where text goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Errors,
    /// A file.
    File,
}

fn style_or(look: &Look, default_width: usize) -> Style {
    styled(look, std::io::stdout().is_terminal(), terminal_width(), default_width)
}

fn styled(look: &Look, terminal: bool, terminal_width: Option<usize>, default_width: usize) -> Style {
    let color = match look.color {
        cli::Color::Always => Color::Always,
        cli::Color::Never => Color::Never,
        cli::Color::Auto if !terminal || set("NO_COLOR") => Color::Never,
        cli::Color::Auto => of_terminal(std::env::var("TERM").ok().as_deref(), set("COLORTERM")),
    };
    let width = look.width.map(usize::from).or(terminal_width).unwrap_or(default_width);
    Style {
        width,
        color,
        charset: if look.ascii || !utf8() { Charset::Ascii } else { Charset::Unicode },
        clock: match look.time {
            None | Some(Time::Relative) => Clock::Elapsed,
            Some(Time::Local | Time::Utc) => Clock::TimeOfDay,
            Some(Time::Epoch) => Clock::Epoch,
        },
        utc_offset: 0,
        detail: if look.every_segment { Detail::Every } else { Detail::Runs },
        room_until: Span(0),
    }
}

/// The style with the local zone's offset at that moment, where local time was asked for.
///
/// One offset is told with one name for a whole capture, also where it goes on past a change of the clocks.
pub(super) fn at(look: &Look, style: Style, moment: Option<Timestamp>) -> Style {
    let (Some(Time::Local), Some(moment)) = (look.time, moment) else { return style };
    let local = chrono::DateTime::from_timestamp_nanos(moment.as_nanos()).with_timezone(&chrono::Local);
    Style { utc_offset: local.offset().local_minus_utc(), ..style }
}

/// The width of the terminal on standard output; without one, what COLUMNS says.
fn terminal_width() -> Option<usize> {
    width_of(std::io::stdout())
}

fn width_of(stream: impl AsFd) -> Option<usize> {
    let of_terminal = terminal_size::terminal_size_of(stream).map(|(width, _)| usize::from(width.0));
    of_terminal.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok()).filter(|width| *width > 0)
}

/// Whether the locale's characters are UTF-8; LC_ALL overrides LC_CTYPE, and that LANG.
fn utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty());
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// The colours of the terminal that calls itself `term`; one that sets COLORTERM has more than 256.
///
/// The names are those that terminfo gives 8, 16 or 88 colours, or none: what such a terminal makes of the cube cannot be known.
fn of_terminal(term: Option<&str>, colorterm: bool) -> Color {
    const FEW: [&str; 9] = ["linux", "vt", "ansi", "cons", "screen", "tmux", "rxvt", "eterm", "sun"];
    let term = term.unwrap_or_default();
    match term {
        "dumb" => Color::Never,
        _ if colorterm || term.contains("256color") || term.contains("direct") => Color::Always,
        _ if FEW.iter().any(|few| term.starts_with(few)) => Color::Attributes,
        _ => Color::Always,
    }
}

fn set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Columns where nothing says how many there are.
const DEFAULT_WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_of_few_colours_is_known_by_its_name() {
        for (term, colorterm, color) in [
            (Some("dumb"), true, Color::Never),
            (Some("linux"), false, Color::Attributes),
            (Some("vt100"), false, Color::Attributes),
            (Some("screen"), false, Color::Attributes),
            (Some("screen"), true, Color::Always),
            (Some("screen-256color"), false, Color::Always),
            (Some("xterm"), false, Color::Always),
            (Some("alacritty"), false, Color::Always),
            (None, false, Color::Always),
        ] {
            assert_eq!(of_terminal(term, colorterm), color, "{term:?}");
        }
    }
}
