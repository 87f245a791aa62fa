//! The causal timeline of the connections that were chosen: the joins of calls, segments and the kernel's words.

mod cause;
mod edge;
mod event;
mod fanout;
mod lookback;
mod matching;
mod path;
#[cfg(test)]
mod script;
mod teller;
mod timing;
mod trace;
mod why;

pub use edge::{Edge, Join};
pub use event::{
    CallEvent, Cause, Event, EventId, EventKind, Mechanism, Phase, SegmentEvent, Story, TimerEvent, TransitionEvent,
};
pub use teller::tell;
pub use timing::Timing;
pub use trace::{Observed, Trace};
pub use why::{Evidence, Remark, Unwatched, Why};
