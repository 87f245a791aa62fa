//! How a subcommand ended: its exit status, and what standard error says.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::look;
use crate::report;

/// Writes one line on standard error, as `tcpflow: message`; where nobody reads it, that is no failure.
///
/// What the message says of files and captures may be anything: it is escaped, so that it stays one line and moves no cursor.
pub fn complain(message: &impl fmt::Display) {
    let style = look::messages();
    let _ = writeln!(io::stderr(), "tcpflow: {}", report::escape(&message.to_string(), &style));
}

/// How a subcommand ended that did what it could.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The work was done: exit status 0.
    Done,
    /// An assertion or expectation did not hold: exit status 1.
    NotHeld,
    /// What could be done was, and standard error says what could not: exit status 2.
    Incomplete,
    /// The exit status is that of the program that was run.
    Of(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::NotHeld => 1,
            Outcome::Incomplete => 2,
            Outcome::Of(status) => status,
        })
    }
}

/// Why a subcommand could not go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The reader of standard output has gone: nothing is left to do, and that is success.
    OutputClosed,
    /// One line that names the thing and the way out: exit status 2.
    Told(String),
}

impl Failure {
    /// The failure with this line.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Told(message.into())
    }

    /// The failure of writing to standard output.
    ///
    /// Only there is a broken pipe a success: on a socket it is an answer of the peer.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            io::ErrorKind::StorageFull => Self::new("standard output: no space is left on the device"),
            io::ErrorKind::QuotaExceeded => Self::new("standard output: the disk quota is used up"),
            io::ErrorKind::FileTooLarge => {
                Self::new("standard output: the limit on the size of a file is reached (ulimit -f)")
            }
            _ => Self::Told(format!("standard output: {}", reason(error))),
        }
    }

    /// The failure of reading or writing a file.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        Self::Told(format!("{}: {}", path.display(), reason(error)))
    }
}

/// What the system says is wrong, without its number, which says it again.
pub(super) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

impl From<crate::capture::CaptureError> for Failure {
    fn from(error: crate::capture::CaptureError) -> Self {
        Self::Told(error.message)
    }
}
