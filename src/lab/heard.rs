//! What is heard of an experiment while it is played.

use super::recording::Recording;
use crate::calls::{Activity, ThreadId, Threads};
use crate::capture::OwnedFrame;
use crate::kernel::{Answer, KernelEvent};
use crate::time::Timestamp;

/// What a witness saw of an experiment, as it happens.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The threads that make calls, as far as they have begun.
    Threads(Threads),
    /// Threads that make no more calls.
    Ended(Vec<ThreadId>),
    /// A call was entered, or returned, or a socket came or went.
    Call(Activity),
    /// A frame was captured.
    Frame(OwnedFrame),
    /// sock_diag answered.
    Answer(Answer),
    /// The kernel's trace told of something.
    Kernel(KernelEvent),
    /// Calls were made that nobody heard of.
    Missed,
    /// All that happened before this moment was told; where that is never said, all is told as it happens.
    Until(Timestamp),
    /// It is over, and this is all of it.
    Over(Box<Recording>),
}
