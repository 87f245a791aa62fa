//! The capture files of one command line as one source of frames, and the filters before it.

use std::path::PathBuf;

use super::interrupt::Interrupt;
use super::{Failure, Inputs, Outcome, complain};
use crate::calls::Kept;
use crate::capture::{CaptureError, FileSource, Filter, Frame, Merged, Meter};
use crate::cli::Analyze;

/// The capture files as one source.
pub(super) enum Source {
    One(Box<FileSource>),
    Many(Merged<FileSource>),
}

impl Source {
    /// Opens the files; an interrupt ends the wait for a stream.
    pub(super) fn open(inputs: &Inputs, interrupt: &Interrupt) -> Result<Self, Failure> {
        let open = |file: &PathBuf| FileSource::open_until(file, &interrupt.flag());
        Ok(match &inputs.files[..] {
            [file] => Self::One(Box::new(open(file)?)),
            files => {
                let mut sources = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
                for source in &mut sources {
                    source.limit_read_ahead(READ_AHEAD / files.len());
                }
                Self::Many(Merged::new(sources))
            }
        })
    }

    fn files(&self) -> &[FileSource] {
        match self {
            Self::One(file) => std::slice::from_ref(&**file),
            Self::Many(files) => files.sources(),
        }
    }

    /// The calls and answers that the files carry, and whether they are whole: damaged ones are told and left out.
    pub(super) fn kept(&self) -> (Kept, Outcome) {
        let mut all = Kept::default();
        let mut outcome = Outcome::Done;
        for file in self.files() {
            for attachment in file.attachments() {
                match Kept::from_bytes(attachment) {
                    Ok(None) => {}
                    Ok(Some(kept)) => {
                        all.calls.extend(kept.calls);
                        all.evidence.extend(kept.evidence);
                        all.notices.extend(kept.notices);
                    }
                    Err(error) => {
                        complain(&format!(
                            "{}: the calls kept in it cannot be read, and its packets are told without them: {error}",
                            file.name()
                        ));
                        outcome = Outcome::Incomplete;
                    }
                }
            }
        }
        (all, outcome)
    }

    /// How far each of the files is read, while it is.
    pub(super) fn meters(&self) -> Vec<Meter> {
        self.files().iter().map(FileSource::meter).collect()
    }

    /// The octets of all files; `None` where one is a stream.
    pub(super) fn size(&self) -> Option<u64> {
        self.files().iter().map(FileSource::size).sum()
    }

    /// What it is called on the progress bar.
    pub(super) fn name(&self) -> String {
        match self.files() {
            [file] => file.name().to_owned(),
            files => format!("{} files", files.len()),
        }
    }

    pub(super) fn dropped(&self) -> Option<u64> {
        self.files().iter().filter_map(FileSource::dropped).reduce(u64::saturating_add)
    }
}

/// How many octets of all files together are read ahead.
const READ_AHEAD: usize = 16 << 20;

/// The filters asked for, all of which a frame must match.
pub(super) struct Filters(Vec<Filter>);

impl Filters {
    pub(super) fn compile(inputs: &Inputs, options: &Analyze) -> Result<Self, Failure> {
        let mut filters = Vec::new();
        if let Some(filter) = &inputs.filter {
            filters.push(Filter::compile(filter).map_err(|error| Inputs::not_a_filter(filter, &error))?);
        }
        if let Some(filter) = &options.filter {
            filters.push(Filter::compile(filter).map_err(|error| Failure::new(format!("--filter: {error}")))?);
        }
        Ok(Self(filters))
    }

    pub(super) fn matches(&mut self, frame: &Frame<'_>) -> Result<bool, CaptureError> {
        for filter in &mut self.0 {
            if !filter.matches(frame)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
