//! Which connections are told, and in which order: sinks that hand on to the sink of a teller.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io;

use super::expression::Expression;
use super::field::{Field, Value};
use crate::flow::{Breakdown, Connection, ConnectionId, FindingAt, Totals};
use crate::session::Sink;

/// Hands on only the connections with these ids.
pub struct Chosen<'a> {
    only: BTreeSet<ConnectionId>,
    absent: &'a mut BTreeSet<ConnectionId>,
    sink: Box<dyn Sink + 'a>,
}

impl<'a> Chosen<'a> {
    /// Hands `only` these on to `sink`, and takes out of `absent` those that there are.
    pub fn new(only: BTreeSet<ConnectionId>, absent: &'a mut BTreeSet<ConnectionId>, sink: Box<dyn Sink + 'a>) -> Self {
        Self { only, absent, sink }
    }
}

impl Sink for Chosen<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        if !self.only.contains(&connection.id) {
            return Ok(());
        }
        self.absent.remove(&connection.id);
        self.sink.connection(connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.sink.finish(totals)
    }
}

/// Hands on only the connections for which an expression holds.
pub struct Matching<'a> {
    expression: &'a mut Expression,
    sink: Box<dyn Sink + 'a>,
}

impl<'a> Matching<'a> {
    /// Hands those that match `expression` on to `sink`.
    pub fn new(expression: &'a mut Expression, sink: Box<dyn Sink + 'a>) -> Self {
        Self { expression, sink }
    }
}

impl Sink for Matching<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        if self.expression.matches(&connection) { self.sink.connection(connection) } else { Ok(()) }
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.sink.finish(totals)
    }
}

/// An order of connections: by a field, among equals by id.
///
/// Connections for which the field is not known come last, in either direction.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    field: &'static Field,
    direction: Direction,
}

/// Which way an order goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// The smallest, the earliest, the first in the alphabet comes first.
    #[default]
    Ascending,
    /// The greatest comes first.
    Descending,
}

impl Direction {
    /// The other way.
    pub fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

impl Order {
    /// By this field.
    pub fn by(field: &'static Field, direction: Direction) -> Self {
        Self { field, direction }
    }

    /// Whether octets that conflict may change it.
    pub fn is_of_octets(self) -> bool {
        self.field.is_of_octets()
    }

    /// Whether it needs a breakdown.
    pub fn is_of_breakdown(self) -> bool {
        self.field.is_of_breakdown()
    }
}

/// Holds connections back to hand them on in order: all of them, or as many as come first.
///
/// Where they would take more memory than they may, those held are handed on in order, and the others after them, in order again;
/// of those that come first, only as many are held as there is room for.
pub struct Ordered<'a> {
    order: Order,
    most: usize,
    is_limited: bool,
    /// How much memory those held take, and how much they may.
    octets: usize,
    room: usize,
    /// How often that was too little.
    short: &'a Cell<u64>,
    /// The last in order stands at the top, to make room for one that comes before it.
    held: BinaryHeap<Held>,
    sink: Box<dyn Sink + 'a>,
}

impl<'a> Ordered<'a> {
    /// Hands on to `sink` in this order; with `most` only that many, and no more are ever held; they take no more than `room` octets, and where that is too little, `short` counts it.
    pub fn new(order: Order, most: Option<usize>, room: usize, short: &'a Cell<u64>, sink: Box<dyn Sink + 'a>) -> Self {
        let is_limited = most.is_some();
        let most = most.unwrap_or(usize::MAX);
        Self { order, most, is_limited, octets: 0, room, short, held: BinaryHeap::new(), sink }
    }

    fn pop(&mut self) {
        if let Some(last) = self.held.pop() {
            self.octets -= cost(&last.connection);
        }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.octets = 0;
        std::mem::take(&mut self.held)
            .into_sorted_vec()
            .into_iter()
            .try_for_each(|held| self.sink.connection(held.connection))
    }
}

/// How much memory a connection takes while it is held, about.
pub fn cost(connection: &Connection) -> usize {
    let findings = connection.findings.len() * (size_of::<FindingAt>() + ALLOCATION);
    let breakdown = connection.breakdown.as_ref().map_or(0, |_| size_of::<Breakdown>() + ALLOCATION);
    2 * size_of::<Connection>() + findings + breakdown
}

/// What an allocation takes besides what it holds.
const ALLOCATION: usize = 16;

impl Sink for Ordered<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        let key = self.order.field.of(&connection);
        if self.held.len() >= self.most {
            let last = self.held.peek();
            let comes_before = |last: &Held| {
                ordered(self.order.direction, (&key, connection.id), (&last.key, last.connection.id)).is_lt()
            };
            if !last.is_some_and(comes_before) {
                return Ok(());
            }
        }
        let (direction, key) = (self.order.direction, key.into_owned());
        if self.held.len() >= self.most {
            self.pop();
        }
        self.octets += cost(&connection);
        self.held.push(Held { direction, key, connection });
        if self.octets <= self.room || self.held.len() < 2 {
            return Ok(());
        }
        self.short.set(self.short.get() + 1);
        if !self.is_limited {
            return self.hand_on();
        }
        while self.octets > self.room && self.held.len() > 1 {
            self.pop();
        }
        self.most = self.held.len();
        Ok(())
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.hand_on()?;
        self.sink.finish(totals)
    }
}

struct Held {
    direction: Direction,
    key: Value<'static>,
    connection: Connection,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        ordered(self.direction, (&self.key, self.connection.id), (&other.key, other.connection.id))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}

/// Puts what is told of connections in order by number, as far as a bounded memory allows.
///
/// All of it waits until the capture ends, and then comes by number, but for what follows without a gap from 0 on.
/// Only when more than `most` wait, or they take more than `room` octets, the first of them is handed on before that, and so are those that follow it without a gap.
/// So whatever ended long after those with the next numbers comes later than its number says.
#[derive(Debug)]
pub struct ByNumber<T> {
    most: usize,
    room: usize,
    /// How many octets one takes.
    weigh: fn(&T) -> usize,
    octets: usize,
    /// Those that wait, [`SHELF`] numbers to a shelf; none of these is empty.
    waiting: BTreeMap<u64, Box<Shelf<T>>>,
    /// How many wait.
    held: usize,
    /// The number after the highest that was handed on: those up to it need not wait.
    next: u64,
}

type Shelf<T> = [Option<T>; SHELF as usize];

/// Neighbours come at about the same time: few are looked for in the map, and few places stay empty.
const SHELF: u64 = 16;

impl<T> ByNumber<T> {
    /// Of which no more than `most` ever wait, nor more than take `room` octets, as `weigh` says.
    pub fn new(most: usize, room: usize, weigh: fn(&T) -> usize) -> Self {
        Self { most, room, weigh, octets: 0, waiting: BTreeMap::new(), held: 0, next: 0 }
    }

    /// Takes what is told of the connection `id`, and hands on what needs to wait no longer.
    ///
    /// # Errors
    /// The first error of `hand_on`.
    pub fn put<E>(&mut self, id: ConnectionId, told: T, mut hand_on: impl FnMut(T) -> Result<(), E>) -> Result<(), E> {
        if self.is_due(id) {
            hand_on(told)?;
            return self.pass(id, hand_on);
        }
        let shelf = self.waiting.entry(id.0 / SHELF).or_insert_with(|| Box::new(std::array::from_fn(|_| None)));
        self.octets += (self.weigh)(&told);
        match shelf[(id.0 % SHELF) as usize].replace(told) {
            Some(before) => {
                self.octets -= (self.weigh)(&before);
                hand_on(before)?;
            }
            None => self.held += 1,
        }
        if self.held <= self.most && self.octets <= self.room {
            return Ok(());
        }
        while self.held > self.most || self.octets > self.room {
            let Some((shelf, place)) = self.first() else { return Ok(()) };
            self.next = shelf * SHELF + place + 1;
            self.take(shelf, place).map_or(Ok(()), &mut hand_on)?;
        }
        self.hand_on_due(hand_on)
    }

    /// Whether what is told of the connection `id` need not wait.
    pub fn is_due(&self, id: ConnectionId) -> bool {
        id.0 <= self.next
    }

    /// Takes in that the connection `id`, which [is due](Self::is_due), is told, and hands on what waited for it.
    ///
    /// # Errors
    /// The first error of `hand_on`.
    pub fn pass<E>(&mut self, id: ConnectionId, hand_on: impl FnMut(T) -> Result<(), E>) -> Result<(), E> {
        self.next = self.next.max(id.0 + 1);
        self.hand_on_due(hand_on)
    }

    fn hand_on_due<E>(&mut self, mut hand_on: impl FnMut(T) -> Result<(), E>) -> Result<(), E> {
        while self.held > 0
            && let Some(told) = self.take(self.next / SHELF, self.next % SHELF)
        {
            self.next += 1;
            hand_on(told)?;
        }
        Ok(())
    }

    /// Hands on all that still wait.
    ///
    /// # Errors
    /// The first error of `hand_on`.
    pub fn finish<E>(&mut self, hand_on: impl FnMut(T) -> Result<(), E>) -> Result<(), E> {
        (self.held, self.octets) = (0, 0);
        std::mem::take(&mut self.waiting)
            .into_values()
            .flat_map(|shelf| shelf.into_iter().flatten())
            .try_for_each(hand_on)
    }

    /// The shelf and the place of the first that waits.
    fn first(&self) -> Option<(u64, u64)> {
        let (shelf, told) = self.waiting.first_key_value()?;
        let place = told.iter().position(Option::is_some)?;
        Some((*shelf, place as u64))
    }

    /// Takes out what waits at a place.
    fn take(&mut self, shelf: u64, place: u64) -> Option<T> {
        let places = self.waiting.get_mut(&shelf)?;
        let told = places[place as usize].take()?;
        if places.iter().all(Option::is_none) {
            self.waiting.remove(&shelf);
        }
        self.held -= 1;
        self.octets -= (self.weigh)(&told);
        Some(told)
    }
}

/// Hands on the first connections that come, in the order in which they come.
pub struct First<'a> {
    left: usize,
    sink: Box<dyn Sink + 'a>,
}

impl<'a> First<'a> {
    /// Hands the first `most` on to `sink`.
    pub fn new(most: usize, sink: Box<dyn Sink + 'a>) -> Self {
        Self { left: most, sink }
    }
}

impl Sink for First<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.sink.connection(connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.sink.finish(totals)
    }
}

/// Gathers the ids of what comes.
pub struct Ids<'a>(pub &'a mut BTreeSet<ConnectionId>);

impl Sink for Ids<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.0.insert(connection.id);
        Ok(())
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        Ok(())
    }
}

fn ordered(
    direction: Direction,
    (one, one_id): (&Value<'_>, ConnectionId),
    (other, other_id): (&Value<'_>, ConnectionId),
) -> Ordering {
    let unknown = |value: &Value<'_>| *value == Value::Null;
    let by_value = match direction {
        _ if unknown(one) || unknown(other) => one.order(other),
        Direction::Ascending => one.order(other),
        Direction::Descending => other.order(one),
    };
    by_value.then(one_id.cmp(&other_id))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::report::sample;
    use crate::time::Span;

    /// Connections by their ids and initial round-trip times.
    fn told(times: &[Option<i64>], sort: impl Fn(Box<dyn Sink + '_>) -> Box<dyn Sink + '_>) -> Vec<u64> {
        struct Told<'a>(&'a mut Vec<u64>);
        impl Sink for Told<'_> {
            fn connection(&mut self, connection: Connection) -> io::Result<()> {
                self.0.push(connection.id.0);
                Ok(())
            }
            fn finish(&mut self, totals: &Totals) -> io::Result<()> {
                assert_eq!(totals.connections, 1);
                Ok(())
            }
        }
        let story = sample::echo();
        let mut ids = Vec::new();
        let mut sink = sort(Box::new(Told(&mut ids)));
        for (id, time) in (0..).zip(times.iter().copied()) {
            let mut connection = story.connections[0].clone();
            (connection.id, connection.initial_rtt) = (ConnectionId(id), time.map(Span));
            sink.connection(connection).unwrap();
        }
        sink.finish(&Totals { connections: 1, ..Totals::default() }).unwrap();
        drop(sink);
        ids
    }

    fn by_time(times: &[Option<i64>], direction: Direction, most: Option<usize>) -> Vec<u64> {
        let order = Order::by(Field::named("initial_rtt_ns").unwrap(), direction);
        let short: &Cell<u64> = Box::leak(Box::default());
        let told = told(times, |sink| Box::new(Ordered::new(order, most, usize::MAX, short, sink)));
        assert_eq!(short.get(), 0);
        told
    }

    #[test]
    fn where_there_is_no_room_for_all_of_them_each_part_is_in_order() {
        let times = [Some(5), Some(3), Some(4), Some(2), Some(1), Some(9)];
        let order = Order::by(Field::named("initial_rtt_ns").unwrap(), Direction::Ascending);
        let room = 5 * cost(&sample::echo().connections[0]) / 2;
        let short: &Cell<u64> = Box::leak(Box::default());
        assert_eq!(told(&times, |sink| Box::new(Ordered::new(order, None, room, short, sink))), [1, 2, 0, 4, 3, 5]);
        assert_eq!(short.get(), 2);
        assert_eq!(told(&times, |sink| Box::new(Ordered::new(order, Some(4), room, short, sink))), [4, 3]);
        assert_eq!(short.get(), 3);
    }

    #[test]
    fn the_unknown_comes_last_and_equals_by_id() {
        let times = [Some(5), None, Some(9), Some(5), Some(-1)];
        assert_eq!(by_time(&times, Direction::Ascending, None), [4, 0, 3, 2, 1]);
        assert_eq!(by_time(&times, Direction::Descending, None), [2, 0, 3, 4, 1]);
        assert_eq!(by_time(&times, Direction::Descending, Some(2)), [2, 0]);
        assert_eq!(by_time(&times, Direction::Ascending, Some(0)), [] as [u64; 0]);
    }

    #[test]
    fn the_first_that_come_are_handed_on() {
        let times = [Some(5), None, Some(9), Some(7)];
        assert_eq!(told(&times, |sink| Box::new(First::new(3, sink))), [0, 1, 2]);
    }

    #[test]
    fn those_that_are_chosen_are_handed_on_and_the_others_known_to_be_absent() {
        let only = BTreeSet::from([1, 3, 9].map(ConnectionId));
        let (mut absent, mut ids) = (only.clone(), BTreeSet::new());
        let mut sink = Chosen::new(only, &mut absent, Box::new(Ids(&mut ids)));
        for id in (0..5).map(ConnectionId) {
            sink.connection(Connection { id, ..sample::echo().connections.remove(0) }).unwrap();
        }
        drop(sink);
        assert_eq!(ids, BTreeSet::from([1, 3].map(ConnectionId)));
        assert_eq!(absent, BTreeSet::from([ConnectionId(9)]));
    }

    fn tell(told: &mut Vec<u64>, id: u64) -> Result<(), Infallible> {
        told.push(id);
        Ok(())
    }

    fn by_number(ids: &[u64], most: usize) -> Vec<u64> {
        let told = by_number_in(ids, most, usize::MAX);
        // Octets bound them in the same way as their number does.
        assert_eq!(by_number_in(ids, usize::MAX, most), told);
        told
    }

    fn by_number_in(ids: &[u64], most: usize, room: usize) -> Vec<u64> {
        let (mut order, mut told) = (ByNumber::new(most, room, |_| 1), Vec::new());
        for id in ids {
            let Ok(()) = order.put(ConnectionId(*id), *id, |id| tell(&mut told, id));
        }
        let Ok(()) = order.finish(|id| tell(&mut told, id));
        told
    }

    #[test]
    fn by_number_as_far_as_those_that_wait_are_few() {
        assert_eq!(by_number(&[4, 2, 0, 1, 3], 5), [0, 1, 2, 3, 4]);
        // 0 ends when more than two wait for it: they are told without it, and it when it comes.
        assert_eq!(by_number(&[3, 1, 2, 4, 6, 0, 5, 7], 2), [1, 2, 3, 4, 0, 5, 6, 7]);
        // A gap holds up only so many.
        assert_eq!(by_number(&[0, 9, 8, 7], 3), [0, 7, 8, 9]);
        assert_eq!(by_number(&[9, 8, 7, 6], 0), [9, 8, 7, 6]);
        // How far apart they are does not matter, and those without a gap from 0 on need not wait.
        assert_eq!(by_number(&[1, 1 << 40, 0, 1 << 20, 5], 4), [0, 1, 5, 1 << 20, 1 << 40]);
        assert_eq!(by_number(&[0, 1, 40, 30, 2, 3], 1), [0, 1, 30, 2, 3, 40]);
    }

    proptest! {
        #[test]
        fn by_number_each_is_told_once(ids in Just((0..40_u64).collect::<Vec<_>>()).prop_shuffle(), most in 0_usize..50) {
            let told = by_number(&ids, most);
            let mut all = told.clone();
            all.sort_unstable();
            prop_assert_eq!(&all[..], &(0..40).collect::<Vec<_>>()[..]);
            prop_assert!(most < 40 || told == all);
        }

        #[test]
        fn the_foremost_are_the_beginning_of_all(times in prop::collection::vec(prop::option::of(0_i64..9), 0..40), most in 0_usize..12) {
            for direction in [Direction::Ascending, Direction::Descending] {
                let all = by_time(&times, direction, None);
                prop_assert_eq!(all.len(), times.len());
                prop_assert_eq!(&by_time(&times, direction, Some(most))[..], &all[..most.min(all.len())]);
            }
        }
    }
}
