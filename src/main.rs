//! The `tcpflow` command.

use std::process::ExitCode;

use tcpflow::{cli, commands};

fn main() -> ExitCode {
    match cli::parse() {
        Ok(cli) => commands::run(&cli),
        Err(status) => status,
    }
}
