//! The octets are a script in the one notation.

use std::convert::Infallible;

use tcpflow::capture::SeenAt;
use tcpflow::flow::FlowTable;
use tcpflow::script::Script;
use tcpflow::story::{Observed, Sighting, Timeline, Trace};

use super::flow::{check_outputs, check_story};

/// Reads the octets as a script, and plays what can be read through the table and the timeline.
///
/// What is read is written so that it reads the same; a fault has a place, is short, and has no control character in it;
/// every segment is in one connection, and the story is whole.
pub fn script(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let script = match Script::parse(&text) {
        Ok(script) => script,
        Err(fault) => {
            let told = fault.to_string();
            assert!(fault.line >= 1 && fault.column >= 1 && told.len() < 4_000, "{told}");
            assert!(!told.chars().any(|c| c.is_control() && c != '\n'), "a control character in {told:?}");
            return;
        }
    };
    let written = script.to_string();
    assert_eq!(Script::parse(&written).as_ref(), Ok(&script), "what was written reads as something else:\n{written}");

    let performed = script.perform();
    let mut table = FlowTable::new();
    let mut observed = Vec::new();
    for placed in performed.segments {
        let segment = placed.segment;
        // A segment of a connection that is over is late: it is counted.
        let Some(step) = table.observe(&segment) else { continue };
        let (tunnel, seen) = (placed.tunnel.into(), SeenAt::default());
        observed.push((step.connection, Observed { segment, step, preview: Vec::new(), tunnel, seen }));
    }
    let mut connections = Vec::new();
    let Ok(_) = table.finish(|connection| {
        connections.push(connection);
        Ok::<_, Infallible>(())
    });
    connections.sort_by_key(|connection| connection.id);
    let counted: u64 =
        connections.iter().map(|each| each.client_to_server.segments + each.server_to_client.segments).sum();
    assert_eq!(counted, observed.len() as u64, "segments are lost, or counted twice");
    if connections.len() > MOST_CONNECTIONS {
        return;
    }
    let traces = connections.iter().map(|connection| {
        let own = observed.iter().filter(|(of, _)| *of == connection.id);
        let segments = own.map(|(_, observed)| Sighting::passing(observed.clone())).collect();
        Trace { id: connection.id, client: connection.client, server: connection.server, segments, errors: Vec::new() }
    });
    let traces = traces.collect();
    let (threads, calls) = (performed.threads, performed.calls);
    let timeline = Timeline::of(traces, calls, &performed.answers, &[], None);
    let story = timeline.finish(connections, threads, Default::default());
    check_story(&story);
    check_outputs(&story, octets.len() as u8);
}

/// More show nothing that fewer do not.
const MOST_CONNECTIONS: usize = 16;
