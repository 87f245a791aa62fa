//! The TCP model: the states of RFC 9293, one end's machine, and one direction's octets.

mod copies;
mod endpoint;
mod finding;
mod state;
mod stream;

pub use endpoint::{Endpoint, Move, Moves, Rule};
pub use finding::{Finding, FindingSet};
pub use state::State;
pub use stream::{Conversation, Direction, Judgement, Stream};
