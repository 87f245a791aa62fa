//! Compressed captures, told by their content: gzip, zstd and lz4.

use std::fmt;
use std::io::{self, BufRead, BufReader, Chain, Cursor, ErrorKind, Read};
use std::ops::Range;

use super::allowance::{Share, Taken};
use flate2::bufread::GzDecoder;
use flate2::{Crc, Decompress, FlushDecompress, Status};
use lz4_flex::frame::{self, FrameDecoder};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// The reader's content, decompressed if it begins as something compressed.
///
/// Reading ends with `UnexpectedEof` where the compressed data ends too early, and with `InvalidData` and what is wrong,
/// in words for people, where it is damaged; errors of the reader itself stay as they are.
/// What is before the damage is read first, and is the same in however large or small pieces it is read, above or below.
///
/// # Errors
/// The first octets cannot be read.
///
/// What it takes to look back on is taken out of `windows`.
pub(super) fn decompressed(mut reader: Box<dyn Read + Send>, windows: &Share) -> io::Result<Box<dyn Read + Send>> {
    loop {
        let mut head = Vec::with_capacity(MAGIC);
        reader.by_ref().take(MAGIC as u64).read_to_end(&mut head)?;
        let Ok(start) = <[u8; MAGIC]>::try_from(&head[..]) else { return Ok(Box::new(Cursor::new(head))) };
        if is_skippable(start) {
            skip(&mut reader)?;
            continue;
        }
        let head = Cursor::new(head);
        if !is_compressed(start) {
            return Ok(Box::new(head.chain(reader)));
        }
        let raw = BufReader::with_capacity(BUFFER, head.chain(Outside(reader)));
        let (form, decoder): (_, Box<dyn Read + Send>) = match start {
            [0x1f, 0x8b, ..] => (Form::Gzip, Box::new(Gzip::new(raw))),
            ZSTD => (Form::Zstd, Box::new(Zstd::new(raw, windows)?)),
            _ => (Form::Lz4, Box::new(Lz4 { place: Lz4Place::Between(raw, None), window: windows.begin() })),
        };
        return Ok(Box::new(Explained { form, decoder }));
    }
}

fn is_compressed(start: [u8; MAGIC]) -> bool {
    matches!(start, [0x1f, 0x8b, ..] | ZSTD | FRAME | LEGACY_FRAME)
}

type Raw = BufReader<Chain<Cursor<Vec<u8>>, Outside>>;

/// How something is compressed.
#[derive(Clone, Copy)]
enum Form {
    Gzip,
    Zstd,
    Lz4,
}

/// Says what is wrong in our words, where libraries have their own.
struct Explained {
    form: Form,
    decoder: Box<dyn Read + Send>,
}

impl Read for Explained {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(into).map_err(|error| explained(self.form, error))
    }
}

fn explained(form: Form, error: io::Error) -> io::Error {
    match error.get_ref() {
        Some(inner) if inner.is::<CutShort>() => return cut(),
        Some(inner) if inner.is::<Wrong>() => return error,
        _ if error.kind() == ErrorKind::UnexpectedEof => return error,
        _ => {}
    }
    let error = match error.downcast::<Untouched>() {
        Ok(Untouched(error)) => return error,
        Err(error) => error,
    };
    match form {
        Form::Gzip => wrong(match error.to_string() {
            text if text.contains("header") => "a part of it does not begin as gzip does",
            text if text.contains("checksum") => WRONG_GZIP_CHECKSUM,
            _ => WRONG_GZIP,
        }),
        Form::Zstd => match error.to_string() {
            text if text.contains("too much memory") => io::Error::other(
                "zstd compressed it with a window of more than 128 MiB: zstd -dc --long=31 FILE | tcpflow analyze -",
            ),
            text if text.contains("ictionary") => io::Error::other(
                "zstd compressed it with a dictionary: zstd -dc -D DICTIONARY FILE | tcpflow analyze -",
            ),
            text if text.contains("frame descriptor") => wrong(JUNK_AFTER_ZSTD),
            text if text.contains("checksum") => wrong("what zstd's checksum is of is not what was decompressed"),
            _ => wrong("its zstd data contradicts itself"),
        },
        Form::Lz4 => match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(frame::Error::DictionaryNotSupported) => {
                io::Error::other("lz4 compressed it with a dictionary: lz4 -dc -D DICTIONARY FILE | tcpflow analyze -")
            }
            Some(
                frame::Error::HeaderChecksumError
                | frame::Error::ReservedBitsSet
                | frame::Error::UnsupportedBlocksize(_)
                | frame::Error::UnsupportedVersion(_),
            ) => wrong("the header of an lz4 frame is not one"),
            Some(frame::Error::BlockChecksumError | frame::Error::ContentChecksumError) => {
                wrong("what lz4's checksum is of is not what was decompressed")
            }
            Some(frame::Error::ContentLengthError { .. }) => wrong("it is not as long as its lz4 header says"),
            _ => wrong("its lz4 data contradicts itself"),
        },
    }
}

/// The file or stream below a decoder, whose errors are not the decoder's.
struct Outside(Box<dyn Read + Send>);

impl Read for Outside {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| io::Error::new(error.kind(), Untouched(error)))
    }
}

/// An error on its way through a decoder.
#[derive(Debug)]
struct Untouched(io::Error);

impl fmt::Display for Untouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Untouched {}

/// What is wrong with compressed data.
#[derive(Debug)]
struct Wrong(&'static str);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Wrong {}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, Wrong(what))
}

fn cut() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, CutShort)
}

/// Compressed data ends where it should go on.
#[derive(Debug)]
struct CutShort;

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is cut short")
    }
}

impl std::error::Error for CutShort {}

/// Members one after the other, as `cat a.gz b.gz` makes them; zeros after the last are padding, as gzip takes them.
///
/// The library's own reader loses what it decompressed in a read that ends in damage; here each step says how much it made.
struct Gzip {
    raw: Raw,
    place: Place,
    inflate: Decompress,
    sum: Crc,
    /// Where a step goes that may make more than is asked for, and what of it was not read yet.
    made: Vec<u8>,
    unread: Range<usize>,
}

/// Where in gzip's data the next octet is.
enum Place {
    Head,
    Body,
    Foot,
    /// Within what contradicts itself.
    Damage,
    Over,
}

impl Gzip {
    fn new(raw: Raw) -> Self {
        Self {
            raw,
            place: Place::Head,
            inflate: Decompress::new(false),
            sum: Crc::new(),
            made: Vec::new(),
            unread: 0..0,
        }
    }

    fn head(&mut self) -> io::Result<Place> {
        let mut member = GzDecoder::new(&mut self.raw);
        if member.header().is_none() {
            // What is wrong with it is kept for whoever reads.
            let nothing = member.read(&mut [])?;
            debug_assert_eq!(nothing, 0);
        }
        self.inflate.reset(false);
        self.sum.reset();
        Ok(Place::Body)
    }

    /// Decompresses until something was made, and says how much; nothing is where the body ends or is damaged.
    fn body(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let octets = self.raw.fill_buf()?;
            let ended = octets.is_empty();
            let flush = if ended { FlushDecompress::Finish } else { FlushDecompress::None };
            let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(octets, into, flush);
            self.raw.consume((self.inflate.total_in() - taken) as usize);
            let made = (self.inflate.total_out() - made) as usize;
            match status {
                Ok(Status::StreamEnd) => self.place = Place::Foot,
                Err(_) => self.place = Place::Damage,
                Ok(_) if made > 0 => {}
                Ok(_) if ended => return Err(cut()),
                Ok(_) => continue,
            }
            self.sum.update(&into[..made]);
            return Ok(made);
        }
    }

    fn foot(&mut self) -> io::Result<Place> {
        let mut foot = [0; 8];
        self.raw.read_exact(&mut foot)?;
        let expected = (u64::from(self.sum.amount()) << 32) | u64::from(self.sum.sum());
        if u64::from_le_bytes(foot) != expected {
            return Err(wrong(WRONG_GZIP_CHECKSUM));
        }
        if self.raw.fill_buf()?.first() == Some(&0x1f) {
            return Ok(Place::Head);
        }
        only_zeros(&mut self.raw)?;
        Ok(Place::Over)
    }
}

impl Read for Gzip {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.unread.is_empty() {
                let count = into.len().min(self.unread.len());
                into[..count].copy_from_slice(&self.made[self.unread.start..][..count]);
                self.unread.start += count;
                return Ok(count);
            }
            match self.place {
                Place::Head => self.place = self.head()?,
                Place::Body => {
                    // The library decompresses into a window of its own, at once to its end: what it cannot hand over of that
                    // is lost where damage follows.
                    let room = INFLATED - (self.inflate.total_out() % INFLATED as u64) as usize;
                    if into.len() >= room {
                        match self.body(&mut into[..room])? {
                            0 => {}
                            made => return Ok(made),
                        }
                    } else {
                        let mut made = std::mem::take(&mut self.made);
                        made.resize(INFLATED, 0);
                        self.unread = 0..self.body(&mut made[..room])?;
                        self.made = made;
                    }
                }
                Place::Foot => self.place = self.foot()?,
                Place::Damage => return Err(wrong(WRONG_GZIP)),
                Place::Over => return Ok(0),
            }
        }
    }
}

fn only_zeros(raw: &mut Raw) -> io::Result<()> {
    loop {
        match raw.fill_buf()? {
            [] => return Ok(()),
            octets if octets.iter().all(|octet| *octet == 0) => {
                let zeros = octets.len();
                raw.consume(zeros);
            }
            _ => return Err(wrong("what follows its gzip data is neither gzip nor padding")),
        }
    }
}

/// Frames one after the other.
///
/// The library loses what it handed over in a call that ends in damage.
/// So each call here either takes octets or hands some over, and of those it takes it gets whole blocks, whatever the pieces they come in.
struct Zstd {
    raw: Raw,
    decoder: Decoder<'static>,
    /// How many octets it wants next: to the end of a header or a block.
    wanted: usize,
    /// Whether a frame has begun and not ended.
    inside: bool,
    /// Octets of a block that did not come in one piece.
    held: Vec<u8>,
    /// Why no more octets come.
    failure: Option<io::Error>,
    /// The memory for the largest window so far.
    window: Taken,
}

impl Zstd {
    fn new(raw: Raw, windows: &Share) -> io::Result<Self> {
        let decoder = Decoder::new()?;
        let window = windows.begin();
        Ok(Self { raw, decoder, wanted: START, inside: false, held: Vec::new(), failure: None, window })
    }

    /// Gives the decoder what it wants, and keeps in it what it makes of that; `false` at the end.
    fn take(&mut self) -> io::Result<bool> {
        let wanted = self.wanted.min(BLOCK);
        if !self.inside {
            self.hold(LONGEST_HEAD);
            let window = zstd_window(&self.held).saturating_add(2 * BLOCK as u64);
            // A window that no memory would be enough for is the decoder's to refuse.
            if window <= LARGEST_WINDOW + 2 * BLOCK as u64 && !self.window.grow_to(window) {
                return Err(too_large(window, &self.window));
            }
        }
        let whole = self.held.is_empty() && self.raw.buffer().len() >= wanted;
        if !whole {
            self.hold(wanted);
            if self.held.is_empty() {
                return match self.failure.take() {
                    Some(error) => Err(error),
                    None if self.inside => Err(cut()),
                    None => Ok(false),
                };
            }
        }
        if !self.inside {
            self.decoder.reinit()?;
        }
        let mut octets = InBuffer::around(match whole {
            true => &self.raw.buffer()[..wanted],
            false => &self.held[..wanted.min(self.held.len())],
        });
        let next = self.decoder.run(&mut octets, &mut OutBuffer::around(&mut [][..]))?;
        let taken = octets.pos();
        if whole {
            self.raw.consume(taken);
        } else {
            self.held.drain(..taken);
        }
        self.inside = next > 0;
        self.wanted = if self.inside { next } else { START };
        Ok(true)
    }

    /// Holds as many octets as are wanted, or all that come.
    fn hold(&mut self, wanted: usize) {
        while self.held.len() < wanted && self.failure.is_none() {
            match self.raw.fill_buf() {
                Ok([]) => return,
                Ok(octets) => {
                    let count = octets.len().min(wanted - self.held.len());
                    self.held.extend_from_slice(&octets[..count]);
                    self.raw.consume(count);
                }
                Err(error) => self.failure = Some(error),
            }
        }
    }
}

impl Read for Zstd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let mut made = OutBuffer::around(into);
            self.decoder.run(&mut InBuffer::around(&[]), &mut made)?;
            let made = made.pos();
            if made > 0 || !self.take()? {
                return Ok(made);
            }
        }
    }
}

/// How far a frame of zstd that begins so looks back (RFC 8878 section 3.1.1.1); 0 where that cannot be told.
fn zstd_window(head: &[u8]) -> u64 {
    let Some([magic @ .., descriptor]) = head.first_chunk::<5>() else { return 0 };
    let Some(&first) = head.get(5).filter(|_| *magic == ZSTD) else { return 0 };
    if descriptor & 0x20 == 0 {
        let base = 1_u64 << (10 + (first >> 3));
        return base + base / 8 * u64::from(first & 7);
    }
    // One segment: it looks back on all of its content, whose size is told after the dictionary's number.
    let at = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let Some(octets) = head.get(at..at + size) else { return 0 };
    let content = octets.iter().rev().fold(0, |content, octet| content << 8 | u64::from(*octet));
    content + if size == 2 { 256 } else { 0 }
}

/// How much memory the blocks of an lz4 frame take that begins with that magic number and goes on so.
fn lz4_blocks(magic: [u8; MAGIC], head: &[u8]) -> u64 {
    let block = match (magic, head) {
        (LEGACY_FRAME, _) => 8 << 20,
        (_, [_, size, ..]) => 1 << (8 + 2 * u32::from(size >> 4 & 7)),
        _ => 4 << 20,
    };
    3 * block
}

/// The error of compressed data that looks back further than there is memory for.
fn too_large(octets: u64, window: &Taken) -> io::Error {
    let mebi = |octets: u64| octets.div_ceil(1 << 20);
    let error = io::Error::other(format!(
        "decompressing it takes {} MiB, and of what --memory gives to that {} MiB are left: say a larger --memory, or read fewer compressed files at once",
        mebi(octets),
        window.most() >> 20,
    ));
    io::Error::other(Untouched(error))
}

/// Frames one after the other, and the memory that the blocks of the largest so far take.
struct Lz4 {
    place: Lz4Place,
    window: Taken,
}

/// Each frame has a decoder of its own, because its blocks may be of another size; skippable ones are passed over.
enum Lz4Place {
    /// With the first octets of the next frame, where they were read already.
    Between(Raw, Option<[u8; MAGIC]>),
    Frame(Box<FrameDecoder<Lz4Frame>>),
    Over,
}

impl Read for Lz4 {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Self { place, window } = self;
        place.read(into, window)
    }
}

impl Lz4Place {
    fn read(&mut self, into: &mut [u8], window: &mut Taken) -> io::Result<usize> {
        loop {
            *self = match std::mem::replace(self, Self::Over) {
                Self::Over => return Ok(0),
                Self::Frame(mut frame) => {
                    let read = frame.read(into)?;
                    if read > 0 || into.is_empty() {
                        *self = Self::Frame(frame);
                        return Ok(read);
                    }
                    let frame = frame.into_inner();
                    Self::Between(frame.raw, frame.next)
                }
                Self::Between(mut raw, next) => {
                    match next.map_or_else(|| next_four(&mut raw), |next| Ok(Some(next)))? {
                        None => Self::Over,
                        Some(magic) if is_skippable(magic) => {
                            skip(&mut raw)?;
                            Self::Between(raw, None)
                        }
                        Some(magic @ (FRAME | LEGACY_FRAME)) => {
                            let blocks = lz4_blocks(magic, raw.fill_buf()?);
                            if !window.grow_to(blocks) {
                                return Err(too_large(blocks, window));
                            }
                            let left = (magic == LEGACY_FRAME).then_some(0);
                            let frame = Lz4Frame { held: magic.to_vec(), raw, left, next: None };
                            Self::Frame(Box::new(FrameDecoder::new(frame)))
                        }
                        Some(_) => return Err(wrong("what follows its lz4 data is no lz4")),
                    }
                }
            };
        }
    }
}

/// The octets of one frame, of which the decoder must never see an end, or `UnexpectedEof`, before the frame's own end: it would take that for it.
struct Lz4Frame {
    /// What was read to know what comes.
    held: Vec<u8>,
    raw: Raw,
    /// In a legacy frame, how much of its block is left: such a frame has no mark at its end, and ends with a block.
    left: Option<u64>,
    /// The first octets of the frame after a legacy one, which stand where the length of its next block would.
    next: Option<[u8; MAGIC]>,
}

impl Read for Lz4Frame {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.held.is_empty() && self.left == Some(0) {
            let Some(length) = next_four(&mut self.raw).map_err(unmistakable)? else { return Ok(0) };
            if is_skippable(length) || matches!(length, FRAME | LEGACY_FRAME) {
                self.next = Some(length);
                return Ok(0);
            }
            self.left = Some(u64::from(u32::from_le_bytes(length)));
            self.held.extend(length);
        }
        if !self.held.is_empty() {
            let count = self.held.len().min(into.len());
            into[..count].copy_from_slice(&self.held[..count]);
            self.held.drain(..count);
            return Ok(count);
        }
        let most = self.left.map_or(into.len(), |left| into.len().min(left as usize));
        match self.raw.read(&mut into[..most])? {
            0 => Err(unmistakable(cut())),
            read => {
                self.left = self.left.map(|left| left - read as u64);
                Ok(read)
            }
        }
    }
}

fn unmistakable(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::UnexpectedEof { io::Error::other(CutShort) } else { error }
}

/// The next four octets; `None` at the end.
fn next_four(raw: &mut Raw) -> io::Result<Option<[u8; MAGIC]>> {
    if raw.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut four = [0; MAGIC];
    raw.read_exact(&mut four)?;
    Ok(Some(four))
}

/// Whether a frame of zstd or lz4 that begins so holds something else than data.
fn is_skippable(magic: [u8; MAGIC]) -> bool {
    matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

/// Passes over the rest of a skippable frame.
fn skip(reader: &mut impl Read) -> io::Result<()> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u64::from(u32::from_le_bytes(length));
    match io::copy(&mut reader.take(length), &mut io::sink())? {
        skipped if skipped == length => Ok(()),
        _ => Err(cut()),
    }
}

const ZSTD: [u8; MAGIC] = [0x28, 0xb5, 0x2f, 0xfd];
const FRAME: [u8; MAGIC] = [0x04, 0x22, 0x4d, 0x18];
const LEGACY_FRAME: [u8; MAGIC] = [0x02, 0x21, 0x4c, 0x18];
const WRONG_GZIP: &str = "its gzip data contradicts itself";
const WRONG_GZIP_CHECKSUM: &str = "what gzip's checksum is of is not what was decompressed";
const JUNK_AFTER_ZSTD: &str = "what follows its zstd data is no zstd";
const MAGIC: usize = 4;
const BUFFER: usize = 64 << 10;
/// As far back as gzip's data refers to what came before.
const INFLATED: usize = 32 << 10;
/// Of a frame of zstd, what tells how long its header is, and no block yet.
const START: usize = 5;
/// A frame of zstd tells everything about itself in so many octets.
const LONGEST_HEAD: usize = 18;
/// Further no frame of zstd may look back: the library's bound.
const LARGEST_WINDOW: u64 = 128 << 20;
/// No block of zstd is longer, with the header of the next.
const BLOCK: usize = (128 << 10) + 3;
