//! The courses of all connections that are followed, by number.

use std::collections::HashMap;

use super::course::{Asked, Course};
use super::{Breakdown, Class, Parts};
use crate::flow::{Connection, ConnectionId, Step};
use crate::wire::Segment;

/// Divides the durations of connections, each when it has ended.
///
/// It takes what [`FlowTable::observe_all`](crate::flow::FlowTable::observe_all) hands on; the table knows nothing of it.
#[derive(Debug)]
pub struct Breakdowns {
    pub(super) kept: HashMap<ConnectionId, Kept>,
    /// How much memory they take, and how much they may.
    pub(super) octets: usize,
    most: usize,
    given_up: u64,
}

#[derive(Debug)]
pub(super) enum Kept {
    /// One SYN came, which may be one of very many.
    Asked(Asked),
    Followed(Box<Course>),
    /// There was no memory for it.
    GivenUp,
}

impl Breakdowns {
    /// One that takes no more than so many octets: connections beyond that have no breakdown, and are counted.
    pub fn within(octets: u64) -> Self {
        let most = usize::try_from(octets).unwrap_or(usize::MAX);
        Self { kept: HashMap::new(), octets: 0, most, given_up: 0 }
    }

    /// Takes a segment, and what it did.
    pub fn observe(&mut self, segment: &Segment, step: &Step) {
        let Self { kept, octets, most, given_up } = self;
        let is_room = *octets < *most;
        let one = kept.entry(step.connection).or_insert(Kept::GivenUp);
        let before = one.octets();
        match one {
            Kept::GivenUp if !step.opened => return,
            Kept::GivenUp => {
                *octets += ENTRY;
                if is_room {
                    *one = match Asked::of(segment) {
                        Some(asked) => Kept::Asked(asked),
                        None => {
                            let mut course = Box::new(Course::new((segment.src, segment.src_port)));
                            course.observe(segment, step);
                            Kept::Followed(course)
                        }
                    };
                }
            }
            Kept::Asked(asked) => {
                let mut course = Box::new(asked.course());
                course.observe(segment, step);
                *one = Kept::Followed(course);
            }
            Kept::Followed(course) => course.observe(segment, step),
        }
        *octets = *octets + one.octets() - before;
        if *octets > *most && !matches!(one, Kept::GivenUp) || !is_room && step.opened {
            *octets -= one.octets();
            *one = Kept::GivenUp;
            *given_up += 1;
        }
    }

    /// Takes the breakdown of a connection that has ended; `None` where its times are not known, or memory was short.
    pub fn take(&mut self, connection: &Connection) -> Option<Box<Breakdown>> {
        let kept = self.kept.remove(&connection.id)?;
        self.octets -= ENTRY + kept.octets();
        match kept {
            Kept::GivenUp => None,
            Kept::Followed(mut course) => course.finish(connection).map(Box::new),
            Kept::Asked(_) => {
                let whole = connection.duration()?.as_nanos();
                let mut all = Parts::default();
                all.fit(whole, Class::Handshake);
                Some(Box::new(Breakdown { client_to_server: all, server_to_client: all, total: all }))
            }
        }
    }

    /// How many connections have none, because memory was short.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }
}

impl Kept {
    /// How many octets it takes besides its entry.
    pub(super) fn octets(&self) -> usize {
        match self {
            Self::Followed(course) => course.octets(),
            Self::Asked(_) | Self::GivenUp => 0,
        }
    }
}

/// How many octets an entry takes, with the free ones beside it.
const ENTRY: usize = 2 * (size_of::<(ConnectionId, Kept)>() + 1);
