//! Capture files of every format that is read, told by their content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::allowance::Heeding;
use super::compression::decompressed;
use super::input::Input;
use super::patient::Patient;
use super::pcap::Pcap;
use super::pcapng::Pcapng;
use super::point::Points;
use super::record::{Damage, Record};
use super::{Allowance, CaptureError, CapturePoint, Frame, FrameSource, SeenAt, shown};
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
        Self::open_within(path, &Allowance::default())
    }

    /// Opens a capture as [`FileSource::open`] does; it takes no more than what is allowed, and reading it, or waiting for more of it, ends as an error once `stop` is set.
    ///
    /// # Errors
    /// As [`FileSource::open`].
    pub fn open_within(path: &Path, allowance: &Allowance) -> Result<Self, CaptureError> {
        let stop = &allowance.stop;
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
                    Self::from_sized(name.into(), Box::new(file), Some(metadata.len()), allowance)
                }
                _ => Self::from_sized(name.into(), Box::new(Patient::new(file, stop)), None, allowance),
            };
        }
        Self::open_held(path, hold(path)?, allowance)
    }

    /// Reads a capture that was opened with [`hold`] from its beginning, `path` being what errors call it.
    ///
    /// Of one file no two may be read at the same time.
    ///
    /// # Errors
    /// As [`FileSource::open`].
    pub fn open_held(path: &Path, file: Arc<File>, allowance: &Allowance) -> Result<Self, CaptureError> {
        let name = shown(&path.to_string_lossy());
        let failed = |error: io::Error| cannot_be_opened(&name, &error);
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(CaptureError::new(format!("{name} is a directory: name the capture files in it")));
        }
        match metadata.is_file() {
            true => {
                (&*file).rewind().map_err(failed)?;
                Self::from_sized(name, Box::new(file), Some(metadata.len()), allowance)
            }
            false => Self::from_sized(name, Box::new(Patient::new(file, &allowance.stop)), None, allowance),
        }
    }

    /// Reads a capture from anything readable; `name` is what errors call it.
    ///
    /// # Errors
    /// It is empty, or is not a capture.
    pub fn from_reader(name: &str, reader: Box<dyn Read + Send>) -> Result<Self, CaptureError> {
        Self::from_reader_within(name, reader, &Allowance::default())
    }

    /// The same, which takes no more than what is allowed.
    ///
    /// # Errors
    /// As [`FileSource::from_reader`].
    pub fn from_reader_within(
        name: &str,
        reader: Box<dyn Read + Send>,
        allowance: &Allowance,
    ) -> Result<Self, CaptureError> {
        Self::from_sized(shown(name), reader, None, allowance)
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

    /// How many frames the capturing side says it dropped, as far as the capture was read so far; `None` if it does not say.
    pub fn dropped(&self) -> Option<u64> {
        match &self.format {
            Format::Pcap(..) => None,
            Format::Pcapng(pcapng) => pcapng.dropped(),
        }
    }

    /// From when to when the capturing side says that it captured, as far as the capture was read so far; `None` if it does not say.
    pub fn ran(&self) -> Option<[Timestamp; 2]> {
        match &self.format {
            Format::Pcap(..) => None,
            Format::Pcapng(pcapng) => pcapng.ran(),
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

    fn from_sized(
        name: String,
        reader: Box<dyn Read + Send>,
        size: Option<u64>,
        allowance: &Allowance,
    ) -> Result<Self, CaptureError> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        // What is passed over, and what a few octets decompress to, may be endless.
        let counted =
            Counted { reader: Box::new(Heeding::new(reader, &allowance.stop)), count: Arc::clone(&bytes_read) };
        let reader =
            decompressed(Box::new(counted), &allowance.windows).map_err(|error| Damage::from(error).told(&name, 0))?;
        let mut input = Input::new(Box::new(Heeding::new(reader, &allowance.stop)));
        let format =
            Format::open(&mut input, &name, allowance).map_err(|damage| damage.explain(&name, 0, &mut input))?;
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
        mut on: impl FnMut(Frame<'_>) -> Result<ControlFlow<()>, CaptureError>,
    ) -> Result<usize, CaptureError> {
        for taken in 0..most {
            let mut record = Record::NONE;
            if !self.advance(&mut record)? {
                return Ok(taken);
            }
            if on(self.frame(&record))?.is_break() {
                return Ok(taken + 1);
            }
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
        // Where there is a record, nothing of the ways to end stands between it and its reader.
        let end = match &mut self.format {
            Format::Pcap(pcap, _) => match pcap.next(&mut self.input, record) {
                Ok(true) => {
                    self.number += 1;
                    return Ok(true);
                }
                end => end,
            },
            Format::Pcapng(pcapng) => match pcapng.next(&mut self.input, &mut self.number) {
                Ok(Some(next)) => {
                    *record = next;
                    return Ok(true);
                }
                end => end.map(|_| false),
            },
        };
        self.end(end)
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
    fn end(&mut self, end: Result<bool, Damage>) -> Result<bool, CaptureError> {
        self.finished = true;
        if let Err(damage) = end {
            let error = damage.explain(&self.name, self.number, &mut self.input);
            self.input.close();
            return Err(error);
        }
        self.input.close();
        match self.input.take_failure() {
            Some(error) => Err(Damage::from(error).told(&self.name, self.number)),
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

enum Format {
    Pcap(Pcap, Points),
    Pcapng(Pcapng),
}

impl Format {
    fn open(input: &mut Input, name: &str, allowance: &Allowance) -> Result<Self, Damage> {
        let head = input.peek(12);
        if head.is_empty() {
            return Err(Damage::Empty);
        }
        if Pcap::recognises(head) {
            let pcap = Pcap::open(input)?;
            let mut points = Points::new(name);
            points.number(0, pcap.link(), b"", b"");
            return Ok(Self::Pcap(pcap, points));
        }
        if Pcapng::recognises(head) {
            return Ok(Self::Pcapng(Pcapng::new(name, allowance.attachments.as_ref())));
        }
        Err(Damage::Foreign(foreign(head)))
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
