//! Captures on their way to a file: pcap or pcapng, put in place when they are whole.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::attachment::{self, MAX_OCTETS, pieces};
use super::pcapng::{
    ENHANCED_PACKET, EXAMPLE_ENTERPRISE, IF_TSRESOL, INTERFACE, ISB_ENDTIME, ISB_IFDROP, ISB_STARTTIME, OPT_COMMENT,
    OPT_CUSTOM_BINARY, SECTION, SIMPLE_PACKET, STATISTICS,
};
use super::place::{NewFile, Place, failed};
use super::{CaptureError, Frame, LinkType, shown};
use crate::time::Timestamp;

/// Writes frames to a capture file with times in nanoseconds.
///
/// The file gets its name only when it is whole, as every [`NewFile`] does: a writer that is dropped before leaves nothing.
pub struct Writer {
    target: PathBuf,
    file: NewFile,
    /// What is not in the file yet, but for its first `gone` octets.
    pending: Vec<u8>,
    gone: usize,
    /// Where frames end in it.
    ends: Vec<usize>,
    /// How many octets the file had before what is pending, and how many frames.
    flushed: u64,
    flushed_frames: u64,
    format: Format,
    interfaces: Vec<LinkType>,
    name: Option<String>,
    description: Option<String>,
    attachments: Vec<Vec<u8>>,
    attached: usize,
    dropped: Option<u64>,
    /// From when to when it was captured.
    ran: Option<[Timestamp; 2]>,
    last: Option<Timestamp>,
    block: Vec<u8>,
    written: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Pcap,
    Pcapng,
}

impl Writer {
    /// Checks, before there is anything to write, what can be known of a path: its ending, and whether a file can be there.
    ///
    /// # Errors
    /// The ending says no format, the path is a directory, or there is no directory for it.
    pub fn check(path: &Path) -> Result<(), CaptureError> {
        Self::format_of(path)?;
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => Err(CaptureError::new(format!(
                "{}: there is no directory {}",
                shown(&path.to_string_lossy()),
                shown(&parent.to_string_lossy())
            ))),
            // Root may become another user before the file is made, for whom other links and rights hold.
            _ if geteuid().is_root() => Ok(()),
            _ => Place::of(path)?.may_be_written(path),
        }
    }

    fn format_of(path: &Path) -> Result<Format, CaptureError> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let format = match ending.as_deref() {
            Some("pcap" | "cap" | "dmp") => Format::Pcap,
            Some("pcapng" | "ntar") => Format::Pcapng,
            _ => {
                return Err(CaptureError::new(format!(
                    "{}: the ending says the format of a capture: .pcap, .cap or .dmp; .pcapng or .ntar",
                    shown(&path.to_string_lossy())
                )));
            }
        };
        if path.is_dir() {
            return Err(CaptureError::new(format!("{} is a directory", shown(&path.to_string_lossy()))));
        }
        Ok(format)
    }

    /// Begins a capture whose format the path's ending says: `.pcap`, `.cap` or `.dmp`; `.pcapng` or `.ntar`.
    ///
    /// # Errors
    /// The ending is another one, or the file cannot be made.
    pub fn create(path: &Path) -> Result<Self, CaptureError> {
        Self::begin(path.into(), Self::format_of(path)?)
    }

    /// Begins what is to be seen of a capture until it is whole: a file of `path`'s format and of its name with `.partial`, which it has
    /// from the beginning, and which can be read whenever [`Writer::write_out`] has returned, whatever becomes of this process.
    ///
    /// `None` where `path` is a pipe or a device, which nothing can be beside.
    ///
    /// # Errors
    /// As for [`Writer::create`].
    pub fn create_partial(path: &Path) -> Result<Option<Self>, CaptureError> {
        let format = Self::format_of(path)?;
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Ok(None);
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let mut writer = Self::begin(name.into(), format)?;
        writer.file.finish()?;
        Ok(Some(writer))
    }

    fn begin(target: PathBuf, format: Format) -> Result<Self, CaptureError> {
        let file = NewFile::create(&target)?;
        let mut writer = Self {
            target,
            file,
            pending: Vec::with_capacity(BUFFER + BUFFER / 4),
            gone: 0,
            ends: Vec::new(),
            flushed: 0,
            flushed_frames: 0,
            format,
            interfaces: Vec::new(),
            name: None,
            description: None,
            attachments: Vec::new(),
            attached: 0,
            dropped: None,
            ran: None,
            last: None,
            block: Vec::new(),
            written: 0,
        };
        if format == Format::Pcapng {
            writer.section();
        }
        Ok(writer)
    }

    /// Whether the format keeps more than frames: comments, attachments, the interface and its drops.
    pub fn keeps_more(&self) -> bool {
        self.format == Format::Pcapng
    }

    /// Says from which interface the frames are; to be called before the first frame, and kept by pcapng only.
    pub fn interface(&mut self, name: &str, description: &str) {
        self.name = (!name.is_empty()).then(|| name.into());
        self.description = (!description.is_empty()).then(|| description.into());
    }

    /// Adds a frame, with comments on it, which pcapng alone keeps, each cut to 65,535 octets.
    ///
    /// A frame without a time has one in a pcap file (zero), and in a pcapng file where it bears comments or where its link
    /// type is not the first one's (that of the frame before it): the formats leave no other way.
    ///
    /// # Errors
    /// The file cannot be written, or the format cannot hold the frame: pcap has room for one link type only.
    pub fn write(&mut self, frame: &Frame<'_>, comments: &[String]) -> Result<(), CaptureError> {
        let link = registered(frame.link);
        let index = match self.interfaces.iter().position(|&known| known == link) {
            Some(index) => index,
            None => self.describe(link)?,
        };
        match self.format {
            Format::Pcap => self.record(frame),
            Format::Pcapng => self.packet(frame, index, comments),
        }
        self.ends.push(self.pending.len());
        if self.pending.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Attaches a record, of any length, which [`FileSource::attachments`](super::FileSource::attachments) gives back.
    ///
    /// Readers that do not know it pass over it without a word: it is a custom option of the interface's statistics.
    ///
    /// # Errors
    /// The format is pcap, which has no place for it; or all records together have more than 256 MiB.
    pub fn attach(&mut self, record: &[u8]) -> Result<(), CaptureError> {
        if self.format == Format::Pcap {
            return Err(CaptureError::new(format!(
                "{}: a pcap file holds frames only; name it .pcapng to keep more",
                self.shown_target()
            )));
        }
        self.attached += attachment::cost(record);
        if self.attached > MAX_OCTETS {
            return Err(CaptureError::new(format!(
                "{}: more than {} MiB of records cannot be attached to a capture",
                self.shown_target(),
                MAX_OCTETS >> 20
            )));
        }
        self.attachments.push(record.to_vec());
        Ok(())
    }

    /// Writes what there is, attached records as well: the file is one as far as it goes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_out(&mut self) -> Result<(), CaptureError> {
        if self.interfaces.is_empty() {
            self.describe(LinkType::ETHERNET)?;
        }
        if self.format == Format::Pcapng {
            self.statistics();
        }
        self.flush()
    }

    /// Removes a file that was begun by [`Writer::create_partial`].
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(self) -> Result<(), CaptureError> {
        let name = self.target.file_name().unwrap_or_default();
        self.file.remove_beside(name).map_err(|error| failed(&self.target, &error))
    }

    /// What it is called.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes what there is where somebody may wait for it: into a pipe.
    pub(super) fn flush_stream(&mut self) -> Result<(), CaptureError> {
        if self.file.is_stream() { self.flush() } else { Ok(()) }
    }

    /// How many octets the file has so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Says how many frames were dropped before they could be captured; pcapng keeps it.
    pub fn dropped(&mut self, count: u64) {
        self.dropped = Some(count);
    }

    /// Says from when to when it was captured, though there may have been nothing to capture; pcapng keeps it.
    pub fn ran(&mut self, began: Timestamp, ended: Timestamp) {
        self.ran = Some([began, ended]);
    }

    /// Writes what is left, and gives the file its name, in place of whatever had it.
    ///
    /// # Errors
    /// The file cannot be written or renamed; nothing is left then, and what had the name before still has it.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        self.end()
    }

    /// As [`Writer::finish`]; may be tried again, or be given up.
    pub(super) fn end(&mut self) -> Result<(), CaptureError> {
        self.write_out()?;
        self.file.finish()
    }

    /// Ends a file that can be written no further with its last whole frame, and gives it its name; yields how many frames it has.
    ///
    /// Where there is none, nothing is left.
    ///
    /// # Errors
    /// It cannot be cut or renamed; then it is left with the name that the error has.
    pub(super) fn give_up(&mut self) -> Result<u64, CaptureError> {
        let whole = self.ends.partition_point(|end| *end <= self.gone);
        let frames = self.flushed_frames + whole as u64;
        if frames == 0 {
            return Ok(0);
        }
        let length = self.flushed + whole.checked_sub(1).map_or(0, |last| self.ends[last] as u64);
        // What was put into a pipe cannot be taken back.
        let kept = match self.file.is_stream() {
            true => Ok(()),
            false => self.file.file().set_len(length).map_err(|error| failed(&self.target, &error)),
        };
        let kept = kept.and_then(|()| self.file.finish());
        kept.map(|()| frames).map_err(|error| match self.file.abandon() {
            // With a quota used up btrfs refuses to cut and to rename, too.
            Some(temporary) => CaptureError::new(format!(
                "{error}; {frames} whole frames of it are in {}",
                shown(&temporary.to_string_lossy())
            )),
            None => error,
        })
    }

    /// Removes another file of the same folder.
    pub(super) fn remove_beside(&self, name: &OsStr) -> io::Result<()> {
        self.file.remove_beside(name)
    }

    /// Writes what is pending; what could be written of it is not written again.
    fn flush(&mut self) -> Result<(), CaptureError> {
        while self.gone < self.pending.len() {
            match self.file.write(&self.pending[self.gone..]) {
                Ok(0) => return Err(failed(&self.target, &io::ErrorKind::WriteZero.into())),
                Ok(written) => self.gone += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&self.target, &error)),
            }
        }
        self.flushed += self.pending.len() as u64;
        self.flushed_frames += self.ends.len() as u64;
        self.gone = 0;
        self.pending.clear();
        self.ends.clear();
        Ok(())
    }

    fn section(&mut self) {
        self.block.clear();
        self.block.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        self.block.extend_from_slice(&[1, 0, 0, 0]);
        self.block.extend_from_slice(&(-1i64).to_le_bytes());
        text_option(&mut self.block, SHB_OS, &operating_system());
        text_option(&mut self.block, SHB_USERAPPL, concat!("tcpflow ", env!("CARGO_PKG_VERSION")));
        option(&mut self.block, 0, &[]);
        self.put(SECTION);
    }

    /// A link type that comes for the first time.
    fn describe(&mut self, link: LinkType) -> Result<usize, CaptureError> {
        match self.format {
            Format::Pcap => {
                if let Some(first) = self.interfaces.first() {
                    return Err(CaptureError::new(format!(
                        "{}: a pcap file holds frames of one link type, and these have {} and {}; name it .pcapng",
                        self.shown_target(),
                        first.0,
                        link.0
                    )));
                }
                let mut header = Vec::with_capacity(24);
                header.extend_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
                header.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                header.extend_from_slice(&SNAP_LEN.to_le_bytes());
                header.extend_from_slice(&u32::from(link.0).to_le_bytes());
                self.pending.extend_from_slice(&header);
                self.written += header.len() as u64;
            }
            Format::Pcapng => {
                self.block.clear();
                self.block.extend_from_slice(&link.0.to_le_bytes());
                self.block.extend_from_slice(&[0, 0]);
                self.block.extend_from_slice(&SNAP_LEN.to_le_bytes());
                if let Some(name) = &self.name {
                    text_option(&mut self.block, IF_NAME, name);
                }
                if let Some(description) = &self.description {
                    text_option(&mut self.block, IF_DESCRIPTION, description);
                }
                option(&mut self.block, IF_TSRESOL, &[9]);
                option(&mut self.block, 0, &[]);
                self.put(INTERFACE);
            }
        }
        self.interfaces.push(link);
        Ok(self.interfaces.len() - 1)
    }

    fn record(&mut self, frame: &Frame<'_>) {
        let nanos = frame.at.map_or(0, Timestamp::as_nanos);
        // A pcap file cannot say a time before 1970, nor one after 2106.
        let (seconds, nanos) = match u32::try_from(nanos.div_euclid(1_000_000_000)) {
            Ok(seconds) => (seconds, nanos.rem_euclid(1_000_000_000) as u32),
            Err(_) if nanos < 0 => (0, 0),
            Err(_) => (u32::MAX, 999_999_999),
        };
        let captured = captured(frame);
        let mut header = [0; 16];
        header[..4].copy_from_slice(&seconds.to_le_bytes());
        header[4..8].copy_from_slice(&nanos.to_le_bytes());
        header[8..12].copy_from_slice(&(captured.len() as u32).to_le_bytes());
        header[12..].copy_from_slice(&frame.wire_len.max(captured.len() as u32).to_le_bytes());
        self.written += (header.len() + captured.len()) as u64;
        self.pending.extend_from_slice(&header);
        self.pending.extend_from_slice(captured);
    }

    fn packet(&mut self, frame: &Frame<'_>, index: usize, comments: &[String]) {
        let captured = captured(frame);
        let wire_len = frame.wire_len.max(captured.len() as u32);
        self.block.clear();
        // A simple packet block says its captured length only by what the snap length leaves of the original one.
        if frame.at.is_none() && index == 0 && comments.is_empty() && wire_len as usize == captured.len() {
            self.block.extend_from_slice(&wire_len.to_le_bytes());
            self.block.extend_from_slice(captured);
            self.put(SIMPLE_PACKET);
            return;
        }
        self.last = frame.at.or(self.last);
        let nanos = self.last.map_or(0, |at| at.as_nanos().max(0)) as u64;
        for word in [index as u32, (nanos >> 32) as u32, nanos as u32, captured.len() as u32, wire_len] {
            self.block.extend_from_slice(&word.to_le_bytes());
        }
        self.block.extend_from_slice(captured);
        self.block.resize(self.block.len().next_multiple_of(4), 0);
        for comment in comments {
            text_option(&mut self.block, OPT_COMMENT, comment);
        }
        if !comments.is_empty() {
            option(&mut self.block, 0, &[]);
        }
        self.put(ENHANCED_PACKET);
    }

    /// The drops, and the attached records, in as many blocks as keep each small.
    fn statistics(&mut self) {
        let attachments = std::mem::take(&mut self.attachments);
        let mut pieces = attachments.iter().flat_map(|record| pieces(record)).peekable();
        let dropped = self.dropped.take();
        let ran = self.ran.take();
        if dropped.is_none() && ran.is_none() && pieces.peek().is_none() {
            return;
        }
        let ticks = |at: Option<Timestamp>| {
            let nanos = at.map_or(0, |at| at.as_nanos().max(0)) as u64;
            [(nanos >> 32) as u32, nanos as u32].map(u32::to_le_bytes).concat()
        };
        loop {
            self.block.clear();
            self.block.extend_from_slice(&[0; 4]);
            let last = self.last.max(ran.map(|[_, ended]| ended));
            self.block.extend_from_slice(&ticks(last));
            if let Some([began, ended]) = ran {
                option(&mut self.block, ISB_STARTTIME, &ticks(Some(began)));
                option(&mut self.block, ISB_ENDTIME, &ticks(Some(ended)));
            }
            // Each block of an interface replaces what the one before said of it.
            if let Some(dropped) = dropped {
                option(&mut self.block, ISB_IFDROP, &dropped.to_le_bytes());
            }
            while self.block.len() < STATISTICS_BLOCK {
                let Some(piece) = pieces.next() else { break };
                let mut value = EXAMPLE_ENTERPRISE.to_le_bytes().to_vec();
                value.extend_from_slice(&piece);
                option(&mut self.block, OPT_CUSTOM_BINARY, &value);
            }
            option(&mut self.block, 0, &[]);
            self.put(STATISTICS);
            if pieces.peek().is_none() {
                return;
            }
        }
    }

    /// Writes the block whose body was made, between its type and its lengths.
    fn put(&mut self, kind: u32) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
        let length = (self.block.len() as u32 + 12).to_le_bytes();
        self.written += self.block.len() as u64 + 12;
        self.pending.extend_from_slice(&kind.to_le_bytes());
        self.pending.extend_from_slice(&length);
        self.pending.extend_from_slice(&self.block);
        self.pending.extend_from_slice(&length);
    }

    fn shown_target(&self) -> String {
        shown(&self.target.to_string_lossy())
    }
}

/// The registry's number of a link type that a capturing host may call by its own (raw IP, on Linux and on OpenBSD).
fn registered(link: LinkType) -> LinkType {
    if matches!(link.0, 12 | 14) { LinkType::RAW } else { link }
}

/// What fits of the frame: readers refuse more than this.
fn captured<'a>(frame: &Frame<'a>) -> &'a [u8] {
    &frame.bytes[..frame.bytes.len().min(SNAP_LEN as usize)]
}

/// Appends an option of text, cut to what an option can hold, though not within a character.
fn text_option(block: &mut Vec<u8>, code: u16, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    option(block, code, &text.as_bytes()[..end]);
}

/// Appends an option, padded; it holds no more than 65,535 octets.
fn option(block: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    block.extend_from_slice(&code.to_le_bytes());
    block.extend_from_slice(&(value.len() as u16).to_le_bytes());
    block.extend_from_slice(value);
    block.resize(block.len().next_multiple_of(4), 0);
}

fn operating_system() -> String {
    let read = |file| fs::read_to_string(file).ok().map(|text| text.trim().to_owned());
    match (read("/proc/sys/kernel/ostype"), read("/proc/sys/kernel/osrelease")) {
        (Some(kind), Some(release)) => format!("{kind} {release}"),
        _ => std::env::consts::OS.into(),
    }
}

const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const SNAP_LEN: u32 = super::record::MAX_CAPTURED;
const STATISTICS_BLOCK: usize = 1 << 20;
const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::{FileSource, FrameSource};
    use super::*;

    /// A folder of its own for each test, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static SERIAL: AtomicU32 = AtomicU32::new(0);
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("tcpflow-writer-{}-{serial}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    fn frame(link: LinkType, nanos: i64, bytes: &[u8], wire_len: u32) -> Frame<'_> {
        Frame { number: 1, at: Some(Timestamp::from_nanos(nanos)), link, bytes, wire_len, seen: Default::default() }
    }

    const NOW: i64 = 1_795_223_276_320_071_123;

    #[test]
    fn what_is_written_reads_back() {
        for (ending, link) in [("pcap", LinkType::RAW), ("pcapng", LinkType::LINUX_SLL2)] {
            let folder = Folder::new();
            let path = folder.0.join("capture").with_extension(ending);
            let mut writer = Writer::create(&path).unwrap();
            writer.write(&frame(link, NOW, b"abcde", 5), &[]).unwrap();
            writer.write(&frame(link, NOW + 1, b"", 60), &[]).unwrap();
            writer.finish().unwrap();
            assert_eq!(folder.names(), [format!("capture.{ending}")]);
            let mut source = FileSource::open(&path).unwrap();
            let first = source.next_frame().unwrap().unwrap();
            assert_eq!((first.number, first.link, first.bytes, first.wire_len), (1, link, &b"abcde"[..], 5));
            assert_eq!(first.at, Some(Timestamp::from_nanos(NOW)));
            let second = source.next_frame().unwrap().unwrap();
            assert_eq!((second.number, second.bytes, second.wire_len), (2, &b""[..], 60));
            assert_eq!(second.at, Some(Timestamp::from_nanos(NOW + 1)));
            assert!(source.next_frame().unwrap().is_none());
        }
    }

    #[test]
    fn pcapng_keeps_comments_drops_link_types_and_attachments() {
        let folder = Folder::new();
        let path = folder.0.join("all.pcapng");
        let records: Vec<Vec<u8>> =
            [0, 5, 70_000, 3_000_000].map(|length: usize| (0..length).map(|i| (i / 7) as u8).collect()).into();
        let mut writer = Writer::create(&path).unwrap();
        writer.interface("lo", "the loopback of the lab");
        let comments = ["the SYN of connect #1".to_owned(), "ü".repeat(40_000)];
        writer.write(&frame(LinkType::ETHERNET, NOW, b"one", 3), &comments).unwrap();
        writer.write(&frame(LinkType::RAW, NOW, b"two", 3), &[]).unwrap();
        let timeless = Frame { at: None, ..frame(LinkType::ETHERNET, 0, b"three", 5) };
        writer.write(&timeless, &[]).unwrap();
        for record in &records {
            writer.attach(record).unwrap();
        }
        writer.dropped(42);
        writer.finish().unwrap();

        let mut source = FileSource::open(&path).unwrap();
        assert_eq!(source.next_frame().unwrap().unwrap().link, LinkType::ETHERNET);
        let read = source.comments();
        assert_eq!(read[0], comments[0]);
        assert!(read[1].chars().all(|c| c == 'ü') && read[1].len() == 65_534);
        assert_eq!(source.next_frame().unwrap().unwrap().link, LinkType::RAW);
        assert!(source.comments().is_empty());
        let third = source.next_frame().unwrap().unwrap();
        assert_eq!((third.at, third.bytes), (None, &b"three"[..]));
        assert!(source.next_frame().unwrap().is_none());
        assert_eq!(source.attachments(), records);
        assert_eq!(source.dropped(), Some(42));
    }

    #[test]
    fn an_unfinished_capture_leaves_nothing_and_takes_nothing() {
        let folder = Folder::new();
        let path = folder.0.join("kept.pcap");
        fs::write(&path, "before").unwrap();
        let mut writer = Writer::create(&path).unwrap();
        writer.write(&frame(LinkType::RAW, 0, b"x", 1), &[]).unwrap();
        drop(writer);
        assert_eq!(folder.names(), ["kept.pcap"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    }

    #[test]
    fn a_link_goes_on_to_name_what_it_named() {
        let folder = Folder::new();
        let (kept, link) = (folder.0.join("kept.pcap"), folder.0.join("link.pcap"));
        fs::write(&kept, "before").unwrap();
        symlink("kept.pcap", &link).unwrap();
        Writer::create(&link).unwrap().finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(FileSource::open(&kept).unwrap().next_frame().unwrap().is_none());
    }

    #[test]
    fn no_link_in_a_folder_that_everybody_may_write_to_is_followed() {
        for mode in [0o1777, 0o777, 0o1755] {
            let folder = Folder::new();
            let (kept, shared) = (folder.0.join("kept.pcap"), folder.0.join("shared"));
            fs::write(&kept, "before").unwrap();
            fs::create_dir(&shared).unwrap();
            fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
            symlink(&kept, shared.join("file.pcap")).unwrap();
            symlink(&folder.0, shared.join("folder")).unwrap();
            for path in [shared.join("file.pcap"), shared.join("folder/kept.pcap"), shared.join("folder/new.pcap")] {
                let error = Writer::create(&path).err().unwrap_or_else(|| panic!("{} is made", path.display()));
                assert!(error.message.contains("is a symbolic link in a folder that everybody"), "{error}");
            }
            assert_eq!(fs::read_to_string(&kept).unwrap(), "before");
            // A file of one's own is made and replaced there all the same.
            Writer::create(&shared.join("own.pcap")).unwrap().finish().unwrap();
            Writer::create(&shared.join("own.pcap")).unwrap().finish().unwrap();
        }
    }

    #[test]
    fn links_to_folders_of_ones_own_are_followed_as_often_as_the_kernel_does() {
        let folder = Folder::new();
        fs::create_dir(folder.0.join("deep")).unwrap();
        symlink("deep/..", folder.0.join("around")).unwrap();
        symlink(folder.0.join("around/deep"), folder.0.join("there")).unwrap();
        symlink("circle", folder.0.join("circle")).unwrap();
        Writer::create(&folder.0.join("there/./../there/a.pcap")).unwrap().finish().unwrap();
        assert!(folder.0.join("deep/a.pcap").is_file());
        assert!(Writer::create(&folder.0.join("circle/a.pcap")).is_err());
    }

    #[test]
    fn a_file_that_is_replaced_leaves_its_mode() {
        let folder = Folder::new();
        let path = folder.0.join("secret.pcap");
        for mode in [0o600, 0o640, 0o444 | 0o200] {
            fs::write(&path, "before").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let writer = Writer::create(&path).unwrap();
            let hidden = folder.names().into_iter().find(|name| name.ends_with(".part")).unwrap();
            let of = |name: &str| fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(of(&hidden), mode, "also before it is whole");
            writer.finish().unwrap();
            assert_eq!(of("secret.pcap"), mode);
        }
    }

    #[test]
    fn what_a_dead_process_left_goes_when_the_next_is_whole_and_what_a_living_one_writes_stays() {
        let folder = Folder::new();
        let path = folder.0.join("a.pcap");
        let foreign = [".a.pcap.part", ".b.pcap.0123456789abcdef.part"];
        for name in [".a.pcap.0123456789abcdef.part", foreign[0], foreign[1]] {
            fs::write(folder.0.join(name), "left").unwrap();
        }
        let living = Writer::create(&path).unwrap();
        Writer::create(&path).unwrap().finish().unwrap();
        let names = folder.names();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(foreign.iter().all(|name| names.iter().any(|there| there == name)), "{names:?}");
        living.finish().unwrap();
        assert_eq!(folder.names().len(), 3);
    }

    #[test]
    fn what_a_format_cannot_hold_is_an_error_that_says_the_way_out() {
        let folder = Folder::new();
        let error = Writer::create(&folder.0.join("capture.txt")).err().unwrap();
        assert!(error.message.contains(".pcapng"), "{error}");
        let mut writer = Writer::create(&folder.0.join("capture.pcap")).unwrap();
        writer.write(&frame(LinkType::RAW, 0, b"x", 1), &[]).unwrap();
        for error in [
            writer.write(&frame(LinkType::ETHERNET, 0, b"x", 1), &[]).unwrap_err(),
            writer.attach(b"record").unwrap_err(),
        ] {
            assert!(error.message.contains("name it .pcapng"), "{error}");
        }
        let error = Writer::create(&folder.0.join("nowhere/capture.pcap")).err().unwrap();
        assert!(error.message.contains("folder does not exist"), "{error}");
    }

    #[test]
    fn a_capture_without_frames_is_one_all_the_same() {
        for ending in ["pcap", "pcapng"] {
            let folder = Folder::new();
            let path = folder.0.join("none").with_extension(ending);
            Writer::create(&path).unwrap().finish().unwrap();
            assert!(FileSource::open(&path).unwrap().next_frame().unwrap().is_none());
        }
    }
}
