//! Tellers: what was joined, written for people and for programs.

mod accounts;
mod annotate;
mod breakdown;
mod clock;
mod csv;
mod diagnoses;
mod expression;
mod field;
mod findings;
pub mod interfaces;
mod jsonl;
pub mod live;
mod overview;
#[cfg(feature = "parquet")]
mod parquet;
pub mod passages;
mod run;
#[cfg(test)]
mod sample;
mod selection;
mod style;
mod summary;
mod table;
mod text;
pub mod timeline;
pub mod view;
pub mod wording;

pub use self::csv::{Csv, Origin};
#[cfg(feature = "parquet")]
pub use self::parquet::Parquet;
pub use accounts::accounts;
pub use annotate::comments;
pub use breakdown::Bars;
pub use diagnoses::{Found, diagnoses};
pub use expression::{Assertion, Expression, Judged, KnownCalls, Undecided, Wrong};
pub use field::{Columns, Field, Kind, Unit, Value, fields_help};
pub use findings::FindingList;
pub use jsonl::{Crossed, EventStream, Jsonl, Named};
pub use overview::{FindingTotals, Overview};
pub use run::{KernelTrace, RunSummary, assertions, lost_congestion, lost_events, lost_resets, missing_events, run};
pub use selection::{ByNumber, Chosen, Direction, First, Ids, Matching, Order, Ordered, cost};
pub use style::{Charset, Clock, Color, Detail, Hue, Style};
pub use table::Table;
pub(crate) use text::counted;
pub use text::{escape, wrapped};

/// The one of `names` that is most like `name`, where one is near enough to be meant.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &str| strsim::damerau_levenshtein(known, name);
    names.into_iter().min_by_key(|known| distance(known)).filter(|known| distance(known) <= known.len() / 3 + 1)
}
