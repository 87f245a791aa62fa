//! Tellers: what was joined, written for people and for programs.

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
pub use annotate::comments;
pub use breakdown::Bars;
pub use diagnoses::diagnoses;
pub use expression::{Assertion, Expression, Judged, KnownCalls, Undecided, Wrong};
pub use field::{Columns, Field, Kind, Unit, Value, fields_help};
pub use findings::FindingList;
pub use jsonl::{EventStream, Jsonl, Named};
pub use overview::{FindingTotals, Overview};
pub use run::{RunSummary, assertions, run};
pub use selection::{ByNumber, Chosen, Direction, First, Ids, Matching, Order, Ordered, cost};
pub use style::{Charset, Clock, Color, Detail, Hue, Style};
pub use table::Table;
pub use text::escape;
