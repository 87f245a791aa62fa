//! What a link between two hosts knew of the frames of a capture, as it is kept in the file, one JSON object a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Passing, Point, PointSighting, Sense};
use crate::calls::{Damaged, Lines, Room, parsed, written};
use crate::capture::{PointId, SeenAt};
use crate::flow::Side;
use crate::script::LinkAct;
use crate::time::{Span, Timestamp};

/// What a link between two hosts knew of the frames of a capture: where each was seen, and what the link did with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkRecord {
    /// Where segments were seen; the points of passages are places in it.
    pub points: Vec<Point>,
    /// What is known of frames, by number.
    pub passing: BTreeMap<u64, Passing>,
    /// What the retransmission timers of both hosts are never shorter than; `None` where that is the kernel's own bound.
    pub rto_min: Option<Span>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    TcpflowLink {
        version: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rto_min: Option<Span>,
    },
    /// The next point.
    Point {
        interface: String,
        side: Option<Side>,
    },
    Frame(Frame),
}

#[derive(Serialize, Deserialize)]
struct Frame {
    number: u64,
    #[serde(default, skip_serializing_if = "is_passing")]
    sense: Sense,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    acts: Vec<LinkAct>,
    /// Every sighting of it, in order of time.
    seen: Vec<Seen>,
}

#[derive(Serialize, Deserialize)]
struct Seen {
    /// The place of its point among those before.
    point: u32,
    /// Its number in the capture of that point.
    frame: u64,
    at: Option<Timestamp>,
    sense: Sense,
}

fn is_passing(sense: &Sense) -> bool {
    *sense == Sense::Passes
}

impl LinkRecord {
    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let points = self
            .points
            .iter()
            .map(|Point { at, side }| Line::Point { interface: at.interface.clone().unwrap_or_default(), side: *side });
        let frames = self.passing.iter().map(|(number, Passing { sense, acts, passage })| {
            let seen = passage.iter().take(MOST_SIGHTINGS).map(|PointSighting { seen, frame, at, sense }| Seen {
                point: seen.point.0,
                frame: *frame,
                at: *at,
                sense: *sense,
            });
            let acts = acts.iter().take(MOST_ACTS).copied().collect();
            Line::Frame(Frame { number: *number, sense: *sense, acts, seen: seen.collect() })
        });
        written(
            std::iter::once(Line::TcpflowLink { version: VERSION, rto_min: self.rto_min }).chain(points).chain(frames),
        )
    }

    /// Whether bytes begin as those of a link's record.
    pub fn is_one(bytes: &[u8]) -> bool {
        matches!(Lines::of(bytes).head(), Some(Line::TcpflowLink { .. }))
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `Ok(None)` when the bytes are something else's.
    ///
    /// Frames for which `room` has no place are left out and counted there.
    ///
    /// # Errors
    /// The bytes begin as ours and are damaged, claim more than a link knows, or were written by a later version.
    pub fn read(bytes: &[u8], room: &mut Room) -> Result<Option<Self>, Damaged> {
        let mut lines = Lines::of(bytes);
        let rto_min = match lines.head() {
            Some(Line::TcpflowLink { version: VERSION, rto_min }) => rto_min.filter(|least| *least > Span(0)),
            Some(Line::TcpflowLink { version, .. }) => {
                let later = format!("was written by a later tcpflow (format {version}; this one reads {VERSION})");
                return Err(Damaged::in_line(1, &later));
            }
            _ => return Ok(None),
        };
        let mut record = Self { rto_min, ..Self::default() };
        for (number, line) in lines {
            let line = parsed(number, line)?;
            record.take(line, room).map_err(|what| Damaged::in_line(number, &what))?;
        }
        Ok(Some(record))
    }

    /// Takes in the next line.
    ///
    /// # Errors
    /// What is wrong with it.
    fn take(&mut self, line: Line, room: &mut Room) -> Result<(), String> {
        match line {
            Line::TcpflowLink { .. } => Err("begins a record in the midst of one".to_owned()),
            Line::Point { .. } if self.points.len() == MOST_POINTS => {
                Err(format!("has one point more than the {MOST_POINTS} of a link"))
            }
            Line::Point { interface, .. } if interface.len() > LONGEST_INTERFACE => {
                Err(format!("has the name of an interface longer than {LONGEST_INTERFACE} octets"))
            }
            Line::Point { interface, side } => {
                self.points.push(Point { side, ..Point::live(&interface) });
                Ok(())
            }
            Line::Frame(frame) if frame.acts.len() > MOST_ACTS => {
                Err(format!("has a frame to which more than {MOST_ACTS} things were done"))
            }
            Line::Frame(frame) if frame.seen.len() > MOST_SIGHTINGS => {
                Err(format!("has a frame that was seen more than {MOST_SIGHTINGS} times"))
            }
            Line::Frame(frame) if frame.seen.iter().any(|seen| seen.point as usize >= self.points.len()) => {
                Err("has a frame at a point that is not described before".to_owned())
            }
            Line::Frame(frame) if self.passing.contains_key(&frame.number) => {
                Err("has a frame for the second time".to_owned())
            }
            Line::Frame(frame) => {
                if room.take(COST_OF_FRAME + frame.seen.len() * COST_OF_SIGHTING) {
                    self.passing.insert(frame.number, frame.passing());
                }
                Ok(())
            }
        }
    }
}

impl Frame {
    fn passing(self) -> Passing {
        let passage = self.seen.into_iter().map(|Seen { point, frame, at, sense }| PointSighting {
            seen: SeenAt { point: PointId(point), ..SeenAt::default() },
            frame,
            at,
            sense,
        });
        Passing { sense: self.sense, acts: self.acts, passage: passage.collect() }
    }
}

const VERSION: u32 = 1;
/// A link has two ends.
const MOST_POINTS: usize = 2;
/// The kernel's names have 15 octets.
const LONGEST_INTERFACE: usize = 64;
/// What was done to a frame: more than any scenario does.
const MOST_ACTS: usize = 64;
/// The sightings of a frame and its copies.
const MOST_SIGHTINGS: usize = 64;
const COST_OF_FRAME: usize = 2 * size_of::<Passing>() + 400;
/// A sighting, and a segment of the story of its end.
const COST_OF_SIGHTING: usize = 1500;

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LinkRecord {
        let seen = |point, frame, sense| PointSighting {
            seen: SeenAt { point: PointId(point), ..SeenAt::default() },
            frame,
            at: Some(Timestamp::from_nanos(1_795_223_276_320_071_123)),
            sense,
        };
        let lost = Passing {
            sense: Sense::Leaves,
            acts: vec![LinkAct::Dropped, LinkAct::Delayed(Span(-1))],
            passage: vec![seen(0, 1, Sense::Leaves)],
        };
        let passage = vec![seen(0, 2, Sense::Leaves), seen(1, 1, Sense::Arrives)];
        let came = Passing { passage, ..Passing::default() };
        let point = |side| Point { side: Some(side), ..Point::live("veth\u{1b}") };
        let points = vec![point(Side::Client), point(Side::Server)];
        let passing = BTreeMap::from([(1, lost), (u64::MAX, came)]);
        LinkRecord { points, passing, rto_min: Some(Span::from_millis(5000)) }
    }

    fn read(text: &str) -> Result<Option<LinkRecord>, Damaged> {
        LinkRecord::read(text.as_bytes(), &mut Room::default())
    }

    #[test]
    fn what_a_link_knew_is_read_back() {
        let record = record();
        assert_eq!(LinkRecord::read(&record.to_bytes(), &mut Room::default()), Ok(Some(record.clone())));
        assert_eq!(read("{\"tcpflow\":{\"version\":2}}\n"), Ok(None));
        assert_eq!(read("\u{0}"), Ok(None));
        assert!(LinkRecord::is_one(&record.to_bytes()) && !LinkRecord::is_one(b"{\"tcpflow\":{\"version\":2}}\n"));
    }

    #[test]
    fn what_no_link_can_know_is_refused() {
        let text = String::from_utf8(record().to_bytes()).expect("text");
        let head = r#"{"tcpflow_link":{"version":1}}"#;
        let point = |length| format!(r#"{{"point":{{"interface":"{}","side":null}}}}"#, "x".repeat(length));
        let (seen, act) = (r#"{"point":0,"frame":1,"at":null,"sense":"leaves"}"#, r#""dropped""#);
        let of_frame =
            |seen: &str, acts: &str| format!(r#"{{"frame":{{"number":9,"acts":[{acts}],"seen":[{seen}]}}}}"#);
        let many = |one: &str, count: usize| vec![one; count].join(",");
        for more in [
            point(1),
            head.to_owned(),
            r#"{"frame":{"number":1,"seen":[]}}"#.to_owned(),
            of_frame(&many(seen, MOST_SIGHTINGS + 1), ""),
            of_frame("", &many(act, MOST_ACTS + 1)),
            of_frame(&seen.replace(r#""point":0"#, r#""point":2"#), ""),
            of_frame(&seen.replace("leaves", "flies"), ""),
            " ".repeat(70 << 10),
        ] {
            assert!(read(&format!("{text}{more}\n")).is_err(), "{more}");
        }
        let most = of_frame(&many(seen, MOST_SIGHTINGS), &many(act, MOST_ACTS));
        assert!(read(&format!("{text}{most}\n")).is_ok());
        assert!(read(&format!("{head}\n{}\n", point(LONGEST_INTERFACE))).is_ok());
        assert!(read(&format!("{head}\n{}\n", point(LONGEST_INTERFACE + 1))).is_err());
        assert!(read(&text.replace("\"version\":1", "\"version\":2")).is_err());
    }

    #[test]
    fn frames_without_room_are_left_out_and_counted() {
        let mut room = Room::of(COST_OF_FRAME + COST_OF_SIGHTING + 1);
        let read = LinkRecord::read(&record().to_bytes(), &mut room).expect("readable").expect("ours");
        assert_eq!(read.passing.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(room.omitted(), 1);
    }
}
