//! The `tcpflow` command.

use std::process::ExitCode;

use tcpflow::{cli, commands};

fn main() -> ExitCode {
    commands::outlive_the_limit_on_files();
    match cli::parse() {
        Ok(cli) => commands::run(&cli),
        Err(cli::Ended::Told(status)) => status,
        Err(cli::Ended::Unwritten(error)) => commands::unwritten(&error),
    }
}
