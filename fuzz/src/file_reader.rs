//! The octets are a capture file, of whatever format they begin as.

use std::io::{self, Cursor, Read};
use std::ops::ControlFlow;

use tcpflow::capture::{FileSource, Frame, FrameSource};

/// Reads the octets as a capture file to its end or its damage, twice: whole, and in the small pieces of a slow pipe, the frames several at a time.
///
/// Frames are numbered in order, none is larger than any capture has them, and they are the same both times; after an error comes nothing.
pub fn file_reader(octets: &[u8]) {
    let whole = read(Box::new(Cursor::new(octets.to_vec())), 1);
    let pieces = read(Box::new(Pieces { octets: octets.to_vec(), at: 0 }), 3);
    assert_eq!(whole, pieces, "the file in pieces reads as another one");
}

fn read(reader: Box<dyn Read + Send>, together: usize) -> (Vec<(u64, usize, u64)>, Option<String>) {
    let mut frames = Vec::new();
    let mut source = match FileSource::from_reader("the file", reader) {
        Ok(source) => source,
        Err(error) => return (frames, Some(one_line(error.message))),
    };
    let mut before = 0;
    let end = loop {
        // A few octets can be a gigabyte of frames, compressed.
        if frames.len() == MOST {
            break None;
        }
        let taken = frames.len();
        let mut take = |frame: Frame<'_>| {
            assert!(frame.number > before, "frame {} comes after frame {before}", frame.number);
            assert!(frame.bytes.len() <= 262_144, "a frame of {} octets", frame.bytes.len());
            before = frame.number;
            frames.push((frame.number, frame.bytes.len(), sum(frame.bytes)));
        };
        let ended = if together == 1 {
            source.next_frame().map(|frame| frame.map(&mut take).is_none())
        } else {
            let most = together.min(MOST - taken);
            let taken = source.next_frames(most, |frame| {
                take(frame);
                Ok(ControlFlow::Continue(()))
            });
            taken.map(|count| count < most)
        };
        match ended {
            Ok(false) if taken <= 64 => drop(source.comments()),
            Ok(false) => {}
            Ok(true) => break None,
            Err(error) => {
                assert!(matches!(source.next_frame(), Ok(None)), "a frame after the damage");
                break Some(one_line(error.message));
            }
        }
    };
    source.attachments();
    source.dropped();
    (frames, end)
}

fn one_line(message: String) -> String {
    assert!(!message.is_empty() && !message.chars().any(char::is_control), "not one line: {message:?}");
    message
}

fn sum(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |sum, octet| sum.rotate_left(5) ^ u64::from(*octet))
}

/// A reader that gives a few octets at a time.
struct Pieces {
    octets: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.octets[self.at..];
        let piece = rest.len().min(into.len()).min(1 + self.at % 7);
        into[..piece].copy_from_slice(&rest[..piece]);
        self.at += piece;
        Ok(piece)
    }
}

const MOST: usize = 20_000;
