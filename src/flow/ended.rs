//! Closed connections, as small as they were while they were followed, until somebody wants to know about them.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::attempt::Attempt;
use super::conflicts::{Conflicts, Found};
use super::key::{Key, Key4, Key6};
use super::record::Record;
use super::{Breakdown, Breakdowns, Connection, ConnectionId};

/// Connections that have ended, in the order in which they did.
///
/// What [`FlowTable`](super::FlowTable) hands over becomes a [`Connection`] only when it is emitted, so that another thread can do that.
#[derive(Debug, Default)]
pub struct Ended {
    order: Vec<Kind>,
    octets: usize,
    v4: EndedOf<Key4>,
    v6: EndedOf<Key6>,
    /// One for each of the first in order, where they were asked for.
    breakdowns: Vec<Option<Box<Breakdown>>>,
    /// What was found in the octets of some of them.
    found: BTreeMap<ConnectionId, Found>,
}

/// Those of one address family.
#[derive(Debug)]
pub(super) struct EndedOf<K> {
    records: Vec<Record<K>>,
    attempts: Vec<Attempt<K>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Record4,
    Attempt4,
    Record6,
    Attempt6,
}

impl Ended {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// How much memory they take, their findings counted.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Tells them all, and is empty then.
    ///
    /// # Errors
    /// The first error of `tell`; the connections after it are lost.
    pub fn tell<E>(&mut self, mut tell: impl FnMut(Connection) -> Result<(), E>) -> Result<(), E> {
        let mut breakdowns = std::mem::take(&mut self.breakdowns).into_iter();
        let mut found = std::mem::take(&mut self.found);
        let told = self.each(|mut connection| {
            connection.breakdown = breakdowns.next().flatten();
            if let Some(found) = found.remove(&connection.id) {
                found.complete(&mut connection);
            }
            tell(connection)
        });
        self.clear();
        told
    }

    /// Divides the durations of them all.
    pub fn divide(&mut self, breakdowns: &mut Breakdowns) {
        let mut divided = Vec::with_capacity(self.order.len());
        let Ok(()) = self.each(|connection| {
            divided.push(breakdowns.take(&connection));
            Ok::<(), Infallible>(())
        });
        self.breakdowns = divided;
    }

    /// Takes what was found in the octets of them all.
    pub fn compare(&mut self, conflicts: &mut Conflicts) {
        let mut found = BTreeMap::new();
        let Ok(()) = self.each(|connection| {
            found.extend(conflicts.take(connection.id).map(|its| (connection.id, its)));
            Ok::<(), Infallible>(())
        });
        self.found = found;
    }

    fn each<E>(&self, mut show: impl FnMut(Connection) -> Result<(), E>) -> Result<(), E> {
        let (mut at4, mut at6) = (Places::default(), Places::default());
        for kind in &self.order {
            match kind {
                Kind::Record4 => show(self.v4.records[at4.record()].summary()),
                Kind::Attempt4 => show(self.v4.attempts[at4.attempt()].summary()),
                Kind::Record6 => show(self.v6.records[at6.record()].summary()),
                Kind::Attempt6 => show(self.v6.attempts[at6.attempt()].summary()),
            }?;
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.order.clear();
        self.octets = 0;
        self.v4.clear();
        self.v6.clear();
    }

    pub(super) fn add_record<K: Family>(&mut self, mut record: Record<K>) {
        self.octets += record.settle();
        self.order.push(K::RECORD);
        K::ended(self).records.push(record);
    }

    pub(super) fn add_attempt<K: Family>(&mut self, attempt: Attempt<K>) {
        self.octets += size_of::<Attempt<K>>();
        self.order.push(K::ATTEMPT);
        K::ended(self).attempts.push(attempt);
    }
}

impl<K> EndedOf<K> {
    fn clear(&mut self) {
        self.records.clear();
        self.attempts.clear();
    }
}

/// How far those of a family have been told.
#[derive(Default)]
struct Places {
    records: usize,
    attempts: usize,
}

impl Places {
    fn record(&mut self) -> usize {
        self.records += 1;
        self.records - 1
    }

    fn attempt(&mut self) -> usize {
        self.attempts += 1;
        self.attempts - 1
    }
}

impl<K> Default for EndedOf<K> {
    fn default() -> Self {
        Self { records: Vec::new(), attempts: Vec::new() }
    }
}

/// A key whose connections are of one address family.
pub(super) trait Family: Key {
    const RECORD: Kind;
    const ATTEMPT: Kind;

    fn ended(ended: &mut Ended) -> &mut EndedOf<Self>;
}

impl Family for Key4 {
    const RECORD: Kind = Kind::Record4;
    const ATTEMPT: Kind = Kind::Attempt4;

    fn ended(ended: &mut Ended) -> &mut EndedOf<Self> {
        &mut ended.v4
    }
}

impl Family for Key6 {
    const RECORD: Kind = Kind::Record6;
    const ATTEMPT: Kind = Kind::Attempt6;

    fn ended(ended: &mut Ended) -> &mut EndedOf<Self> {
        &mut ended.v6
    }
}
