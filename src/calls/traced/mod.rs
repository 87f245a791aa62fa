//! The calls of any program, watched by ptrace(2) with a seccomp filter that stops it at those that matter to TCP sockets, or recorded by perf_event_open(2).

mod abi;
mod decode;
mod descriptors;
mod filter;
mod launch;
mod stack;
mod system;
mod tracer;

pub use launch::{Inherited, Program, Step, Unstarted};
pub use tracer::{Ended, Joining, Notice, ProgramId, Refused, Tracer, Turn};
