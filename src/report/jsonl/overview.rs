//! The lines of `analyze --summary`, and the totals of `--findings`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::flow::{Ending, Side};
use crate::report::overview::{FindingTotals, Handshake, Lossy, Overview, Talk, Which};

/// Each finding that was made, how often and in how many connections.
pub(super) fn findings(totals: &FindingTotals) -> Value {
    let each = totals.sorted().into_iter().map(|(finding, count, connections)| {
        (finding.name().to_owned(), json!({"findings": count, "connections": connections}))
    });
    Value::Object(each.collect())
}

/// The page as the `summary` line.
pub(super) fn page(overview: &Overview) -> Value {
    let endings = Ending::ALL.iter().zip(overview.endings);
    let endings: BTreeMap<_, _> = endings.map(|(ending, (count, _))| (ending.name(), count)).collect();
    let talkers: Vec<_> = overview
        .top_talkers()
        .iter()
        .map(|(address, Talk { connections, sent, received })| {
            json!({"addr": address, "connections": connections, "octets_sent": sent, "octets_received": received})
        })
        .collect();
    let slowest: Vec<_> = overview
        .slowest
        .each()
        .map(|Handshake { took, syns, which }| {
            with(&which.0, "connection", json!({"handshake_ns": took.0, "syns": syns}))
        })
        .collect();
    let lossy: Vec<_> = overview
        .lossy
        .each()
        .map(|Lossy { retransmitted, segments, by_server, which }| {
            let side = if *by_server { Side::Server } else { Side::Client };
            let told = json!({"side": side.name(), "retransmissions": retransmitted, "segments": segments});
            with(&which.0, "connection", told)
        })
        .collect();
    let problems: Vec<_> = overview
        .problems()
        .map(|(kind, count, worst)| {
            with(&worst.which, "worst", json!({"kind": kind.name(), "connections": count, "verdict": worst.verdict}))
        })
        .collect();
    json!({
        "type": "summary", "connections": overview.connections, "first": overview.first, "last": overview.last,
        "endings": endings, "look_at_first": problems, "talkers": talkers, "talkers_are_least": overview.forgot,
        "findings": findings(&overview.findings), "slowest_handshakes": slowest, "most_retransmissions": lossy,
    })
}

/// What is told of a connection, with its number under `name`, and its ends.
fn with(which: &Which, name: &str, mut told: Value) -> Value {
    let end = |end: SocketAddr| json!({"addr": end.ip(), "port": end.port()});
    told[name] = json!(which.id);
    told["client"] = end(which.client);
    told["server"] = end(which.server);
    told
}
