//! Runs: like segments that follow one another, as one row.

use super::{Row, What};
use crate::story::{Mechanism, SegmentEvent};
use crate::wire::Flags;

/// The rows with their runs of like segments drawn as one: those of one end that carry octets, or those that only acknowledge.
///
/// A run never reorders a conversation: where the other end's octets lie between, it breaks.
pub(super) fn folded(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    // Rows are large: where there is nothing to fold none is moved.
    if !rows.iter().any(|row| matches!(row.what, What::Segment { .. } | What::Arrival { .. })) {
        return rows;
    }
    let mut out: Vec<Row<'_>> = Vec::new();
    let mut stretch: Vec<Row<'_>> = Vec::new();
    // The lane whose octets the stretch holds.
    let mut speaker = None;
    for row in arrived_together(rows) {
        let ordinary = match &row.what {
            What::Segment { segment, from, .. } if row.moves.is_empty() && is_ordinary(segment) => {
                Some((*segment, *from))
            }
            _ => None,
        };
        let speaks = ordinary.filter(|(segment, _)| segment.stream.is_some()).map(|(_, from)| from);
        let is_answer = speaks.is_some() && speaker.is_some() && speaks != speaker;
        if ordinary.is_none() || is_answer || stretch.first().is_some_and(|first| first.phase != row.phase) {
            fold(&mut stretch, &mut out);
            speaker = None;
        }
        speaker = speaker.or(speaks);
        if ordinary.is_some() { stretch.push(row) } else { out.push(row) }
    }
    fold(&mut stretch, &mut out);
    out
}

/// The rows with arrivals that follow one another in the order of their departures as one.
fn arrived_together(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    let mut out: Vec<Row<'_>> = Vec::with_capacity(rows.len());
    for mut row in rows {
        let last = out.last_mut().map(|last| (&mut last.what, last.moves.is_empty()));
        if let (
            What::Arrival { segments: new, from, to, again: false, overtaken: false, .. },
            Some((What::Arrival { segments, from: sender, to: receiver, again: false, overtaken: false, .. }, true)),
            true,
        ) = (&mut row.what, last, row.moves.is_empty())
            && (*sender, *receiver) == (*from, *to)
            && new.iter().chain(segments.iter()).all(|segment| is_ordinary(segment))
        {
            segments.append(new);
            continue;
        }
        out.push(row);
    }
    out
}

/// Draws a stretch of ordinary segments as one run for each end and kind, where that saves rows.
fn fold<'a>(stretch: &mut Vec<Row<'a>>, out: &mut Vec<Row<'a>>) {
    let kind = |row: &Row<'_>| match &row.what {
        What::Segment { segment, from, to, .. } => Some((*from, *to, segment.stream.is_some())),
        _ => None,
    };
    let mut counts: Vec<(_, usize)> = Vec::new();
    for row in stretch.iter() {
        match counts.iter_mut().find(|(known, _)| *known == kind(row)) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind(row), 1)),
        }
    }
    // A few segments are shown one by one, in the order in which they came.
    if counts.iter().all(|(_, count)| *count < SHORTEST_RUN) {
        out.append(stretch);
        return;
    }
    let mut runs: Vec<(_, Row<'a>)> = Vec::new();
    for row in stretch.drain(..) {
        let kind = kind(&row);
        let What::Segment { segment, from, to, departs } = row.what else { continue };
        match runs.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, Row { what: What::Run { segments, departs: any, .. }, .. })) => {
                segments.push(segment);
                *any |= departs;
            }
            Some(_) => {}
            None => runs.push((kind, Row { what: What::Run { segments: vec![segment], from, to, departs }, ..row })),
        }
    }
    out.extend(runs.into_iter().map(|(_, row)| match row.what {
        What::Run { segments, from, to, departs } if segments.len() == 1 => {
            Row { what: What::Segment { segment: segments[0], from, to, departs }, ..row }
        }
        _ => row,
    }));
}

/// Whether nothing about a segment asks for a row of its own.
fn is_ordinary(segment: &SegmentEvent) -> bool {
    let cause = &segment.cause;
    let sent_once = cause.kernel.is_none_or(|kernel| matches!(kernel, Mechanism::Ack | Mechanism::Unknown));
    !segment.segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST | Flags::URG)
        && segment.findings.is_empty()
        && sent_once
}

/// From how many segments on a run is drawn as one.
const SHORTEST_RUN: usize = 3;
