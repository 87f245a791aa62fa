//! Captures made from a seed: many short connections, a few elephants, a SYN scan.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

/// A kind of capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    /// 400,000 short connections, 17,000 at once: 2 % reset, 1 % of the segments sent again, 0.5 % reordered.
    Many,
    /// 20 connections of full segments, every second one acknowledged, snapped to so many octets.
    Elephants {
        /// The snap length.
        snap: u32,
    },
    /// SYNs, each between ends of its own, none answered.
    Scan,
}

/// Writes a capture as classic pcap with nanoseconds; `scale` 1.0 is the full size. Returns how many packets it holds.
///
/// # Errors
/// Those of the output.
pub(crate) fn write(out: &mut dyn Write, load: Load, seed: u64, scale: f64) -> io::Result<u64> {
    let snap = if let Load::Elephants { snap } = load { snap } else { 262_144 };
    let mut file = Pcap { out, snap, frames: 0, frame: Vec::with_capacity(1600) };
    file.header()?;
    let mut chance = Chance(seed);
    let times = |full: f64| (full * scale).ceil() as u32;
    match load {
        Load::Many => many(&mut file, &mut chance, times(400_000.0), times(17_000.0))?,
        Load::Elephants { .. } => elephants(&mut file, times(3_000_000.0))?,
        Load::Scan => scan(&mut file, times(5_000_000.0))?,
    }
    Ok(file.frames)
}

/// One end of a generated connection.
#[derive(Clone, Copy)]
struct End {
    address: u32,
    port: u16,
}

struct Packet {
    from: End,
    to: End,
    seq: u32,
    ack: u32,
    flags: u8,
    len: u16,
    id: u16,
    syn_options: bool,
}

/// A short connection on its way: what its two ends have sent so far.
struct Short {
    client: End,
    server: End,
    next: [u32; 2],
    step: u8,
    /// Segments of the answer that are left.
    left: u8,
    resets: bool,
    /// A segment that was held back to come after its successor.
    held: Option<Packet>,
    id: [u16; 2],
}

fn many(file: &mut Pcap<'_>, chance: &mut Chance, total: u32, at_once: u32) -> io::Result<()> {
    let mut slots: Vec<Short> = Vec::with_capacity(at_once as usize);
    let mut due = BinaryHeap::with_capacity(at_once as usize);
    let mut opened = 0;
    while opened < total.min(at_once) {
        slots.push(Short::open(opened, chance));
        due.push(Reverse((chance.below(2_000_000_000), opened)));
        opened += 1;
    }
    while let Some(Reverse((at, slot))) = due.pop() {
        let short = &mut slots[slot as usize];
        let Some(packet) = short.next_packet(chance) else {
            if let Some(held) = short.held.take() {
                file.packet(at, &held)?;
            }
            if opened < total {
                *short = Short::open(opened, chance);
                opened += 1;
                due.push(Reverse((at + 1 + chance.below(100_000_000), slot)));
            }
            continue;
        };
        // One in a hundred is lost and sent again, one in two hundred comes after its successor.
        let lot = chance.below(1000);
        if packet.len > 0 && lot < 5 && short.held.is_none() {
            short.held = Some(packet);
        } else {
            file.packet(at, &packet)?;
            if let Some(held) = short.held.take() {
                file.packet(at + 20_000, &held)?;
            }
            if packet.len > 0 && lot >= 980 {
                file.packet(at + 200_000, &Packet { id: packet.id.wrapping_add(7), ..packet })?;
            }
        }
        due.push(Reverse((at + 100_000 + chance.below(300_000_000), slot)));
    }
    Ok(())
}

impl Short {
    fn open(number: u32, chance: &mut Chance) -> Self {
        let client =
            End { address: 0x0a00_0000 + number % 50_021, port: 1024 + (number / 50_021 * 911 % 60_000) as u16 };
        let server = End { address: 0xc0a8_0000 + number % 199, port: [80, 443, 8080][number as usize % 3] };
        Self {
            client,
            server,
            next: [chance.next() as u32, chance.next() as u32],
            step: 0,
            left: 1 + chance.below(7) as u8,
            resets: chance.below(100) < 2,
            held: None,
            id: [chance.next() as u16, chance.next() as u16],
        }
    }

    fn send(&mut self, side: usize, flags: u8, len: u16) -> Packet {
        let (from, to) = if side == 0 { (self.client, self.server) } else { (self.server, self.client) };
        self.id[side] = self.id[side].wrapping_add(1);
        let ack = if flags & ACK != 0 { self.next[1 - side] } else { 0 };
        let seq = self.next[side];
        let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.next[side] = seq.wrapping_add(u32::from(len) + controls);
        Packet { from, to, seq, ack, flags, len, id: self.id[side], syn_options: flags & SYN != 0 }
    }

    fn next_packet(&mut self, chance: &mut Chance) -> Option<Packet> {
        self.step += 1;
        Some(match self.step {
            1 => self.send(0, SYN, 0),
            2 => self.send(1, SYN | ACK, 0),
            3 => self.send(0, ACK, 0),
            4 => self.send(0, ACK | PSH, 100 + chance.below(500) as u16),
            5 if self.resets => {
                self.step = 100;
                self.send(1, RST | ACK, 0)
            }
            5 if self.left > 0 => {
                self.left -= 1;
                self.step = 5;
                self.send(1, ACK, if self.left == 0 { 1 + chance.below(1447) as u16 } else { 1448 })
            }
            6 => {
                if self.left > 0 {
                    self.step = 4;
                }
                self.send(0, ACK, 0)
            }
            5 => self.send(1, ACK, 0),
            7 => self.send(1, FIN | ACK, 0),
            8 => self.send(0, FIN | ACK, 0),
            9 => self.send(1, ACK, 0),
            _ => return None,
        })
    }
}

fn elephants(file: &mut Pcap<'_>, segments: u32) -> io::Result<()> {
    const HERD: u32 = 20;
    let ends = |number: u32| {
        let client = End { address: 0x0a00_0001 + number, port: 40_000 + number as u16 };
        (client, End { address: 0xc0a8_0001, port: 5201 })
    };
    let mut next = [1u32; HERD as usize];
    let mut at = 0;
    for number in 0..HERD {
        let (client, server) = ends(number);
        for (from, to, seq, ack, flags) in
            [(client, server, 0, 0, SYN), (server, client, 0, 1, SYN | ACK), (client, server, 1, 1, ACK)]
        {
            at += 10_000;
            let syn_options = flags & SYN != 0;
            file.packet(at, &Packet { from, to, seq, ack, flags, len: 0, id: at as u16, syn_options })?;
        }
    }
    for segment in 0..segments {
        // Each sends a burst of eight before the next one's turn.
        let number = segment / 8 % HERD;
        let (client, server) = ends(number);
        let seq = &mut next[number as usize];
        at += 1_200;
        let id = segment as u16;
        let data =
            Packet { from: client, to: server, seq: *seq, ack: 1, flags: ACK, len: 1448, id, syn_options: false };
        *seq = seq.wrapping_add(1448);
        file.packet(at, &data)?;
        if segment % 2 == 1 {
            at += 300;
            let (from, to, ack) = (server, client, *seq);
            file.packet(at, &Packet { from, to, seq: 1, ack, flags: ACK, len: 0, id, syn_options: false })?;
        }
    }
    Ok(())
}

fn scan(file: &mut Pcap<'_>, total: u32) -> io::Result<()> {
    for number in 0..total {
        let from = End { address: 0xc633_6401, port: 1024 + (number % 60_000) as u16 };
        let to = End { address: 0x0a00_0000 + number / 50, port: 1 + (number % 50) as u16 };
        let seq = number.wrapping_mul(0x9e37_79b1);
        let packet = Packet { from, to, seq, ack: 0, flags: SYN, len: 0, id: number as u16, syn_options: true };
        file.packet(u64::from(number) * 10_000, &packet)?;
    }
    Ok(())
}

struct Pcap<'a> {
    out: &'a mut dyn Write,
    snap: u32,
    frames: u64,
    frame: Vec<u8>,
}

impl Pcap<'_> {
    fn header(&mut self) -> io::Result<()> {
        for word in [0xa1b2_3c4d, 4 << 16 | 2, 0, 0, self.snap, 1] {
            self.out.write_all(&u32::to_le_bytes(word))?;
        }
        Ok(())
    }

    fn packet(&mut self, at: u64, packet: &Packet) -> io::Result<()> {
        let frame = &mut self.frame;
        frame.clear();
        frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        let options: &[u8] = if packet.syn_options {
            &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]
        } else {
            &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]
        };
        let tcp_len = 20 + options.len() as u16 + packet.len;
        let ip_len = 20 + tcp_len;
        frame.extend([0x45, 0]);
        frame.extend(ip_len.to_be_bytes());
        frame.extend(packet.id.to_be_bytes());
        frame.extend([0x40, 0, 64, 6, 0, 0]);
        frame.extend(packet.from.address.to_be_bytes());
        frame.extend(packet.to.address.to_be_bytes());
        let sum = !ones(&frame[14..34], 0);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend(packet.from.port.to_be_bytes());
        frame.extend(packet.to.port.to_be_bytes());
        frame.extend(packet.seq.to_be_bytes());
        frame.extend(packet.ack.to_be_bytes());
        frame.extend([(((20 + options.len()) / 4) << 4) as u8, packet.flags]);
        frame.extend(60_000u16.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(options);
        let text = b"GET /of/what/does/not/matter HTTP/1.1 ";
        let payload = usize::from(packet.len);
        frame.extend(text.iter().cycle().take(payload));
        let sum = !ones(&frame[34..], ones(&frame[26..34], 6 + tcp_len));
        frame[50..52].copy_from_slice(&sum.to_be_bytes());

        let at = 1_700_000_000_000_000_000 + at;
        let len = frame.len() as u32;
        let kept = len.min(self.snap);
        for word in [(at / 1_000_000_000) as u32, (at % 1_000_000_000) as u32, kept, len] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(&frame[..kept as usize])?;
        self.frames += 1;
        Ok(())
    }
}

/// The one's complement sum of 16-bit words.
fn ones(bytes: &[u8], start: u16) -> u16 {
    let mut sum = u64::from(start);
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// A small generator of random numbers (SplitMix64): the same numbers for the same seed everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
