//! Where the timeline of a run goes: standard error, standard output, or a file.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::capture::NewFile;
use crate::cli::Run;
use crate::commands::Failure;
use crate::commands::look::Stream;

/// Where the timeline goes.
pub(super) enum Place {
    /// Standard error, with what waits for the next flush.
    Errors(Vec<u8>),
    /// Standard output, likewise.
    Output(Vec<u8>),
    /// A file.
    File(BufWriter<NewFile>),
}

impl Place {
    /// Opens what the options name.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn open(options: &Run) -> Result<Self, Failure> {
        Ok(match options.output.as_deref() {
            None => Self::Errors(Vec::new()),
            Some(path) if path == Path::new("-") => Self::Output(Vec::new()),
            Some(path) => Self::File(BufWriter::new(NewFile::create_seen(path)?)),
        })
    }

    /// Which stream it is.
    pub(super) fn stream(&self) -> Stream {
        match self {
            Self::Errors(_) => Stream::Errors,
            Self::Output(_) => Stream::Output,
            Self::File(_) => Stream::File,
        }
    }

    /// Ends it: a file gets its name.
    ///
    /// # Errors
    /// It cannot be written, or get its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::File(file) => {
                let mut file = file.into_inner().map_err(|error| Failure::output(error.error()))?;
                Ok(file.finish()?)
            }
            Self::Errors(_) | Self::Output(_) => Ok(()),
        }
    }
}

/// Where nobody reads standard error, that is no failure.
impl Write for Place {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self {
            Self::Errors(gathered) => gathered.write(text),
            Self::Output(gathered) => gathered.write(text),
            Self::File(file) => file.write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Errors(gathered) => {
                _ = io::stderr().write_all(gathered);
                gathered.clear();
                Ok(())
            }
            Self::Output(gathered) => {
                let written = io::stdout().write_all(gathered).and_then(|()| io::stdout().flush());
                gathered.clear();
                written
            }
            Self::File(file) => file.flush(),
        }
    }
}
