//! Why an experiment could not be played.

use std::fmt;

/// Why an experiment could not be played: one line that names the thing and the way out, without a trailing full stop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabError {
    message: String,
}

impl LabError {
    pub(super) fn new(message: String) -> Self {
        Self { message }
    }

    /// The error with this message, whose first line names the thing; further lines show the place.
    pub fn of(message: String) -> Self {
        Self { message }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LabError {}
