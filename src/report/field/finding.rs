//! The fields of a finding, as records and tables have them in columns.

use super::Kind;
use super::datum::{Datum, Frame, Value, names};
use crate::flow::{Connection, FindingAt, Side};
use crate::report::wording::{English, Wording};
use crate::tcp::Finding;

/// One column of a table of findings.
#[derive(Debug)]
pub(in crate::report) struct FindingField {
    /// The name.
    pub(in crate::report) name: &'static str,
    /// What its values are.
    pub(in crate::report) kind: Kind,
    /// Whether it belongs to the finding, and so is a part of it in json lines and for `--where`; else it belongs to the connection.
    pub(in crate::report) own: bool,
    of: for<'a> fn(&'a Connection, &'a FindingAt) -> Value<'a>,
}

impl FindingField {
    /// Every column, in order.
    pub(in crate::report) fn all() -> impl Iterator<Item = &'static Self> {
        LIST.iter()
    }

    /// The finding's own, in order.
    pub(in crate::report) fn own() -> impl Iterator<Item = &'static Self> {
        LIST.iter().filter(|field| field.own)
    }

    /// The value for a finding of a connection.
    pub(in crate::report) fn of<'a>(&self, connection: &'a Connection, finding: &'a FindingAt) -> Value<'a> {
        (self.of)(connection, finding)
    }
}

macro_rules! list {
    ($($name:literal, $own:literal, $kind:expr, $of:expr;)*) => {
        &[$(FindingField { name: $name, kind: $kind, own: $own, of: $of },)*]
    };
}

const LIST: &[FindingField] = list! {
    "frame", true, Kind::Number, |_, f| f.frame.map(Frame).value();
    "connection", false, Kind::Number, |c, _| c.id.0.value();
    "client.addr", false, Kind::Text, |c, _| c.client.ip().value();
    "client.port", false, Kind::Number, |c, _| c.client.port().value();
    "server.addr", false, Kind::Text, |c, _| c.server.ip().value();
    "server.port", false, Kind::Number, |c, _| c.server.port().value();
    "side", true, Kind::Word(&[Side::Client.name(), Side::Server.name()]), |_, f| f.side.name().value();
    "name", true, Kind::Word(names!(Finding)), |_, f| f.finding.name().value();
    "note", true, Kind::Text, |_, f| English.finding(f).value();
};
