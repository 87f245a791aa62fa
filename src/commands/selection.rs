//! Which connections the options of `analyze` ask for, and in which order.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::Failure;
use crate::cli::{Analyze, Form};
use crate::flow::ConnectionId;
use crate::report::{Chosen, Columns, Direction, Expression, Field, First, Matching, Order, Ordered};
use crate::session::{Memory, Sink};

/// In which order connections are told.
#[derive(Clone, Copy, Debug)]
enum Sequence {
    /// That in which they end.
    Ending,
    /// By number, as far as a bounded memory allows: the teller sees to that, for whom a row takes less room than a connection.
    Number,
    /// This one, whatever memory that takes.
    By(Order),
}

/// A choice of connections.
#[derive(Debug)]
pub(super) struct Selection {
    /// Only these, by id; all where it is empty.
    pub(super) chosen: BTreeSet<ConnectionId>,
    /// Those among them that were not met yet.
    pub(super) absent: BTreeSet<ConnectionId>,
    condition: Option<Expression>,
    sequence: Sequence,
    /// Whether a breakdown is asked for, or an option names one of its fields.
    divides: bool,
    /// Whether findings are asked for, or an option names a field that octets which conflict may change.
    compares: bool,
    top: Option<usize>,
    /// How many octets connections may take that are held to be put in order.
    room: usize,
    /// How often that was too little.
    short: Cell<u64>,
}

impl Selection {
    /// Reads the options.
    ///
    /// # Errors
    /// An expression is wrong, or no field has that name.
    pub(super) fn read(options: &Analyze, memory: Memory) -> Result<Self, Failure> {
        let condition = options.condition.as_deref().map(condition).transpose()?;
        let sequence = sequence(options)?;
        let named = condition.as_ref().is_some_and(|condition| condition.of_breakdown().is_some())
            || matches!(sequence, Sequence::By(order) if order.is_of_breakdown());
        let compares = condition.as_ref().is_some_and(Expression::is_of_octets)
            || matches!(sequence, Sequence::By(order) if order.is_of_octets())
            || options.findings
            || options.summary
            || options.format == Form::Parquet;
        let chosen: BTreeSet<_> = options.connection.iter().copied().map(ConnectionId).collect();
        Ok(Self {
            absent: chosen.clone(),
            chosen,
            condition,
            sequence,
            divides: options.breakdown || named,
            compares,
            top: options.top.map(|top| top as usize),
            room: usize::try_from(memory.rows()).unwrap_or(usize::MAX),
            short: Cell::new(0),
        })
    }

    /// Whether only what a connection turns out to be decides if it is told.
    pub(super) fn looks_at_connections(&self) -> bool {
        self.condition.is_some() || self.top.is_some()
    }

    /// Whether the connections' durations are to be divided.
    pub(super) fn divides(&self) -> bool {
        self.divides
    }

    /// Whether octets that come again are to be compared.
    pub(super) fn compares(&self) -> bool {
        self.compares
    }

    /// Which fields records have.
    pub(super) fn columns(&self) -> Columns {
        if self.divides { Columns::WithBreakdown } else { Columns::Usual }
    }

    /// Whether connections are told as they end, and none is held back until the end of the capture.
    pub(super) fn streams(&self) -> bool {
        matches!(self.sequence, Sequence::Ending)
    }

    /// Whether the teller is to put its rows in order by number.
    pub(super) fn is_by_number(&self) -> bool {
        matches!(self.sequence, Sequence::Number)
    }

    /// Stands before `sink`.
    pub(super) fn before<'a>(&'a mut self, mut sink: Box<dyn Sink + 'a>) -> Box<dyn Sink + 'a> {
        match (self.sequence, self.top) {
            (Sequence::By(order), top) => sink = Box::new(Ordered::new(order, top, self.room, &self.short, sink)),
            (Sequence::Ending, Some(top)) => sink = Box::new(First::new(top, sink)),
            (Sequence::Ending, None) | (Sequence::Number, _) => {}
        }
        if let Some(condition) = &mut self.condition {
            sink = Box::new(Matching::new(condition, sink));
        }
        if !self.chosen.is_empty() {
            sink = Box::new(Chosen::new(self.chosen.clone(), &mut self.absent, sink));
        }
        sink
    }

    /// That there was too little memory for the order asked for, in one line.
    pub(super) fn disorder(&self) -> Option<String> {
        match (self.short.get(), self.top) {
            (0, _) => None,
            (_, Some(_)) => Some(format!(
                "--top: {} octets hold fewer connections than that, and the last of them are left out: say a larger --memory",
                self.room
            )),
            (times, None) => Some(format!(
                "--sort: {} octets do not hold all connections, which come in {} parts, each of them in order: \
                 --top N holds only N, a larger --memory more",
                self.room,
                times + 1
            )),
        }
    }

    /// What the condition could not decide, in one line.
    pub(super) fn undecided(&self) -> Option<String> {
        undecided(self.condition.as_ref()?)
    }

    /// That the condition holds for no connection, in one line.
    pub(super) fn in_vain(&self) -> Option<String> {
        let tried = self.condition.as_ref()?.in_vain()?;
        Some(format!("--where: 0 of {tried} connections match"))
    }
}

/// Reads what `--where` says.
///
/// # Errors
/// The expression is wrong.
pub(super) fn condition(source: &str) -> Result<Expression, Failure> {
    Expression::parse(source).map_err(|wrong| Failure::new(format!("--where: {wrong}")))
}

/// What a condition could not decide, in one line.
pub(super) fn undecided(condition: &Expression) -> Option<String> {
    let undecided = condition.undecided()?;
    let them = if undecided.connections == 1 { "connection, which is" } else { "connections, which are" };
    Some(format!("--where: could not be decided for {} {them} left out: {}", undecided.connections, undecided.why))
}

/// The table is read by people, who look for an id; programs take lines as connections end, unless they ask.
fn sequence(options: &Analyze) -> Result<Sequence, Failure> {
    let name = match (&options.sort, options.format) {
        (Some(name), _) => name,
        (None, Form::Text) if options.top.is_none() && !options.reverse => return Ok(Sequence::Number),
        (None, Form::Text) => "id",
        (None, _) => "end",
    };
    let (name, direction) = match name.strip_prefix('-') {
        Some(name) => (name, Direction::Descending),
        None => (name, Direction::Ascending),
    };
    let direction = if options.reverse { direction.reversed() } else { direction };
    if name == "end" {
        if direction == Direction::Descending {
            return Err(Failure::new(
                "--sort: the order of ending goes one way only; --sort -last is the latest first",
            ));
        }
        return Ok(Sequence::Ending);
    }
    let Some(field) = Field::named(name) else {
        let way_out = match Field::like(name) {
            Some(like) => format!("did you mean `{like}`?"),
            None => "`tcpflow analyze --help` lists them all".to_owned(),
        };
        return Err(Failure::new(format!("--sort: no field is named `{}`; {way_out}", name.escape_default())));
    };
    Ok(Sequence::By(Order::by(field, direction)))
}
