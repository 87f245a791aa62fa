//! The words, numbers and signs of one line, taken from left to right.

use std::str::FromStr;

use super::ScriptError;
use super::types::UNITS;
use crate::time::Span;

/// A place in a line.
pub(super) struct Cursor<'a> {
    line: usize,
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of `text`, which is line `line`, after its blanks.
    pub(super) fn new(line: usize, text: &'a str) -> Self {
        let mut cursor = Self { line, text, at: 0 };
        cursor.blanks();
        cursor
    }

    /// The octet it is at.
    pub(super) const fn place(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    /// Takes everything that is left, without the blanks around it.
    pub(super) fn take_rest(&mut self) -> &'a str {
        let rest = self.rest().trim();
        self.at = self.text.len();
        rest
    }

    /// Takes the sign, if it stands here.
    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let stands = self.rest().starts_with(sign);
        if stands {
            self.at += sign.len();
            self.blanks();
        }
        stands
    }

    /// Takes the word, if it stands here and ends here.
    pub(super) fn word_is(&mut self, word: &str) -> bool {
        let stands = self.peek() == word;
        stands && self.sign(word)
    }

    /// The word that stands here, which may be empty.
    pub(super) fn peek(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(rest.len());
        &rest[..end]
    }

    /// Takes the word that stands here, which may be empty.
    pub(super) fn word(&mut self) -> &'a str {
        let word = self.peek();
        self.at += word.len();
        self.blanks();
        word
    }

    /// Takes everything up to the next blank or one of `ends`.
    pub(super) fn until(&mut self, ends: &[char]) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || ends.contains(&c)).unwrap_or(rest.len());
        self.at += end;
        self.blanks();
        &rest[..end]
    }

    /// Takes a number with its sign.
    pub(super) fn number<N: FromStr>(&mut self, what: &str) -> Result<N, ScriptError> {
        let begun = self.at;
        let rest = self.rest();
        let minus = usize::from(rest.starts_with('-'));
        let end = rest[minus..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |end| minus + end);
        let number = rest[..end].parse();
        let number = number.map_err(|_| {
            let len = if end == minus { self.until_blank().len() } else { end };
            self.wrong(begun, len, format!("no {what}"), format!("{what} is a number that fits its place"))
        })?;
        self.at += end;
        Ok(number)
    }

    /// Takes a time: a number, which may have a fraction, and its unit; milliseconds without one.
    pub(super) fn span(&mut self) -> Result<Span, ScriptError> {
        let begun = self.at;
        let rest = self.rest();
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let whole = digits(rest);
        let fraction = rest[whole..].strip_prefix('.').map_or(0, digits);
        let end = whole + if fraction > 0 { fraction + 1 } else { 0 };
        let after = &rest[end..];
        let unit = &after[..after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len())];
        let size = match unit {
            "" => Some(1_000_000),
            unit => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size),
        };
        let nanos = size.and_then(|size| {
            let whole = rest[..whole].parse::<i64>().ok()?.checked_mul(size)?;
            let digits = if fraction > 0 { &rest[end - fraction..end] } else { "0" };
            // What is finer than a nanosecond is no time of a capture.
            let part = digits.parse::<i64>().ok()?.checked_mul(size)?;
            let scale = 10i64.checked_pow(digits.len() as u32)?;
            (part % scale == 0).then(|| whole.checked_add(part / scale)).flatten()
        });
        let nanos = nanos.filter(|nanos| *nanos <= LONGEST.as_nanos()).ok_or_else(|| {
            let len = (end + unit.len()).max(1);
            let help = "a time is a number and ns, us, ms or s, as in 30ms; up to ten years, down to a nanosecond";
            self.wrong(begun, len, "no time".to_owned(), help.to_owned())
        })?;
        self.at += end + unit.len();
        Ok(Span(nanos))
    }

    /// Something wrong from octet `from` on.
    pub(super) fn wrong(&self, from: usize, len: usize, what: String, help: String) -> ScriptError {
        ScriptError::new(self.line, self.text, from, len, what, help)
    }

    /// The wrong thing that stands here.
    pub(super) fn unexpected(&self, help: impl Into<String>) -> ScriptError {
        let what = match self.until_blank() {
            "" => "the line ends too early".to_owned(),
            word => format!("`{word:.40}` does not belong here"),
        };
        self.wrong(self.at, self.until_blank().len(), what, help.into())
    }

    fn until_blank(&self) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())]
    }

    pub(super) fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }
}

/// More than any capture lasts; times that are added up stay far from what a moment can hold.
pub(super) const LONGEST: Span = Span(10 * 366 * 24 * 3600 * 1_000_000_000);
