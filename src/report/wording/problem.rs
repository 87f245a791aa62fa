//! What hurt a connection most, in English.

use super::amount::{Amount, digits};
use crate::flow::{Problem, ProblemKind, Side, Unacknowledged};
use crate::time::{Span, Timestamp};

/// One sentence with the figures; moments are counted from `first`, when the connection's first segment came.
pub(super) fn sentence(problem: &Problem, first: Option<Timestamp>) -> String {
    let mut said = String::new();
    push_sentence(&mut said, problem, first);
    said
}

/// Appends the same to a text.
pub(super) fn push_sentence(said: &mut String, problem: &Problem, first: Option<Timestamp>) {
    let (who, peer) = (problem.side.name(), problem.side.peer().name());
    let at = problem.since.zip(first).map(|(since, first)| since.since(first).max(Span(0)));
    // The most frequent ones are put together without the formatting machinery.
    match problem.kind {
        ProblemKind::Loss => loss(said, problem, who, peer, at),
        ProblemKind::Silence => silence(said, problem, who, peer, at),
        _ => said.push_str(&rare(problem, at)),
    }
}

fn rare(problem: &Problem, at: Option<Span>) -> String {
    let Problem { side, segments, .. } = *problem;
    let (who, peer) = (side.name(), side.peer().name());
    let times = segments.unwrap_or(0);
    // A duration that begins somewhere: "for 3.0 s from 0.5 s on".
    let lasted = |word: &str| problem.lasted.map_or(String::new(), |lasted| format!(" {word} {}", Amount(lasted)));
    let from = || at.map_or(String::new(), |at| format!(", from {} on", Amount(at)));
    match problem.kind {
        ProblemKind::Injected => {
            let what = match problem.octets {
                Some(octets @ 1..) => format!("{} with {}", counted(times, "segment"), counted(octets, "octet")),
                _ => counted(times, "RST"),
            };
            let were = if times == 1 { "was" } else { "were" };
            format!(
                "{what} in the name of the {who} {were} injected by the link{}: the {who} sent nothing of it.",
                when(problem, at)
            )
        }
        ProblemKind::ForgedReset => {
            let differs = match problem.ttls {
                Some([reset, own]) => format!("its TTL is {reset}, not {own}"),
                None => "its IP identification is far from theirs".to_owned(),
            };
            format!(
                "A RST in the name of the {who} was probably not sent by it: the {who} went on with {}, and {differs}.",
                counted(times, "segment")
            )
        }
        ProblemKind::ConflictingOctets => {
            let ttls = problem.ttls.map_or(String::new(), |[now, before]| format!(" (TTL {now} against {before})"));
            format!(
                "Octets in the name of the {who} came twice with different contents{ttls}, in {}: one of the two was injected, or changed on its way.",
                counted(times, "segment")
            )
        }
        ProblemKind::LargeSegmentsLost => large(problem, who, times, &lasted("in")),
        ProblemKind::PeerSilent => {
            let hint = size_hint(problem);
            format!(
                "The {who} sent {} {times} times{}{}, and nothing came from the {peer} any more{hint}.",
                thing(problem),
                lasted("in"),
                from()
            )
        }
        ProblemKind::NeverAcknowledged => {
            let hint = size_hint(problem);
            format!(
                "The {who} sent {} {times} times{}{}, and the {peer}, which still sent segments, never acknowledged it{hint}.",
                thing(problem),
                lasted("in"),
                from()
            )
        }
        ProblemKind::KeepAlivesUnanswered => {
            format!(
                "The {who} sent {}{}{}, and nothing came back from the {peer}.",
                counted(times, "keep-alive"),
                lasted("in"),
                from()
            )
        }
        ProblemKind::WindowScaleIgnored => {
            let [scaled, unscaled] = problem.windows.unwrap_or_default();
            format!(
                "The {who} never had more than {unscaled} octets under way, the {peer}'s window without its scale (with it {scaled}): probably a middlebox changed the window scale option."
            )
        }
        ProblemKind::ZeroWindow if problem.until_end && times > 1 => {
            format!(
                "The {who}'s receive window was 0{} in all ({times} times{}), and at the end again: its program did not read fast enough.",
                lasted("for"),
                from()
            )
        }
        ProblemKind::ZeroWindow if problem.until_end => {
            format!(
                "The {who}'s receive window was 0{}{}, and had not opened at the end: its program did not read.",
                lasted("for"),
                from()
            )
        }
        ProblemKind::ZeroWindow if times > 1 => {
            format!(
                "The {who}'s receive window was 0{} in all ({times} times{}): its program did not read fast enough.",
                lasted("for"),
                from()
            )
        }
        ProblemKind::ZeroWindow => {
            format!(
                "The {who}'s receive window was 0{}{}: its program did not read fast enough.",
                lasted("for"),
                from()
            )
        }
        ProblemKind::HandshakeRepeated => {
            let what = if side == Side::Client { "SYN" } else { "SYN-ACK" };
            let cost = problem.lasted.map_or(String::new(), |lasted| format!(", after {} of waiting", Amount(lasted)));
            let in_all = if times > 1 { " in all" } else { "" };
            let often = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            format!("The {who}'s {what} was repeated {often}{cost}{in_all}.")
        }
        ProblemKind::NeedlessRetransmissions => {
            let of = problem.of_segments.map_or(String::new(), |of| format!(" of {of}"));
            let (were, lost) = match times {
                1 => ("was", "it was not lost: its acknowledgement was late or lost"),
                _ => ("were", "they were not lost: their acknowledgements were late or lost"),
            };
            format!("{times}{of} segments of the {who} {were} retransmitted{} though {lost}.", when(problem, at))
        }
        ProblemKind::ClockSteppedBack => {
            let back = problem.lasted.map_or(String::new(), |lasted| format!(" by {}", Amount(lasted)));
            format!(
                "The capture's clock stepped back{back} while it lasted: how long anything took across that is not known."
            )
        }
        ProblemKind::Loss | ProblemKind::Silence => String::new(),
    }
}

fn large(problem: &Problem, who: &str, times: u64, lasted: &str) -> String {
    let lost = problem.size_lost.unwrap_or(0);
    let passed = problem.size_passed.map_or(String::new(), |passed| {
        if problem.until_end {
            format!(", while {passed} octets beyond it had arrived (SACK)")
        } else {
            format!(", until it was sent in segments of {passed}")
        }
    });
    let why = match problem.mtu {
        Some(mtu) => format!("by an ICMP error, a router forwards no packet of more than {mtu} octets"),
        None => "probably the path MTU is too small for it, and no ICMP error says so".to_owned(),
    };
    format!(
        "The {who}'s segment of {lost} octets was sent {times} times{lasted} and never acknowledged{passed}; {why}."
    )
}

fn thing(problem: &Problem) -> String {
    match (problem.what, problem.size_lost) {
        (Some(Unacknowledged::Fin), _) => "its FIN".to_owned(),
        (Some(Unacknowledged::SynAck), _) => "its SYN-ACK".to_owned(),
        (_, Some(1)) => "the same octet".to_owned(),
        (_, Some(octets)) => format!("the same {octets} octets"),
        (_, None) => "the same segment".to_owned(),
    }
}

/// That smaller segments had passed, where that may be the reason.
fn size_hint(problem: &Problem) -> String {
    match problem.size_passed {
        Some(passed) => format!(
            "; no more than {passed} octets at once had been acknowledged before, so its size may be why (path MTU)"
        ),
        None => String::new(),
    }
}

/// "at 0.5 s", or "between 0.5 s and 3.5 s".
fn when(problem: &Problem, at: Option<Span>) -> String {
    let mut said = String::new();
    push_when(&mut said, problem, at);
    said
}

fn push_when(said: &mut String, problem: &Problem, at: Option<Span>) {
    match (at, problem.lasted) {
        (Some(at), Some(lasted)) if problem.segments > Some(1) => {
            said.push_str(" between ");
            Amount(at).push(said);
            said.push_str(" and ");
            Amount(Span(at.0.saturating_add(lasted.0))).push(said);
        }
        (Some(at), _) => {
            said.push_str(" at ");
            Amount(at).push(said);
        }
        (None, _) => {}
    }
}

fn loss(said: &mut String, problem: &Problem, who: &str, peer: &str, at: Option<Span>) {
    let times = problem.segments.unwrap_or(0);
    said.reserve(LONG);
    said.extend(["From ", who, " to ", peer, " "]);
    digits(said, times);
    if let Some(of) = problem.of_segments {
        said.push_str(" of ");
        digits(said, of);
    }
    said.push_str(" segments");
    if let Some(octets) = problem.octets.filter(|octets| *octets > 0) {
        said.push_str(" (");
        digits(said, octets);
        said.push_str(if octets == 1 { " octet)" } else { " octets)" });
    }
    said.push_str(if times == 1 { " was retransmitted" } else { " were retransmitted" });
    push_when(said, problem, at);
    said.push_str(", probably lost");
    if let Some(waited) = problem.waited.filter(|waited| *waited >= Span::from_millis(10)) {
        said.push_str("; waiting for that took ");
        Amount(waited).push(said);
    }
    said.push('.');
}

fn silence(said: &mut String, problem: &Problem, who: &str, peer: &str, at: Option<Span>) {
    let keep_alives = problem.segments.unwrap_or(0);
    said.reserve(LONG);
    match problem.after {
        Some(_) => said.extend(["The ", who, if keep_alives > 0 { " sent no octets" } else { " sent nothing" }]),
        None => said.push_str(if keep_alives > 0 { "Nobody sent octets" } else { "Nobody sent anything" }),
    }
    if let Some(lasted) = problem.lasted {
        said.push_str(" for ");
        Amount(lasted).push(said);
    }
    if let Some(at) = at {
        said.push_str(", from ");
        Amount(at).push(said);
        said.push_str(" on");
    }
    match problem.after {
        Some(_) => {
            said.extend([", after octets of the ", peer]);
            said.push_str(if problem.until_end { ", until the capture ended" } else { "" });
        }
        None => said.extend([", until the ", who, " sent octets"]),
    }
    if keep_alives > 0 {
        said.extend(["; ", &counted(keep_alives, "keep-alive"), " came in that time"]);
    }
    said.push('.');
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Room for nearly every sentence.
pub(super) const LONG: usize = 160;
