//! Lines of JSON as they are gathered.

use std::io::{self, Write};

use serde::Serialize;

/// The lines gathered so far; what is written often is written field by field, without a serializer in between.
pub(super) struct Lines(pub(super) Vec<u8>);

impl Lines {
    pub(super) fn object(&mut self, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
        Ok(value.serialize(&mut serde_json::Serializer::with_formatter(&mut self.0, Careful))?)
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    #[inline]
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        match number {
            // Most are this short.
            0..10 => self.0.push(b'0' + number as u8),
            _ => self.long_number(number),
        }
        self
    }

    fn long_number(&mut self, number: u64) {
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A name from one of our own lists, which needs no escapes.
    pub(super) fn name(&mut self, name: &'static str) -> &mut Self {
        self.0.reserve(name.len() + 2);
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
        self
    }
}

/// Compact JSON in which every character that could steer a terminal is escaped, not only those that JSON demands.
struct Careful;

impl serde_json::ser::Formatter for Careful {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|octet| (b' '..=b'~').contains(&octet)) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, steering)) = rest.char_indices().find(|(_, c)| steers(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in steering.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + steering.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Whether a character moves the cursor, begins an escape sequence, breaks the line or turns the direction of text.
pub(super) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
