//! A story as comments on its packets, for tools that show such comments (Wireshark's `frame.comment`).

use std::collections::BTreeMap;

use super::wording::{English, Wording};
use crate::calls::Call;
use crate::story::{EventKind, Lookup, SegmentEvent, Story};

/// The comments on each frame of the story: what caused it, which states it moved, and which calls it let return.
pub fn comments(story: &Story) -> BTreeMap<u64, Vec<String>> {
    let mut comments: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut frame_of = vec![None; story.events.len()];
    for event in &story.events {
        if let EventKind::Segment(segment) = &event.kind {
            frame_of[event.id.0 as usize] = Some(segment.segment.frame);
            comments.entry(segment.segment.frame).or_default().push(cause(story, segment));
        }
    }
    for event in &story.events {
        match &event.kind {
            EventKind::Transition(transition) => {
                let frame = transition.cause.and_then(|cause| {
                    frame_of[cause.0 as usize].or_else(|| match &story[cause].kind {
                        EventKind::Call(call) => call.sent.first().and_then(|sent| story.frame_of(*sent)),
                        _ => None,
                    })
                });
                let Some(frame) = frame else { continue };
                let from = transition.from.map_or("unknown", |state| state.name());
                let rule = English.rule(transition.rule);
                let text = format!("{}: {from} -> {}. {rule}", transition.side.name(), transition.to);
                comments.entry(frame).or_default().push(text);
            }
            EventKind::Call(call) => {
                let Some(frame) = call.completed_by.and_then(|id| story.frame_of(id)) else { continue };
                let text = format!("{} returned {}", named(story, &call.call), outcome(&call.call));
                comments.entry(frame).or_default().push(text);
            }
            EventKind::Segment(_)
            | EventKind::Timer(_)
            | EventKind::Icmp(_)
            | EventKind::Link(_)
            | EventKind::Kernel(_) => {}
        }
    }
    comments
}

fn cause(story: &Story, segment: &SegmentEvent) -> String {
    let mut text = format!("{}: ", segment.from.name());
    let calls: Vec<_> = segment
        .cause
        .calls
        .iter()
        .filter_map(|id| match &story[*id].kind {
            EventKind::Call(call) => Some(named(story, &call.call)),
            _ => None,
        })
        .collect();
    text.push_str(&calls.join(", "));
    if let Some(mechanism) = segment.cause.kernel {
        let separator = if calls.is_empty() { "" } else { "; " };
        text.push_str(&format!("{separator}kernel: {}", mechanism.name().replace('_', " ")));
        if let Some(EventKind::Segment(of)) = segment.cause.of.map(|of| &story[of].kind) {
            text.push_str(&format!(" of frame {}", of.segment.frame));
        }
    }
    if let Some(why) = &segment.cause.why {
        text.push_str(&format!(" ({})", English.why(why)));
    }
    plain(&text)
}

fn named(story: &Story, call: &Call) -> String {
    let fd = call.fd().map_or(String::new(), |fd| fd.to_string());
    let by = story.threads.get(call.thread()).map_or(String::new(), |(thread, _)| format!(" by {}", thread.comm));
    plain(&format!("{}({fd}){by}", call.name()))
}

fn outcome(call: &Call) -> String {
    match (call.errno(), call.result()) {
        (Some(errno), _) => errno.to_string(),
        (None, Some(result)) => result.to_string(),
        (None, None) => "nothing".to_owned(),
    }
}

/// The text without control characters: a comment is shown as it is.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
