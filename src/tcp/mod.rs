//! The TCP model: the states of RFC 9293, one end's machine, and one direction's octets.

mod analysis;
mod around;
mod conversation;
mod copies;
mod endpoint;
mod finding;
mod moves;
mod octets;
mod round_trips;
mod state;
mod stream;

pub use around::{Around, Novelty, ResetEffect};
pub use conversation::{Conversation, Judgement};
pub use endpoint::Endpoint;
pub use finding::{Finding, FindingSet};
pub use moves::{Basis, Move, Moves, Rule};
pub use state::State;
pub use stream::{Direction, Stream};
