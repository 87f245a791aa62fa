//! `tcpflow man`: the manual pages, made from the definitions of the command line.

use std::io::{self, Write};

use super::{Failure, Outcome};
use crate::cli::{self, Man};

pub(super) fn run(options: &Man) -> Result<Outcome, Failure> {
    match &options.dir {
        Some(dir) => clap_mangen::generate_to(cli::command(), dir).map_err(|error| Failure::file(dir, &error))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(cli::command()).render(&mut page).map_err(|error| Failure::output(&error))?;
            io::stdout()
                .write_all(&page)
                .and_then(|()| io::stdout().flush())
                .map_err(|error| Failure::output(&error))?;
        }
    }
    Ok(Outcome::Done)
}
