//! `tcpflow analyze`: what saved captures tell.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use super::{Failure, Inputs, Outcome, complain, look, pipeline};
use crate::calls::Kept;
use crate::capture::{FileSource, Filter, Frame, FrameSource, Merged};
use crate::cli::{Analyze, Format, Look, Sort};
use crate::flow::{Connection, ConnectionId, Totals};
use crate::report::{self, Jsonl, Table};
use crate::session::{Broken, Keep, Session, Sink};

pub(super) fn run(options: &Analyze, look: &Look) -> Result<Outcome, Failure> {
    let inputs = Inputs::among(&options.arguments, |path| path.exists())?;
    let mut filter = Filters::compile(&inputs, options)?;
    let mut source = open(&inputs)?;
    let chosen: BTreeSet<_> = options.connection.iter().copied().map(ConnectionId).collect();
    let keep = match (options.timeline, chosen.is_empty()) {
        (false, _) => Keep::Nothing,
        (true, true) => Keep::All,
        (true, false) => Keep::Only(chosen.clone()),
    };
    let mut session = Session::new(keep);
    let style = if options.timeline { look::style(look) } else { look::table(look) };
    let stdout = io::stdout().lock();
    let mut out = BufWriter::new(stdout);

    let mut sink: Box<dyn Sink + '_> = match (options.timeline, options.format) {
        (true, _) => Box::new(Nowhere),
        (false, Format::Jsonl) => Box::new(Lines { jsonl: Jsonl::new(&mut out) }),
        (false, Format::Text) => Box::new(Rows { table: Table::new(&style), begun: false, out: &mut out }),
    };
    if !chosen.is_empty() {
        sink = Box::new(Chosen { only: chosen.clone(), sink });
    }
    // The table is read by people, who look for an id; programs take lines as connections end, unless they ask.
    let sorted = options.sort == Some(Sort::Id) || options.format == Format::Text;
    if sorted {
        sink = Box::new(Sorted { connections: Vec::new(), sink });
    }

    let broken = pipeline::run(
        &mut session,
        source.frames(),
        |frame| filter.matches(frame),
        |_| ControlFlow::Continue(()),
        &mut *sink,
    );
    let damage = match broken {
        Ok(()) => None,
        Err(Broken::Capture(damage)) => Some(damage),
        Err(Broken::Output(error)) => return Err(Failure::output(&error)),
    };
    let unread = session.unread();
    if options.timeline {
        drop(sink);
        let kept = source.kept();
        for notice in &kept.notices {
            complain(notice);
        }
        let story = session.story(kept.calls, &kept.evidence, source.dropped());
        missing(&chosen, story.totals.connections);
        let told = match options.format {
            Format::Text => report::timeline::write(&mut out, &story, &[], &style),
            Format::Jsonl => Jsonl::new(&mut out).story(&story),
        };
        told.map_err(|error| Failure::output(&error))?;
    } else {
        let connections = session.finish(&mut *sink).map_err(|error| Failure::output(&error))?;
        drop(sink);
        missing(&chosen, connections);
    }
    out.flush().map_err(|error| Failure::output(&error))?;
    if let Some(damage) = damage {
        complain(&damage);
        return Ok(Outcome::Incomplete);
    }
    if let Some(link) = unread {
        complain(&format!(
            "no frame could be read: their link type is {}, which is none of those that carry TCP here (docs/architecture.md lists them)",
            link.0
        ));
        return Ok(Outcome::Incomplete);
    }
    Ok(Outcome::Done)
}

/// Tells which of the chosen connections there are not; ids count from 0 without a gap.
fn missing(chosen: &BTreeSet<ConnectionId>, connections: u64) {
    for id in chosen.iter().filter(|id| id.0 >= connections) {
        let known = match connections {
            0 => "which has none".to_owned(),
            1 => "which has only connection 0".to_owned(),
            _ => format!("which has 0 to {}", connections - 1),
        };
        complain(&format!("connection {} is not in this capture, {known}", id.0));
    }
}

/// The capture files as one source.
enum Source {
    One(Box<FileSource>),
    Many(Merged<FileSource>),
}

fn open(inputs: &Inputs) -> Result<Source, Failure> {
    Ok(match &inputs.files[..] {
        [file] => Source::One(Box::new(FileSource::open(file)?)),
        files => {
            let sources = files.iter().map(|file| FileSource::open(file)).collect::<Result<Vec<_>, _>>()?;
            Source::Many(Merged::new(sources))
        }
    })
}

impl Source {
    fn frames(&mut self) -> &mut (dyn FrameSource + Send) {
        match self {
            Self::One(file) => &mut **file,
            Self::Many(files) => files,
        }
    }

    fn files(&self) -> &[FileSource] {
        match self {
            Self::One(file) => std::slice::from_ref(&**file),
            Self::Many(files) => files.sources(),
        }
    }

    /// The calls and answers that the files carry; damaged ones are told and left out.
    fn kept(&self) -> Kept {
        let mut all = Kept::default();
        for file in self.files() {
            for attachment in file.attachments() {
                match Kept::from_bytes(attachment) {
                    Ok(None) => {}
                    Ok(Some(kept)) => {
                        all.calls.extend(kept.calls);
                        all.evidence.extend(kept.evidence);
                        all.notices.extend(kept.notices);
                    }
                    Err(error) => complain(&format!("{}: the calls kept in it cannot be read: {error}", file.name())),
                }
            }
        }
        all
    }

    fn dropped(&self) -> Option<u64> {
        self.files().iter().filter_map(FileSource::dropped).reduce(u64::saturating_add)
    }
}

/// The filters asked for, all of which a frame must match.
struct Filters(Vec<Filter>);

impl Filters {
    fn compile(inputs: &Inputs, options: &Analyze) -> Result<Self, Failure> {
        let mut filters = Vec::new();
        if let Some(filter) = &inputs.filter {
            filters.push(Filter::compile(filter).map_err(|error| Inputs::not_a_filter(filter, &error))?);
        }
        if let Some(filter) = &options.filter {
            filters.push(Filter::compile(filter).map_err(|error| Failure::new(format!("--filter: {error}")))?);
        }
        Ok(Self(filters))
    }

    fn matches(&mut self, frame: &Frame<'_>) -> Result<bool, crate::capture::CaptureError> {
        for filter in &mut self.0 {
            if !filter.matches(frame)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Tells nothing: a timeline is told as a whole.
struct Nowhere;

impl Sink for Nowhere {
    fn connection(&mut self, _: &Connection) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        Ok(())
    }
}

struct Lines<'a> {
    jsonl: Jsonl<'a>,
}

impl Sink for Lines<'_> {
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        self.jsonl.connection(connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.jsonl.totals(totals)?;
        self.jsonl.flush()
    }
}

struct Rows<'a> {
    table: Table,
    begun: bool,
    out: &'a mut dyn Write,
}

impl Sink for Rows<'_> {
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.table.header(self.out)?;
        }
        self.table.row(self.out, connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.table.totals(self.out, totals)
    }
}

/// Hands on only some connections.
struct Chosen<'a> {
    only: BTreeSet<ConnectionId>,
    sink: Box<dyn Sink + 'a>,
}

impl Sink for Chosen<'_> {
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        if self.only.contains(&connection.id) { self.sink.connection(connection) } else { Ok(()) }
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.sink.finish(totals)
    }
}

/// Holds all connections back to hand them on by id.
struct Sorted<'a> {
    connections: Vec<Connection>,
    sink: Box<dyn Sink + 'a>,
}

impl Sink for Sorted<'_> {
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        self.connections.push(connection.clone());
        Ok(())
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.connections.sort_by_key(|connection| connection.id);
        for connection in &self.connections {
            self.sink.connection(connection)?;
        }
        self.sink.finish(totals)
    }
}
