//! What is wrong with a script: where, what, and the way out.

use std::fmt;

/// A line that is no line of a script.
///
/// Shown, it names the line and the column, shows the line with a caret under the place, and says what may stand there.
/// What it shows has no control characters, and no line of it is longer than a hundred or so characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
    what: String,
    help: String,
    /// The characters of the line.
    text: Vec<char>,
    /// How many characters the wrong part has.
    width: usize,
}

impl ScriptError {
    /// What is wrong with `text`, which is line `line`, from octet `at` on for `len` octets.
    pub(super) fn new(line: usize, text: &str, at: usize, len: usize, what: String, help: String) -> Self {
        let count = |octets: usize| text.char_indices().take_while(|(place, _)| *place < octets).count();
        let column = count(at) + 1;
        let width = (count(at + len) + 1).saturating_sub(column).max(1);
        let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let short = |text: String| {
            let is_cut = text.chars().nth(LONGEST).is_some();
            let kept = text.chars().map(plain).take(if is_cut { LONGEST - 1 } else { LONGEST });
            kept.chain(is_cut.then_some('…')).collect()
        };
        Self { line, column, what: short(what), help: short(help), text: text.chars().map(plain).collect(), width }
    }

    /// What is wrong with the octets `span` of a text of many lines.
    pub fn in_text(text: &str, span: std::ops::Range<usize>, what: String, help: String) -> Self {
        let start = (0..=span.start.min(text.len())).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0);
        let begin = text[..start].rfind('\n').map_or(0, |end| end + 1);
        let number = text[..begin].matches('\n').count() + 1;
        let line = text[begin..].lines().next().unwrap_or_default();
        let len = span.end.saturating_sub(start).min(line.len().saturating_sub(start - begin));
        Self::new(number, line, start - begin, len, what, help)
    }

    /// The same in a text in which `lines` lines stand before the one that it is about.
    #[must_use]
    pub fn after_lines(self, lines: usize) -> Self {
        Self { line: self.line + lines, ..self }
    }

    /// What is wrong, without the place and the way out.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The way out.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// How many characters the wrong part has.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// What is wrong, and the way out, without the place.
    pub fn message(&self) -> String {
        format!("{}: {}", self.what, self.help)
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}, column {}: {}", self.line, self.column, self.what)?;
        // Of a long line the part around the place.
        let place = self.column - 1;
        let from = place.saturating_sub(BEFORE);
        let to = self.text.len().min(from + BEFORE + AFTER);
        writeln!(f, "  | {}", self.text[from..to].iter().collect::<String>())?;
        let width = self.width.min(AFTER);
        writeln!(f, "  | {}{}", " ".repeat(place - from), "^".repeat(width))?;
        write!(f, "  = {}", self.help)
    }
}

impl std::error::Error for ScriptError {}

/// The characters of a sentence.
pub(super) const LONGEST: usize = 400;
/// The characters of a line that are shown before the place and from it on.
const BEFORE: usize = 60;
const AFTER: usize = 40;
