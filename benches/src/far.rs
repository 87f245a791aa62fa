//! What a capture at the other end has of the same traffic: its clock is wrong and gains, segments take their time, and some are lost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use crate::captures::{Capture, Random};
use crate::marks;

impl Capture {
    /// Where the capture of the other end is, the server's, made from this one: taken from there where it is whole, made otherwise.
    ///
    /// The server's clock is 3 s ahead and gains 50 ppm. Segments take 10 to 10.4 ms and stay in their order, one in a hundred is not there,
    /// and a router has lowered the TTL by 3.
    ///
    /// # Errors
    /// Those of reading and writing the files.
    pub fn far(&self) -> io::Result<PathBuf> {
        let path = marks::far(&self.path);
        let mut note = path.clone().into_os_string();
        note.push(".made");
        let note = PathBuf::from(note);
        let length = |path: &PathBuf| fs::metadata(path).map(|file| file.len());
        let made = fs::read_to_string(&note).ok();
        if made.is_some_and(|made| {
            length(&path).is_ok_and(|length| made == format!("{REVISION} {} {length}", self.octets))
        }) {
            return Ok(path);
        }
        let _ = fs::remove_file(&note);
        let mut source = BufReader::with_capacity(1 << 20, File::open(&self.path)?);
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let mut header = [0; 24];
        source.read_exact(&mut header)?;
        out.write_all(&header)?;
        let mut far = Far { random: Random(0x0066_6172), began: None, latest: HashMap::new() };
        let mut waiting = BinaryHeap::new();
        for number in 0..self.packets {
            let mut header = [0; 16];
            source.read_exact(&mut header)?;
            let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let mut frame = vec![0; word(8) as usize];
            source.read_exact(&mut frame)?;
            let at = u64::from(word(0)) * 1_000_000 + u64::from(word(4));
            if let Some(arrives) = far.pass(at, &mut frame) {
                waiting.push(Reverse((arrives, number, word(12), frame)));
            }
            // Nothing that comes later is seen there before this.
            while let Some(Reverse((arrives, ..))) = waiting.peek()
                && far.by_clock(at) > arrives + 2 * DELAY
            {
                waiting.pop().into_iter().try_for_each(|Reverse(of)| write(&mut out, &of))?;
            }
        }
        while let Some(Reverse(of)) = waiting.pop() {
            write(&mut out, &of)?;
        }
        out.flush()?;
        out.get_ref().sync_all()?;
        fs::write(&note, format!("{REVISION} {} {}", self.octets, length(&path)?))?;
        Ok(path)
    }
}

/// The other end.
struct Far {
    random: Random,
    began: Option<u64>,
    /// When the latest segment of each direction is seen there.
    latest: HashMap<Vec<u8>, u64>,
}

impl Far {
    /// When a frame is seen there, by its clock, in microseconds; changes it as the way does. `None`: it is not.
    fn pass(&mut self, at: u64, frame: &mut [u8]) -> Option<u64> {
        self.began.get_or_insert(at);
        let took = DELAY + self.random.below(DELAY / 25);
        if self.random.one_in(100) {
            return None;
        }
        let is_up = frame[TCP..TCP + 2] > frame[TCP + 2..TCP + 4];
        let seen = if is_up { at + took } else { at - took };
        let latest = self.latest.entry(frame[TCP - 8..TCP + 4].to_vec()).or_default();
        *latest = seen.max(*latest);
        let seen = *latest;
        // The TTL is the upper octet of its word, and the header's checksum its sum: what one loses the other gains.
        frame[TTL] -= 3;
        let sum = u32::from(u16::from_be_bytes([frame[SUM], frame[SUM + 1]])) + (3 << 8);
        let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
        frame[SUM..SUM + 2].copy_from_slice(&sum.to_be_bytes());
        Some(self.by_clock(seen))
    }

    fn by_clock(&self, at: u64) -> u64 {
        let gained = (at as i64 - self.began.unwrap_or(at) as i64) * 50 / 1_000_000;
        (at + 3_000_000).saturating_add_signed(gained)
    }
}

fn write(out: &mut impl Write, (at, _, length, frame): &(u64, u64, u32, Vec<u8>)) -> io::Result<()> {
    for word in [(at / 1_000_000) as u32, (at % 1_000_000) as u32, frame.len() as u32, *length] {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(frame)
}

/// Changes whenever the same capture makes another one.
const REVISION: &str = "1";
/// How long segments take at least, in microseconds.
const DELAY: u64 = 10_000;
/// Where the TTL, the header's checksum and the ports are, in Ethernet and IPv4 without options.
const TTL: usize = 22;
const SUM: usize = 24;
const TCP: usize = 34;
