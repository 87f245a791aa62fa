//! The number of an event.

/// An event's number in its story, from 0 in time order; causes are named by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize)]
#[serde(transparent)]
pub struct EventId(pub u64);
