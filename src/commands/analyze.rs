//! `tcpflow analyze`: what saved captures tell.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::selection::Selection;
use super::source::{Filters, Source};
use super::tellers::{Subject, teller};
use super::{Failure, Inputs, Outcome, complain, look, pipeline};
use crate::capture::CaptureError;
use crate::cli::{Analyze, Form, Look};
use crate::flow::ConnectionId;
use crate::report::{self, Ids, Jsonl, Style};
use crate::session::{Broken, Keep, Session, Sink};

pub(super) fn run(options: &Analyze, look: &Look) -> Result<Outcome, Failure> {
    let inputs = Inputs::among(&options.arguments, |path| path.exists())?;
    let selection = Selection::read(options)?;
    let filters = Filters::compile(&inputs, options)?;
    let style = if options.timeline { look::style(look) } else { look::table(look) };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut run = Run { inputs, filters, selection, damage: None };
    let unread = if options.timeline {
        run.timeline(options.format, &mut out, &style)?
    } else {
        let subject = if options.findings { Subject::Findings } else { Subject::Connections };
        run.list(options.format, subject, &mut out, &style)?
    };
    out.flush().map_err(|error| Failure::output(&error))?;
    run.outcome(unread)
}

/// One run of the command.
struct Run {
    inputs: Inputs,
    filters: Filters,
    selection: Selection,
    damage: Option<CaptureError>,
}

/// The link type of a capture of which no frame could be read.
type Unread = Option<crate::capture::LinkType>;

impl Run {
    /// Tells connections, or their findings, as they end or in the order asked for.
    fn list(&mut self, form: Form, subject: Subject, out: &mut dyn Write, style: &Style) -> Result<Unread, Failure> {
        let mut source = Source::open(&self.inputs)?;
        let teller = teller(form, subject, out, style).map_err(|error| Failure::output(&error))?;
        let Self { filters, selection, damage, .. } = self;
        let mut sink = selection.before(teller);
        let mut session = Session::new(Keep::Nothing);
        read(&mut session, &mut source, filters, &mut *sink, damage)?;
        let unread = session.unread();
        let connections = session.finish(&mut *sink).map_err(|error| Failure::output(&error))?;
        drop(sink);
        missing(&selection.chosen, connections);
        Ok(unread)
    }

    /// Draws the events of the connections chosen.
    fn timeline(&mut self, form: Form, out: &mut dyn Write, style: &Style) -> Result<Unread, Failure> {
        let chosen = self.chosen()?;
        let keep = match &chosen {
            None => Keep::All,
            Some(ids) => Keep::Only(ids.clone()),
        };
        let mut source = Source::open(&self.inputs)?;
        let mut session = Session::new(keep);
        read(&mut session, &mut source, &mut self.filters, &mut (), &mut self.damage)?;
        let unread = session.unread();
        let kept = source.kept();
        for notice in &kept.notices {
            complain(notice);
        }
        let story = session.story(kept.calls, &kept.evidence, source.dropped());
        missing(&self.selection.chosen, story.totals.connections);
        let told = match form {
            Form::Text => report::timeline::write(out, &story, &[], style),
            Form::Jsonl | Form::Csv => Jsonl::new(out).story(&story),
        };
        told.map_err(|error| Failure::output(&error))?;
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
        if let Some(stream) = self.inputs.files.iter().find(|file| !is_regular(file)) {
            return Err(Failure::new(format!(
                "{}: --timeline with --where or --top reads its capture twice, and this can be read only once: save it in a file",
                if stream.as_os_str() == "-" { "standard input".into() } else { stream.to_string_lossy() }
            )));
        }
        let mut ids = BTreeSet::new();
        let mut source = Source::open(&self.inputs)?;
        let Self { filters, selection, damage, .. } = self;
        let mut sink = selection.before(Box::new(Ids(&mut ids)));
        let mut session = Session::new(Keep::Nothing);
        read(&mut session, &mut source, filters, &mut *sink, damage)?;
        session.finish(&mut *sink).map_err(|error| Failure::output(&error))?;
        drop(sink);
        Ok(Some(ids))
    }

    /// What standard error has to say in the end, and the exit status.
    fn outcome(self, unread: Unread) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::Done;
        if let Some(undecided) = self.selection.undecided() {
            complain(&undecided);
            outcome = Outcome::Incomplete;
        }
        if let Some(damage) = self.damage {
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
        Ok(outcome)
    }
}

/// Reads the source to its end, or to where it is damaged.
fn read(
    session: &mut Session,
    source: &mut Source,
    filters: &mut Filters,
    sink: &mut dyn Sink,
    damage: &mut Option<CaptureError>,
) -> Result<(), Failure> {
    let go_on = |_| ControlFlow::Continue(());
    match pipeline::run(session, source.frames(), |frame| filters.matches(frame), go_on, sink) {
        Ok(()) => Ok(()),
        Err(Broken::Capture(error)) => {
            *damage = Some(error);
            Ok(())
        }
        Err(Broken::Output(error)) => Err(Failure::output(&error)),
    }
}

fn is_regular(path: &Path) -> bool {
    path.as_os_str() != "-" && path.metadata().is_ok_and(|metadata| metadata.is_file())
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
