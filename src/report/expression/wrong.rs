//! What is wrong with an expression, and where.

use std::fmt;

use cel::ExecutionError;

/// What is wrong with an expression, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// The column, from 1, in characters; `None` where the whole is wrong.
    pub column: Option<usize>,
    /// What is wrong and the way out, in one line.
    pub message: String,
}

impl Wrong {
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { column: None, message: message.into() }
    }

    /// The first error of the parser, whose own words can go on for lines about every token that would do.
    pub(super) fn of_syntax(source: &str, errors: &cel::ParseErrors) -> Self {
        let Some(first) = errors.errors.first() else { return Self::whole("not an expression") };
        let (line, column) = (first.pos.0.max(1) as usize - 1, first.pos.1.max(1) as usize - 1);
        let before: usize = source.split('\n').take(line).map(|line| line.chars().count() + 1).sum();
        let at = before + column;
        let rest: String = source.chars().skip(at).take(12).collect();
        let message = match () {
            () if first.msg.contains("invalid argument to has") || first.msg.contains("has()") => {
                "has() takes a field after a dot; to ask whether a field is known write `FIELD != null`, \
                 whether there are findings `size(findings) > 0`"
                    .to_owned()
            }
            () if first.msg.contains("ecursion limit") => "nested too deeply".to_owned(),
            () if rest.trim().is_empty() => "it ends here, and something is missing".to_owned(),
            () if rest.starts_with('=') => "write == to compare".to_owned(),
            () => match rest.split_whitespace().next().unwrap_or_default() {
                word @ ("and" | "or" | "not" | "&" | "|") => {
                    let sign = match word {
                        "and" | "&" => "&&",
                        "or" | "|" => "||",
                        _ => "!",
                    };
                    format!("write {sign} for `{word}`")
                }
                word => format!("`{word}` cannot stand here"),
            },
        };
        Self { column: Some(at + 1), message }
    }
}

/// `column 12: what is wrong`.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The end of an error, for the library's can have several lines of which the last one says what is wrong.
pub(super) fn last_line(error: &ExecutionError) -> String {
    let told = error.to_string();
    if told.contains("'duration'") && told.contains("Parsing") {
        return "not a duration; write one as \"1.5s\", \"200ms\" or \"1h30m\"".to_owned();
    }
    told.lines().last().unwrap_or_default().trim().to_owned()
}
