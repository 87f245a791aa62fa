//! `tcpflow interfaces`: what can be captured, and why not.

use std::io::{self, BufWriter, Write};

use super::{Failure, Outcome, look};
use crate::capture::{Interface, interfaces};
use crate::cli::{Format, Interfaces, Look};
use crate::report::{self, Jsonl};

pub(super) fn run(options: &Interfaces, look: &Look) -> Result<Outcome, Failure> {
    let mut list = interfaces()?;
    list.iter_mut().for_each(Interface::try_out);
    let mut out = BufWriter::new(io::stdout().lock());
    let told = match options.format {
        Format::Text => report::interfaces::write(&mut out, &list, &look::style(look)),
        Format::Jsonl => {
            let mut jsonl = Jsonl::new(&mut out);
            list.iter().try_for_each(|interface| jsonl.interface(interface)).and_then(|()| jsonl.flush())
        }
    };
    told.and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
    Ok(Outcome::Done)
}
