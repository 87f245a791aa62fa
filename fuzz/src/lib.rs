//! What each fuzz target does with its octets, and what must be true of the answer; `tests/found.rs` does the same with every case kept.

mod decoder;
mod file_reader;
mod flow;
mod kept;
mod nested;
mod script;

pub use decoder::{LINKS, decoder};
pub use file_reader::file_reader;
pub use flow::flow;
pub use kept::kept;
pub use nested::nested;
pub use script::script;
