//! Frames read and decoded into batches, ahead of whoever follows the connections.

use std::ops::ControlFlow;

use super::elsewhere::{Elsewhere, Run};
use super::trust::Trust;
use crate::capture::{CaptureError, CapturePoint, Frame, FrameSource, LinkType, SeenAt};
use crate::flow::{Bundle, ConnectionId, Finder, FlowTable, Reply, Step, Totals};
use crate::time::Timestamp;
use crate::wire::{Checksums, Decoder, IcmpError, Oddities, Segment, Skip, Skipped, Tunnel};

/// Reads and decodes frames into batches, ahead of whoever follows the connections.
pub struct Reader<W> {
    decoder: Decoder,
    finder: Finder,
    wanted: W,
    besides: Wanted,
    most: usize,
    /// Whose wrong checksums are believed; `None` where all are, or none is looked at.
    trust: Option<Trust>,
    /// When the last frame was captured.
    at: Option<Timestamp>,
    /// How many capture points of the source are known.
    points: usize,
    /// Which segments were seen at which of them, where there are several.
    elsewhere: Elsewhere,
}

/// What is kept of frames besides their segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Nothing,
    /// The first octets of payloads.
    Octets,
    /// What a timeline needs: where frames were seen, and in which tunnels, besides.
    All,
}

/// Segments that were decoded one after the other, and what the frames without one were.
#[derive(Default)]
pub struct Batch {
    pub(super) segments: Bundle,
    /// The first octets of all payloads, one after the other, and how many are each segment's; empty unless they are wanted.
    octets: Vec<u8>,
    lens: Vec<u16>,
    /// Where each segment was seen; empty unless that is wanted.
    seen: Vec<SeenAt>,
    /// The capture points of the source that have become known with it; empty unless they are wanted.
    pub(super) points: Vec<CapturePoint>,
    /// The tunnels that segments came in, and which of them; those that came in none are left out.
    tunnels: Vec<(usize, Box<[Tunnel]>)>,
    /// TCP headers quoted in ICMP errors, and how many segments came before each.
    quotes: Vec<(usize, Segment, IcmpError)>,
    /// The places of segments whose checksum seems wrong.
    wrong: Vec<usize>,
    /// At which capture points its frames were seen.
    runs: Vec<Run>,
    pub(super) frames: u64,
    last: u64,
    /// How many octets the frames had, those that were not wanted among them.
    read: usize,
    skipped: Skipped,
    unread: Option<LinkType>,
    /// How many frames have a time before that of the one before them.
    steps_back: u64,
}

/// What is kept of a segment for a timeline.
pub(super) struct Besides<'a> {
    /// The first octets of its payload.
    pub(super) payload: &'a [u8],
    /// Where it was seen.
    pub(super) seen: SeenAt,
    /// The tunnels it came in.
    pub(super) tunnel: Box<[Tunnel]>,
}

/// What a batch holds, one after the other, as the table has followed it.
pub(super) enum Followed<'a> {
    /// A segment, what it did, and what is kept of it besides.
    Segment(&'a Segment, Option<Step>, Besides<'a>),
    /// A TCP header that an ICMP error quotes, and the connection of which it is.
    Quote(&'a Segment, IcmpError, ConnectionId),
}

/// What a batch ended with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum More {
    /// The source may have more frames.
    Frames,
    /// The source has ended.
    Nothing,
}

impl<W> Reader<W> {
    /// A reader for the table that `finder` is from, which keeps of frames what is wanted `besides`.
    pub(super) fn new(checksums: Checksums, besides: Wanted, finder: Finder, wanted: W) -> Self {
        let decoder = match besides {
            Wanted::Nothing | Wanted::Octets => Decoder::default(),
            Wanted::All => Decoder::default().with_tunnels(),
        };
        let trust = (checksums == Checksums::Controls).then(Trust::default);
        let decoder = decoder.with_checksums(checksums);
        Self {
            decoder,
            finder,
            wanted,
            besides,
            most: BATCH,
            trust,
            at: None,
            points: 0,
            elsewhere: Elsewhere::default(),
        }
    }
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
        let Self { decoder, finder, wanted, besides, most, trust, at, points, elsewhere } = self;
        let mut full = false;
        let taken = source.next_frames(*most, |frame| {
            batch.last = frame.number;
            if wanted(&frame)? {
                batch.steps_back += u64::from(frame.at.is_some() && frame.at < *at);
                *at = frame.at.or(*at);
                batch.add(decoder, finder, &frame, *besides, trust.as_mut());
            }
            batch.read += frame.bytes.len();
            full = batch.read >= MOST_READ || batch.segments.len() >= MOST_SEGMENTS;
            Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        if let Some(trust) = trust {
            batch.believe(trust);
        }
        if source.points().len() > 1 && elsewhere.meet(&batch.runs, batch.last) {
            batch.mark_seen_elsewhere(elsewhere);
        }
        if *besides == Wanted::All
            && let Some(new) = source.points().get(*points..)
        {
            batch.points.extend_from_slice(new);
            *points += new.len();
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
        self.points.clear();
        self.tunnels.clear();
        self.quotes.clear();
        self.wrong.clear();
        self.runs.clear();
        self.steps_back = 0;
        (self.frames, self.read, self.skipped, self.unread) = (0, 0, Skipped::default(), None);
    }

    #[inline(always)]
    fn add(
        &mut self,
        decoder: &mut Decoder,
        finder: &Finder,
        frame: &Frame<'_>,
        besides: Wanted,
        mut trust: Option<&mut Trust>,
    ) {
        self.frames += 1;
        let before = self.segments.len();
        if self.runs.last().is_none_or(|run| run.point != frame.seen.point) {
            self.runs.push(Run { point: frame.seen.point, frame: frame.number, before });
        }
        let decoded = decoder.decode(frame, |segment, payload| {
            self.take(finder, frame, segment, payload, besides, trust.as_deref_mut());
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

    /// Takes a segment, and what is to be kept beside it.
    #[inline(never)]
    fn take(
        &mut self,
        finder: &Finder,
        frame: &Frame<'_>,
        segment: &Segment,
        payload: &[u8],
        besides: Wanted,
        trust: Option<&mut Trust>,
    ) {
        if segment.oddities.intersects(Oddities::GOOD_CHECKSUM.union(Oddities::BAD_CHECKSUM))
            && let Some(trust) = trust
        {
            trust.note(segment);
            if segment.oddities.contains(Oddities::BAD_CHECKSUM) {
                self.wrong.push(self.segments.len());
            }
        }
        self.segments.push(finder, segment);
        if besides != Wanted::Nothing {
            let first = &payload[..payload.len().min(COMPARED)];
            self.octets.extend_from_slice(first);
            self.lens.push(first.len() as u16);
        }
        if besides == Wanted::All {
            self.seen.push(frame.seen());
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

    /// Marks the segments that another capture point had before.
    fn mark_seen_elsewhere(&mut self, elsewhere: &mut Elsewhere) {
        let ends = self.runs.iter().skip(1).map(|next| next.before).chain([self.segments.len()]);
        for (run, end) in self.runs.iter().zip(ends) {
            for place in run.before..end {
                if self.segments.with_segment(place, |segment| elsewhere.had(run.point, segment)) {
                    self.segments.was_elsewhere(place);
                }
            }
        }
    }

    /// Lets the table follow what the batch holds, and hands on what each segment did.
    pub(super) fn follow<A: Reply>(&self, table: &mut FlowTable, mut done: impl FnMut(&Segment, Option<A>)) {
        let mut taken = 0;
        for (before, quote, error) in &self.quotes {
            table.observe_all(&self.segments, taken..*before, &mut done);
            table.quote(quote, Some(*error));
            taken = *before;
        }
        table.observe_all(&self.segments, taken..self.segments.len(), done);
    }

    /// Does the same, and hands on what was kept of each segment besides, and what ICMP errors quote.
    pub(super) fn follow_with(&self, table: &mut FlowTable, mut done: impl FnMut(Followed<'_>)) {
        let (mut lens, mut seen, mut start) = (self.lens.iter(), self.seen.iter(), 0);
        let mut tunnels = self.tunnels.iter().peekable();
        let mut place = 0..;
        let mut taken = 0;
        let end = self.segments.len();
        let quotes = self.quotes.iter().map(|(before, quote, error)| (*before, Some((quote, *error))));
        for (before, quote) in quotes.chain([(end, None)]) {
            table.observe_all(&self.segments, taken..before, |segment, step: Option<Step>| {
                let place = place.next();
                let tunnel = tunnels.next_if(|(of, _)| Some(*of) == place).map(|(_, tunnel)| tunnel.clone());
                let len = lens.next().map_or(0, |len| usize::from(*len));
                let payload = &self.octets[start..start + len];
                start += len;
                let seen = seen.next().copied().unwrap_or_default();
                let besides = Besides { payload, seen, tunnel: tunnel.unwrap_or_default() };
                done(Followed::Segment(segment, step, besides));
            });
            taken = before;
            if let Some((quote, error)) = quote
                && let Some(id) = table.quote(quote, Some(error))
            {
                done(Followed::Quote(quote, error, id));
            }
        }
    }

    /// Does the same one segment after the other, and shows the table as each leaves it.
    ///
    /// # Errors
    /// The first one of `done`, after which the rest is followed all the same.
    pub(super) fn follow_each<E>(
        &self,
        table: &mut FlowTable,
        mut done: impl FnMut(&Segment, &Step, &FlowTable) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut quotes = self.quotes.iter().peekable();
        let mut told = Ok(());
        for place in 0..=self.segments.len() {
            while let Some((_, quote, error)) = quotes.next_if(|(before, ..)| *before == place) {
                table.quote(quote, Some(*error));
            }
            if place == self.segments.len() {
                break;
            }
            self.segments.with_segment(place, |segment| {
                if let (Some(step), Ok(())) = (table.observe(segment), &told) {
                    told = done(segment, &step, table);
                }
            });
        }
        told
    }

    /// Adds what it holds to the counts.
    pub(super) fn count(&self, totals: &mut Totals) {
        totals.frames += self.frames;
        totals.segments += self.segments.len() as u64;
        totals.skipped.add(&self.skipped);
        totals.steps_back += self.steps_back;
    }

    /// The link type of the first frame that could not be read because of it.
    pub(super) fn unread(&self) -> Option<LinkType> {
        self.unread
    }

    /// The number of the last frame read.
    pub fn last_frame(&self) -> u64 {
        self.last
    }
}

/// How many frames make a batch: enough that handing it on costs nothing beside following it, few enough that it stays in the cache.
const BATCH: usize = 512;
/// How many octets of each payload of a timeline are compared with those at the same positions before.
pub(super) const COMPARED: usize = 2048;
/// How many make one of a stream.
const SMALL_BATCH: usize = 128;
/// With so many segments a batch is full, whatever the frames: one frame of an A-MSDU may hold 4,096.
const MOST_SEGMENTS: usize = 2 * BATCH;
/// With so many octets read a batch is full: between two looks at an interrupt no more is decoded.
const MOST_READ: usize = 4 << 20;
