//! One notation for what two ends do, what the link and the kernel do to it, and what is expected: tests, fuzzing and experiments share it.
//!
//! `docs/script.md` describes it for those who write it.

mod cursor;
mod error;
mod option;
mod parse;
mod perform;
mod types;
mod written;

pub use error::ScriptError;
pub use perform::{Performed, Placed};
pub use types::{
    Actor, Aim, Answered, Asked, Cable, Condition, Deed, Expected, Fatal, Field, Forged, Forgery, Kind, Line, LinkAct,
    LinkEvent, Name, On, Request, Script, Sent, Trend, What, When, Which,
};

#[cfg(test)]
mod tests;

/// The segments of a script, each with what its line expects; for tests.
///
/// # Panics
/// The script is wrong; the panic shows where.
#[cfg(test)]
pub(crate) fn read(text: &str) -> impl Iterator<Item = (Actor, crate::wire::Segment, String)> + use<> {
    let performed = performed(text);
    performed.segments.into_iter().map(|placed| (placed.from, placed.segment, placed.expected.unwrap_or_default()))
}

/// What a script yields; for tests.
///
/// # Panics
/// The script is wrong; the panic shows where.
#[cfg(test)]
pub(crate) fn performed(text: &str) -> Performed {
    match Script::parse(text) {
        Ok(script) => script.perform(),
        Err(error) => panic!("\n{error}\n"),
    }
}
