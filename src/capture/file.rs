//! Capture files of every format that is read, told by their content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::compression::decompressed;
use super::input::Input;
use super::patient::Patient;
use super::pcap::Pcap;
use super::pcapng::Pcapng;
use super::point::Points;
use super::{CaptureError, CapturePoint, Frame, FrameSource, LinkType, SeenAt, shown};
use crate::time::Timestamp;

/// A capture file, read once from front to end in bounded memory.
///
/// A damaged file yields the frames before the damage, then an error, then nothing.
pub struct FileSource {
    name: String,
    input: Input,
    format: Format,
    number: u64,
    finished: bool,
    bytes_read: Arc<AtomicU64>,
    size: Option<u64>,
}

impl FileSource {
    /// Opens a capture by its path; `-` is standard input.
    ///
    /// # Errors
    /// The file cannot be opened, is empty, or is not a capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Self::open_until(path, &Arc::default())
    }

    /// Opens a capture as [`FileSource::open`] does; where it is a stream, waiting for more of it ends as an error once `stop` is set.
    ///
    /// # Errors
    /// As [`FileSource::open`].
    pub fn open_until(path: &Path, stop: &Arc<AtomicBool>) -> Result<Self, CaptureError> {
        if path == Path::new("-") {
            let input = io::stdin();
            if input.is_terminal() {
                return Err(CaptureError::new(
                    "standard input is a terminal, and a capture is expected from it: \
                     name a file, or pipe one in (tcpdump -w - | tcpflow analyze -)",
                ));
            }
            let name = "standard input";
            let file = input
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| CaptureError::new(format!("{name} cannot be read: {error}")))?;
            let file = Arc::new(File::from(file));
            // A file that the shell opened is one all the same.
            return match file.metadata() {
                Ok(metadata) if metadata.is_file() => {
                    Self::from_sized(name.into(), Box::new(file), Some(metadata.len()))
                }
                _ => Self::from_sized(name.into(), Box::new(Patient::new(file, stop)), None),
            };
        }
        Self::open_held(path, hold(path)?, stop)
    }

    /// Reads a capture that was opened with [`hold`] from its beginning, `path` being what errors call it.
    ///
    /// Of one file no two may be read at the same time.
    ///
    /// # Errors
    /// As [`FileSource::open`].
    pub fn open_held(path: &Path, file: Arc<File>, stop: &Arc<AtomicBool>) -> Result<Self, CaptureError> {
        let name = shown(&path.to_string_lossy());
        let failed = |error: io::Error| cannot_be_opened(&name, &error);
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(CaptureError::new(format!("{name} is a directory: name the capture files in it")));
        }
        match metadata.is_file() {
            true => {
                (&*file).rewind().map_err(failed)?;
                Self::from_sized(name, Box::new(file), Some(metadata.len()))
            }
            false => Self::from_sized(name, Box::new(Patient::new(file, stop)), None),
        }
    }

    /// Reads a capture from anything readable; `name` is what errors call it.
    ///
    /// # Errors
    /// It is empty, or is not a capture.
    pub fn from_reader(name: &str, reader: Box<dyn Read + Send>) -> Result<Self, CaptureError> {
        Self::from_sized(shown(name), reader, None)
    }

    /// Reads no more than `octets` at a time: where many files are open at once, their buffers add up.
    pub fn limit_read_ahead(&mut self, octets: usize) {
        self.input.limit(octets);
    }

    /// How many octets were read from the file so far, before decompression.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// What tells [`FileSource::bytes_read`] to another thread while the file is read.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.bytes_read))
    }

    /// How many octets the file has; `None` for a stream.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The records that were attached to the capture when it was written, as far as it was read so far.
    ///
    /// They stand at its end: all of them are known once there is no next frame.
    pub fn attachments(&self) -> &[Vec<u8>] {
        match &self.format {
            Format::Pcap(..) => &[],
            Format::Pcapng(pcapng) => pcapng.attachments(),
        }
    }

    /// Gives the attached records away, so that their memory is freed as soon as they are understood.
    pub fn take_attachments(&mut self) -> Vec<Vec<u8>> {
        match &mut self.format {
            Format::Pcap(..) => Vec::new(),
            Format::Pcapng(pcapng) => pcapng.take_attachments(),
        }
    }

    /// Keeps no attached records, which can be large.
    pub fn leave_attachments(&mut self) {
        if let Format::Pcapng(pcapng) = &mut self.format {
            pcapng.leave_attachments();
        }
    }

    /// How many frames the capturing side says it dropped, as far as the capture was read so far; `None` if it does not say.
    pub fn dropped(&self) -> Option<u64> {
        match &self.format {
            Format::Pcap(..) => None,
            Format::Pcapng(pcapng) => pcapng.dropped(),
        }
    }

    /// The comments on the frame that was read last.
    pub fn comments(&self) -> Vec<String> {
        match &self.format {
            Format::Pcap(..) => Vec::new(),
            Format::Pcapng(pcapng) => pcapng.comments(&self.input),
        }
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn from_sized(name: String, reader: Box<dyn Read + Send>, size: Option<u64>) -> Result<Self, CaptureError> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counted = Counted { reader, count: Arc::clone(&bytes_read) };
        let reader = decompressed(Box::new(counted)).map_err(|error| Broken::from(error).told(&name, 0))?;
        let mut input = Input::new(reader);
        let format = Format::open(&mut input, &name).map_err(|broken| broken.explain(&name, 0, &mut input))?;
        Ok(Self { name, input, format, number: 0, finished: false, bytes_read, size })
    }
}

/// How far a file is read, to be asked while another thread reads it.
#[derive(Clone, Debug)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// How many octets were read from the file so far, before decompression.
    pub fn octets(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl FrameSource for FileSource {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let mut record = Record::NONE;
        Ok(self.advance(&mut record)?.then(|| self.frame(&record)))
    }

    fn points(&self) -> &[CapturePoint] {
        match &self.format {
            Format::Pcap(_, points) => points.known(),
            Format::Pcapng(pcapng) => pcapng.points(),
        }
    }

    #[inline]
    fn next_frames(
        &mut self,
        most: usize,
        mut on: impl FnMut(Frame<'_>) -> Result<(), CaptureError>,
    ) -> Result<usize, CaptureError> {
        for taken in 0..most {
            let mut record = Record::NONE;
            if !self.advance(&mut record)? {
                return Ok(taken);
            }
            on(self.frame(&record))?;
        }
        Ok(most)
    }
}

impl FileSource {
    /// Reads the next record into `record`; whether there was one.
    #[inline(always)]
    fn advance(&mut self, record: &mut Record) -> Result<bool, CaptureError> {
        if self.finished {
            return Ok(false);
        }
        let next = match &mut self.format {
            Format::Pcap(pcap, _) => pcap.next(&mut self.input, record).inspect(|more| self.number += u64::from(*more)),
            Format::Pcapng(pcapng) => match pcapng.next(&mut self.input, &mut self.number) {
                Ok(next) => {
                    let more = next.is_some();
                    *record = next.unwrap_or(Record::NONE);
                    Ok(more)
                }
                Err(broken) => Err(broken),
            },
        };
        match next {
            Ok(true) => Ok(true),
            end => self.end(end),
        }
    }

    /// The frame that was read last.
    #[inline(always)]
    fn frame(&self, record: &Record) -> Frame<'_> {
        Frame {
            number: self.number,
            at: record.at,
            link: record.link,
            bytes: self.input.bytes(record.begin..record.begin + record.captured as usize),
            wire_len: record.wire_len,
            seen: self.format.seen(),
        }
    }

    /// Ends the reading, and says why it ended where the file is not whole.
    #[cold]
    fn end(&mut self, end: Result<bool, Broken>) -> Result<bool, CaptureError> {
        self.finished = true;
        if let Err(broken) = end {
            return Err(broken.explain(&self.name, self.number, &mut self.input));
        }
        match self.input.take_failure() {
            Some(error) => Err(Broken::from(error).told(&self.name, self.number)),
            None => self.format.overrun().map_or(Ok(false), |frame| Err(overrun(&self.name, frame))),
        }
    }
}

/// Opens a capture without reading any of it, so that it can be read when this process may open it no more.
///
/// # Errors
/// It cannot be opened.
pub fn hold(path: &Path) -> Result<Arc<File>, CaptureError> {
    // To open a named pipe would wait for its writer, and nothing could end that.
    let is_pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let flags = if is_pipe { libc::O_NONBLOCK } else { 0 };
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    opened.map(Arc::new).map_err(|error| cannot_be_opened(&shown(&path.to_string_lossy()), &error))
}

fn cannot_be_opened(name: &str, error: &io::Error) -> CaptureError {
    CaptureError::new(match error.kind() {
        io::ErrorKind::NotFound => format!("{name}: there is no such file"),
        io::ErrorKind::PermissionDenied => format!("{name}: permission denied: it takes the right to read this file"),
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            format!("{name}: cannot be opened: no more files may be open (ulimit -n)")
        }
        _ => format!("{name}: cannot be opened: {error}"),
    })
}

/// One packet record, its bytes still in the input's window.
pub(super) struct Record {
    pub(super) at: Option<Timestamp>,
    pub(super) link: LinkType,
    pub(super) begin: usize,
    pub(super) captured: u32,
    pub(super) wire_len: u32,
}

impl Record {
    /// What stands where none was read yet.
    const NONE: Self = Self { at: None, link: LinkType(0), begin: 0, captured: 0, wire_len: 0 };
}

/// Why a file can be read no further.
pub(super) enum Broken {
    /// It ends where it should go on: at which place.
    Cut(&'static str),
    /// It says what cannot be: what.
    Damaged(String),
    /// It is nothing that can be read: what it is, and the way out.
    Foreign(String),
    /// It has no octets.
    Empty,
    /// Reading or decompressing failed.
    Failed(io::Error),
}

impl Broken {
    pub(super) fn oversized(captured: u32) -> Self {
        Self::Damaged(format!(
            "the next one claims {captured} captured octets, and no capture holds more than {MAX_CAPTURED}"
        ))
    }

    /// A reader that failed looks like an early end: what it said is the reason.
    fn explain(self, name: &str, frames: u64, input: &mut Input) -> CaptureError {
        input.take_failure().map_or(self, Self::from).told(name, frames)
    }

    fn told(self, name: &str, frames: u64) -> CaptureError {
        let place = if frames == 0 { "before its first frame".into() } else { format!("after frame {frames}") };
        CaptureError::new(match self {
            Self::Cut(_) if frames == 0 => format!(
                "{name} is cut short before its first frame: nothing of it can be read; copy or capture it again"
            ),
            Self::Cut(place_in) => format!(
                "{name} is cut short after frame {frames}, {place_in}: \
                 it was copied or stopped while being written; the frames before that were read"
            ),
            Self::Damaged(what) if frames == 0 => format!("{name} is damaged before its first frame: {what}"),
            Self::Damaged(what) => {
                format!("{name} is damaged after frame {frames}: {what}; the frames before that were read")
            }
            Self::Foreign(what) => format!("{name} is not a capture that can be read: {what}"),
            Self::Empty => {
                format!("{name} is empty: a capture has at least a file header, so nothing was ever written to it")
            }
            Self::Failed(error) => format!("{name} cannot be read further {place}: {error}"),
        })
    }
}

/// What decompression says of its data is said of the file; the rest are the system's errors.
impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut("within its compressed data"),
            io::ErrorKind::InvalidData => Self::Damaged(error.to_string()),
            _ => Self::Failed(error),
        }
    }
}

enum Format {
    Pcap(Pcap, Points),
    Pcapng(Pcapng),
}

impl Format {
    fn open(input: &mut Input, name: &str) -> Result<Self, Broken> {
        let head = input.peek(12);
        if head.is_empty() {
            return Err(Broken::Empty);
        }
        if Pcap::recognises(head) {
            let pcap = Pcap::open(input)?;
            let mut points = Points::new(name);
            points.number(0, pcap.link(), b"", b"");
            return Ok(Self::Pcap(pcap, points));
        }
        if Pcapng::recognises(head) {
            return Ok(Self::Pcapng(Pcapng::new(name)));
        }
        Err(Broken::Foreign(foreign(head)))
    }

    /// Where the packet read last was captured.
    #[inline]
    fn seen(&self) -> SeenAt {
        match self {
            Self::Pcap(..) => SeenAt::default(),
            Self::Pcapng(pcapng) => pcapng.seen(),
        }
    }

    /// After which frame an option overran its block.
    fn overrun(&self) -> Option<u64> {
        match self {
            Self::Pcap(..) => None,
            Self::Pcapng(pcapng) => pcapng.overrun(),
        }
    }
}

fn overrun(name: &str, frame: u64) -> CaptureError {
    let place = if frame == 0 { "before its first frame".into() } else { format!("after frame {frame}") };
    CaptureError::new(format!(
        "{name} is damaged {place}: an option claims to be longer than its block, and was left out; all frames were read"
    ))
}

/// What a file is that is no capture, as far as its first octets tell, and what to do about it.
fn foreign(head: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 8] = [
        (b"\xfd7zXZ", "it is compressed with xz: xz -dc FILE | tcpflow analyze -"),
        (b"BZh", "it is compressed with bzip2: bzip2 -dc FILE | tcpflow analyze -"),
        (b"PK\x03\x04", "it is a zip archive: unpack the capture in it first"),
        (b"7z\xbc\xaf", "it is a 7z archive: unpack the capture in it first"),
        (b"snoop\0", "it is a snoop file: editcap -F pcap FILE OUT.pcap makes it a capture that is"),
        (b"\x0a\x0d\x0d\x0a", "it begins as pcapng and does not say its byte order: it is damaged from the start"),
        (b"XCP\0", "it is a NetXRay or Sniffer file: editcap -F pcap FILE OUT.pcap makes it a capture that is"),
        (b"TRSNIFF data", "it is a Sniffer file: editcap -F pcap FILE OUT.pcap makes it a capture that is"),
    ];
    let readable = "pcap and pcapng are, also compressed with gzip, zstd or lz4";
    match KNOWN.iter().find(|(start, _)| head.starts_with(start)) {
        Some((_, what)) => format!("{what}; {readable}"),
        None => format!("its first octets are those of no known format; {readable}"),
    }
}

struct Counted {
    reader: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(into) {
                // Decompressors may lose their place when a signal interrupts them.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    self.count.fetch_add(*result.as_ref().unwrap_or(&0) as u64, Ordering::Relaxed);
                    return result;
                }
            }
        }
    }
}

/// As much of one frame as tcpdump or Wireshark ever write or read.
pub(super) const MAX_CAPTURED: u32 = 262_144;
