//! What is looked up in a story while a view of it is made and drawn.

use crate::calls::{Effect, SocketId};
use crate::flow::{Connection, ConnectionId, Side};
use crate::hash::{HashMap, HashSet};
use crate::story::{CallEvent, Event, EventId, EventKind, Lookup, SegmentEvent, Story};
use crate::tcp::Finding;

/// What is looked up in a story, or in a timeline that grows, while it is drawn.
pub struct Index<'a> {
    /// What it finds its way in.
    pub known: &'a dyn Lookup,
    /// The events of a story, in order; none of a timeline that grows.
    pub(super) all: Vec<&'a Event>,
    connections: &'a [Connection],
    events: HashMap<Option<ConnectionId>, Vec<&'a Event>>,
    marks: Marks,
}

/// What events say of one another, gathered one by one.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Which of the calls of its name on its connection and at its end a call is, from 1.
    ordinals: HashMap<Option<ConnectionId>, HashMap<EventId, u64>>,
    /// The calls of each name: how many, and the first.
    counts: HashMap<Option<ConnectionId>, HashMap<(Side, String), Count>>,
    listeners: HashSet<SocketId>,
    /// The frame that each frame captured twice is a copy of.
    copies: HashMap<u64, u64>,
}

/// How many there are, and the first of them.
type Count = (u64, EventId);

impl<'a> Index<'a> {
    /// Of a whole story.
    pub fn new(story: &'a Story) -> Self {
        let mut events: HashMap<_, Vec<_>> = HashMap::default();
        let mut marks = Marks { copies: copies(story), ..Marks::default() };
        for event in &story.events {
            events.entry(event.connection).or_default().push(event);
            marks.hear(event);
        }
        story.events.iter().for_each(|event| marks.count(event));
        Self { known: story, all: story.events.iter().collect(), connections: &story.connections, events, marks }
    }

    /// Of a timeline that grows, of whose events `marks` have been gathered.
    pub fn growing(known: &'a dyn Lookup, marks: Marks) -> Self {
        Self { known, all: Vec::new(), connections: &[], events: HashMap::default(), marks }
    }

    /// Gives back what was gathered.
    pub fn into_marks(self) -> Marks {
        self.marks
    }

    /// What is known of a connection.
    pub fn connection(&self, id: ConnectionId) -> Option<&'a Connection> {
        let place = self.connections.binary_search_by_key(&id, |connection| connection.id).ok()?;
        self.connections.get(place)
    }

    /// The events of one connection, or those of none, in order.
    pub fn events_of(&self, connection: Option<ConnectionId>) -> &[&'a Event] {
        self.events.get(&connection).map_or(&[], Vec::as_slice)
    }

    /// The frame that the one with this number is a copy of, where it was captured twice.
    pub fn copied(&self, frame: u64) -> Option<u64> {
        self.marks.copies.get(&frame).copied()
    }

    /// Which of the calls of its name on its connection and at its end it is, from 1; `None` when it is the only one.
    pub fn ordinal(&self, call: EventId) -> Option<u64> {
        self.marks.ordinals.get(&self.known.find(call)?.connection)?.get(&call).copied()
    }

    /// The event with that number, if it is there.
    pub fn event(&self, id: EventId) -> Option<&'a Event> {
        self.known.find(id)
    }

    /// The side of a call: that of its end, or for a socket without a connection that of a server if it was bound to listen.
    pub fn side(&self, call: &CallEvent) -> Side {
        self.marks.side(call)
    }

    /// The connections that are shown: those chosen, or all.
    pub fn chosen(&self, chosen: &[ConnectionId]) -> Vec<&'a Connection> {
        let wanted = |connection: &&Connection| chosen.is_empty() || chosen.contains(&connection.id);
        self.connections.iter().filter(wanted).collect()
    }
}

impl Marks {
    /// Takes in what an event says of sockets.
    pub fn hear(&mut self, event: &Event) {
        if let EventKind::Call(call) = &event.kind
            && let (Effect::Bind | Effect::Listen | Effect::Accept, Some(socket)) =
                (call.call.effect(), call.call.socket())
        {
            self.listeners.insert(socket);
        }
    }

    /// Counts a call among those of its name.
    pub fn count(&mut self, event: &Event) {
        let EventKind::Call(call) = &event.kind else { return };
        if event.connection.is_none() {
            return;
        }
        let key = (self.side(call), call.call.name().to_owned());
        let counts = self.counts.entry(event.connection).or_default();
        let (count, first) = counts.entry(key).or_insert((0, event.id));
        *count += 1;
        if *count == 2 {
            self.ordinals.entry(event.connection).or_default().insert(*first, 1);
        }
        if *count > 1 {
            self.ordinals.entry(event.connection).or_default().insert(event.id, *count);
        }
    }

    /// Forgets what was counted of a connection.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.counts.remove(&Some(connection));
        self.ordinals.remove(&Some(connection));
    }

    fn side(&self, call: &CallEvent) -> Side {
        call.side.unwrap_or_else(|| match call.call.socket() {
            Some(socket) if self.listeners.contains(&socket) => Side::Server,
            _ => Side::Client,
        })
    }
}

/// For each frame that was captured twice, the one before with the same segment.
fn copies(story: &Story) -> HashMap<u64, u64> {
    let segments = || {
        story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Segment(segment) => {
                let s = &segment.segment;
                Some((segment, (event.connection, segment.from, segment.seq, segment.ack, s.flags, s.len)))
            }
            _ => None,
        })
    };
    let is_copy = |segment: &SegmentEvent| segment.findings.contains(Finding::CapturedTwice);
    let wanted: HashSet<_> = segments().filter(|(segment, _)| is_copy(segment)).map(|(_, what)| what).collect();
    let (mut originals, mut copies) = (HashMap::default(), HashMap::default());
    for (segment, what) in segments().filter(|(_, what)| wanted.contains(what)) {
        match originals.get(&what) {
            Some(original) if is_copy(segment) => _ = copies.insert(segment.segment.frame, *original),
            _ => _ = originals.insert(what, segment.segment.frame),
        }
    }
    copies
}
