//! Two runs of scenarios side by side: what each took, which states its ends went through, and how its octets came through over time.

use serde_json::Value;

/// What is laid side by side of one run, from its json lines.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Pairs of what it is and what it was, in an order that is the same for all runs.
    pub rows: Vec<(&'static str, String)>,
    /// Whether all that was expected held.
    pub held: bool,
}

impl Summary {
    /// Reads the json lines of a run; what is no such line is passed over.
    pub fn of(lines: &str) -> Self {
        let lines: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of_type = |name: &'static str| lines.iter().filter(move |line| line["type"] == name);
        let connection = of_type("connection").next().cloned().unwrap_or_default();
        let begun = of_type("segment").filter_map(|line| moment(&line["at"])).next().unwrap_or_default();
        let mut rows = Vec::new();
        let span = |nanos: Option<i64>| nanos.map_or("?".to_owned(), |nanos| format!("{:.1} ms", nanos as f64 / 1e6));
        rows.push(("first to last segment", span(connection["duration_ns"].as_i64())));
        rows.push(("handshake round trip", span(connection["initial_rtt_ns"].as_i64())));
        for (side, name, octets) in [
            ("client_to_server", "client → server", "octets client → server"),
            ("server_to_client", "server → client", "octets server → client"),
        ] {
            let from = side.split('_').next().unwrap_or_default();
            let again = of_type("segment")
                .filter(|line| line["from"] == from && line["connection"] == connection["id"] && is_repeated(line))
                .count();
            let side = &connection[side];
            let number = |field: &str| side[field].as_u64().unwrap_or_default();
            rows.push((name, format!("{} segments, {again} retransmitted", number("segments"))));
            rows.push((octets, number("unique_octets").to_string()));
        }
        for (side, name) in [("client", "states of the client"), ("server", "states of the server")] {
            let steps =
                of_type("transition").filter(|line| line["side"] == side && line["connection"] == connection["id"]);
            let path: Vec<String> = steps
                .filter_map(|line| {
                    let at = moment(&line["at"])? - begun;
                    Some(format!("{} {:.1} ms", line["to"].as_str()?, at * 1e3))
                })
                .collect();
            rows.push((name, path.join(", ")));
        }
        for (part, name) in
            [(1, "a quarter of the octets"), (2, "half of the octets"), (3, "three quarters"), (4, "all octets")]
        {
            rows.push((
                name,
                when_sent(&lines, part).map_or("-".to_owned(), |at| format!("{:.1} ms", (at - begun) * 1e3)),
            ));
        }
        let acts: Vec<String> =
            of_type("link").filter_map(|line| Some(format!("#{} {}", line["frame"], line["what"].as_str()?))).collect();
        rows.push(("the link", if acts.is_empty() { "nothing".to_owned() } else { acts.join(", ") }));
        rows.push(("verdict", connection["verdict"].as_str().unwrap_or("no connection").to_owned()));
        let expected = of_type("expectation").count();
        let held = of_type("expectation").filter(|line| line["holds"] == true).count();
        rows.push(("expectations", format!("{held} of {expected} held")));
        Self { rows, held: held == expected && expected > 0 }
    }
}

/// Whether a segment is one that was sent before, by any of the findings that say so.
fn is_repeated(line: &Value) -> bool {
    let says_so = ["retransmission", "fast_retransmission", "spurious_retransmission", "sent_again"];
    let findings = line["findings"].as_array().into_iter().flatten();
    findings.filter_map(Value::as_str).any(|finding| says_so.contains(&finding))
}

/// When the client or the server had sent so many quarters of all the octets of the first connection, counting each place of a stream once.
fn when_sent(lines: &[Value], quarters: u64) -> Option<f64> {
    let reached =
        |line: &Value| Some((line["from"].as_str()?.to_owned(), line["stream"]["to"].as_u64()?, moment(&line["at"])?));
    let sent: Vec<_> = lines.iter().filter(|line| line["type"] == "segment").filter_map(reached).collect();
    let most = |side: &str| sent.iter().filter(|(from, ..)| from == side).map(|(_, to, _)| *to).max().unwrap_or(0);
    let all = most("client") + most("server");
    let mut highest = [0, 0];
    for (from, to, at) in &sent {
        let place = usize::from(from == "server");
        highest[place] = highest[place].max(*to);
        if all > 0 && (highest[0] + highest[1]) * 4 >= all * quarters {
            return Some(*at);
        }
    }
    None
}

fn moment(at: &Value) -> Option<f64> {
    // Seconds of a day are enough beside each other, and keep their fraction.
    let (seconds, fraction) = at.as_str()?.split_once('.')?;
    let seconds: i64 = seconds.parse().ok()?;
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    Some((seconds % 86_400) as f64 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summed_up_from_its_lines() {
        let lines = r#"{"type":"expectation","expected":"a","holds":true,"instead":null}
{"type":"link","frame":2,"what":"dropped"}
{"type":"segment","from":"client","at":"100.000000000","stream":{"from":0,"to":10}}
{"type":"segment","connection":0,"from":"client","at":"100.250000000","stream":{"from":0,"to":10},"findings":["out_of_order","sent_again"]}
{"type":"segment","from":"server","at":"100.500000000","stream":{"from":0,"to":10}}
{"type":"transition","connection":0,"side":"client","to":"TIME-WAIT","at":"101.000000000"}
{"type":"connection","id":0,"duration_ns":500000000,"initial_rtt_ns":null,"client_to_server":{"segments":2},"verdict":"Closed.",
not a line"#
            .replace(",\nnot", "}\nnot");
        let summary = Summary::of(&lines);
        let row = |name: &str| summary.rows.iter().find(|(known, _)| *known == name).unwrap().1.clone();
        assert!(summary.held);
        assert_eq!(row("first to last segment"), "500.0 ms");
        assert_eq!(row("client → server"), "2 segments, 1 retransmitted");
        assert_eq!(row("states of the client"), "TIME-WAIT 1000.0 ms");
        assert_eq!((row("half of the octets"), row("all octets")), ("0.0 ms".into(), "500.0 ms".into()));
        assert_eq!((row("the link"), row("verdict")), ("#2 dropped".into(), "Closed.".into()));
    }
}
