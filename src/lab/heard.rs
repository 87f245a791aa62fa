//! What is heard of an experiment while it is played.

use super::recording::Recording;
use crate::calls::{Activity, Threads};
use crate::capture::OwnedFrame;
use crate::kernel::Answer;

/// What a witness saw of an experiment, as it happens.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The threads that make calls, as far as they have begun.
    Threads(Threads),
    /// A call was entered, or returned, or a socket came or went.
    Call(Activity),
    /// A frame was captured.
    Frame(OwnedFrame),
    /// sock_diag answered.
    Answer(Answer),
    /// It is over, and this is all of it.
    Over(Box<Recording>),
}
