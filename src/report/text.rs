//! Lines of painted text that know their width, and the escaping of whatever came from outside.

use std::fmt::Write as _;
use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::style::{Charset, Paint, Style};

/// One line of output: pieces of text with what they are.
///
/// Its pieces hold no control characters: text from outside is escaped before it gets here.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pieces: Vec<(Paint, String)>,
}

impl Line {
    /// A line of one piece.
    pub(super) fn of(paint: Paint, text: impl Into<String>) -> Self {
        let mut line = Self::default();
        line.push(paint, text);
        line
    }

    /// Adds a piece at the end.
    pub(super) fn push(&mut self, paint: Paint, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() {
            self.pieces.push((paint, text));
        }
    }

    /// Adds a piece at the end and gives the line back.
    pub(super) fn with(mut self, paint: Paint, text: impl Into<String>) -> Self {
        self.push(paint, text);
        self
    }

    /// Adds another line's pieces at the end and gives the line back.
    pub(super) fn joined(mut self, other: Self) -> Self {
        self.append(other);
        self
    }

    /// Adds another line's pieces at the end.
    pub(super) fn append(&mut self, other: Self) {
        self.pieces.extend(other.pieces);
    }

    /// Columns that it takes.
    pub(super) fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.width()).sum()
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Cuts it to at most `columns`, ending in the ellipsis where something was cut.
    pub(super) fn cut(mut self, columns: usize, ellipsis: &str) -> Self {
        if self.width() <= columns {
            return self;
        }
        let room = columns.saturating_sub(ellipsis.width());
        let mut used = 0;
        let mut kept = Vec::new();
        for (paint, text) in self.pieces.drain(..) {
            let (head, width) = head(&text, room - used);
            used += width;
            let whole = head.len() == text.len();
            kept.push((paint, head.to_owned()));
            if !whole {
                break;
            }
        }
        let paint = kept.last().map_or(Paint::Plain, |(paint, _)| *paint);
        self.pieces = kept;
        self.push(paint, head(ellipsis, columns).0);
        self
    }

    /// Cuts or fills it to exactly `columns`, text to the left.
    pub(super) fn left(self, columns: usize, ellipsis: &str) -> Self {
        let line = self.cut(columns, ellipsis);
        let gap = columns - line.width();
        line.with(Paint::Plain, " ".repeat(gap))
    }

    /// Cuts or fills it to exactly `columns`, text to the right.
    pub(super) fn right(self, columns: usize, ellipsis: &str) -> Self {
        let line = self.cut(columns, ellipsis);
        let mut filled = Self::of(Paint::Plain, " ".repeat(columns - line.width()));
        filled.append(line);
        filled
    }

    /// Writes it with a newline, and without spaces at its end.
    pub(super) fn write(mut self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        while let Some((_, text)) = self.pieces.last_mut() {
            text.truncate(text.trim_end_matches(' ').len());
            if !text.is_empty() {
                break;
            }
            self.pieces.pop();
        }
        for (paint, text) in &self.pieces {
            write!(out, "{}", style.paint(*paint, text))?;
        }
        writeln!(out)
    }
}

/// As much of the beginning of `text` as fits `columns`, and its width.
pub(super) fn head(text: &str, columns: usize) -> (&str, usize) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        let width = c.width().unwrap_or(0);
        if used + width > columns {
            return (&text[..at], used);
        }
        used += width;
    }
    (text, used)
}

/// `text` with everything escaped that is not plainly visible: control characters, escape sequences, marks of
/// direction and of zero width, private characters; in ASCII, everything that is not ASCII.
///
/// A backslash stays as it is, for names and sentences are not quoted.
pub fn escape(text: &str, style: &Style) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        escape_char(c, style, &mut out);
    }
    out
}

/// Octets as a quoted string, at most `columns` wide with its quotes: text as it is where it is UTF-8, the rest as `\xNN`.
///
/// `more` says that octets follow which are not in `octets`; what does not fit is shown by the ellipsis after the quote.
pub(super) fn quote(octets: &[u8], more: Rest, columns: usize, style: &Style) -> String {
    let ellipsis = style.glyphs().ellipsis;
    let mut atoms: Vec<String> = Vec::new();
    for chunk in octets.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut atom = String::new();
            match c {
                '"' => atom.push_str("\\\""),
                '\\' => atom.push_str("\\\\"),
                '\n' => atom.push_str("\\n"),
                '\r' => atom.push_str("\\r"),
                '\t' => atom.push_str("\\t"),
                '\0' => atom.push_str("\\0"),
                c => escape_char(c, style, &mut atom),
            }
            atoms.push(atom);
        }
        atoms.extend(chunk.invalid().iter().map(|octet| format!("\\x{octet:02x}")));
    }
    let whole: usize = atoms.iter().map(|atom| atom.width()).sum::<usize>() + 2;
    let cut = more == Rest::Follows || whole > columns;
    let room = columns.saturating_sub(2 + if cut { ellipsis.width() } else { 0 });
    let mut out = String::from("\"");
    let mut used = 0;
    for atom in &atoms {
        used += atom.width();
        if used > room {
            break;
        }
        out.push_str(atom);
    }
    out.push('"');
    if cut {
        out.push_str(ellipsis);
    }
    out
}

/// Whether octets follow those that are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// They are all.
    Nothing,
    /// More follow.
    Follows,
}

/// `text` broken at spaces into lines of at most `columns`; a word that is longer is cut.
pub(super) fn wrap(text: &str, columns: usize, ellipsis: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let width = word.width();
        match lines.last_mut() {
            Some(line) if used + 1 + width <= columns => {
                line.push(' ');
                line.push_str(word);
                used += 1 + width;
            }
            _ if width <= columns => {
                lines.push(word.to_owned());
                used = width;
            }
            _ => {
                let (start, start_width) = head(word, columns.saturating_sub(ellipsis.width()));
                lines.push(format!("{start}{ellipsis}"));
                used = start_width + ellipsis.width();
            }
        }
    }
    lines
}

/// Writes `text`, escaped already, beside `head` and wrapped under itself.
pub(super) fn write_beside(out: &mut dyn Write, head: Line, text: &str, paint: Paint, style: &Style) -> io::Result<()> {
    let ellipsis = style.glyphs().ellipsis;
    let mut head = head.cut(style.columns() / 2, ellipsis).with(Paint::Plain, " ");
    let indent = head.width();
    for piece in wrap(text, style.columns() - indent, ellipsis) {
        head.push(paint, piece);
        std::mem::replace(&mut head, Line::of(Paint::Plain, " ".repeat(indent))).write(out, style)?;
    }
    Ok(())
}

/// An English ordinal: `1st`, `2nd`, `13th`.
pub(super) fn ordinal(n: u64) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// `1 octet`, `10 octets`.
pub(super) fn counted(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{} {noun}s", grouped(n)) }
}

/// A number with its thousands set apart from five digits on: `1000`, `65 483`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

fn escape_char(c: char, style: &Style, out: &mut String) {
    let visible = matches!(c, ' '..='~')
        || (style.charset == Charset::Unicode
            && !c.is_ascii()
            && c.width().is_some_and(|width| width > 0)
            && !is_hidden(c));
    if visible {
        out.push(c);
    } else if style.charset == Charset::Ascii
        && let Some((_, ascii)) = SPELLED.iter().find(|(symbol, _)| *symbol == c)
    {
        out.push_str(ascii);
    } else if c.is_ascii() {
        let _ = write!(out, "\\x{:02x}", c as u32);
    } else {
        let _ = write!(out, "\\u{{{:x}}}", c as u32);
    }
}

/// Characters that have a width by the tables and yet change or hide what stands around them, or that no font agrees on.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
        | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{d7b0}'..='\u{d7ff}' | '\u{e000}'..='\u{f8ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
        | '\u{1bca0}'..='\u{1bcaf}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
        // Scripts written from right to left reorder the columns beside them.
        || matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Symbols that sentences of this program use, and how ASCII spells them.
const SPELLED: [(char, &str); 12] = [
    ('→', "->"),
    ('←', "<-"),
    ('…', "..."),
    ('–', "-"),
    ('—', "-"),
    ('−', "-"),
    ('·', "*"),
    ('×', "x"),
    ('µ', "u"),
    ('≤', "<="),
    ('≥', ">="),
    ('’', "'"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        let style = Style::plain(100);
        assert_eq!(
            escape("a\x1b[31mb\r\n\u{202e}c\u{200b}\u{9b}d", &style),
            "a\\x1b[31mb\\x0d\\x0a\\u{202e}c\\u{200b}\\u{9b}d"
        );
        assert_eq!(escape("汉字 ü →", &style), "汉字 ü →");
        assert_eq!(escape("e\u{301}", &style), "e\\u{301}");
        let ascii = Style { charset: Charset::Ascii, ..style };
        assert_eq!(escape("ü → …", &ascii), "\\u{fc} -> ...");
    }

    #[test]
    fn octets_are_quoted_and_cut_between_characters() {
        let style = Style::plain(100);
        assert_eq!(quote(b"hello\0\xff\n\"", Rest::Nothing, 60, &style), r#""hello\0\xff\n\"""#);
        assert_eq!(quote(b"helloworld", Rest::Nothing, 12, &style), "\"helloworld\"");
        assert_eq!(quote(b"helloworld", Rest::Nothing, 11, &style), "\"hellowor\"…");
        assert_eq!(quote(b"helloworld", Rest::Follows, 60, &style), "\"helloworld\"…");
        assert_eq!(quote("汉字汉字".as_bytes(), Rest::Nothing, 8, &style), "\"汉字\"…");
    }

    #[test]
    fn a_line_is_cut_by_width_not_by_characters() {
        let line = Line::of(Paint::Plain, "汉字").with(Paint::Dim, "汉字");
        assert_eq!(line.width(), 8);
        let text = |line: Line| line.pieces.iter().map(|(_, text)| text.as_str()).collect::<String>();
        assert_eq!(text(line.clone().cut(6, "…")), "汉字…");
        assert_eq!(text(line.clone().left(10, "…")), "汉字汉字  ");
        assert_eq!(text(line.left(6, "…")), "汉字… ");
        assert_eq!(text(Line::of(Paint::Plain, "ab").right(4, "…")), "  ab");
    }

    #[test]
    fn numbers_read_as_english() {
        assert_eq!([1, 2, 3, 4, 11, 12, 21, 111].map(ordinal).join(" "), "1st 2nd 3rd 4th 11th 12th 21st 111th");
        assert_eq!([1, 999, 65_483, 1_000_000].map(grouped).join(","), "1,999,65 483,1 000 000");
        assert_eq!([0, 1, 2].map(|n| counted(n, "octet")).join(" "), "0 octets 1 octet 2 octets");
    }

    proptest! {
        #[test]
        fn whatever_comes_fits_its_columns(text: String, octets: Vec<u8>, columns in 0usize..60) {
            for charset in [Charset::Unicode, Charset::Ascii] {
                let style = Style { charset, ..Style::plain(100) };
                let escaped = escape(&text, &style);
                prop_assert!(!escaped.chars().any(|c| c.is_control()));
                prop_assert_eq!(Line::of(Paint::Plain, escaped.clone()).left(columns, style.glyphs().ellipsis).width(), columns);
                for line in wrap(&escaped, columns, style.glyphs().ellipsis) {
                    prop_assert!(line.width() <= columns.max(style.glyphs().ellipsis.width()));
                }
                let quoted = quote(&octets, Rest::Nothing, columns, &style);
                prop_assert!(quoted.width() <= columns.max(2 + style.glyphs().ellipsis.width()));
                prop_assert!(!quoted.chars().any(|c| c.is_control()));
            }
        }
    }
}
