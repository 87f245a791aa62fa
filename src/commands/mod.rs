//! The subcommands: one file each, glue between the command line and the modules that do the work.

mod analyze;
mod completions;
mod demo;
mod inputs;
mod interfaces;
mod interrupt;
mod live;
mod look;
mod man;
mod names;
mod outlet;
mod pipeline;
pub mod progress;
mod selection;
mod source;
#[cfg(feature = "parquet")]
mod tables;
mod tellers;
mod watch;

pub use inputs::Inputs;
pub use interrupt::outlive_the_limit_on_files;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cli::{Cli, Command};
use crate::report;

/// Runs what the command line asks for and tells on standard error what went wrong.
pub fn run(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        Command::Demo(options) => {
            may_open(LEAST_FILES + 8 * u64::from(options.clients)).and_then(|()| demo::run(options, &cli.look))
        }
        Command::Analyze(options) => may_open(LEAST_FILES).and_then(|()| analyze::run(options, &cli.look)),
        Command::Live(options) => may_open(LEAST_FILES).and_then(|()| live::run(options, &cli.look)),
        Command::Interfaces(options) => may_open(LEAST_FILES).and_then(|()| interfaces::run(options, &cli.look)),
        Command::Completions(options) => completions::run(options),
        Command::Man(options) => man::run(options),
    };
    ended(result)
}

/// Sees that as many files may be open as are needed: where they may not, what fails names something else.
fn may_open(files: u64) -> Result<(), Failure> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if files <= soft || files <= hard && setrlimit(Resource::RLIMIT_NOFILE, files, hard).is_ok() {
        return Ok(());
    }
    Err(Failure::new(format!("only {hard} files may be open at once (ulimit -Hn), and this takes {files}")))
}

/// The exit status where standard output does not take help or the version, which is told.
pub fn unwritten(error: &io::Error) -> ExitCode {
    ended(Err(Failure::output(error)))
}

fn ended(result: Result<Outcome, Failure>) -> ExitCode {
    match result {
        Ok(outcome) => outcome.into(),
        Err(Failure::OutputClosed) => Outcome::Done.into(),
        Err(Failure::Told(message)) => {
            complain(&message);
            Outcome::Incomplete.into()
        }
    }
}

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
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::NotHeld => 1,
            Outcome::Incomplete => 2,
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
fn reason(error: &io::Error) -> String {
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

/// How many files are open at the most, besides captures and the sockets of an experiment's clients.
const LEAST_FILES: u64 = 32;
