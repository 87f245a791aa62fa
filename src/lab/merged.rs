//! Both captures of a run as one: each segment where it was sent, held against what the link did with it.

use std::collections::{HashMap, VecDeque};

use super::addresses::{End, address};
use super::definition::Definition;
use super::relay::{Carried, Crossing};
use crate::capture::{OwnedFrame, PointId, SeenAt};
use crate::report::counted;
use crate::script::{Deed, LinkAct};
use crate::story::{PointSighting, Sense};
use crate::time::Timestamp;
use crate::wire::Decoder;

/// Both captures as one.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) frames: Vec<OwnedFrame>,
    pub(super) senses: HashMap<u64, Sense>,
    pub(super) passages: HashMap<u64, Vec<PointSighting>>,
    pub(super) seen: Vec<HashMap<u64, u64>>,
    pub(super) links: Vec<(u64, LinkAct)>,
    /// The number of each crossing's frame.
    pub(super) numbers: HashMap<usize, u64>,
}

/// Puts the captures of both ends together: each segment where it was sent, and what nobody sent where it arrived.
///
/// A captured frame and what the link did are of the same segment if their octets are the same: where two processors deliver, neither
/// order nor time says so. Frames that are the same in each octet are taken in their order; which of them is which makes no difference.
pub(super) fn merge(
    definition: &Definition,
    captures: &[Vec<OwnedFrame>],
    carried: &Carried,
    amiss: &mut Vec<String>,
) -> Merged {
    let crossings = &carried.crossings[..];
    // Each frame with the end where it was captured; the crossing that each captured frame belongs to, by end and number.
    let mut merged: Vec<(&OwnedFrame, End, Sense)> = Vec::new();
    let mut of_crossing: [HashMap<u64, usize>; 2] = Default::default();
    let mut decoder = Decoder::new();
    let (mut unheard, mut unknown) = (0u64, 0u64);
    for (frames, end) in captures.iter().zip([End::Client, End::Server]) {
        let own = address(end, &definition.setting);
        let mut sent = Places::default();
        let mut handed = Places::default();
        for (place, crossing) in crossings.iter().enumerate() {
            if crossing.from == end && !crossing.forged {
                sent.add(&crossing.octets, place);
            }
        }
        for (_, place) in arrivals(crossings, end) {
            handed.add(crossings[place].arrived(), place);
        }
        for frame in frames {
            let mut source = None;
            if decoder.decode(&frame.as_frame(), |segment, _| source = Some(segment.src)).is_err() {
                // What an ICMP error says is heard at the end that it comes to.
                merged.push((frame, end, Sense::Passes));
                continue;
            }
            let is_own = source == Some(own);
            let Some(place) = (if is_own { &mut sent } else { &mut handed }).take(&frame.bytes) else {
                // It left its host, and the link never had it: it is lost, though by no rule.
                unheard += u64::from(is_own);
                unknown += u64::from(!is_own);
                merged.push((frame, end, if is_own { Sense::Leaves } else { Sense::Arrives }));
                continue;
            };
            of_crossing[end as usize].insert(frame.number, place);
            let crossing = &crossings[place];
            if is_own {
                let arrives = !crossing.arrivals.is_empty() && !crossing.deeds.contains(&Deed::Damage);
                merged.push((frame, end, if arrives { Sense::Passes } else { Sense::Leaves }));
            } else if crossing.forged {
                merged.push((frame, end, Sense::Arrives));
            }
        }
    }
    let Carried { missed, refused, .. } = *carried;
    if unheard > 0 {
        amiss.push(format!(
            "{} left a host and did not come to the link, whose buffer was too full for {}",
            counted(unheard, "segment"),
            counted(missed, "frame")
        ));
    }
    if unknown > 0 {
        let unknown = counted(unknown, "segment");
        amiss.push(format!("{unknown} came to a host, and the link had handed over no such segment"));
    }
    if refused > 0 {
        let refused = counted(refused, "frame");
        amiss.push(format!("the hosts did not take {refused} of the link: their queues stayed full"));
    }
    merged.sort_by_key(|(frame, ..)| frame.at);
    let mut both = Merged { seen: vec![HashMap::new(); 2], ..Merged::default() };
    let mut numbers: HashMap<usize, u64> = HashMap::new();
    for (number, (frame, end, sense)) in (1..).zip(merged) {
        if sense != Sense::Passes {
            both.senses.insert(number, sense);
        }
        both.seen[end as usize].insert(frame.number, number);
        numbers.extend(of_crossing[end as usize].get(&frame.number).map(|place| (*place, number)));
        both.frames.push(OwnedFrame { number, ..frame.clone() });
    }
    for (place, crossing) in crossings.iter().enumerate() {
        let Some(number) = numbers.get(&place) else { continue };
        let forged = crossing.forged.then_some(LinkAct::Injected);
        both.links
            .extend(crossing.deeds.iter().map(|deed| LinkAct::from(*deed)).chain(forged).map(|act| (*number, act)));
    }
    for (seen, of_crossing) in both.seen.iter_mut().zip(&of_crossing) {
        for (frame, place) in of_crossing {
            seen.extend(numbers.get(place).map(|number| (*frame, *number)));
        }
    }
    for ((of_crossing, frames), end) in of_crossing.iter().zip(captures).zip([End::Client, End::Server]) {
        for frame in frames {
            let Some((place, number)) =
                of_crossing.get(&frame.number).and_then(|place| Some((*place, *numbers.get(place)?)))
            else {
                continue;
            };
            let crossing = &crossings[place];
            let sense = if crossing.from == end && !crossing.forged { Sense::Leaves } else { Sense::Arrives };
            let seen = SeenAt { point: PointId(end as u32), ..frame.seen };
            both.passages.entry(number).or_default().push(PointSighting {
                seen,
                frame: frame.number,
                at: frame.at,
                sense,
            });
        }
    }
    both.passages.values_mut().for_each(|passage| passage.sort_by_key(|seen| seen.at));
    both.numbers = numbers;
    both
}

/// When what the link handed over arrived at an end, in order, and which crossing it was of.
fn arrivals(crossings: &[Crossing], end: End) -> Vec<(Timestamp, usize)> {
    let to_it = crossings.iter().enumerate().filter(|(_, crossing)| crossing.from != end);
    let mut handed: Vec<_> =
        to_it.flat_map(|(place, crossing)| crossing.arrivals.iter().map(move |at| (*at, place))).collect();
    handed.sort_unstable();
    handed
}

/// Where segments are, by their octets.
#[derive(Default)]
struct Places<'a>(HashMap<&'a [u8], VecDeque<usize>>);

impl<'a> Places<'a> {
    fn add(&mut self, octets: &'a [u8], place: usize) {
        self.0.entry(octets).or_default().push_back(place);
    }

    /// The place of the first one with these octets that was not taken yet.
    fn take(&mut self, octets: &[u8]) -> Option<usize> {
        self.0.get_mut(octets)?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::super::addresses::Addresses;
    use super::super::catalog::{ECHO, Entry};
    use super::super::rules::bare_segment;
    use super::*;
    use crate::capture::{Frame, LinkType};

    #[test]
    fn what_the_link_did_not_take_in_and_what_the_hosts_did_not_take_is_said() {
        let echo = Entry::named(ECHO).expect("it is there").read(&[]).expect("it is sound");
        let addresses = Addresses::of(&echo);
        let at = |name: &str| {
            let actors = echo.actors().into_iter().map(|(actor, _)| actor);
            actors.filter(|actor| actor.name() == name).find_map(|actor| addresses.at(actor)).expect("an actor")
        };
        let octets = bare_segment(at("C"), at("S"));
        let link = LinkType::ETHERNET;
        let frame = Frame {
            number: 1,
            at: Some(Timestamp::from_nanos(0)),
            link,
            bytes: &octets,
            wire_len: octets.len() as u32,
            seen: SeenAt::default(),
        };
        let captures = [vec![OwnedFrame::of(&frame)], Vec::new()];
        let mut amiss = Vec::new();
        let carried = Carried { missed: 3, refused: 2, ..Carried::default() };
        let merged = merge(&echo, &captures, &carried, &mut amiss);
        assert_eq!(merged.senses.get(&1), Some(&Sense::Leaves));
        let said = [
            "1 segment left a host and did not come to the link, whose buffer was too full for 3 frames",
            "the hosts did not take 2 frames of the link: their queues stayed full",
        ];
        assert_eq!(amiss, said);
    }
}
