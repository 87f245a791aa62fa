//! Tellers: what was joined, written for people and for programs.

mod jsonl;

pub use jsonl::Jsonl;
