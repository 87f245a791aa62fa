//! Lines of painted text that know their width, and the escaping of whatever came from outside.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use unicode_width::UnicodeWidthChar;

use super::style::{Charset, Paint, Style};
use crate::wire::Flags;

/// One line of output: pieces of text with what they are.
///
/// Its pieces hold no control characters: text from outside is escaped before it gets here.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pieces: Vec<(Paint, Cow<'static, str>)>,
}

impl Line {
    /// A line of one piece.
    pub(super) fn of(paint: Paint, text: impl Into<Cow<'static, str>>) -> Self {
        let mut line = Self::default();
        line.push(paint, text);
        line
    }

    /// A line of that many spaces.
    pub(super) fn blank(columns: usize) -> Self {
        Self::of(Paint::Plain, spaces(columns))
    }

    /// Adds a piece at the end.
    pub(super) fn push(&mut self, paint: Paint, text: impl Into<Cow<'static, str>>) {
        let text = text.into();
        if !text.is_empty() {
            self.pieces.push((paint, text));
        }
    }

    /// Adds a piece at the end and gives the line back.
    pub(super) fn with(mut self, paint: Paint, text: impl Into<Cow<'static, str>>) -> Self {
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
        match self.pieces.is_empty() {
            true => self.pieces = other.pieces,
            false => self.pieces.extend(other.pieces),
        }
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
            kept.push((paint, Cow::Owned(head.to_owned())));
            if !whole {
                break;
            }
        }
        let paint = kept.last().map_or(Paint::Plain, |(paint, _)| *paint);
        self.pieces = kept;
        self.push(paint, head(ellipsis, columns).0.to_owned());
        self
    }

    /// Breaks it at spaces into lines of at most `columns`, all but the first after `indent` spaces; nothing is left out, so a word
    /// that is longer than a line is broken, too.
    pub(super) fn wrapped(self, columns: usize, indent: usize) -> Vec<Self> {
        if self.width() <= columns {
            return vec![self];
        }
        let indent = indent.min(columns / 2);
        let mut lines = Vec::new();
        let (mut line, mut used, mut gap) = (Self::default(), 0, 0);
        for word in self.words() {
            let Word { spaces: before, pieces, width } = word;
            gap += before;
            if used > 0 && used + gap + width > columns {
                lines.push(std::mem::replace(&mut line, Self::blank(indent)));
                (used, gap) = (indent, 0);
            }
            line.push(Paint::Plain, spaces(gap));
            used += gap;
            gap = 0;
            for (paint, text) in pieces {
                let mut rest = &text[..];
                while !rest.is_empty() {
                    let (start, width) = head(rest, columns.saturating_sub(used));
                    if start.is_empty() && used > indent {
                        lines.push(std::mem::replace(&mut line, Self::blank(indent)));
                        used = indent;
                        continue;
                    }
                    // Where not even one character has room, the line is too wide rather than endless.
                    let end = rest.chars().next().map_or(0, char::len_utf8).max(start.len());
                    line.push(paint, rest[..end].to_owned());
                    used += width.max(1);
                    rest = &rest[end..];
                }
            }
        }
        lines.push(line);
        lines
    }

    /// With spaces in place of those that kept words together.
    pub(super) fn with_plain_spaces(mut self) -> Self {
        for (_, text) in &mut self.pieces {
            if text.contains('\u{a0}') {
                *text = Cow::Owned(text.replace('\u{a0}', " "));
            }
        }
        self
    }

    /// What stands between its spaces.
    fn words(self) -> Vec<Word> {
        let mut words: Vec<Word> = Vec::new();
        let mut spaces = 0;
        let mut apart = true;
        for (paint, text) in self.pieces {
            for (at, part) in text.split(' ').enumerate() {
                if at > 0 {
                    spaces += 1;
                    apart = true;
                }
                if part.is_empty() {
                    continue;
                }
                if std::mem::replace(&mut apart, false) {
                    words.push(Word { spaces: std::mem::take(&mut spaces), pieces: Vec::new(), width: 0 });
                }
                if let Some(word) = words.last_mut() {
                    word.width += part.width();
                    word.pieces.push((paint, part.to_owned()));
                }
            }
        }
        words
    }

    /// Cuts or fills it to exactly `columns`, text to the left.
    pub(super) fn left(self, columns: usize, ellipsis: &str) -> Self {
        let width = self.width();
        match columns.checked_sub(width) {
            Some(gap) => self.with(Paint::Plain, spaces(gap)),
            None => {
                let line = self.cut(columns, ellipsis);
                let gap = columns - line.width();
                line.with(Paint::Plain, spaces(gap))
            }
        }
    }

    /// Cuts or fills it to exactly `columns`, text to the right.
    pub(super) fn right(self, columns: usize, ellipsis: &str) -> Self {
        let line = self.cut(columns, ellipsis);
        Self::blank(columns - line.width()).joined(line)
    }

    /// Writes it with a newline, and without spaces at its end.
    pub(super) fn write(mut self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let mut text = String::with_capacity(WRITTEN);
        self.put(&mut text, style);
        out.write_all(text.as_bytes())
    }

    /// Adds to a text what [`write`](Self::write) writes.
    fn put(&mut self, out: &mut String, style: &Style) {
        while let Some((_, text)) = self.pieces.last_mut() {
            let end = text.trim_end_matches(' ').len();
            match text {
                Cow::Borrowed(text) => *text = &text[..end],
                Cow::Owned(text) => text.truncate(end),
            }
            if !text.is_empty() {
                break;
            }
            self.pieces.pop();
        }
        for (paint, text) in &self.pieces {
            style.put(*paint, text, out);
        }
        out.push('\n');
    }
}

/// A word of a line, whose parts may differ in paint, and the spaces before it.
struct Word {
    spaces: usize,
    pieces: Vec<(Paint, String)>,
    width: usize,
}

/// As much of the beginning of `text` as fits `columns`, and its width.
pub(super) fn head(text: &str, columns: usize) -> (&str, usize) {
    // One more than fits, which might add no width.
    if let Some(start) = text.as_bytes().get(..=columns)
        && is_printable(start)
    {
        return (&text[..columns], columns);
    }
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

/// Columns that `text`, escaped already, takes.
pub(super) fn width(text: &str) -> usize {
    // Escaped, all of ASCII that is left takes one column.
    if text.is_ascii() {
        text.len()
    } else if text.chars().all(is_simple) {
        text.chars().count()
    } else {
        unicode_width::UnicodeWidthStr::width(text)
    }
}

/// What takes columns of a page.
pub(super) trait Columns {
    /// How many it takes, escaped already.
    fn width(&self) -> usize;
}

impl Columns for str {
    fn width(&self) -> usize {
        width(self)
    }
}

/// Whether it takes one column and needs no escape, in ASCII or among the symbols that many lines have.
fn is_simple(c: char) -> bool {
    matches!(c, ' '..='~' | 'µ' | '·' | '–' | '…' | '←' | '→' | '─'..='╿' | '►' | '◄' | '✗')
}

/// Whether each octet is an ASCII character of one column.
fn is_printable(octets: &[u8]) -> bool {
    // Octets, and without a way out, so that many are looked at together.
    octets.iter().fold(0, |so_far, octet| so_far | u8::from(!matches!(octet, b' '..=b'~'))) == 0
}

/// Adds that many spaces.
pub(super) fn fill(out: &mut String, columns: usize) {
    out.push_str(&SPACES[..columns.min(SPACES.len())]);
}

/// That many spaces.
pub(super) fn spaces(columns: usize) -> Cow<'static, str> {
    SPACES.get(..columns).map_or_else(|| " ".repeat(columns).into(), Cow::Borrowed)
}

/// As many spaces as a line may have.
const SPACES: &str = match str::from_utf8(&[b' '; Style::WIDEST]) {
    Ok(spaces) => spaces,
    Err(_) => "",
};
/// Octets that a line mostly takes, with what paints it.
const WRITTEN: usize = 2 * Style::WIDEST;

/// Adds a number.
pub(super) fn digits(out: &mut String, n: u64) {
    out.push_str(itoa::Buffer::new().format(n));
}

/// Adds a number that may be below 0.
pub(super) fn push_signed(out: &mut String, n: i64) {
    out.push_str(itoa::Buffer::new().format(n));
}

/// Adds the names of control bits, as they are displayed.
pub(super) fn push_flags(out: &mut String, flags: Flags) {
    // Nearly all are these.
    if flags == Flags::ACK {
        out.push_str("ACK");
    } else if flags == Flags::PSH | Flags::ACK {
        out.push_str("PSH,ACK");
    } else {
        let _ = write!(out, "{flags}");
    }
}

/// Adds a number with zeros before it, so that it has `places` digits at least.
pub(super) fn padded(out: &mut String, n: u64, places: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(n);
    for _ in text.len()..places {
        out.push('0');
    }
    out.push_str(text);
}

/// Adds an address and port as [`SocketAddr`] displays them, `[::1]:80`.
pub(super) fn push_end(out: &mut String, end: SocketAddr) {
    match end {
        SocketAddr::V4(end) => push_ipv4(out, *end.ip()),
        SocketAddr::V6(end) if end.scope_id() == 0 => {
            out.push('[');
            push_ipv6(out, *end.ip());
            out.push(']');
        }
        SocketAddr::V6(end) => {
            let _ = write!(out, "[{}%{}]", end.ip(), end.scope_id());
        }
    }
    out.push(':');
    digits(out, end.port().into());
}

/// Adds an address as it is displayed.
pub(super) fn push_address(out: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(address) => push_ipv4(out, address),
        IpAddr::V6(address) => push_ipv6(out, address),
    }
}

fn push_ipv4(out: &mut String, address: Ipv4Addr) {
    out.push_str(Dotted::of(address).as_str());
}

/// An IPv4 address as it is displayed, for lines that are written a million times.
#[repr(align(16))]
pub(super) struct Dotted {
    octets: [u8; 16],
    len: usize,
}

impl Dotted {
    pub(super) fn of(address: Ipv4Addr) -> Self {
        let (mut octets, mut at) = ([b'.'; 16], 0);
        for octet in address.octets() {
            let (digits, count) = DECIMAL[usize::from(octet)];
            // The place of digits that it does not have is taken by what follows.
            octets[at..at + 3].copy_from_slice(&digits);
            octets[at + count] = b'.';
            at += count + 1;
        }
        Self { octets, len: at - 1 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    fn as_str(&self) -> &str {
        // All sixteen together are looked at in two steps, fewer one by one.
        str::from_utf8(&self.octets).map_or("", |text| &text[..self.len])
    }
}

/// The digits of each octet, and how many it has.
const DECIMAL: [([u8; 3], usize); 256] = {
    let mut all = [([b'0'; 3], 1); 256];
    let mut octet = 0;
    while octet < all.len() {
        let (hundreds, tens, ones) = (octet / 100, octet / 10 % 10, octet % 10);
        all[octet] = match octet {
            0..10 => ([b'0' + ones as u8, 0, 0], 1),
            10..100 => ([b'0' + tens as u8, b'0' + ones as u8, 0], 2),
            _ => ([b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8], 3),
        };
        octet += 1;
    }
    all
};

/// By RFC 5952: the first of the longest runs of two or more zeros is `::`.
fn push_ipv6(out: &mut String, address: Ipv6Addr) {
    if let Some(mapped) = address.to_ipv4_mapped() {
        out.push_str("::ffff:");
        return push_ipv4(out, mapped);
    }
    let groups = address.segments();
    let (mut run, mut longest) = (0..0, 0..0);
    for (at, group) in groups.into_iter().enumerate() {
        run = if group == 0 { run.start..at + 1 } else { at + 1..at + 1 };
        if run.len() > longest.len() {
            longest = run.clone();
        }
    }
    if longest.len() < 2 {
        return push_groups(out, &groups);
    }
    push_groups(out, &groups[..longest.start]);
    out.push_str("::");
    push_groups(out, &groups[longest.end..]);
}

fn push_groups(out: &mut String, groups: &[u16]) {
    for (at, group) in groups.iter().enumerate() {
        if at > 0 {
            out.push(':');
        }
        let places = (16 - group.leading_zeros()).div_ceil(4).max(1);
        for place in (0..places).rev() {
            out.push(char::from(b"0123456789abcdef"[usize::from(group >> (4 * place) & 0xf)]));
        }
    }
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

/// As [`escape`], and the text itself where nothing has to be.
pub(super) fn shown<'a>(text: &'a str, style: &Style) -> Cow<'a, str> {
    let plain = is_printable(text.as_bytes()) || style.charset == Charset::Unicode && text.chars().all(is_simple);
    if plain { Cow::Borrowed(text) } else { Cow::Owned(escape(text, style)) }
}

/// Octets as a quoted string, at most `columns` wide with its quotes: text as it is where it is UTF-8, the rest as `\xNN`.
///
/// `more` says that octets follow which are not in `octets`; what does not fit is shown by the ellipsis after the quote.
pub(super) fn quote(octets: &[u8], more: Rest, columns: usize, style: &Style) -> String {
    let ellipsis = style.glyphs().ellipsis;
    let most = columns.saturating_sub(2);
    let room_if_cut = most.saturating_sub(ellipsis.width());
    let mut out = String::from("\"");
    // How wide it has become, and what of it stays where it turns out to be too wide.
    let (mut used, mut kept) = (0, out.len());
    let mut push = |atom: &dyn Fn(&mut String)| {
        let before = out.len();
        atom(&mut out);
        used += out[before..].width();
        if used <= room_if_cut {
            kept = out.len();
        }
        used <= most
    };
    for chunk in octets.utf8_chunks() {
        let fits = chunk.valid().chars().all(|c| {
            push(&|out| match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\0' => out.push_str("\\0"),
                c => escape_char(c, style, out),
            })
        });
        // What follows is not shown anyway.
        if !fits || !chunk.invalid().iter().all(|octet| push(&|out| _ = write!(out, "\\x{octet:02x}"))) {
            break;
        }
    }
    let cut = more == Rest::Follows || used > most;
    if cut {
        out.truncate(kept);
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
/// The lines of a text that is no wider than `columns`.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    wrap(text, columns, "")
}

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

/// Hands out the lines of [`wrap`], which are not made anew where they are pieces of `text`.
pub(super) fn each_wrapped(text: &str, columns: usize, ellipsis: &str, mut line: impl FnMut(&str)) {
    let mut rest = text;
    while !rest.is_empty() {
        let Some((piece, next)) = broken(rest, columns) else {
            return wrap(rest, columns, ellipsis).iter().for_each(|piece| line(piece));
        };
        line(piece);
        rest = next;
    }
}

/// The first line of `text` and what follows it; `None` where it is not simple, its words stand not one space apart, or the first is too long.
fn broken(text: &str, columns: usize) -> Option<(&str, &str)> {
    let octets = text.as_bytes();
    let mut end = octets.len().min(columns.saturating_add(1));
    let mut fits = octets.len() <= columns;
    if !is_printable(&octets[..end]) {
        let mut chars = text.chars();
        let simple = chars.by_ref().take(columns).all(is_simple);
        fits = chars.as_str().is_empty();
        if !simple || !chars.next().is_none_or(is_simple) {
            return None;
        }
        end = octets.len() - chars.as_str().len();
    }
    if !fits {
        end = octets[..end].iter().rposition(|octet| *octet == b' ')?;
    }
    let (piece, next) = (&text[..end], text[end..].strip_prefix(' ').unwrap_or_default());
    let apart = piece.as_bytes().windows(2).fold(true, |so_far, pair| so_far & ((pair[0] != b' ') | (pair[1] != b' ')));
    let bare = !piece.is_empty() && ![piece, next].iter().any(|part| part.starts_with(' ')) && !piece.ends_with(' ');
    (apart && bare).then_some((piece, next))
}

/// Writes `text`, escaped already, beside `head` and wrapped under itself.
pub(super) fn write_beside(out: &mut dyn Write, head: Line, text: &str, paint: Paint, style: &Style) -> io::Result<()> {
    let ellipsis = style.glyphs().ellipsis;
    let mut head = head.cut(style.columns() / 2, ellipsis).with(Paint::Plain, " ");
    let indent = head.width();
    for piece in wrap(text, style.columns() - indent, ellipsis) {
        head.push(paint, piece);
        std::mem::replace(&mut head, Line::blank(indent)).write(out, style)?;
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
pub(crate) fn counted(n: u64, noun: &str) -> String {
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
        let text = |line: Line| line.pieces.iter().map(|(_, text)| &**text).collect::<String>();
        assert_eq!(text(line.clone().cut(6, "…")), "汉字…");
        assert_eq!(text(line.clone().left(10, "…")), "汉字汉字  ");
        assert_eq!(text(line.left(6, "…")), "汉字… ");
        assert_eq!(text(Line::of(Paint::Plain, "ab").right(4, "…")), "  ab");
    }

    #[test]
    fn a_line_is_wrapped_between_words_whatever_their_paint() {
        let text = |lines: Vec<Line>| {
            let joined = |line: Line| line.pieces.into_iter().map(|(_, text)| text).collect::<String>();
            lines.into_iter().map(joined).collect::<Vec<_>>()
        };
        let line = Line::of(Paint::Plain, " = -1 ").with(Paint::Bad, "EADDR").with(Paint::Dim, "INUSE <- #3");
        assert_eq!(text(line.clone().wrapped(20, 2)), [" = -1 EADDRINUSE <-", "  #3"]);
        assert_eq!(text(line.clone().wrapped(12, 2)), [" = -1", "  EADDRINUSE", "  <- #3"]);
        assert_eq!(text(line.wrapped(80, 2)), [" = -1 EADDRINUSE <- #3"]);
        assert_eq!(text(Line::of(Paint::Plain, "abcdefgh").wrapped(4, 1)), ["abcd", " efg", " h"]);
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
                let wrapped = Line::of(Paint::Plain, escaped.clone()).wrapped(columns, 2);
                let plain = |lines: &[Line]| lines.iter().flat_map(|line| &line.pieces).map(|(_, text)| text.replace(' ', "")).collect::<String>();
                prop_assert_eq!(plain(&wrapped), escaped.replace(' ', ""));
                prop_assert!(columns < 4 || wrapped.iter().all(|line| line.width() <= columns));
                for line in wrap(&escaped, columns, style.glyphs().ellipsis) {
                    prop_assert!(line.width() <= columns.max(style.glyphs().ellipsis.width()));
                }
                let quoted = quote(&octets, Rest::Nothing, columns, &style);
                prop_assert!(quoted.width() <= columns.max(2 + style.glyphs().ellipsis.width()));
                prop_assert!(!quoted.chars().any(|c| c.is_control()));
            }
        }

        /// What is quick for ASCII says what is right for everything.
        #[test]
        fn short_ways_lead_to_the_same_place(
            text in prop_oneof![".{0,60}", "[a-c µ→…]{0,60}", "[ -~]{0,60}", "([a-z,.]{1,9} ){0,9}[a-z]{1,3}"],
            columns in 0usize..70,
        ) {
            for charset in [Charset::Unicode, Charset::Ascii] {
                let style = Style { charset, ..Style::plain(100) };
                let escaped = escape(&text, &style);
                prop_assert_eq!(shown(&text, &style), escaped.clone());
                prop_assert_eq!(width(&escaped), escaped.width());
                let ellipsis = style.glyphs().ellipsis;
                let mut lines = Vec::new();
                each_wrapped(&escaped, columns, ellipsis, |line| lines.push(line.to_owned()));
                prop_assert_eq!(lines, wrap(&escaped, columns, ellipsis));
                let (mut kept, mut used) = (0, 0);
                for c in escaped.chars() {
                    used += c.width().unwrap_or(0);
                    if used > columns {
                        break;
                    }
                    kept += c.len_utf8();
                }
                prop_assert_eq!(head(&escaped, columns).0, &escaped[..kept]);
                prop_assert_eq!(head(&escaped, columns).1, escaped[..kept].chars().filter_map(|c| c.width()).sum::<usize>());
            }
        }

        #[test]
        fn ends_are_written_as_they_are_displayed(end: SocketAddr, zeros: u8, scope in 0u32..2, low: u32) {
            let sparse = |address: Ipv6Addr| {
                let mut groups = address.segments();
                for (at, group) in groups.iter_mut().enumerate() {
                    *group = if zeros >> at & 1 == 1 { 0 } else { *group >> (*group % 16) };
                }
                Ipv6Addr::from(groups)
            };
            let [a, b, c, d] = low.to_be_bytes();
            let mut ends = vec![end, (Ipv4Addr::new(a, b, c, d).to_ipv6_mapped(), end.port()).into()];
            if let SocketAddr::V6(end) = end {
                ends.push(std::net::SocketAddrV6::new(sparse(*end.ip()), end.port(), 0, scope).into());
            }
            for end in ends {
                let mut out = String::new();
                push_end(&mut out, end);
                prop_assert_eq!(out, end.to_string());
            }
        }
    }
}
