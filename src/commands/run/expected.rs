//! `tcpflow run --assert`: what is to hold of a run, and how CI hears whether it does.

use std::io::Write;
use std::path::Path;

use crate::capture::NewFile;
use crate::cli::Run;
use crate::commands::Failure;
use crate::report::{Assertion, Judged};
use crate::story::Story;

/// What is expected of a run.
pub(super) struct Expected(Vec<Assertion>);

impl Expected {
    /// What the options ask for.
    ///
    /// # Errors
    /// A file that cannot be read, or an expression that is none.
    pub(super) fn of(options: &Run) -> Result<Self, Failure> {
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
        Ok(Self(all))
    }

    /// Whether each of them holds.
    pub(super) fn judge(&self, story: &Story, lost_calls: u64) -> Vec<Judged> {
        self.0.iter().map(|assertion| assertion.judge(story, lost_calls)).collect()
    }
}

/// Writes them as a test suite, each as a test case.
///
/// # Errors
/// The file cannot be written.
pub(super) fn junit(path: &Path, judged: &[Judged]) -> Result<(), Failure> {
    let failures = judged.iter().filter(|judged| !judged.holds).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"tcpflow\" tests=\"{}\" failures=\"{failures}\">\n",
        judged.len()
    );
    for judged in judged {
        let name = escaped(&judged.expr);
        text += &format!("  <testcase classname=\"tcpflow.run\" name=\"{name}\"");
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
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
