//! How a connection ended of which no packet was captured, in English.

use std::borrow::Cow;

use crate::calls::Errno;
use crate::flow::Side;
use crate::story::{Account, Outcome, ResetBy};

/// One or two sentences, which say no more than calls and states do.
pub(super) fn english(account: &Account) -> Cow<'static, str> {
    let is_watched = |side: Side| account.ends[side as usize].is_some();
    match account.outcome {
        Outcome::Refused => {
            "Refused: connect() failed with ECONNREFUSED. A RST or an ICMP error came; without packets it is not known which.".into()
        }
        Outcome::TimedOut => "Timed out: connect() failed with ETIMEDOUT; no SYN was answered in time.".into(),
        Outcome::Failed { errno } => format!("Not opened: connect() failed with {errno}.").into(),
        Outcome::Opening => "Not open yet: nothing says that the handshake was completed.".into(),
        Outcome::Reset { by, why } => {
            let why = match why {
                ResetBy::LingerZero => ", which closed with SO_LINGER set to a time of zero",
                ResetBy::Unread => ", which closed while octets were unread",
                ResetBy::Gone => ", which had closed when more octets came",
                ResetBy::Unknown if is_watched(by) => "; none of its calls says why",
                ResetBy::Unknown => ", whose calls are not watched",
            };
            format!("Reset by the {}{why}.", by.name()).into()
        }
        Outcome::GivenUp { by } => format!(
            "Given up by the {}: a call failed with {}, as the {} answered no more.",
            by.name(),
            Errno::ETIMEDOUT,
            by.peer().name()
        )
        .into(),
        Outcome::Closed { first: Some(first) } => {
            format!("Closed by both ends: the {} closed first, and then the {}.", first.name(), first.peer().name()).into()
        }
        Outcome::Closed { first: None } => {
            "Closed by both ends; their calls overlap, so that it is not known which was first.".into()
        }
        Outcome::HalfClosed { by } if is_watched(by.peer()) => {
            format!("Closed by the {} only: the {} has not closed.", by.name(), by.peer().name()).into()
        }
        Outcome::HalfClosed { by } if is_watched(by) => format!(
            "Closed by the {}; the calls of the {} are not watched, and what it did is not known.",
            by.name(),
            by.peer().name()
        )
        .into(),
        Outcome::HalfClosed { by } => {
            format!("Closed by the {}, whose calls are not watched; the {} has not closed.", by.name(), by.peer().name())
                .into()
        }
        Outcome::Open => "Open: no call closed it.".into(),
    }
}
