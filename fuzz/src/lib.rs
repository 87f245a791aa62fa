//! What each fuzz target does with its octets, and what must be true of the answer; `tests/found.rs` does the same with every case kept.
//!
//! Each may hold so much memory and no more: what it always needs, and so many octets for each octet of its case.

mod allocated;
mod decoder;
mod file_reader;
mod flow;
mod kept;
mod nested;
mod script;

pub use decoder::LINKS;
pub use nested::nested;

#[global_allocator]
static ALLOCATOR: allocated::Counting = allocated::Counting;

/// See `decoder::decoder`.
pub fn decoder(octets: &[u8]) {
    allocated::within(MIB + 256 * octets.len(), || decoder::decoder(octets));
}

/// See `file_reader::file_reader`. A few octets can be thousands of frames, compressed: the buffers of a format count, not the case.
pub fn file_reader(octets: &[u8]) {
    allocated::within(32 * MIB + 16 * octets.len(), || file_reader::file_reader(octets));
}

/// See `flow::flow`. An octet of a script can be a segment, which is told in every form of output.
pub fn flow(octets: &[u8]) {
    allocated::within(MIB + 16_384 * octets.len(), || flow::flow(octets));
}

/// See `kept::kept`.
pub fn kept(octets: &[u8]) {
    allocated::within(MIB + 32 * octets.len(), || kept::kept(octets));
}

/// See `script::script`.
pub fn script(octets: &[u8]) {
    allocated::within(MIB + 2048 * octets.len(), || script::script(octets));
}

const MIB: usize = 1 << 20;
