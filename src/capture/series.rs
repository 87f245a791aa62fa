//! A live capture on its way to files: one, or one after the other, of which the oldest make room.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{CaptureError, Frame, Writer, shown};
use crate::time::{Span, Timestamp};

/// When a file ends and the next begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rotation {
    /// After the frame with which it has this many octets.
    pub octets: Option<u64>,
    /// Before the first frame that is this much later than its first one.
    pub span: Option<Span>,
    /// How many files there are at most, the one being written among them; the oldest is removed for the next.
    pub files: Option<usize>,
}

/// Writes frames to a file, or to one after the other.
///
/// As with [`Writer`], a file has its name only when it is whole. Without a rotation that is the name given;
/// with one, a number is put before its ending: `trace.pcapng` gives `trace-00001.pcapng`, `trace-00002.pcapng` and so on.
pub struct Series {
    path: PathBuf,
    rotation: Rotation,
    interface: String,
    writer: Writer,
    /// The number of the file being written.
    number: u64,
    began: Option<Timestamp>,
    frames: u64,
    /// Whole files, the oldest first; all of them when none is removed.
    whole: VecDeque<PathBuf>,
    /// Drops counted in the files before.
    dropped_before: u64,
}

/// What a series leaves.
#[derive(Debug)]
pub struct Written {
    /// The names of the files that there are.
    pub files: Vec<PathBuf>,
    /// How many frames the last of them has.
    pub frames: u64,
    /// Why the last one ends before its last frame, or is not there.
    pub broken: Option<CaptureError>,
}

impl Series {
    /// Begins the first file; `interface` is kept in it where its format has room for that.
    ///
    /// # Errors
    /// See [`Writer::create`].
    pub fn create(path: &Path, rotation: Rotation, interface: &str) -> Result<Self, CaptureError> {
        let mut writer = Writer::create(&name(path, &rotation, 1))?;
        writer.interface(interface, "");
        Ok(Self {
            path: path.into(),
            rotation,
            interface: interface.into(),
            writer,
            number: 1,
            began: None,
            frames: 0,
            whole: VecDeque::new(),
            dropped_before: 0,
        })
    }

    /// Adds a frame, to the next file if this one is to end before it.
    ///
    /// `dropped` is what the kernel has dropped since the capture began.
    ///
    /// # Errors
    /// Those of [`Writer::write`], [`Writer::create`] and [`Writer::finish`], or the oldest file cannot be removed.
    pub fn write(&mut self, frame: &Frame<'_>, dropped: u64) -> Result<(), CaptureError> {
        if let Some(at) = frame.at {
            self.end_if_due(at, dropped)?;
        }
        self.began = self.began.or(frame.at);
        self.frames += 1;
        self.writer.write(frame, &[])?;
        match self.rotation.octets {
            Some(most) if self.writer.written() >= most => self.turn(dropped),
            _ => Ok(()),
        }
    }

    /// Ends the file if it is due at this moment, though no frame has come; a pipe's reader gets what there is.
    ///
    /// # Errors
    /// As for [`Series::write`].
    pub fn pass(&mut self, now: Timestamp, dropped: u64) -> Result<(), CaptureError> {
        self.writer.flush_stream()?;
        self.end_if_due(now, dropped)
    }

    fn end_if_due(&mut self, now: Timestamp, dropped: u64) -> Result<(), CaptureError> {
        match (self.rotation.span, self.began) {
            (Some(span), Some(began)) if now.since(began) >= span => self.turn(dropped),
            _ => Ok(()),
        }
    }

    /// Ends the last file, which is left out when it holds no frame and another does; where it can be written no further, with its last whole frame.
    pub fn finish(mut self, dropped: u64) -> Written {
        let mut written = Written { files: Vec::new(), frames: self.frames, broken: None };
        if self.frames > 0 || self.whole.is_empty() {
            self.writer.dropped(dropped.saturating_sub(self.dropped_before));
            let ended = self.writer.end().map(|()| self.frames).or_else(|error| {
                let kept = self.writer.give_up();
                written.broken = Some(error);
                kept
            });
            match ended {
                Ok(0) if written.broken.is_some() => written.frames = 0,
                Ok(frames) => {
                    written.frames = frames;
                    self.whole.push_back(name(&self.path, &self.rotation, self.number));
                }
                Err(error) => (written.frames, written.broken) = (0, Some(error)),
            }
        }
        written.files = self.whole.into();
        written
    }

    fn turn(&mut self, dropped: u64) -> Result<(), CaptureError> {
        self.make_room()?;
        let mut next = Writer::create(&name(&self.path, &self.rotation, self.number + 1))?;
        next.interface(&self.interface, "");
        self.writer.dropped(dropped.saturating_sub(self.dropped_before));
        self.writer.end()?;
        self.writer = next;
        self.whole.push_back(name(&self.path, &self.rotation, self.number));
        self.dropped_before = dropped.max(self.dropped_before);
        self.number += 1;
        self.began = None;
        self.frames = 0;
        Ok(())
    }

    /// Removes the oldest files, so that the one that was written and the next have room.
    fn make_room(&mut self) -> Result<(), CaptureError> {
        let Some(most) = self.rotation.files else { return Ok(()) };
        while self.whole.len() + 2 > most.max(2) {
            let Some(oldest) = self.whole.pop_front() else { break };
            match self.writer.remove_beside(oldest.file_name().unwrap_or_default()) {
                Ok(()) => {}
                // Somebody took it away, and that is what such files are for.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let name = shown(&oldest.to_string_lossy());
                    return Err(CaptureError::new(format!("{name} cannot be removed to make room: {error}")));
                }
            }
        }
        Ok(())
    }
}

fn name(path: &Path, rotation: &Rotation, number: u64) -> PathBuf {
    if rotation.octets.is_none() && rotation.span.is_none() {
        return path.into();
    }
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!("-{number:05}."));
    name.push(path.extension().unwrap_or_default());
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{FileSource, FrameSource, LinkType, SeenAt};
    use super::*;

    /// A folder of its own for each test, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tcpflow-series-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        /// The frames' times in seconds by file.
        fn held(&self) -> Vec<(String, Vec<i64>)> {
            let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut held: Vec<_> = names.map(|name| (name.clone(), times(&self.0.join(name)))).collect();
            held.sort();
            held
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    fn times(path: &Path) -> Vec<i64> {
        let mut source = FileSource::open(path).unwrap();
        let mut times = Vec::new();
        while let Some(frame) = source.next_frame().unwrap() {
            times.push(frame.at.unwrap().as_nanos() / 1_000_000_000);
        }
        times
    }

    fn frame(seconds: i64) -> Frame<'static> {
        let at = Some(Timestamp::from_parts(seconds, 0));
        Frame { number: 1, at, link: LinkType::RAW, bytes: &[7; 100], wire_len: 100, seen: SeenAt::default() }
    }

    #[test]
    fn without_a_rotation_there_is_one_file_of_the_name_given() {
        let folder = Folder::new("one");
        let mut series = Series::create(&folder.0.join("a.b.pcap"), Rotation::default(), "lo").unwrap();
        for seconds in 0..100 {
            series.write(&frame(seconds), 0).unwrap();
        }
        let written = series.finish(0).files;
        assert_eq!(written, [folder.0.join("a.b.pcap")]);
        assert_eq!(folder.held(), [("a.b.pcap".to_owned(), (0..100).collect())]);
    }

    #[test]
    fn a_file_ends_with_the_frame_that_fills_it_and_the_oldest_makes_room() {
        let folder = Folder::new("size");
        // A header of 24 octets, and 116 for each frame.
        let rotation = Rotation { octets: Some(24 + 116 + 1), files: Some(2), ..Rotation::default() };
        let mut series = Series::create(&folder.0.join("a.pcap"), rotation, "lo").unwrap();
        for seconds in 0..7 {
            series.write(&frame(seconds), 0).unwrap();
            let files = fs::read_dir(&folder.0).unwrap().count();
            assert!(files <= 2, "{files} files, the unfinished one among them");
        }
        assert!(series.finish(0).broken.is_none());
        assert_eq!(folder.held(), [("a-00003.pcap".to_owned(), vec![4, 5]), ("a-00004.pcap".to_owned(), vec![6])]);
    }

    #[test]
    fn a_file_ends_in_time_whether_frames_come_or_not() {
        let folder = Folder::new("time");
        let rotation = Rotation { span: Some(Span(10_000_000_000)), ..Rotation::default() };
        let mut series = Series::create(&folder.0.join("a.pcapng"), rotation, "lo").unwrap();
        for seconds in [0, 9, 10, 12] {
            series.write(&frame(seconds), 3).unwrap();
        }
        let at = |seconds| Timestamp::from_parts(seconds, 0);
        series.pass(at(19), 4).unwrap();
        series.pass(at(20), 5).unwrap();
        series.pass(at(90), 5).unwrap();
        // Nothing came after the second file: there is no third.
        let written = series.finish(5).files;
        assert_eq!(written, [folder.0.join("a-00001.pcapng"), folder.0.join("a-00002.pcapng")]);
        assert_eq!(
            folder.held(),
            [("a-00001.pcapng".to_owned(), vec![0, 9]), ("a-00002.pcapng".to_owned(), vec![10, 12])]
        );
        // Each says what was dropped in its time.
        let dropped = written.iter().map(|path| {
            let mut source = FileSource::open(path).unwrap();
            while source.next_frame().unwrap().is_some() {}
            source.dropped()
        });
        assert_eq!(dropped.collect::<Vec<_>>(), [Some(3), Some(2)]);
    }

    #[test]
    fn what_cannot_be_written_is_known_before_the_first_frame() {
        let nowhere = Path::new("/nowhere/a.pcap");
        assert!(Series::create(nowhere, Rotation::default(), "lo").is_err());
    }
}
