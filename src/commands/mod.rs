//! The subcommands: one file each, glue between the command line and the modules that do the work.

mod analyze;
mod completions;
mod cores;
mod demo;
mod expected;
mod experiment;
mod files;
mod follow;
mod gone;
mod inputs;
mod interfaces;
mod interrupt;
mod kernel_trace;
mod live;
mod look;
mod man;
mod memory;
mod names;
mod outcome;
mod outlet;
mod overlap;
mod pipeline;
pub mod progress;
mod run;
mod scenario;
mod selection;
mod source;
#[cfg(feature = "parquet")]
mod tables;
mod tellers;
mod two_points;
mod watch;

pub use inputs::Inputs;
pub use interrupt::outlive_the_limit_on_files;
pub use outcome::{Failure, Outcome, complain};

use std::io;
use std::process::ExitCode;

use crate::cli::{Cli, Command};
use files::{LEAST_FILES, may_open};

/// Runs what the command line asks for and tells on standard error what went wrong.
pub fn run(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        Command::Demo(options) => {
            may_open(LEAST_FILES + 8 * u64::from(options.clients)).and_then(|()| demo::run(options, &cli.look))
        }
        Command::Analyze(options) => may_open(LEAST_FILES).and_then(|()| analyze::run(options, &cli.look)),
        Command::Live(options) => may_open(LEAST_FILES).and_then(|()| live::run(options, &cli.look)),
        Command::Run(options) => run::run(options, &cli.look),
        Command::Interfaces(options) => may_open(LEAST_FILES).and_then(|()| interfaces::run(options, &cli.look)),
        Command::Completions(options) => completions::run(options),
        Command::Man(options) => man::run(options),
    };
    ended(result)
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
