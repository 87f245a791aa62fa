//! The lines that tell how a capture or a run stands: `opened`, `drops`, `counts`, `interface`, `scenario` and `expectation`.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::capture::Interface;
use crate::flow::ConnectionId;
use crate::story::EventId;
use crate::time::Timestamp;

#[derive(Serialize)]
pub(super) struct End {
    pub(super) addr: IpAddr,
    pub(super) port: u16,
}

impl From<SocketAddr> for End {
    fn from(end: SocketAddr) -> Self {
        Self { addr: end.ip(), port: end.port() }
    }
}

#[derive(Serialize)]
pub(super) struct OpenedLine {
    pub(super) r#type: &'static str,
    pub(super) id: EventId,
    pub(super) at: Option<Timestamp>,
    pub(super) connection: ConnectionId,
    pub(super) frame: u64,
    pub(super) client: End,
    pub(super) server: End,
    pub(super) midstream: bool,
}

#[derive(Serialize)]
pub(super) struct DropsLine {
    pub(super) r#type: &'static str,
    pub(super) id: Option<EventId>,
    pub(super) at: Timestamp,
    pub(super) connection: Option<ConnectionId>,
    pub(super) dropped: u64,
    pub(super) dropped_in_all: u64,
    pub(super) if_dropped_in_all: u64,
}

#[derive(Serialize)]
pub(super) struct CountsLine {
    pub(super) r#type: &'static str,
    pub(super) id: EventId,
    pub(super) at: Timestamp,
    pub(super) connection: Option<ConnectionId>,
    pub(super) frames: u64,
    pub(super) segments: u64,
    pub(super) connections: u64,
    pub(super) open: u64,
    pub(super) received: Option<u64>,
    pub(super) dropped: Option<u64>,
    pub(super) if_dropped: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct InterfaceLine<'a> {
    pub(super) r#type: &'static str,
    #[serde(flatten)]
    pub(super) interface: &'a Interface,
}

#[derive(Serialize)]
pub(super) struct ScenarioLine<'a> {
    pub(super) r#type: &'static str,
    pub(super) name: &'a str,
    pub(super) group: &'a str,
    pub(super) title: &'a str,
}

/// What the link between two hosts says of a segment.
#[derive(Serialize)]
#[serde(tag = "type", rename = "crossing")]
pub struct Crossed<'a> {
    /// Its number among the frames of the run; `None` where no capture has it.
    pub frame: Option<u64>,
    /// Whose host it came from, or pretends to: `client` or `server`.
    pub from: &'a str,
    /// When it came into the link.
    pub at: Timestamp,
    /// What the link did with it besides carrying it, by name.
    pub acts: &'a [&'a str],
    /// When each copy of it was handed to the other host.
    pub arrivals: &'a [Timestamp],
}

#[derive(Serialize)]
pub(super) struct ExpectationLine<'a> {
    pub(super) r#type: &'static str,
    pub(super) expected: &'a str,
    pub(super) holds: bool,
    pub(super) instead: Option<&'a str>,
}
