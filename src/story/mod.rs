//! The causal timeline of the connections that were chosen: the joins of calls, segments and the kernel's words.

mod accept_queue;
mod accepted;
mod accounts;
mod answers;
mod binds;
#[cfg(test)]
mod bounds {
    mod tests;
}
mod both_ends;
mod call_table;
mod calls;
mod cause;
mod classify;
mod completion;
mod connection;
mod descriptors;
mod diagnoses;
mod diagnosis;
mod edge;
mod end;
mod end_calls;
mod event;
mod event_id;
mod events;
mod fanout;
mod forgetting;
mod ground;
mod icmp;
mod join;
mod link;
mod link_record;
mod lookup;
mod order;
mod past;
mod path;
mod phases;
mod point;
mod repeat;
mod samples;
#[cfg(test)]
pub(crate) mod script;
mod sightings;
mod sorter;
mod stalls;
mod states;
#[cfg(test)]
mod tests;
mod timeline;
mod timing;
mod trace;
mod unseen;
mod why;
mod witnessed;
mod words;

pub use accounts::{Account, EndAccount, Outcome, ResetBy};
pub use diagnoses::Sockets;
pub use diagnosis::{AddressFlaw, Diagnosis, Mistake, Weight};
pub use edge::Edge;
pub use event::{
    CallEvent, Cause, Event, EventKind, Fate, IcmpEvent, KernelActEvent, LinkActEvent, Phase, SegmentEvent, Story,
    TimerEvent, TransitionEvent,
};
pub use event_id::EventId;
pub use events::{Changes, Order};
pub use forgetting::Forgettable;
pub use join::{Join, Mechanism};
pub use link_record::LinkRecord;
pub use lookup::Lookup;
pub use point::{Passing, Point, PointSighting, Sense};
pub use sorter::Sorter;
pub use timeline::Timeline;
pub use timing::Timing;
pub use trace::Trace;
pub use why::{Evidence, Holding, PortHolder, Remark, Unwatched, Why};
pub use witnessed::{Moment, Observed, Quotation, Sighting, Witnessed};
