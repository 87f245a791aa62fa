//! `tcpflow completions`: the script that completes tcpflow's options in a shell.

use std::io::{self, Write};

use super::{Failure, Outcome};
use crate::cli::{self, Completions};

pub(super) fn run(options: &Completions) -> Result<Outcome, Failure> {
    // The generator panics where it cannot write, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut cli::command(), "tcpflow", &mut script);
    io::stdout().write_all(&script).and_then(|()| io::stdout().flush()).map_err(|error| Failure::output(&error))?;
    Ok(Outcome::Done)
}
