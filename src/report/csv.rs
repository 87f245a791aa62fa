//! Comma-separated values: a header, then one record a line, quoted by RFC 4180.

use std::borrow::Cow;
use std::io::{self, Write};

use super::field::{
    Code, Columns, Datum, Field, FindingField, Findings, Frame, Kind, Value, connection_fields, end_fields,
    parts_fields, problem_fields, reason_fields, side_fields,
};
use super::style::Style;
use super::text::{digits, padded, push_address, shown};
use super::wording::{English, Wording};
use crate::flow::{Class, Connection, FindingAt};
use crate::time::{Span, Timestamp};

/// Writes connections, or findings, as records.
///
/// Columns have the names of [`Field`]; what is not known is empty, moments are decimal seconds since the epoch.
/// No control character gets out, whatever a note holds: `\x1b` instead.
/// Text that begins with `=`, `+`, `-` or `@` gets a leading `'`, so that no spreadsheet takes it for a formula; numbers never do.
pub struct Csv<'a> {
    writer: csv::Writer<&'a mut dyn Write>,
    text: String,
    file: Option<String>,
    columns: Columns,
}

/// Which capture the records are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin<'a> {
    /// The only one: no column says so.
    Only,
    /// The first of several files that are told one after the other: the first column, `file`, has its name.
    First(&'a str),
    /// A further one of them: its records go on below the header of the first.
    Further(&'a str),
}

impl<'a> Csv<'a> {
    /// A writer of the header of connections, and then of [`Csv::connection`].
    ///
    /// # Errors
    /// Those of the output, here as in the others.
    pub fn of_connections(out: &'a mut dyn Write, origin: Origin<'_>, columns: Columns) -> io::Result<Self> {
        let csv = Self::with_header(out, origin, Field::columns(columns).map(|field| field.name))?;
        Ok(Self { columns, ..csv })
    }

    /// A writer of the header of findings, and then of [`Csv::finding`].
    ///
    /// # Errors
    /// Those of the output.
    pub fn of_findings(out: &'a mut dyn Write, origin: Origin<'_>) -> io::Result<Self> {
        Self::with_header(out, origin, FindingField::all().map(|field| field.name))
    }

    /// Writes one connection: its fields, and how many findings it has.
    ///
    /// # Errors
    /// Those of the output.
    pub fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        self.begin()?;
        connection_fields! { cells (self, connection) }
        self.cell(&Findings::of(connection).value())?;
        self.end()
    }

    /// Writes one finding of a connection.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finding(&mut self, connection: &Connection, finding: &FindingAt) -> io::Result<()> {
        self.begin()?;
        for field in FindingField::all() {
            self.cell(&field.of(connection, finding))?;
        }
        self.end()
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn with_header<'n>(
        out: &'a mut dyn Write,
        origin: Origin<'_>,
        names: impl IntoIterator<Item = &'n str>,
    ) -> io::Result<Self> {
        let mut writer = csv::WriterBuilder::new().buffer_capacity(GATHERED).from_writer(out);
        let file = match origin {
            Origin::Only => None,
            Origin::First(file) | Origin::Further(file) => Some(text_cell(file).into_owned()),
        };
        match origin {
            Origin::Only => writer.write_record(names)?,
            Origin::First(_) => writer.write_record(std::iter::once(FILE).chain(names))?,
            Origin::Further(_) => {}
        }
        Ok(Self { writer, text: String::new(), file, columns: Columns::Usual })
    }

    fn begin(&mut self) -> io::Result<()> {
        match &self.file {
            Some(file) => Ok(self.writer.write_field(file)?),
            None => Ok(()),
        }
    }

    #[inline(always)]
    fn datum<'v, T: Datum<'v>>(&mut self, datum: T) -> io::Result<()> {
        if matches!(T::KIND, Kind::Findings) { Ok(()) } else { self.cell(&datum.value()) }
    }

    /// Writes a value; where its kind is known when this is compiled, nothing is asked about it later.
    #[inline(always)]
    fn cell(&mut self, value: &Value<'_>) -> io::Result<()> {
        match value {
            Value::Null => self.writer.write_field("")?,
            Value::Truth(truth) => self.writer.write_field(if *truth { "true" } else { "false" })?,
            Value::Number(number) => self.writer.write_field(itoa::Buffer::new().format(*number))?,
            Value::Text(text) => self.writer.write_field(&*text_cell(text))?,
            Value::Moment(at) => {
                self.text.clear();
                write_moment(&mut self.text, *at);
                self.writer.write_field(&self.text)?;
            }
            Value::Address(address) => {
                self.text.clear();
                push_address(&mut self.text, *address);
                self.writer.write_field(&self.text)?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(self.writer.write_record(None::<&[u8]>)?)
    }
}

/// Writes the values of a list of fields, but for the number of findings, which is the last column.
macro_rules! cells {
    (($out:ident, $of:expr) |$bound:ident| $($block:ident { $($rows:tt)* })*) => {
        let $bound = $of;
        $(block! { $out $block { $($rows)* } })*
    };
}

/// Writes the values of one block of the list.
macro_rules! block {
    ($out:ident ends { $($(#[$doc:meta])* $name:ident, as $heading:literal = $of:expr;)* }) => {
        $(end_fields! { cells ($out, $of) })*
    };
    ($out:ident reasons { $($(#[$doc:meta])* $name:ident = $of:expr;)* }) => {
        $(reason_fields! { cells ($out, $of) })*
    };
    ($out:ident problems { $($(#[$doc:meta])* $name:ident = $of:expr;)* }) => {
        $(problem_fields! { cells ($out, $of) })*
    };
    ($out:ident sides { $($(#[$doc:meta])* $name:ident = $of:expr;)* }) => {
        $(side_fields! { cells ($out, $of) })*
    };
    ($out:ident divided { $(#[$whole_doc:meta])* $whole:ident: $divided:expr, |$b:ident| {
        $($(#[$doc:meta])* $name:ident = $of:expr;)*
    } }) => {
        if $out.columns == Columns::WithBreakdown {
            $(parts_fields! { cells ($out, $divided.map(|$b| $of)) })*
        }
    };
    ($out:ident $rows:ident { $(
        $(#[$doc:meta])* $name:ident: $type:ty $(, in $unit:ident)? $(, as $heading:literal)? = $value:expr;
    )* }) => {
        $($out.datum($value)?;)*
    };
}

use {block, cells};

/// Adds decimal seconds since the epoch.
pub(super) fn write_moment(out: &mut String, at: Timestamp) {
    let nanos = at.as_nanos();
    if nanos < 0 {
        out.push('-');
    }
    digits(out, nanos.unsigned_abs() / 1_000_000_000);
    out.push('.');
    padded(out, nanos.unsigned_abs() % 1_000_000_000, 9);
}

/// Text without control characters, as every terminal and every reader of lines takes it.
///
/// What a spreadsheet would take for a formula gets a `'` before it, which makes it text there.
/// A tab or a carriage return at its beginning, which spreadsheets pass over, is escaped and so is none.
fn text_cell(text: &str) -> Cow<'_, str> {
    let shown = shown(text, &Style::plain(Style::WIDEST));
    match shown.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => Cow::Owned(format!("'{shown}")),
        false => shown,
    }
}

const FILE: &str = "file";
/// Octets that are written together.
const GATHERED: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Detail, Side, Verdict};
    use crate::report::sample;
    use crate::report::wording::{English, Wording};
    use crate::tcp::Finding;
    use crate::time::Span;

    fn connection() -> Connection {
        let mut connection = sample::echo().connections.remove(0);
        connection.verdict = Verdict::Refused;
        connection.server_to_client.mss = None;
        connection.client = "[2001:db8::1]:50634".parse().unwrap();
        connection.findings = vec![FindingAt {
            finding: Finding::Retransmission,
            frame: Some(7),
            side: Side::Client,
            detail: Detail::Since(Some(Span(1_500_000))),
        }];
        connection
    }

    fn records(text: &[u8]) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text);
        reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    /// The cell that a value is written as, read again.
    fn written(value: &Value<'_>) -> String {
        let mut out = Vec::new();
        let writer = csv::WriterBuilder::new().from_writer(&mut out as &mut dyn Write);
        let mut csv = Csv { writer, text: String::new(), file: None, columns: Columns::Usual };
        csv.cell(value).and_then(|()| csv.end()).and_then(|()| csv.flush()).unwrap();
        drop(csv);
        records(&out).remove(0).remove(0)
    }

    #[test]
    fn a_connection_is_one_line_with_a_value_for_each_name() {
        let mut out = Vec::new();
        let mut csv = Csv::of_connections(&mut out, Origin::Only, Columns::Usual).unwrap();
        csv.connection(&connection()).unwrap();
        csv.flush().unwrap();
        drop(csv);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        let [header, record] = &records(text.as_bytes())[..] else { panic!("{text}") };
        let value = |name: &str| &record[header.iter().position(|known| known == name).expect(name)];
        assert_eq!(value("client.addr"), "2001:db8::1");
        assert_eq!(value("client_to_server.octets"), "10");
        assert_eq!(value("server_to_client.mss"), "");
        assert_eq!(value("midstream"), "false");
        assert_eq!(value("findings"), "1");
        assert_eq!(value("verdict").as_str(), English.verdict(&Verdict::Refused));
        assert_eq!(value("first").split_once('.').unwrap().1.len(), 9);
    }

    #[test]
    fn moments_are_written_as_they_are_displayed() {
        for nanos in [0, 1, -1, 999_999_999, 1_795_223_276_320_071_123, -1_500_000_000, i64::MIN, i64::MAX] {
            let at = Timestamp::from_nanos(nanos);
            assert_eq!(written(&Value::Moment(at)), at.to_string());
        }
    }

    #[test]
    fn a_finding_is_one_line() {
        let (mut out, connection) = (Vec::new(), connection());
        let mut csv = Csv::of_findings(&mut out, Origin::Only).unwrap();
        csv.finding(&connection, &connection.findings[0]).unwrap();
        csv.flush().unwrap();
        drop(csv);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "frame,connection,client.addr,client.port,server.addr,server.port,side,name,note\n\
             7,0,2001:db8::1,50634,127.0.0.1,8888,client,retransmission,\"Retransmission, 1.5 ms after the stream last advanced.\"\n"
        );
    }

    #[test]
    fn records_of_several_files_have_one_header_and_the_name_of_their_file() {
        let (mut out, connection) = (Vec::new(), connection());
        for origin in [Origin::First("a, b.pcap"), Origin::Further("\u{1b}.pcap")] {
            let mut csv = Csv::of_findings(&mut out, origin).unwrap();
            csv.finding(&connection, &connection.findings[0]).unwrap();
            csv.flush().unwrap();
        }
        let records = records(&out);
        let names: Vec<_> = records.iter().map(|record| (&record[0][..], &record[1][..], record.len())).collect();
        assert_eq!(names, [("file", "frame", 10), ("a, b.pcap", "7", 10), ("\\x1b.pcap", "7", 10)]);
    }

    #[test]
    fn text_is_never_taken_for_a_formula_and_numbers_stay_numbers() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\\x09=1"),
            ("\r=1", "\\x0d=1"),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            let (mut out, connection) = (Vec::new(), connection());
            let mut csv = Csv::of_findings(&mut out, Origin::First(text)).unwrap();
            csv.finding(&connection, &connection.findings[0]).unwrap();
            csv.flush().unwrap();
            drop(csv);
            let record = records(&out).pop().unwrap();
            assert_eq!(record[0], expected);
            assert_eq!(written(&Value::Text(text.into())), expected);
        }
        for (value, expected) in [
            (Value::Number(-5), "-5"),
            (Value::Moment(Timestamp::from_nanos(-1)), "-0.000000001"),
            (Value::Address("::1".parse().unwrap()), "::1"),
        ] {
            assert_eq!(written(&value), expected);
        }
    }
}
