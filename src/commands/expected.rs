//! `--assert`: what is to hold of what was seen, and how CI hears whether it does.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Failure, Outcome};
use crate::capture::NewFile;
use crate::cli::{Expectations, Format};
use crate::flow::{Connection, Totals};
use crate::report::{self, Assertion, Found, Jsonl, Judged, KnownCalls, Named, Style};
use crate::session::Sink;
use crate::story::Story;

/// What is expected.
pub(super) struct Expected {
    all: Vec<Assertion>,
    junit: Option<PathBuf>,
}

impl Expected {
    /// What the options ask for.
    ///
    /// # Errors
    /// A file that cannot be read, or an expression that is none.
    pub(super) fn of(options: &Expectations) -> Result<Self, Failure> {
        let parse = |place: &str, text: &str| {
            Assertion::parse(text).map_err(|wrong| Failure::new(format!("{place}: {text}: {wrong}")))
        };
        let mut all: Vec<Assertion> =
            options.assertions.iter().map(|text| parse("--assert", text)).collect::<Result<_, _>>()?;
        for path in &options.assert_file {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            for (line, text) in (1..).zip(text.lines()) {
                let text = text.trim();
                if !text.is_empty() && !text.starts_with('#') {
                    all.push(parse(&format!("{}:{line}", path.display()), text)?);
                }
            }
        }
        if options.junit.is_some() && all.is_empty() {
            return Err(Failure::new("--junit tells what --assert or --assert-file expect: add one of them"));
        }
        Ok(Self { all, junit: options.junit.clone() })
    }

    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether one of them may name what octets that conflict change.
    pub(super) fn is_of_octets(&self) -> bool {
        self.all.iter().any(Assertion::is_of_octets)
    }

    /// Whether each of them holds.
    pub(super) fn judge(&self, story: &Story, calls: KnownCalls) -> Vec<Judged> {
        self.all.iter().map(|assertion| assertion.judge(story, calls)).collect()
    }

    /// Writes them for CI, where that is asked for, and yields the outcome; `command` is the one that was to see to them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn outcome(&self, judged: &[Judged], command: &str) -> Result<Outcome, Failure> {
        if let Some(path) = &self.junit {
            junit(path, judged, command)?;
        }
        let holds = judged.iter().all(|judged| judged.holds);
        Ok(if holds { Outcome::Done } else { Outcome::NotHeld })
    }
}

/// Writes what seems wrong, and what was expected; nothing where nothing was. Lines of a stream have their totals between the two.
///
/// # Errors
/// Those of the output.
pub(super) fn tell(
    out: &mut dyn Write,
    story: &Story,
    judged: &[Judged],
    format: Format,
    style: &Style,
    named: Named,
) -> io::Result<()> {
    let found = story.diagnoses();
    if judged.is_empty() && found.is_empty() && (format, named) != (Format::Jsonl, Named::ByBirth) {
        return Ok(());
    }
    match format {
        Format::Text => {
            writeln!(out)?;
            report::diagnoses(out, story, &found, Found::default(), style)?;
            report::assertions(out, story, judged, style)
        }
        Format::Jsonl => {
            let mut lines = Jsonl::new(out);
            // A whole story has written these.
            if named == Named::ByBirth {
                lines.diagnoses(story, &found, named)?;
                lines.totals(&story.totals)?;
            }
            lines.assertions(story, judged, named)?;
            lines.flush()
        }
    }
}

/// Puts the connections that are told by, for whoever expects something of them.
pub(super) struct PutBy<'a> {
    before: Box<dyn Sink + 'a>,
    put: &'a RefCell<Vec<Connection>>,
    most: usize,
}

impl<'a> PutBy<'a> {
    /// Tells `before` all of them, and puts so many by, and one more where there are more.
    pub(super) fn new(before: Box<dyn Sink + 'a>, put: &'a RefCell<Vec<Connection>>, most: usize) -> Self {
        Self { before, put, most }
    }
}

impl Sink for PutBy<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        let mut put = self.put.borrow_mut();
        if put.len() <= self.most {
            put.push(connection.clone());
        }
        self.before.connection(connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.before.finish(totals)
    }
}

/// Writes them as a test suite, each as a test case.
///
/// # Errors
/// The file cannot be written.
fn junit(path: &Path, judged: &[Judged], command: &str) -> Result<(), Failure> {
    let failures = judged.iter().filter(|judged| !judged.holds).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"tcpflow\" tests=\"{}\" failures=\"{failures}\">\n",
        judged.len()
    );
    for judged in judged {
        let name = escaped(&judged.expr);
        text += &format!("  <testcase classname=\"tcpflow.{command}\" name=\"{name}\"");
        if judged.holds {
            text += "/>\n";
            continue;
        }
        let connections: Vec<_> = judged.connections.iter().map(|id| format!("connection {}", id.0)).collect();
        let events: Vec<_> = judged.because.iter().map(|id| format!("event {}", id.0)).collect();
        let why = judged.why.iter().cloned().chain(connections).chain(events).collect::<Vec<_>>().join(", ");
        text += &format!(">\n    <failure message=\"{}\"/>\n  </testcase>\n", escaped(&why));
    }
    text += "</testsuite>\n";
    let mut file = NewFile::create(path)?;
    file.write_all(text.as_bytes()).map_err(|error| Failure::file(path, &error))?;
    Ok(file.finish()?)
}

/// Text of an XML attribute, without what XML has no place for.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_has_no_place_for_is_left_out() {
        // The characters of XML 1.0 (production 2), but for the control characters that it discourages.
        let all = ('\0'..=char::MAX).collect::<String>();
        let is_char = |c| matches!(c, ' '..='\u{fffd}' | '\u{10000}'..) && !matches!(c, '\u{7f}'..='\u{9f}');
        assert_eq!(escaped(&all).chars().find(|c| !is_char(*c)), None);
        assert_eq!(escaped("a < \"b\"\u{1b}\u{ffff}\u{202e}&"), "a &lt; &quot;b&quot;  \u{202e}&amp;");
    }
}
