//! `tcpflow demo`.

use super::{Failure, Outcome};
use crate::cli::{Demo, Look};

pub(super) fn run(_: &Demo, _: &Look) -> Result<Outcome, Failure> {
    Err(Failure::new("demo: not yet there in this version"))
}
