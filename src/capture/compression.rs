//! Compressed captures, told by their content: gzip, zstd and lz4.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

type Raw = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>;

/// The reader's content, decompressed if it begins as something compressed.
///
/// # Errors
/// The first octets cannot be read.
pub(super) fn decompressed(mut reader: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::with_capacity(MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut head)?;
    let start: [u8; MAGIC] = match head.as_slice().try_into() {
        Ok(start) => start,
        Err(_) => return Ok(Box::new(Cursor::new(head))),
    };
    let raw = Cursor::new(head).chain(reader);
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(Gzip::Member(Box::new(flate2::bufread::GzDecoder::new(buffered(raw))))),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::with_buffer(buffered(raw))?),
        [0x04, 0x22, 0x4d, 0x18] | [0x02, 0x21, 0x4c, 0x18] => {
            Box::new(Lz4::Frame(Box::new(lz4_flex::frame::FrameDecoder::new(buffered(raw)))))
        }
        _ => Box::new(raw),
    })
}

fn buffered(raw: Raw) -> BufReader<Raw> {
    BufReader::with_capacity(BUFFER, raw)
}

/// Members one after the other, as `cat a.gz b.gz` makes them; what follows the last is padding, as gzip takes it.
enum Gzip {
    Member(Box<flate2::bufread::GzDecoder<BufReader<Raw>>>),
    Over,
}

impl Read for Gzip {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Self::Member(member) = self else { return Ok(0) };
            let read = member.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            let another = member.get_mut().fill_buf()?.first() == Some(&0x1f);
            let Self::Member(member) = std::mem::replace(self, Self::Over) else { return Ok(0) };
            if another {
                *self = Self::Member(Box::new(flate2::bufread::GzDecoder::new(member.into_inner())));
            }
        }
    }
}

/// Frames one after the other: the decoder ends at the end of each, and the next has one of its own, because its blocks may be of another size.
enum Lz4 {
    Frame(Box<lz4_flex::frame::FrameDecoder<BufReader<Raw>>>),
    Over,
}

impl Read for Lz4 {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Self::Frame(frame) = self else { return Ok(0) };
            let read = frame.read(into)?;
            if read > 0 || into.is_empty() || frame.get_mut().fill_buf()?.is_empty() {
                return Ok(read);
            }
            let Self::Frame(frame) = std::mem::replace(self, Self::Over) else { return Ok(0) };
            *self = Self::Frame(Box::new(lz4_flex::frame::FrameDecoder::new(frame.into_inner())));
        }
    }
}

const MAGIC: usize = 4;
const BUFFER: usize = 64 << 10;
