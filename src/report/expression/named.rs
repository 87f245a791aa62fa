//! What an expression names.

use crate::report::field::Field;

/// What an expression names, so that only this is converted.
#[derive(Default)]
pub(super) struct Named {
    pub(super) fields: Vec<&'static Field>,
    pub(super) findings: bool,
    /// Whether a macro goes through the findings, or names them, once for each element of a list.
    pub(super) findings_again: bool,
}
