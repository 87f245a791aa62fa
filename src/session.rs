//! One run over a capture: frames through the decoder and the table into a sink, and the chosen connections into a story.

mod conflicts;
mod memory;
mod trust;
mod watch;

pub use memory::Memory;
pub use watch::Watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::io;
use std::ops::ControlFlow;

use crate::calls::{Call, PREVIEW, Threads};
use crate::capture::{CaptureError, Frame, FrameSource, LinkType, SeenAt};
use crate::flow::{Bundle, Connection, ConnectionId, Ended, Evicted, Finder, FlowTable, Limits, Step, Totals};
use crate::kernel::Evidence;
use crate::story::{Observed, Sense, Sighting, Story, Timeline, Trace};
use crate::time::Timestamp;
use crate::wire::{Checksums, Decoder, IcmpError, Oddities, Segment, Skip, Skipped, Tunnel};
use conflicts::Conflicts;
use trust::Trust;

/// Where a run tells what it found.
pub trait Sink {
    /// Tells one connection; called once for each, when nothing more can happen to it.
    ///
    /// # Errors
    /// The output could not be written.
    fn connection(&mut self, connection: Connection) -> io::Result<()>;

    /// Ends the output with the counts.
    ///
    /// # Errors
    /// The output could not be written.
    fn finish(&mut self, totals: &Totals) -> io::Result<()>;
}

/// Tells nobody: a timeline is told as a whole, at the end.
impl Sink for () {
    fn connection(&mut self, _: Connection) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        Ok(())
    }
}

/// Which connections' segments are kept for a timeline.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// None: memory does not grow with segments.
    #[default]
    Nothing,
    /// All of them.
    All,
    /// Of all of them, but no more than so many segments: the first ones.
    First(u64),
    /// Those of these connections, but no more than so many segments.
    Only(BTreeSet<ConnectionId>, u64),
}

impl Keep {
    fn keeps(&self, id: ConnectionId) -> bool {
        match self {
            Self::Nothing => false,
            Self::All | Self::First(_) => true,
            Self::Only(ids, _) => ids.contains(&id),
        }
    }

    /// How many segments it keeps at most.
    fn most(&self) -> u64 {
        match self {
            Self::First(most) | Self::Only(_, most) => *most,
            Self::Nothing | Self::All => u64::MAX,
        }
    }
}

/// Why a run ended before its capture did.
#[derive(Debug)]
pub enum Broken {
    /// The capture is damaged, or could not be read on; everything before that was told.
    Capture(CaptureError),
    /// The output could not be written.
    Output(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Reads and decodes frames into batches, ahead of whoever follows the connections.
pub struct Reader<W> {
    decoder: Decoder,
    finder: Finder,
    wanted: W,
    previews: Previews,
    most: usize,
    /// Whose wrong checksums are believed; `None` where all are, or none is looked at.
    trust: Option<Trust>,
    /// When the last frame was captured.
    at: Option<Timestamp>,
}

/// Whether the first octets of payloads are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Previews {
    Kept,
    Dropped,
}

/// Segments that were decoded one after the other, and what the frames without one were.
#[derive(Default)]
pub struct Batch {
    segments: Bundle,
    /// The first octets of all payloads, one after the other, and how many are each segment's; empty unless previews are kept.
    octets: Vec<u8>,
    lens: Vec<u16>,
    /// Where each segment was seen; empty unless previews are kept.
    seen: Vec<SeenAt>,
    /// The tunnels that segments came in, and which of them; those that came in none are left out.
    tunnels: Vec<(usize, Box<[Tunnel]>)>,
    /// TCP headers quoted in ICMP errors, and how many segments came before each.
    quotes: Vec<(usize, Segment, IcmpError)>,
    /// The places of segments whose checksum seems wrong.
    wrong: Vec<usize>,
    frames: u64,
    last: u64,
    /// How many octets the frames had, those that were not wanted among them.
    read: usize,
    skipped: Skipped,
    unread: Option<LinkType>,
    /// How many frames have a time before that of the one before them.
    steps_back: u64,
}

/// What a batch ended with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum More {
    /// The source may have more frames.
    Frames,
    /// The source has ended.
    Nothing,
}

impl<W: FnMut(&Frame<'_>) -> Result<bool, CaptureError>> Reader<W> {
    /// Makes smaller batches, as suits a stream, whose frames may be long in coming: nothing of a batch is told until it is full.
    pub fn in_small_batches(self) -> Self {
        Self { most: SMALL_BATCH, ..self }
    }

    /// Fills `batch`, whose contents it forgets, with the next frames of `source` that are wanted.
    ///
    /// It is full with so many frames, or before that with more segments or octets than so many frames are likely to have.
    ///
    /// # Errors
    /// The damage of the capture; what came before it is in the batch.
    pub fn fill<S: FrameSource>(&mut self, source: &mut S, batch: &mut Batch) -> Result<More, CaptureError> {
        batch.clear();
        let Self { decoder, finder, wanted, previews, most, trust, at } = self;
        let mut full = false;
        let taken = source.next_frames(*most, |frame| {
            batch.last = frame.number;
            if wanted(&frame)? {
                batch.steps_back += u64::from(frame.at.is_some() && frame.at < *at);
                *at = frame.at.or(*at);
                batch.add(decoder, finder, &frame, *previews, trust.as_mut());
            }
            batch.read += frame.bytes.len();
            full = batch.read >= MOST_READ || batch.segments.len() >= MOST_SEGMENTS;
            Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        if let Some(trust) = trust {
            batch.believe(trust);
        }
        let taken = taken?;
        Ok(if full || taken == *most { More::Frames } else { More::Nothing })
    }
}

impl Batch {
    fn clear(&mut self) {
        self.segments.clear();
        self.octets.clear();
        self.lens.clear();
        self.seen.clear();
        self.tunnels.clear();
        self.quotes.clear();
        self.wrong.clear();
        self.steps_back = 0;
        (self.frames, self.read, self.skipped, self.unread) = (0, 0, Skipped::default(), None);
    }

    #[inline(always)]
    fn add(
        &mut self,
        decoder: &mut Decoder,
        finder: &Finder,
        frame: &Frame<'_>,
        previews: Previews,
        mut trust: Option<&mut Trust>,
    ) {
        self.frames += 1;
        let before = self.segments.len();
        let Self { segments, octets, lens, seen, wrong, .. } = self;
        let decoded = decoder.decode(frame, |segment, payload| {
            if segment.oddities.intersects(Oddities::GOOD_CHECKSUM.union(Oddities::BAD_CHECKSUM))
                && let Some(trust) = trust.as_mut()
            {
                trust.note(segment);
                if segment.oddities.contains(Oddities::BAD_CHECKSUM) {
                    wrong.push(segments.len());
                }
            }
            segments.push(finder, segment);
            if previews == Previews::Kept {
                let first = &payload[..payload.len().min(COMPARED)];
                octets.extend_from_slice(first);
                lens.push(first.len() as u16);
                seen.push(frame.seen());
            }
        });
        // Of several segments in one frame nobody says which came in what.
        if !decoder.tunnels().is_empty() && self.segments.len() == before + 1 {
            self.tunnels.push((before, decoder.tunnels().into()));
        }
        if let Err(skip) = decoded {
            self.skipped.count(skip);
            if let Some((quote, error)) = decoder.quote() {
                self.quotes.push((self.segments.len(), quote, error));
            }
            if skip == Skip::LinkType {
                self.unread.get_or_insert(frame.link);
            }
        }
    }

    /// Forgets wrong checksums that are not believed, now that more of them were seen.
    fn believe(&mut self, trust: &Trust) {
        for place in self.wrong.drain(..) {
            if !self.segments.with_segment(place, |segment| trust.believes(segment)) {
                self.segments.forgive(place);
            }
        }
    }

    /// Lets the table follow what the batch holds, and hands on what each segment did.
    fn follow(&self, table: &mut FlowTable, mut done: impl FnMut(&Segment, Option<Step>)) {
        let mut taken = 0;
        for (before, quote, error) in &self.quotes {
            table.observe_all(&self.segments, taken..*before, &mut done);
            table.quote(quote, Some(*error));
            taken = *before;
        }
        table.observe_all(&self.segments, taken..self.segments.len(), done);
    }

    /// The number of the last frame read.
    pub fn last_frame(&self) -> u64 {
        self.last
    }
}

/// The state of a run.
pub struct Session {
    table: FlowTable,
    keep: Keep,
    #[expect(clippy::vec_box, reason = "each is freed as soon as its event stands in its place")]
    kept: BTreeMap<ConnectionId, Vec<Box<Sighting>>>,
    /// Segments that were one too many to be kept.
    left_out: u64,
    /// Segments in `kept`.
    held: u64,
    /// Octets that there still are for those to be kept.
    room: u64,
    /// The kept connections that have ended.
    ended: Vec<Connection>,
    totals: Totals,
    unread: Option<LinkType>,
    checksums: Checksums,
    conflicts: Conflicts,
    /// What the sighting of a frame says of its ends, where it is not that it passed.
    senses: HashMap<u64, Sense>,
}

impl Default for Session {
    fn default() -> Self {
        Self::new(Keep::default())
    }
}

impl Session {
    /// A run that has seen nothing yet.
    pub fn new(keep: Keep) -> Self {
        Self {
            table: FlowTable::new(),
            keep,
            kept: BTreeMap::new(),
            left_out: 0,
            held: 0,
            room: u64::MAX,
            ended: Vec::new(),
            totals: Totals::default(),
            unread: None,
            checksums: Checksums::default(),
            conflicts: Conflicts::default(),
            senses: HashMap::new(),
        }
    }

    /// The same, where it is known of some frames that they were sent and did not arrive, or arrived and were not sent.
    pub fn with_senses(self, senses: HashMap<u64, Sense>) -> Self {
        Self { senses, ..self }
    }

    /// The same, which keeps segments while there is room for what they and their connections take as a timeline.
    pub fn with_room(self, octets: u64) -> Self {
        Self { room: octets, ..self }
    }

    /// The same, with other limits on what the table of connections keeps.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { table: FlowTable::with_limits(limits), ..self }
    }

    /// The same, with other checksums looked at than none; with [`Checksums::Controls`] wrong ones are believed only from
    /// senders whose checksums are right otherwise.
    pub fn with_checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    /// A reader for this run, whose limits are those it is to have; `wanted` chooses frames by a filter: those left out keep their numbers and are not counted as frames read.
    pub fn reader<W>(&self, wanted: W) -> Reader<W> {
        let (decoder, previews) = match self.keep {
            Keep::Nothing => (Decoder::default(), Previews::Dropped),
            Keep::All | Keep::First(_) | Keep::Only(..) => (Decoder::default().with_tunnels(), Previews::Kept),
        };
        let trust = (self.checksums == Checksums::Controls).then(Trust::default);
        let decoder = decoder.with_checksums(self.checksums);
        Reader { decoder, finder: self.table.finder(), wanted, previews, most: BATCH, trust, at: None }
    }

    /// Takes frames from `source` to its end, or until `go_on` breaks off, and tells connections to `sink` as they end.
    ///
    /// # Errors
    /// The first damage of the capture, or of the output; what came before the damage has been observed, so [`finish`](Self::finish) still tells it.
    pub fn run<S: FrameSource>(
        &mut self,
        source: &mut S,
        wanted: impl FnMut(&Frame<'_>) -> Result<bool, CaptureError>,
        mut go_on: impl FnMut(u64) -> ControlFlow<()>,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let mut reader = self.reader(wanted);
        let mut batch = Batch::default();
        loop {
            let read = reader.fill(source, &mut batch);
            self.take(&batch, sink)?;
            if read.map_err(Broken::Capture)? == More::Nothing || go_on(batch.last).is_break() {
                return Ok(());
            }
        }
    }

    /// Follows the segments of a batch, and tells the connections that have ended.
    ///
    /// # Errors
    /// The output could not be written.
    pub fn take(&mut self, batch: &Batch, sink: &mut dyn Sink) -> io::Result<()> {
        self.follow(batch);
        self.table.take_ended(|connection| sink.connection(connection))
    }

    /// Follows the segments of a batch; returns how many connections have ended and wait to be [handed over](Self::hand_over).
    pub fn follow(&mut self, batch: &Batch) -> usize {
        self.totals.frames += batch.frames;
        self.totals.segments += batch.segments.len() as u64;
        self.totals.skipped.add(&batch.skipped);
        self.totals.steps_back += batch.steps_back;
        self.unread = self.unread.or(batch.unread);
        if self.keep == Keep::Nothing {
            batch.follow(&mut self.table, |_, _| {});
            return self.table.end_quiet();
        }
        let Self { table, keep, ended, kept, held, room, left_out, conflicts, senses, .. } = self;
        let most = keep.most();
        let (mut lens, mut seen, mut start) = (batch.lens.iter(), batch.seen.iter(), 0);
        let mut tunnels = batch.tunnels.iter().peekable();
        let mut place = 0..;
        batch.follow(table, |segment, step| {
            let place = place.next();
            let tunnel = tunnels.next_if(|(of, _)| Some(*of) == place).map(|(_, tunnel)| tunnel.clone());
            let len = lens.next().map_or(0, |len| usize::from(*len));
            let seen = seen.next().copied().unwrap_or_default();
            let payload = &batch.octets[start..start + len];
            start += len;
            if let Some(mut step) = step
                && keep.keeps(step.connection)
            {
                let costs = memory::SEGMENT + if kept.contains_key(&step.connection) { 0 } else { memory::CONNECTION };
                // What comes later is left out, too: a timeline with holes in it would be a false one.
                *room = if *held >= most { 0 } else { room.saturating_sub(costs) };
                if *room == 0 {
                    *left_out += 1;
                    return;
                }
                *held += 1;
                conflicts.observe(segment, &mut step, payload);
                let preview = &payload[..len.min(PREVIEW)];
                let tunnel = tunnel.unwrap_or_default();
                let observed = Observed { segment: *segment, step, preview: preview.to_vec(), tunnel, seen };
                let of_connection = kept.entry(observed.step.connection).or_insert_with(|| Vec::with_capacity(1));
                let sense = senses.get(&segment.frame).copied().unwrap_or_default();
                of_connection.push(Box::new(Sighting { sense, ..*Sighting::passing(observed) }));
            }
        });
        let Ok(()) = table.take_ended(|connection| {
            if kept.contains_key(&connection.id) {
                ended.push(connection);
            }
            Ok::<(), Infallible>(())
        });
        0
    }

    /// The limits on what the table of connections keeps.
    pub fn limits(&self) -> Limits {
        self.table.limits()
    }

    /// How many octets those take that wait to be handed over.
    pub fn waiting(&self) -> usize {
        self.table.waiting()
    }

    /// Hands over the connections that have ended, in exchange for an empty `ended`.
    pub fn hand_over(&mut self, ended: &mut Ended) {
        self.table.hand_over(ended);
    }

    /// The link type that left every frame so far unread, if there was one and nothing else.
    pub fn unread(&self) -> Option<LinkType> {
        self.unread.filter(|_| self.totals.skipped.link_type == self.totals.frames)
    }

    /// Ends the run: tells the connections that are left, and the counts, which it returns.
    ///
    /// # Errors
    /// The output could not be written.
    pub fn finish(mut self, sink: &mut dyn Sink) -> io::Result<Totals> {
        let totals = self.end(|connection| sink.connection(connection))?;
        sink.finish(&totals)?;
        Ok(totals)
    }

    /// Lets go of all kept segments but the first ones of the capture.
    pub fn let_go_beyond(&mut self, most: usize) {
        let mut frames: Vec<u64> = self.kept.values().flatten().map(|kept| kept.observed.segment.frame).collect();
        if frames.len() <= most {
            return;
        }
        let (_, first_gone, _) = frames.select_nth_unstable(most);
        let first_gone = *first_gone;
        let before = self.held;
        self.held = 0;
        for segments in self.kept.values_mut() {
            segments.truncate(segments.partition_point(|kept| kept.observed.segment.frame < first_gone));
            self.held += segments.len() as u64;
        }
        self.kept.retain(|_, segments| !segments.is_empty());
        self.left_out += before - self.held;
    }

    /// How many segments are kept.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// How many segments were not kept because [`Keep`] has a limit, or because there was no room for them.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Ends the run with the story of the connections that were kept, joined with the calls and the kernel's answers.
    ///
    /// `threads` are those that made the calls.
    pub fn story(self, threads: Threads, calls: Vec<Call>, evidence: &[Evidence], dropped: Option<u64>) -> Story {
        let (timeline, connections, totals) = self.timeline(calls, evidence, dropped);
        timeline.finish(connections, threads, totals)
    }

    /// Ends the run with the timeline of the connections that were kept, which may go on: with their summaries, and the counts.
    pub fn timeline(
        mut self,
        calls: Vec<Call>,
        evidence: &[Evidence],
        dropped: Option<u64>,
    ) -> (Timeline, Vec<Connection>, Totals) {
        let mut connections = std::mem::take(&mut self.ended);
        let Ok(mut totals) = self.end(|connection| {
            connections.push(connection);
            Ok::<(), Infallible>(())
        });
        totals.dropped = dropped;
        connections.sort_by_key(|connection| connection.id);
        let (mut kept, mut conflicts) = (self.kept, self.conflicts);
        let mut traces = Vec::new();
        connections.retain_mut(|connection| {
            let Some(segments) = kept.remove(&connection.id) else { return false };
            if let Some(found) = conflicts.take(connection.id) {
                connection.findings.extend(found.findings);
                connection.findings.sort_by_key(|finding| finding.frame);
                connection.findings_omitted += found.omitted;
            }
            traces.push(Trace { id: connection.id, client: connection.client, server: connection.server, segments });
            true
        });
        (Timeline::of(traces, calls, evidence), connections, totals)
    }

    fn end<E>(&mut self, tell: impl FnMut(Connection) -> Result<(), E>) -> Result<Totals, E> {
        let counts = self.table.finish(tell)?;
        self.totals.connections = counts.connections;
        self.totals.numbers = counts.numbers;
        self.totals.late_segments = counts.late_segments;
        self.totals.let_go = counts.evicted;
        self.totals.evicted =
            Evicted { connections: counts.evicted, segments: self.left_out, findings: counts.omitted };
        Ok(std::mem::take(&mut self.totals))
    }
}

/// How many frames make a batch: enough that handing it on costs nothing beside following it, few enough that it stays in the cache.
const BATCH: usize = 512;
/// How many octets of each payload of a timeline are compared with those at the same positions before.
const COMPARED: usize = 2048;
/// How many make one of a stream.
const SMALL_BATCH: usize = 128;
/// With so many segments a batch is full, whatever the frames: one frame of an A-MSDU may hold 4,096.
const MOST_SEGMENTS: usize = 2 * BATCH;
/// With so many octets read a batch is full: between two looks at an interrupt no more is decoded.
const MOST_READ: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Conflict, Detail};
    use crate::story::{EventKind, Mechanism};
    use crate::tcp::Finding;

    /// Segments of one octet from one end, each in IPv4 without a link layer.
    struct Octets {
        frames: u32,
        read: u32,
        bytes: Vec<u8>,
    }

    impl FrameSource for Octets {
        fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
            if self.read == self.frames {
                return Ok(None);
            }
            self.read += 1;
            let head = [0x45, 0, 0, 41, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            let tcp = [&[48, 57, 0, 80][..], &self.read.to_be_bytes(), &[0, 0, 0, 9, 0x50, 16, 16, 0, 0, 0, 0, 0, 7]];
            self.bytes = [&head[..], &tcp.concat()].concat();
            let number = self.read.into();
            Ok(Some(Frame {
                number,
                at: None,
                link: LinkType(101),
                bytes: &self.bytes,
                wire_len: 41,
                seen: Default::default(),
            }))
        }
    }

    /// One frame over and over.
    struct Same(LinkType, Vec<u8>);

    impl FrameSource for Same {
        fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
            Ok(Some(Frame {
                number: 1,
                at: None,
                link: self.0,
                bytes: &self.1,
                wire_len: self.1.len() as u32,
                seen: Default::default(),
            }))
        }
    }

    #[test]
    fn batches_are_bounded_in_frames_segments_and_octets() {
        let fill = |mut source: Same| {
            let session = Session::new(Keep::All);
            let mut batch = Batch::default();
            let more = session.reader(|_: &Frame<'_>| Ok(true)).fill(&mut source, &mut batch);
            assert!(matches!(more, Ok(More::Frames)));
            (batch.frames, batch.segments.len())
        };
        assert_eq!(fill(Same(LinkType::RAW, vec![0x45])), (512, 0));
        assert_eq!(fill(Same(LinkType::RAW, vec![0; 262_144])), (16, 0));
        // Aggregates of 100 segments each.
        let ip = [&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], &[0x50; 20]].concat();
        let subframe = [&[0; 12][..], &[0, 48, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ip, &[0, 0]].concat();
        let frame = [&[0x88, 1][..], &[0; 22], &[0x80, 0], &subframe.repeat(100)].concat();
        assert_eq!(fill(Same(LinkType(105), frame)), (11, 1100));
    }

    /// Some frames, one after the other.
    struct Frames(Vec<Vec<u8>>, usize);

    impl FrameSource for Frames {
        fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
            self.1 += 1;
            Ok(self.0.get(self.1 - 1).map(|bytes| Frame {
                number: self.1 as u64,
                at: None,
                link: LinkType::RAW,
                bytes,
                wire_len: bytes.len() as u32,
                seen: Default::default(),
            }))
        }
    }

    #[test]
    fn frames_that_are_not_in_order_of_time_are_counted() {
        struct Times(Vec<i64>, usize, Vec<u8>);
        impl FrameSource for Times {
            fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
                let Some(time) = self.0.get(self.1) else { return Ok(None) };
                self.1 += 1;
                let (number, at) = (self.1 as u64, Some(Timestamp::from_nanos(*time)));
                let link = LinkType::RAW;
                Ok(Some(Frame { number, at, link, bytes: &self.2, wire_len: 40, seen: Default::default() }))
            }
        }
        let ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let tcp = [0, 7, 0, 80, 0, 0, 0, 9, 0, 0, 0, 9, 0x50, 16, 16, 0, 0, 0, 0, 0];
        let times = [50, 60, 60, 10, 20, 5].into_iter().chain((0..1000).map(|time| 100 + time)).chain([7]);
        let mut session = Session::new(Keep::All);
        let mut source = Times(times.collect(), 0, [&ip[..], &tcp].concat());
        assert!(session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ()).is_ok());
        let story = session.story(Threads::default(), Vec::new(), &[], None);
        assert_eq!(story.totals.steps_back, 3);
        assert_eq!(story.connections[0].duration(), Some(crate::time::Span(0)), "never negative");
    }

    #[test]
    fn octets_beyond_those_compared_are_not() {
        let conflicts = |place: usize| {
            let frame = |octet: u8| {
                let ip = [0x45, 0, 0x0b, 0xe0, 0, 0, 0x40, 0, 64 + octet, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
                let tcp = [0, 7, 0, 80, 0, 0, 0, 9, 0, 0, 0, 9, 0x50, 16, 16, 0, octet, 0, 0, 0];
                let mut frame = [&ip[..], &tcp, &[0; 3000]].concat();
                frame[40 + place] = octet;
                frame
            };
            let mut session = Session::new(Keep::All);
            let mut source = Frames(vec![frame(0), frame(1)], 0);
            assert!(session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ()).is_ok());
            let story = session.story(Threads::default(), Vec::new(), &[], None);
            let of_segment = story.events.iter().any(|event| match &event.kind {
                EventKind::Segment(segment) if segment.findings.contains(Finding::ConflictingOctets) => {
                    assert_eq!(segment.cause.kernel, Some(Mechanism::Unknown), "no stack repeats what it did not send");
                    true
                }
                _ => false,
            });
            let mut findings = story.connections[0].findings.iter();
            let listed = findings.find(|finding| finding.finding == Finding::ConflictingOctets).cloned();
            assert_eq!(listed.is_some(), of_segment);
            listed.map(|finding| (finding.frame, finding.detail))
        };
        let told = Detail::Conflict(Box::new(Conflict { frame: 1, ttls: [64, 65] }));
        assert_eq!(conflicts(COMPARED - 1), Some((Some(2), told)));
        assert_eq!(conflicts(COMPARED), None);
    }

    #[test]
    fn a_bounded_timeline_has_the_first_segments_and_counts_the_others() {
        for (keep, held, left_out) in [(Keep::First(700), 700, 300), (Keep::First(1000), 1000, 0), (Keep::All, 1000, 0)]
        {
            let mut session = Session::new(keep);
            let mut source = Octets { frames: 1000, read: 0, bytes: Vec::new() };
            let run = session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
            assert!(run.is_ok());
            assert_eq!(session.left_out(), left_out);
            let story = session.story(Threads::default(), Vec::new(), &[], None);
            let frames = story.events.iter().filter_map(|event| match &event.kind {
                EventKind::Segment(segment) => Some(segment.segment.frame),
                _ => None,
            });
            assert!(frames.eq(1..=held));
            assert_eq!(story.connections[0].client_to_server.segments, 1000, "the summary has all of them");
        }
    }
}
