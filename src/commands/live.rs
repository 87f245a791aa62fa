//! `tcpflow live`: connections on an interface as they open, change state and end.

use std::ffi::OsStr;
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::interrupt::{Interrupt, NOT_ALL};
use super::outlet::{Outlet, Overflow, Valve};
use super::selection;
use super::{Failure, Outcome, complain, look, memory};
use crate::capture::{
    Batch, CaptureError, CaptureStats, Delivery, Fed, Feed, Frame, Given, Link, Live as Capture, Manner, OpenError,
    Rotation, Scope, Series, Successor, Tap, Writer, Written, default_interface, give_up_privilege, ways_to_capture,
};
use crate::cli::{Live, LiveForm, Look, Time};
use crate::flow::{Connection, ConnectionId, Limits, Step, Totals};
use crate::report::Expression;
use crate::report::live::{CsvRecords, Events, JsonLines, Lines, Open, Rows, Teller};
use crate::session::{self, Broken, Keep, More, Reader, Session, Sink};
use crate::story::{Changes, Point, Timeline};
use crate::time::{Span, Timestamp};
use crate::wire::Segment;

pub(super) fn run(options: &Live, look: &Look) -> Result<Outcome, Failure> {
    if options.files.is_some() && options.rotate_size.is_none() && options.rotate_seconds.is_none() {
        return Err(Failure::new("--files: say also when a file ends, with --rotate-size or --rotate-seconds"));
    }
    let condition = options.condition.as_deref().map(selection::condition).transpose()?;
    if let Some(field) = condition.as_ref().and_then(Expression::of_breakdown) {
        return Err(Failure::new(format!(
            "--where: `{field}` is known only when a connection has ended: keep the frames with -w FILE, then use `tcpflow analyze --where`"
        )));
    }
    if let Some(path) = &options.save {
        Writer::check(path)?;
    }
    let capture = open(options)?;
    // Only the capture needed it: what is written from here on belongs to the user.
    give_up_privilege(&Successor { user: options.user.clone(), writes: options.save.clone() })?;
    let rotation = Rotation {
        octets: options.rotate_size,
        span: options.rotate_seconds.map(seconds),
        files: options.files.map(|files| files as usize),
    };
    let name = capture.interface().to_owned();
    let keeper = Keeper::default();
    let interrupt = match options.save {
        Some(_) => Interrupt::catch_and({
            let keeper = keeper.clone();
            move || keeper.keep_and_tell_if_heard()
        })?,
        None => Interrupt::catch()?,
    };
    if let Some(path) = &options.save {
        keeper.take(Series::create(path, rotation, &name)?);
    }
    let link = Link::from(capture.link()).name;
    let mut feed = Feed::start(capture, interrupt.descriptor());
    interrupt.limit_telling();
    complain(&format!("capturing on {name} ({link}), {} octets of each frame; Ctrl-C ends it", options.snaplen));

    let begun = now();
    // Who watches looks at the clock on the wall.
    let look = &Look { time: look.time.or(Some(Time::Local)), ..look.clone() };
    let style = look::at(look, look::table(look), Some(begun));
    let timeline_style = look::at(look, look::style(look), Some(begun));
    let mut out = Outlet::open();
    let valve = out.valve();
    if options.save.is_some() {
        valve.set(Overflow::IsLeftOut);
    }
    let mut until = interrupt.until(Box::new(&mut out));
    let teller: Box<dyn Teller + '_> = match options.format {
        LiveForm::Text if options.timeline => Box::new(Rows::new(&mut until, &timeline_style)),
        LiveForm::Text => Box::new(Lines::new(&mut until, &style, begun)),
        LiveForm::Jsonl if options.timeline => Box::new(Events::new(&mut until)),
        LiveForm::Jsonl => Box::new(JsonLines::new(&mut until)),
        LiveForm::Csv => Box::new(CsvRecords::new(&mut until).map_err(|error| Failure::output(&error))?),
    };
    let memory = memory::of(options.memory);
    let limits = Limits { linger: seconds(options.linger), ..memory.table() };
    let session = match options.timeline {
        true => Session::new(Keep::All).growing_within(memory.events()),
        false => Session::new(Keep::Nothing).telling_steps(),
    };
    let mut session = session;
    session.know_points(feed.points().iter().map(|at| Point { at: at.clone(), side: None }));
    let tick = if options.timeline { SHORT_TICK } else { TICK };
    let session = session.with_limits(limits).with_checksums(options.checksums.into());
    let mut run = Run {
        reader: session.reader(every_frame as Wanted),
        session,
        told: Told { teller, condition, now: begun, over: None },
        segments: session::Batch::default(),
        tells_drops: options.format != LiveForm::Csv,
        keeper,
        valve,
        interrupt: interrupt.clone(),
        frames: 0,
        untold: 0,
        is_cut: false,
        most: options.count.unwrap_or(u64::MAX),
        stats: None,
        broken: None,
    };
    let mut clocks = Clocks::of(options);
    let mut stopped = false;
    loop {
        let mut go_on = ControlFlow::Continue(());
        match feed.next(tick) {
            Fed::Batch(batch) => {
                go_on = run.take(&batch)?;
                feed.recycle(batch);
            }
            Fed::Nothing => {}
            Fed::Ended { stats, broken } => {
                run.count(stats)?;
                run.broken = run.broken.take().or(broken);
                break;
            }
        }
        go_on = if run.pass()?.is_break() { ControlFlow::Break(()) } else { go_on };
        if clocks.is_time_for_overview() {
            run.overview()?;
        }
        if !stopped && (go_on.is_break() || clocks.is_over() || interrupt.is_interrupted()) {
            stopped = true;
            feed.stop();
        }
    }
    let outcome = run.finish()?;
    drop(until);
    out.finish().map_err(|error| Failure::output(&error))?;
    Ok(outcome)
}

fn open(options: &Live) -> Result<Capture, Failure> {
    let words: Vec<&OsStr> = options.filter.iter().map(|word| word.as_os_str()).collect();
    let filter = words.join(OsStr::new(" ")).into_string().map_err(|_| Failure::new("the filter is not text"))?;
    let tap = Tap {
        interface: options.interface.clone().unwrap_or_else(default_interface),
        filter,
        snap_len: options.snaplen,
        buffer: options.buffer.min(i32::MAX as u64) as u32,
    };
    let scope = if options.promiscuous { Scope::Everyones } else { Scope::Own };
    Capture::open_in(tap, Manner { delivery: Delivery::Gathered, scope }).map_err(|error| match error {
        OpenError::Permission(error) => Failure::new(format!("{error}; {}", ways_to_capture())),
        OpenError::Other(error) => error.into(),
    })
}

/// A capture that goes on.
struct Run<'a> {
    session: Session,
    reader: Reader<Wanted>,
    told: Told<'a>,
    /// The segments of a batch, whose room is used again.
    segments: session::Batch,
    /// Whether the form has a place for drops; else standard error has.
    tells_drops: bool,
    keeper: Keeper,
    valve: Valve,
    interrupt: Interrupt,
    frames: u64,
    /// How many frames came that are told nowhere, because the time for telling after an interrupt was over.
    untold: u64,
    /// Whether something else was not told because of that.
    is_cut: bool,
    /// How many frames are taken.
    most: u64,
    stats: Option<CaptureStats>,
    /// Why it came to an early end.
    broken: Option<CaptureError>,
}

impl Run<'_> {
    /// Takes what came, and says whether more is wanted.
    fn take(&mut self, batch: &Batch) -> Result<ControlFlow<()>, Failure> {
        let dropped = self.dropped();
        let left = usize::try_from(self.most - self.frames).unwrap_or(usize::MAX);
        // The file goes first: whatever holds up what is told of them, the frames are kept.
        if let Err(error) = self.keeper.write(batch.frames(self.frames + 1).take(left), dropped) {
            self.cannot_write(error);
        }
        if self.interrupt.is_time_up() {
            self.leave_untold(batch, left, self.frames);
            return Ok(self.on());
        }
        let mut source = Given::of(batch.frames(self.frames + 1).take(left));
        let mut is_cut = false;
        loop {
            let Self { session, reader, segments, told, .. } = self;
            match session.advance(reader, &mut source, segments, told) {
                Ok(More::Frames) => {}
                Ok(More::Nothing) => break,
                Err(Broken::Output(error)) => {
                    self.output(&error)?;
                    is_cut = true;
                    break;
                }
                Err(Broken::Capture(error)) => {
                    self.broken.get_or_insert(error);
                    break;
                }
            }
        }
        match is_cut {
            true => self.leave_untold(batch, left, self.segments.last_frame()),
            false => self.frames = self.segments.last_frame(),
        }
        if batch.stats.is_some() {
            self.count(batch.stats.clone())?;
        }
        Ok(self.on())
    }

    /// Counts the frames of a batch after that one, of which nothing is told; those of the next one are numbered on from its end.
    fn leave_untold(&mut self, batch: &Batch, left: usize, after: u64) {
        self.frames += batch.frames(0).take(left).count() as u64;
        self.untold += self.frames.saturating_sub(after);
    }

    /// Does what time alone brings: tells what is over for good, ends a file that is due, writes what was gathered.
    fn pass(&mut self) -> Result<ControlFlow<()>, Failure> {
        let (now, dropped) = (now(), self.dropped());
        if let Err(error) = self.keeper.pass(now, dropped) {
            self.cannot_write(error);
        }
        // What is settled from now on nobody is told, and to settle it takes longer than the telling.
        if self.interrupt.is_time_up() {
            self.is_cut = true;
            return Ok(self.on());
        }
        self.told.now = now;
        let told = self.session.pass(now, &mut self.told).and_then(|()| self.told.teller.flush());
        told.or_else(|error| self.output(&error))?;
        Ok(self.on())
    }

    fn overview(&mut self) -> Result<(), Failure> {
        let mut open = Open::default();
        let told = &mut self.told;
        self.session.each(|connection| {
            if told.holds(&connection) {
                open.add(connection);
            }
        });
        let totals = self.session.totals();
        let told = told.teller.overview(now(), open, &totals, self.stats.as_ref());
        told.or_else(|error| self.output(&error))
    }

    /// Takes note of the kernel's counters, and tells drops that are new.
    fn count(&mut self, stats: Option<CaptureStats>) -> Result<(), Failure> {
        let before = self.dropped();
        self.stats = stats;
        let Some(stats) = &self.stats else { return Ok(()) };
        let new = stats.dropped.saturating_sub(before);
        if new == 0 {
            return Ok(());
        }
        if !self.tells_drops {
            complain(&format!("dropped by the kernel: {new}"));
        }
        let told = self.told.teller.drops(now(), new, stats);
        told.or_else(|error| self.output(&error))
    }

    fn dropped(&self) -> u64 {
        self.stats.as_ref().map_or(0, |stats| stats.dropped)
    }

    fn on(&self) -> ControlFlow<()> {
        if self.frames >= self.most || self.broken.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Keeps what was written so far, and brings the capture to its end.
    fn cannot_write(&mut self, error: CaptureError) {
        self.save();
        self.broken.get_or_insert(error);
    }

    /// The output takes nothing more: what was captured is still kept in its file. Where that is because the time for telling after an
    /// interrupt is over, what is left of the capture is kept, too.
    fn output(&mut self, error: &io::Error) -> Result<(), Failure> {
        if self.interrupt.is_time_up() {
            self.is_cut = true;
            return Ok(());
        }
        self.save();
        Err(Failure::output(error))
    }

    /// Ends the last file; the names of all are told.
    fn save(&mut self) {
        if let Some((captured, written)) = self.keeper.keep() {
            complain(&told(captured, &written));
            if let Some(error) = written.broken {
                self.broken.get_or_insert(error);
            }
        }
        // From here on nothing is lost by waiting.
        self.valve.set(Overflow::Waits);
    }

    fn finish(mut self) -> Result<Outcome, Failure> {
        self.save();
        let Self { mut session, mut told, stats, broken, valve, interrupt, untold, mut is_cut, .. } = self;
        let totals = session.totals();
        is_cut |= interrupt.is_time_up();
        if is_cut {
            // The process is about to end: taking apart all that was followed would only take time.
            mem::forget(session);
        } else {
            // What is settled only now is told before those that are left.
            let settled = session.settle(&mut told).and_then(|()| {
                told.over = Some(stats.clone());
                session.finish(&mut told).map(drop)
            });
            match settled {
                Err(_) if interrupt.is_time_up() => is_cut = true,
                settled => settled.map_err(|error| Failure::output(&error))?,
            }
        }
        if is_cut {
            interrupt.allow_the_end();
            let ended = told.teller.finish_early(&counted(&totals, stats.as_ref()), stats.as_ref());
            ended.map_err(|error| Failure::output(&error))?;
        }
        let undecided = told.condition.as_ref().and_then(selection::undecided);
        if let Some(undecided) = &undecided {
            complain(undecided);
        }
        let left_out = valve.left_out();
        if left_out > 0 {
            complain(&format!(
                "{left_out} lines of standard output are left out: its reader stalled, and with -w the file goes first"
            ));
        }
        if untold > 0 {
            interrupt.say_once(&format!("{NOT_ALL}: {untold} frames had been captured and were not followed yet"));
        } else if is_cut {
            interrupt.say_once(NOT_ALL);
        }
        match broken {
            None if undecided.is_some() || left_out > 0 || untold > 0 || is_cut => Ok(Outcome::Incomplete),
            None => Ok(Outcome::Done),
            Some(error) => {
                complain(&error);
                Ok(Outcome::Incomplete)
            }
        }
    }
}

/// Tells those connections that are asked for.
struct Told<'a> {
    teller: Box<dyn Teller + 'a>,
    /// What must hold of a connection that is told.
    condition: Option<Expression>,
    now: Timestamp,
    /// What the kernel counted, once the capture is over: from then on connections are those that are left.
    over: Option<Option<CaptureStats>>,
}

impl Told<'_> {
    /// Whether a connection, as it stands, is one of those asked for.
    fn holds(&mut self, connection: &Connection) -> bool {
        self.condition.as_mut().is_none_or(|condition| condition.matches(connection))
    }
}

impl Sink for Told<'_> {
    fn step(&mut self, segment: &Segment, step: &Step, connection: &Connection) -> io::Result<()> {
        if self.holds(connection) { self.teller.step(segment, step, connection) } else { Ok(()) }
    }

    fn changes(&mut self, timeline: &Timeline, changes: &Changes) -> io::Result<()> {
        self.teller.changes(timeline, changes)
    }

    fn forgets(&mut self, connection: ConnectionId) {
        self.teller.forgets(connection);
    }

    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        match (self.holds(&connection), &self.over) {
            (false, _) => Ok(()),
            (true, None) => self.teller.told(connection, self.now),
            (true, Some(_)) => self.teller.left(connection),
        }
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        let stats = self.over.as_ref().and_then(Option::as_ref);
        self.teller.finish(&counted(totals, stats), stats)
    }
}

/// The counts, with what the kernel dropped.
fn counted(totals: &Totals, stats: Option<&CaptureStats>) -> Totals {
    Totals { dropped: stats.map(|stats| stats.dropped), ..totals.clone() }
}

/// Who keeps the frames in files: the capture's own thread, and on the second signal another one.
#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Option<Kept>>>);

struct Kept {
    series: Series,
    frames: u64,
    dropped: u64,
}

impl Keeper {
    fn take(&self, series: Series) {
        *self.lock() = Some(Kept { series, frames: 0, dropped: 0 });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<'f>(&self, frames: impl Iterator<Item = Frame<'f>>, dropped: u64) -> Result<(), CaptureError> {
        let mut kept = self.lock();
        let Some(kept) = &mut *kept else { return Ok(()) };
        kept.dropped = dropped;
        for frame in frames {
            // What cannot be written was captured all the same.
            kept.frames = frame.number;
            kept.series.write(&frame, dropped)?;
        }
        Ok(())
    }

    fn pass(&self, now: Timestamp, dropped: u64) -> Result<(), CaptureError> {
        let mut kept = self.lock();
        kept.as_mut().map_or(Ok(()), |kept| kept.series.pass(now, dropped))
    }

    /// Ends the last file, if that was not done; returns how many frames came, and what there is of them.
    fn keep(&self) -> Option<(u64, Written)> {
        let kept = self.lock().take()?;
        Some((kept.frames, kept.series.finish(kept.dropped)))
    }

    /// As [`Keeper::keep`], and tells it where that holds up nothing.
    fn keep_and_tell_if_heard(&self) {
        let Some((captured, written)) = self.keep() else { return };
        let stderr = io::stderr();
        let mut room = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut room, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            complain(&told(captured, &written));
            if let Some(error) = written.broken {
                complain(&error);
            }
        }
    }
}

fn told(frames: u64, written: &Written) -> String {
    let files = match &written.files[..] {
        [] => return format!("{frames} frames, in no file"),
        [file] if written.broken.is_some() => return format!("{} frames are in {}", written.frames, file.display()),
        [file] => return format!("{frames} frames are in {}", file.display()),
        files => files,
    };
    let (first, last) = (files[0].display(), files[files.len() - 1].display());
    let whole = format!("{} files hold the frames, from {first} to {last}", files.len());
    match written.broken {
        None => whole,
        Some(_) => format!("{whole}, in which there are {}", written.frames),
    }
}

/// Chooses frames.
type Wanted = fn(&Frame<'_>) -> Result<bool, CaptureError>;

/// Chooses all: the filter is the capture's own.
fn every_frame(_: &Frame<'_>) -> Result<bool, CaptureError> {
    Ok(true)
}

/// What is due by the clock that no one sets.
struct Clocks {
    end: Option<Instant>,
    every: Option<(Instant, Duration)>,
}

impl Clocks {
    fn of(options: &Live) -> Self {
        let begun = Instant::now();
        let every = options.every.map(Duration::from_secs);
        Self {
            end: options.duration.map(|seconds| begun + Duration::from_secs(seconds)),
            every: every.map(|every| (begun + every, every)),
        }
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    fn is_time_for_overview(&mut self) -> bool {
        let Some((due, every)) = &mut self.every else { return false };
        let now = Instant::now();
        let is_due = now >= *due;
        // One that was missed is not made up for.
        while *due <= now {
            *due += *every;
        }
        is_due
    }
}

fn seconds(seconds: u64) -> Span {
    Span(seconds.saturating_mul(1_000_000_000).min(i64::MAX as u64) as i64)
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since_epoch.as_secs() as i64, since_epoch.subsec_nanos())
}

/// How long a quiet capture waits before it looks at the clock.
const TICK: Duration = Duration::from_millis(100);
/// How long it waits where events are told soon after they are settled.
const SHORT_TICK: Duration = Duration::from_millis(20);
