//! `tcpflow analyze`: what saved captures tell.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;

use super::cores::Cores;
use super::expected::{self, Expected, PutBy};
use super::interrupt::{INTERRUPTED, Interrupt, NOT_ALL, TOLD_AFTER_AN_INTERRUPT};
use super::overlap::Overlap;
use super::pipeline::{self, Sharing};
use super::progress::Show;
use super::selection::Selection;
use super::source::{self, Filters, Source};
use super::tellers::{Names, Page, Sequence, Subject, teller};
use super::watch::Watch;
use super::{Failure, Inputs, Outcome, complain, look, memory, two_points};
use crate::capture::{Allowance, CaptureError, Frame, FrameSource, LinkType, Share};
use crate::cli::{Analyze, Form, Format, Look};
use crate::flow::{Connection, ConnectionId};
use crate::report::{self, Columns, Ids, Jsonl, Judged, KnownCalls, Named, Origin, Style};
use crate::session::{Broken, Keep, Memory, Session, Sink};
use crate::story::{EventKind, Story};
use crate::time::Timestamp;

pub(super) fn run(options: &Analyze, look: &Look) -> Result<Outcome, Failure> {
    if let (Some(client), Some(server)) = (&options.client_side, &options.server_side) {
        return two_points::run(client, server, options, look);
    }
    if options.summary && !matches!(options.format, Form::Text | Form::Jsonl) {
        return Err(Failure::new(
            "--summary is one page, and no table: --format text or jsonl writes it, and without it csv has a line for each connection",
        ));
    }
    let interrupt = Interrupt::catch()?;
    let mut inputs = Inputs::among(&options.arguments, |path| path.exists())?;
    source::once_each(&inputs)?;
    // What only root may read is read as root.
    let expected = Expected::of(&options.expectations)?;
    source::give_up_privilege(&mut inputs, options)?;
    let stdout = io::stdout();
    let memory = memory::of(options.memory);
    // Rows that come one by one are read one by one.
    if options.output.is_none() {
        interrupt.limit_work();
    }
    let out = interrupt.until(Box::new(stdout.lock()));
    let mut out: Box<dyn Write> = match stdout.is_terminal() && Selection::read(options, memory)?.streams() {
        true => Box::new(out),
        false => Box::new(BufWriter::new(out)),
    };
    let told = match options.each {
        true => each(options, look, inputs, &expected, &interrupt, &mut *out),
        false => Run::new(options, look, inputs, &expected, &interrupt, Turn::Only).and_then(|mut run| {
            let unread = run.tell(&mut *out)?;
            run.outcome(unread)
        }),
    };
    if told.is_err() && interrupt.is_time_up() {
        interrupt.say_once(NOT_ALL);
        return Ok(Outcome::Incomplete);
    }
    told
}

/// Tells each of the files for itself; those that cannot be read are told and passed over.
fn each(
    options: &Analyze,
    look: &Look,
    inputs: Inputs,
    expected: &Expected,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let mut worst = Outcome::Done;
    let mut turn = Turn::First;
    for inputs in inputs.one_by_one() {
        let mut run = Run::new(options, look, inputs, expected, interrupt, turn)?;
        let told = run.tell(out);
        if run.has_begun {
            turn = Turn::Further;
        }
        let outcome = match told {
            Ok(unread) => run.outcome(unread)?,
            Err(Failure::Told(message)) if !run.has_begun => {
                complain(&message);
                Outcome::Incomplete
            }
            Err(failure) => return Err(failure),
        };
        if outcome != Outcome::Done && worst != Outcome::Incomplete {
            worst = outcome;
        }
        if interrupt.is_interrupted() {
            return Ok(Outcome::Incomplete);
        }
    }
    Ok(worst)
}

/// One run of the command.
struct Run<'a> {
    options: &'a Analyze,
    look: &'a Look,
    style: Style,
    inputs: Inputs,
    filters: Filters,
    selection: Selection,
    memory: Memory,
    interrupt: Interrupt,
    show: Show,
    turn: Turn,
    /// Whether the capture was opened, and a heading told.
    has_begun: bool,
    /// What is wrong with the files of several that could not be read at all.
    left_out: Vec<CaptureError>,
    damage: Option<CaptureError>,
    /// Whether an interrupt left some of what was seen untold.
    cut: bool,
    /// Whether the calls that the capture carries could be read.
    whole: Outcome,
    expected: &'a Expected,
    judged: Vec<Judged>,
    /// Whether several files hold the same segments.
    overlap: Option<Overlap>,
}

/// The link type of a capture of which no frame could be read.
type Unread = Option<LinkType>;

/// Which of the files a run is of, where each is told for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// They are told as one.
    Only,
    First,
    Further,
}

impl Turn {
    fn of(self, file: &str) -> Origin<'_> {
        match self {
            Self::Only => Origin::Only,
            Self::First => Origin::First(file),
            Self::Further => Origin::Further(file),
        }
    }
}

impl<'a> Run<'a> {
    fn new(
        options: &'a Analyze,
        look: &'a Look,
        inputs: Inputs,
        expected: &'a Expected,
        interrupt: &Interrupt,
        turn: Turn,
    ) -> Result<Self, Failure> {
        interrupt.catch_again();
        let memory = memory::of(options.memory);
        let selection = Selection::read(options, memory)?;
        Ok(Self {
            options,
            look,
            style: if options.timeline { look::style(look) } else { look::table(look) },
            filters: Filters::compile(&inputs, options)?,
            inputs,
            show: show(options, &selection),
            selection,
            memory,
            interrupt: interrupt.clone(),
            turn,
            has_begun: false,
            left_out: Vec::new(),
            damage: None,
            cut: false,
            whole: Outcome::Done,
            expected,
            judged: Vec::new(),
            overlap: None,
        })
    }

    fn tell(&mut self, out: &mut dyn Write) -> Result<Unread, Failure> {
        let unread = if self.options.timeline { self.timeline(out)? } else { self.list(out)? };
        out.flush().map_err(|error| Failure::output(&error))?;
        Ok(unread)
    }

    /// Opens the capture, and says which it is where each is told for itself.
    fn open(&mut self, out: &mut dyn Write) -> Result<Source, Failure> {
        let (source, left_out) = self.source(self.options.timeline)?;
        self.left_out = left_out;
        self.overlap = matches!(source, Source::Many(_)).then(Overlap::default);
        self.has_begun = true;
        let name = self.inputs.name();
        let told = match (self.turn, self.options.format) {
            (Turn::Only, _) | (_, Form::Csv | Form::Parquet) => Ok(()),
            (_, Form::Jsonl) => Jsonl::new(out).file(&name),
            (turn, Form::Text) => {
                let space = if turn == Turn::Further { "\n" } else { "" };
                writeln!(out, "{space}==> {} <==", report::escape(&name, &self.style))
            }
        };
        told.map_err(|error| Failure::output(&error))?;
        Ok(source)
    }

    /// Opens the capture; that an interrupt comes before its first frame is no fault of it.
    fn source(&self, with_calls: bool) -> Result<(Source, Vec<CaptureError>), Failure> {
        let opened = Source::open(&self.inputs, &self.allowance(with_calls));
        opened.map_err(|failure| if self.interrupt.is_interrupted() { Failure::new(INTERRUPTED) } else { failure })
    }

    /// What reading the capture may take; the calls that it carries are for timelines only.
    fn allowance(&self, with_calls: bool) -> Allowance {
        Allowance {
            stop: self.interrupt.flag(),
            windows: Share::new(self.memory.windows()),
            attachments: with_calls.then(|| Share::new(self.memory.calls())),
        }
    }

    /// Tells connections, or their findings, as they end or in the order asked for.
    fn list(&mut self, out: &mut dyn Write) -> Result<Unread, Failure> {
        let mut source = self.open(out)?;
        let began = OnceLock::new();
        let name = self.inputs.name();
        let Self { options, look, style, filters, selection, interrupt, show, damage, turn, whole, overlap, .. } = self;
        let subject = match (options.findings, options.breakdown, options.summary) {
            (true, ..) => Subject::Findings,
            (_, true, _) => Subject::Breakdowns,
            (.., true) => Subject::Summary,
            (false, false, false) => Subject::Connections,
        };
        let names = if options.resolve { Names::Resolved } else { Names::Never };
        let order = if selection.is_by_number() { Sequence::Number } else { Sequence::Given };
        let room = usize::try_from(self.memory.rows()).unwrap_or(usize::MAX);
        let columns = selection.columns();
        let page = Page { look, style: *style, began: &began, names, order, columns, room };
        let watch = Watch::new(interrupt, &source, *show, *style);
        let mut uncovered;
        let out: &mut dyn Write = if io::stdout().is_terminal() {
            uncovered = watch.before(out);
            &mut uncovered
        } else {
            out
        };
        let omitted = Cell::new(0);
        let told = match &options.output {
            Some(folder) => tables(folder, columns, &omitted)?,
            None => teller(options.format, subject, out, page, turn.of(&name), &omitted)
                .map_err(|error| Failure::output(&error))?,
        };
        let put = RefCell::new(Vec::new());
        let most = room / size_of::<Connection>();
        let told = if self.expected.is_empty() { told } else { Box::new(PutBy::new(told, &put, most)) };
        let (divides, compares) = (selection.divides(), selection.compares() || self.expected.is_of_octets());
        let mut sink = selection.before(told);
        let mut limits = self.memory.table();
        if options.findings || !self.expected.is_empty() || options.format == Form::Parquet {
            limits.findings = MOST_FINDINGS;
        }
        let mut session = Session::new(Keep::Nothing).with_limits(limits).with_checksums(options.checksums.into());
        session = asked(session, self.memory, divides, compares);
        // A table's errors name their file; those of standard output do not.
        let failed = |error: io::Error| match &options.output {
            Some(_) => Failure::new(error.to_string()),
            None => Failure::output(&error),
        };
        *damage =
            read(&mut session, &mut source, filters, overlap.as_mut(), watch, &began, &mut *sink).map_err(failed)?;
        if options.output.is_some() {
            interrupt.restore_default();
        }
        let (unread, undivided) = (session.unread(), session.undivided());
        let totals = session.finish(&mut *sink).map_err(failed)?;
        drop(sink);
        let story = Story::of_connections(put.into_inner());
        if story.connections.len() > most {
            complain(&format!("only the first {most} connections are looked at for --assert: say a larger --memory"));
            *whole = Outcome::Incomplete;
        }
        self.judged =
            self.expected.judge(&story, KnownCalls::None("calls are known in a timeline only: add --timeline"));
        let style = look::at(look, *style, began.get().copied());
        let told = match (options.format, &options.output) {
            (Form::Text, _) => expected::tell(out, &story, &self.judged, Format::Text, &style, Named::ByOrder),
            (Form::Jsonl, _) => expected::tell(out, &story, &self.judged, Format::Jsonl, &style, Named::ByOrder),
            // A table has no place for them.
            (Form::Csv | Form::Parquet, _) => {
                expected::tell(&mut io::stderr(), &story, &self.judged, Format::Text, &look::messages(), Named::ByOrder)
            }
        };
        told.map_err(|error| Failure::output(&error))?;
        if undivided > 0 {
            complain(&format!(
                "{undivided} connections have no breakdown: say a larger --memory, of which a tenth is for that"
            ));
            *whole = Outcome::Incomplete;
        }
        if missing(&selection.absent, totals.numbers) {
            *whole = Outcome::Incomplete;
        }
        if omitted.get() > 0 {
            complain(&format!(
                "{} findings are not listed: of one connection no more than {MOST_FINDINGS} are, and of all what memory has room for",
                omitted.get()
            ));
        }
        Ok(unread)
    }

    /// Draws the events of the connections chosen.
    fn timeline(&mut self, out: &mut dyn Write) -> Result<Unread, Failure> {
        let chosen = self.chosen()?;
        let keep = match &chosen {
            None => Keep::First(MOST_SEGMENTS),
            Some(ids) => Keep::Only(ids.clone(), u64::MAX),
        };
        let mut source = self.open(out)?;
        self.filters.count_anew();
        let began = OnceLock::new();
        let mut session = Session::new(keep)
            .with_limits(self.memory.table())
            .with_room(self.memory.timeline())
            .with_checksums(self.options.checksums.into());
        if self.options.breakdown {
            session = session.with_breakdowns(self.memory.breakdowns());
        }
        let watch = Watch::new(&self.interrupt, &source, self.show, self.style);
        self.damage = read(&mut session, &mut source, &mut self.filters, self.overlap.as_mut(), watch, &began, &mut ())
            .map_err(|error| Failure::output(&error))?;
        if self.interrupt.is_interrupted() {
            session.let_go_beyond(TOLD_AFTER_AN_INTERRUPT);
        }
        let unread = session.unread();
        let (kept, link, whole) = source.kept(self.memory.call_events());
        self.whole = whole;
        for notice in &kept.notices {
            complain(notice);
        }
        let lost = kept.lost;
        let (held, left_out) = (session.held(), session.left_out());
        self.cut = left_out > 0;
        let mut session = session.with_kernel_events(kept.kernel);
        if let Some(link) = link {
            session.know_link(link);
        }
        let story = session.story(kept.threads, kept.calls, &kept.evidence, source.dropped()).lacking_calls(lost);
        if story.joins_omitted > 0 {
            complain(&format!(
                "{}: {} joins of calls and segments are left out: octets of many calls were sent again and again, \
                 and a segment names the first of them only",
                self.inputs.name(),
                story.joins_omitted
            ));
            self.whole = Outcome::Incomplete;
        }
        for connection in &story.connections {
            self.selection.absent.remove(&connection.id);
        }
        if !self.interrupt.is_interrupted() && missing(&self.selection.absent, story.totals.numbers) {
            self.whole = Outcome::Incomplete;
        }
        if left_out > 0 && !self.interrupt.is_interrupted() {
            let memory = self.memory.octets() / 1_000_000;
            complain(&match &chosen {
                None if held == MOST_SEGMENTS => format!(
                    "a timeline of all connections holds {MOST_SEGMENTS} segments, and {left_out} later ones are left out: \
                     -c ID or --where EXPR chooses connections and holds all of theirs (--where true: of every one)"
                ),
                None => format!(
                    "{memory} MB of memory hold {held} segments, and {left_out} later ones are left out: \
                     -c ID or --where EXPR chooses connections, and --memory says how much there is"
                ),
                Some(_) => format!(
                    "{memory} MB of memory hold {held} segments, and {left_out} later ones are left out: say a larger --memory"
                ),
            });
            self.whole = Outcome::Incomplete;
        }
        let style = look::at(self.look, self.style, began.get().copied());
        let told = match self.options.format {
            Form::Text => report::timeline::write(out, &story, &[], &style, &Cores),
            Form::Jsonl | Form::Csv | Form::Parquet => Jsonl::new(out).story(&story),
        };
        told.map_err(|error| Failure::output(&error))?;
        let has_calls = story.events.iter().any(|event| matches!(event.kind, EventKind::Call(_)));
        let calls = match has_calls {
            true => KnownCalls::AllBut(lost),
            false => KnownCalls::None("the capture holds no calls: tcpflow run --save and demo --save keep them"),
        };
        self.judged = self.expected.judge(&story, calls);
        let format = if self.options.format == Form::Text { Format::Text } else { Format::Jsonl };
        expected::tell(out, &story, &self.judged, format, &style, Named::ByOrder)
            .map_err(|error| Failure::output(&error))?;
        Ok(unread)
    }

    /// The ids of the connections whose timeline is told; `None` for all.
    ///
    /// What a connection turns out to be is known at its end, and its segments are wanted from its beginning:
    /// so the capture is read twice, and only the segments wanted are ever held.
    fn chosen(&mut self) -> Result<Option<BTreeSet<ConnectionId>>, Failure> {
        if !self.selection.looks_at_connections() {
            let chosen = &self.selection.chosen;
            return Ok((!chosen.is_empty()).then(|| chosen.clone()));
        }
        if let Some(stream) = self.inputs.files.iter().find(|file| is_stream(file)) {
            return Err(Failure::new(format!(
                "{}: --timeline with --where or --top reads its capture twice, and this can be read only once: save it in a file",
                if stream.as_os_str() == "-" { "standard input".into() } else { stream.to_string_lossy() }
            )));
        }
        let mut ids = BTreeSet::new();
        // What cannot be read is met again by the second reading, and damage, too.
        let (mut source, _) = self.source(false)?;
        let (divides, compares) = (self.selection.divides(), self.selection.compares());
        let mut sink = self.selection.before(Box::new(Ids(&mut ids)));
        let mut session =
            Session::new(Keep::Nothing).with_limits(self.memory.table()).with_checksums(self.options.checksums.into());
        session = asked(session, self.memory, divides, compares);
        let watch = Watch::new(&self.interrupt, &source, self.show, self.style);
        read(&mut session, &mut source, &mut self.filters, None, watch, &OnceLock::new(), &mut *sink)
            .map_err(|error| Failure::output(&error))?;
        session.finish(&mut *sink).map_err(|error| Failure::output(&error))?;
        drop(sink);
        if self.interrupt.is_interrupted() {
            return Err(Failure::new("interrupted before the connections were chosen"));
        }
        Ok(Some(ids))
    }

    /// What standard error has to say in the end, and the exit status.
    fn outcome(self, unread: Unread) -> Result<Outcome, Failure> {
        let mut outcome = match self.expected.outcome(&self.judged, "analyze")? {
            Outcome::NotHeld if self.whole == Outcome::Done => Outcome::NotHeld,
            _ => self.whole,
        };
        if self.interrupt.is_interrupted() {
            self.interrupt.say_once(if self.cut { NOT_ALL } else { INTERRUPTED });
            outcome = Outcome::Incomplete;
        }
        if let Some(disorder) = self.selection.disorder() {
            complain(&disorder);
            outcome = Outcome::Incomplete;
        }
        if let Some(undecided) = self.selection.undecided() {
            complain(&undecided);
            outcome = Outcome::Incomplete;
        } else if let Some(in_vain) = self.filters.in_vain().or_else(|| self.selection.in_vain()) {
            // It is an answer, and no fault; but an empty table alone would not say which of the two chose nothing.
            let name = if self.turn == Turn::Only { String::new() } else { format!("{}: ", self.inputs.name()) };
            complain(&format!("{name}{in_vain}"));
        }
        // Where a stream was interrupted is no damage.
        for error in self.left_out.iter().filter(|_| !self.interrupt.is_interrupted()) {
            complain(error);
            outcome = Outcome::Incomplete;
        }
        if let Some(damage) = self.damage.filter(|_| !self.interrupt.is_interrupted()) {
            complain(&damage);
            return Ok(Outcome::Incomplete);
        }
        if let Some(link) = unread {
            complain(&format!(
                "{}: no frame could be read: their link type is {}, which is none of those that carry TCP here (docs/analyze.md lists them)",
                self.inputs.name(),
                link.0
            ));
            return Ok(Outcome::Incomplete);
        }
        Ok(outcome)
    }
}

/// The same run, with what is made only where it is asked for.
fn asked(session: Session, memory: Memory, divides: bool, compares: bool) -> Session {
    match (divides, compares) {
        (false, false) => session,
        (true, false) => session.with_breakdowns(memory.breakdowns()),
        (false, true) => session.with_conflicts(memory.payloads()),
        (true, true) => session.with_breakdowns(memory.payloads()).with_conflicts(memory.payloads()),
    }
}

/// Reads the source to its end, to where it is damaged, or until Ctrl-C; notes when its first frame was captured.
fn read(
    session: &mut Session,
    source: &mut Source,
    filters: &mut Filters,
    mut overlap: Option<&mut Overlap>,
    mut watch: Watch<'_>,
    began: &OnceLock<Timestamp>,
    sink: &mut dyn Sink,
) -> io::Result<Option<CaptureError>> {
    let mut wanted = |frame: &Frame<'_>| {
        let wanted = filters.matches(frame)?;
        if let (true, Some(at)) = (wanted, frame.at) {
            began.get_or_init(|| at);
        }
        Ok(wanted)
    };
    let stop = watch.stop();
    let go_on = |frame| watch.go_on(frame);
    // One for each kind of source, so that the way from its octets to a segment is compiled as a whole.
    let sharing = Sharing::fitting(source.size().is_none());
    let ended = match source {
        Source::One(file) => pipeline::run(session, &mut **file, sharing, wanted, &stop, go_on, sink),
        Source::Many(files) => {
            let wanted = |frame: &Frame<'_>| {
                let wanted = wanted(frame)?;
                if let (true, Some(overlap)) = (wanted, overlap.as_deref_mut()) {
                    overlap.look(frame);
                }
                Ok(wanted)
            };
            pipeline::run(session, files, sharing, wanted, &stop, go_on, sink)
        }
    };
    if let (Some(overlap), Source::Many(files)) = (overlap, &*source)
        && let Some(told) = overlap.told(files.points())
    {
        complain(&told);
    }
    match ended {
        Ok(()) => Ok(None),
        Err(Broken::Capture(damage)) => Ok(Some(damage)),
        Err(Broken::Output(error)) => Err(error),
    }
}

#[cfg(feature = "parquet")]
fn tables<'a>(folder: &Path, columns: Columns, omitted: &'a Cell<u64>) -> Result<Box<dyn Sink + 'a>, Failure> {
    Ok(Box::new(super::tables::Tables::create(folder, columns, omitted)?))
}

#[cfg(not(feature = "parquet"))]
fn tables<'a>(_: &Path, _: Columns, _: &'a Cell<u64>) -> Result<Box<dyn Sink + 'a>, Failure> {
    Err(Failure::new(
        "--format parquet is not in this tcpflow: build it with `cargo build --release --features parquet`; \
         jsonl and csv can be queried in the same way (docs/many-files.md)",
    ))
}

/// Whether progress is drawn: not among rows that somebody reads as they come, on this terminal or through a pager on it.
fn show(options: &Analyze, selection: &Selection) -> Show {
    let comes_at_the_end = options.timeline || options.resolve || !selection.streams();
    let elsewhere = options.format != Form::Text && !io::stdout().is_terminal();
    if io::stderr().is_terminal() && (comes_at_the_end || elsewhere) { Show::Terminal } else { Show::Nothing }
}

fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-" || path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Tells which of the chosen connections there are not, when so many numbers were given; whether there are any.
fn missing(absent: &BTreeSet<ConnectionId>, numbers: u64) -> bool {
    for id in absent {
        complain(&absence(*id, numbers));
    }
    !absent.is_empty()
}

fn absence(id: ConnectionId, numbers: u64) -> String {
    let known = match numbers {
        0 => "which has none".to_owned(),
        1 => "which has only connection 0".to_owned(),
        _ if id.0 < numbers => {
            return format!(
                "connection {} has no segment in this capture: an ICMP error quotes one, and by that it has its number, as in Wireshark",
                id.0
            );
        }
        _ => format!("which has 0 to {}", numbers - 1),
    };
    format!("connection {} is not in this capture, {known}", id.0)
}

/// How many segments a timeline of all connections holds, where there is memory for so many.
const MOST_SEGMENTS: u64 = 1_000_000;
/// How many findings of one connection are kept where findings are what is asked for.
const MOST_FINDINGS: usize = 100_000;
