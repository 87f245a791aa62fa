//! Tellers: what was joined, written for people and for programs.

mod annotate;
mod clock;
mod jsonl;
#[cfg(test)]
mod sample;
mod style;
mod summary;
mod table;
mod text;
pub mod timeline;

pub use annotate::comments;
pub use jsonl::Jsonl;
pub use style::{Charset, Clock, Color, Detail, Style};
pub use table::Table;
pub use text::escape;
