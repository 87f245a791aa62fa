//! Captures made from a seed: the same octets on every machine, valid down to their checksums, and never a copy of real traffic.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What a capture is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// 400,000 short connections, about 17,000 at once, with resets, retransmissions and reordering.
    Many,
    /// 20 downloads of 150,000 full segments each, and their acknowledgements.
    Elephants,
    /// 5 million SYNs without an answer, each of its own pair of ends.
    Scan,
    /// A million connections that are established, carry one request, and never end.
    Open,
    /// One connection in which every second segment is missing, a million times.
    Holes,
    /// One connection of ten segments.
    Ten,
}

/// How a capture is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// pcap with microseconds, which every peer reads.
    Pcap,
    /// pcapng: one section, one interface, enhanced packet blocks.
    Pcapng,
}

/// A capture to be made: what, how, how long its frames may be, and how large.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Recipe {
    /// Its file's name without the ending.
    pub name: &'static str,
    /// What it is made of.
    pub shape: Shape,
    /// How it is written down.
    pub format: Format,
    /// Octets kept of each frame.
    pub snap: usize,
}

/// A capture that is there.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Where it is.
    pub path: PathBuf,
    /// How many packets it holds.
    pub packets: u64,
    /// How many octets the file has.
    pub octets: u64,
}

impl Recipe {
    const fn new(name: &'static str, shape: Shape, format: Format, snap: usize) -> Self {
        Self { name, shape, format, snap }
    }

    /// The capture of this recipe at a scale: taken from the folder where it is there and whole, made otherwise.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn capture(&self, dir: &Path, scale: f64) -> io::Result<Capture> {
        let ending = match self.format {
            Format::Pcap => "pcap",
            Format::Pcapng => "pcapng",
        };
        let path = dir.join(format!("{}-{scale}.{ending}", self.name));
        let note = dir.join(format!("{}-{scale}.{ending}.made", self.name));
        if let Some(capture) = present(&path, &note) {
            return Ok(capture);
        }
        fs::create_dir_all(dir)?;
        let _ = fs::remove_file(&note);
        let mut writer = Writer::create(&path, self.format, self.snap)?;
        match self.shape {
            Shape::Many => many(&mut writer, scaled(400_000, scale))?,
            Shape::Elephants => elephants(&mut writer, scaled(150_000, scale))?,
            Shape::Scan => scan(&mut writer, scaled(5_000_000, scale))?,
            Shape::Open => open(&mut writer, scaled(1_000_000, scale))?,
            Shape::Holes => holes(&mut writer, scaled(1_000_000, scale))?,
            Shape::Ten => ten(&mut writer)?,
        }
        writer.out.flush()?;
        // What is still to be written to the disk would be written while the programs run.
        writer.out.get_ref().sync_all()?;
        let packets = writer.packets;
        let octets = fs::metadata(&path)?.len();
        fs::write(&note, format!("{REVISION} {packets} {octets}\n"))?;
        Ok(Capture { path, packets, octets })
    }
}

/// The capture that an earlier run left, if this version made it and nothing is missing from it.
fn present(path: &Path, note: &Path) -> Option<Capture> {
    let note = fs::read_to_string(note).ok()?;
    let mut words = note.split_whitespace();
    if words.next()? != REVISION {
        return None;
    }
    let packets = words.next()?.parse().ok()?;
    let octets = words.next()?.parse().ok()?;
    (fs::metadata(path).ok()?.len() == octets).then(|| Capture { path: path.to_owned(), packets, octets })
}

fn scaled(full: u64, scale: f64) -> u64 {
    ((full as f64 * scale).round() as u64).max(1)
}

/// Short connections that begin over a minute, each planned as a whole and then merged by time.
fn many(writer: &mut Writer, connections: u64) -> io::Result<()> {
    let mut random = Random(0x6d61_6e79);
    let mut slots: Vec<Exchange> = Vec::new();
    let mut free = Vec::new();
    let mut due = BinaryHeap::new();
    let mut begin = START;
    for number in 0..connections {
        begin += random.about(60 * SECOND / connections);
        while let Some(&Reverse((at, slot))) = due.peek()
            && at <= begin
        {
            due.pop();
            emit(writer, &mut slots, &mut free, &mut due, slot)?;
        }
        let exchange = Exchange::plan(&mut random, number, begin);
        let at = exchange.planned[0].at;
        let slot = free.pop().unwrap_or_else(|| {
            slots.push(Exchange::default());
            slots.len() - 1
        });
        slots[slot] = exchange;
        due.push(Reverse((at, slot)));
    }
    while let Some(Reverse((_, slot))) = due.pop() {
        emit(writer, &mut slots, &mut free, &mut due, slot)?;
    }
    Ok(())
}

/// Writes the next packet of a connection and puts the connection back in line for the one after.
fn emit(
    writer: &mut Writer,
    slots: &mut [Exchange],
    free: &mut Vec<usize>,
    due: &mut BinaryHeap<Reverse<(u64, usize)>>,
    slot: usize,
) -> io::Result<()> {
    let exchange = &mut slots[slot];
    writer.packet(&exchange.ends, &exchange.planned[exchange.next])?;
    exchange.next += 1;
    match exchange.planned.get(exchange.next) {
        Some(packet) => due.push(Reverse((packet.at, slot))),
        None => free.push(slot),
    }
    Ok(())
}

/// One short connection: its two ends and all its packets in order of time.
#[derive(Default)]
struct Exchange {
    ends: [End; 2],
    planned: Vec<Packet>,
    next: usize,
}

impl Exchange {
    /// Plans requests and responses as seen from somewhere between the two ends.
    fn plan(random: &mut Random, number: u64, begin: u64) -> Self {
        let client = End {
            address: 0x0a00_0000 | ((number * 7 % 60_000) as u32 + 256),
            port: 32_768 + (number / 60_000 * 97 % 28_000) as u16,
        };
        let server = End {
            address: 0xc0a8_0000 | (random.below(200) as u32 + 1),
            port: [443, 443, 443, 80, 80, 8080, 5432, 25][random.below(8) as usize],
        };
        let to_server = 100_000 + random.about(2 * MILLI);
        let to_client = MILLI + random.about(25 * MILLI);
        let mut plan = Plan {
            random,
            at: begin,
            position: [0, 0],
            isn: [0, 0],
            to_server,
            to_client,
            planned: Vec::with_capacity(24),
        };
        plan.isn = [plan.random.next() as u32, plan.random.next() as u32];
        plan.life();
        let mut planned = plan.planned;
        planned.sort_by_key(|packet| packet.at);
        let mut clocks = [0; 2];
        for packet in &mut planned {
            packet.echo = clocks[1 - packet.from];
            clocks[packet.from] = (packet.at / MILLI) as u32;
        }
        Self { ends: [client, server], planned, next: 0 }
    }
}

/// A connection while it is being planned.
struct Plan<'a> {
    random: &'a mut Random,
    /// The time of the next packet.
    at: u64,
    /// The next sequence number of each end, relative to its initial one.
    position: [u32; 2],
    isn: [u32; 2],
    /// The time from the point of capture to the server and back.
    to_server: u64,
    /// The time from the point of capture to the client and back.
    to_client: u64,
    planned: Vec<Packet>,
}

impl Plan<'_> {
    fn life(&mut self) {
        self.send(CLIENT, SYN, 0);
        if self.random.one_in(300) {
            self.at += SECOND;
            self.position[CLIENT] = 0;
            self.send(CLIENT, SYN, 0);
        }
        self.at += self.to_server;
        // Of the two connections in a hundred that are reset, some are refused, some aborted by either end.
        let fate = self.random.below(200);
        if fate == 0 {
            return self.send(SERVER, RST | ACK, 0);
        }
        self.send(SERVER, SYN | ACK, 0);
        self.at += self.to_client;
        self.send(CLIENT, ACK, 0);
        let rounds = 1 + u64::from(self.random.one_in(6));
        for round in 0..rounds {
            self.at += if round == 0 { 40_000 } else { self.random.about(SECOND) };
            let request = 80 + self.random.about(280).min(1_300) as u32;
            self.flight(CLIENT, request);
            let thought = self.random.about(60 * MILLI);
            if thought > DELAYED_ACK {
                self.acknowledge(SERVER, self.at + DELAYED_ACK, self.position[CLIENT], None);
            }
            self.at += self.to_server + thought;
            if fate == 1 && round == 0 {
                return self.send(SERVER, RST | ACK, 0);
            }
            let response = 120 + self.random.about(2_600).min(60_000) as u32;
            self.flight(SERVER, response);
        }
        self.at += self.random.about(2_250 * MILLI);
        if fate < 4 {
            return self.send(CLIENT, RST | ACK, 0);
        }
        let (first, way) = if self.random.one_in(3) { (SERVER, self.to_client) } else { (CLIENT, self.to_server) };
        self.send(first, FIN | ACK, 0);
        self.at += way;
        if self.random.one_in(6) {
            self.send(1 - first, ACK, 0);
            self.at += 100_000;
        }
        self.send(1 - first, FIN | ACK, 0);
        self.at += self.to_server + self.to_client - way;
        self.send(first, ACK, 0);
    }

    /// Sends octets as a train of segments, which the other end acknowledges; some are lost or overtaken on the way.
    fn flight(&mut self, from: usize, octets: u32) {
        let there = if from == CLIENT { self.to_server } else { self.to_client };
        let around = self.to_server + self.to_client;
        let first = self.planned.len();
        let base = self.position[from];
        let mut left = octets;
        while left > 0 {
            let len = left.min(SEGMENT);
            left -= len;
            self.send(from, if left == 0 { PSH | ACK } else { ACK }, len as u16);
            self.at += 12_000;
        }
        let train = first..self.planned.len();
        let count = train.len();
        let end = self.position[from];
        let mut last = self.planned[train.end - 1].at;
        let mut lost = None;
        for index in train.clone() {
            if lost.is_none() && self.random.one_in(30) {
                lost = Some(index);
            } else if lost.is_none() && index + 1 < train.end && self.random.one_in(22) {
                // The overtaken segment draws a duplicate acknowledgement when it comes late.
                let (early, late) = (self.planned[index].at, self.planned[index + 1].at);
                self.planned[index].at = late;
                self.planned[index + 1].at = early;
                let gap = self.planned[index].seq.wrapping_sub(self.isn[from]);
                let seen = self.planned[index + 1];
                let sack = (seen.seq, seen.seq.wrapping_add(u32::from(seen.len)));
                self.acknowledge(1 - from, early + there, gap, Some(sack));
                break;
            }
        }
        if let Some(index) = lost {
            let again = self.planned[index];
            let behind = train.end - 1 - index;
            let gap = again.seq.wrapping_sub(self.isn[from]);
            if behind >= 3 {
                for later in index + 1..train.end {
                    let seen = self.planned[later];
                    let sack =
                        (again.seq.wrapping_add(u32::from(again.len)), seen.seq.wrapping_add(u32::from(seen.len)));
                    self.acknowledge(1 - from, seen.at + there, gap, Some(sack));
                }
                self.at = self.planned[index + 3].at + there + around - there;
            } else {
                self.at = again.at + 200 * MILLI + around;
            }
            last = self.at;
            self.planned.push(Packet { at: last, ..again });
        } else {
            for index in train.clone().skip(1).step_by(2).take(count.saturating_sub(1) / 2) {
                let seen = self.planned[index];
                let upto = seen.seq.wrapping_sub(self.isn[from]).wrapping_add(u32::from(seen.len));
                if upto < end && upto > base {
                    self.acknowledge(1 - from, seen.at.max(last) + there, upto, None);
                }
            }
        }
        self.at = last;
        // A response is acknowledged when its last octet is there; a request by what the server sends next.
        if from == SERVER {
            self.acknowledge(CLIENT, last + there, end, None);
            self.at = last + there;
        }
    }

    /// Plans a pure acknowledgement at a time of its own.
    fn acknowledge(&mut self, from: usize, at: u64, upto: u32, sack: Option<(u32, u32)>) {
        self.planned.push(Packet {
            at,
            from,
            flags: ACK,
            seq: self.isn[from].wrapping_add(self.position[from]),
            ack: self.isn[1 - from].wrapping_add(upto),
            sack,
            ..Packet::default()
        });
    }

    /// Plans the next segment of an end at the time it is now, acknowledging all that the other end sent.
    fn send(&mut self, from: usize, flags: u8, len: u16) {
        let acks = flags & ACK != 0;
        self.planned.push(Packet {
            at: self.at,
            from,
            flags,
            seq: self.isn[from].wrapping_add(self.position[from]),
            ack: if acks { self.isn[1 - from].wrapping_add(self.position[1 - from]) } else { 0 },
            len,
            ..Packet::default()
        });
        self.position[from] += u32::from(len) + u32::from(flags & (SYN | FIN) != 0);
    }
}

/// Long downloads side by side, each a sender and a receiver that react to a loss now and then.
fn elephants(writer: &mut Writer, segments: u64) -> io::Result<()> {
    let mut random = Random(0x656c_6570);
    let mut downloads: Vec<Download> = (0..20).map(|number| Download::new(&mut random, number, segments)).collect();
    let mut due: BinaryHeap<Reverse<(u64, u64, usize, Act)>> = BinaryHeap::new();
    let mut order = 0;
    let mut acts = Vec::new();
    for (number, download) in downloads.iter_mut().enumerate() {
        let mut at = START + number as u64 * 37_000;
        for packet in download.handshake(at) {
            due.push(Reverse((packet.at, order, number, Act::Say(packet))));
            order += 1;
            at = packet.at;
        }
        due.push(Reverse((at + 50_000, order, number, Act::Send)));
        order += 1;
    }
    while let Some(Reverse((at, _, number, act))) = due.pop() {
        let download = &mut downloads[number];
        download.act(&mut random, at, act, writer, &mut acts)?;
        for (at, act) in acts.drain(..) {
            due.push(Reverse((at, order, number, act)));
            order += 1;
        }
    }
    Ok(())
}

/// Something that is going to happen in a download.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// The server sends its next segment.
    Send,
    /// The server sends the missing segment again.
    Repair,
    /// This packet passes.
    Say(Packet),
}

struct Download {
    ends: [End; 2],
    isn: [u32; 2],
    left: u64,
    /// The next segment's number, and the number that the receiver waits for.
    next: u32,
    awaited: u32,
    missing: bool,
    repeated_acks: u32,
    unacknowledged: u32,
    clocks: [u32; 2],
}

impl Download {
    fn new(random: &mut Random, number: u32, left: u64) -> Self {
        Self {
            ends: [
                End { address: 0x0a01_0000 | (number + 10), port: 40_000 + number as u16 },
                End { address: 0xc0a8_0105, port: 443 },
            ],
            isn: [random.next() as u32, random.next() as u32],
            left,
            next: 0,
            awaited: 0,
            missing: false,
            repeated_acks: 0,
            unacknowledged: 0,
            clocks: [0, 0],
        }
    }

    fn handshake(&self, at: u64) -> [Packet; 4] {
        let [client, server] = self.isn;
        let one = |from, at, flags, seq, ack, len| Packet { at, from, flags, seq, ack, len, ..Packet::default() };
        [
            one(CLIENT, at, SYN, client, 0, 0),
            one(SERVER, at + 200_000, SYN | ACK, server, client.wrapping_add(1), 0),
            one(CLIENT, at + 700_000, ACK, client.wrapping_add(1), server.wrapping_add(1), 0),
            one(CLIENT, at + 750_000, PSH | ACK, client.wrapping_add(1), server.wrapping_add(1), REQUEST),
        ]
    }

    fn act(
        &mut self,
        random: &mut Random,
        at: u64,
        act: Act,
        writer: &mut Writer,
        acts: &mut Vec<(u64, Act)>,
    ) -> io::Result<()> {
        match act {
            Act::Say(packet) => self.say(writer, packet),
            Act::Send if self.left == 0 => {
                // The end waits for the last hole to be mended.
                if self.missing {
                    acts.push((at + MILLI, Act::Send));
                } else {
                    acts.extend(self.farewell(at + MILLI).map(|packet| (packet.at, Act::Say(packet))));
                }
                Ok(())
            }
            Act::Send => {
                self.left -= 1;
                let number = self.next;
                self.next += 1;
                self.say(writer, self.segment(number, at))?;
                acts.push((at + 22_000 + random.below(4_000), Act::Send));
                if !self.missing && self.left > 8 && random.one_in(20_000) {
                    self.missing = true;
                    self.repeated_acks = 0;
                } else if self.missing {
                    self.repeated_acks += 1;
                    acts.push((at + RECEIVER, Act::Say(self.reply(at + RECEIVER))));
                    if self.repeated_acks == 3 {
                        acts.push((at + RECEIVER + SENDER, Act::Repair));
                    }
                } else {
                    self.awaited = self.next;
                    self.unacknowledged += 1;
                    if self.unacknowledged == 2 || self.left == 0 || random.below(4) == 0 {
                        self.unacknowledged = 0;
                        acts.push((at + RECEIVER, Act::Say(self.reply(at + RECEIVER))));
                    }
                }
                Ok(())
            }
            Act::Repair => {
                self.say(writer, self.segment(self.awaited, at))?;
                self.missing = false;
                self.awaited = self.next;
                self.unacknowledged = 0;
                acts.push((at + RECEIVER, Act::Say(self.reply(at + RECEIVER))));
                Ok(())
            }
        }
    }

    fn say(&mut self, writer: &mut Writer, packet: Packet) -> io::Result<()> {
        let echo = self.clocks[1 - packet.from];
        self.clocks[packet.from] = (packet.at / MILLI) as u32;
        writer.packet(&self.ends, &Packet { echo, ..packet })
    }

    fn segment(&self, number: u32, at: u64) -> Packet {
        Packet {
            at,
            from: SERVER,
            flags: ACK,
            seq: self.place(number),
            ack: self.isn[CLIENT].wrapping_add(1 + u32::from(REQUEST)),
            len: SEGMENT as u16,
            ..Packet::default()
        }
    }

    /// What the receiver says of what it has: a selective acknowledgement where something is missing.
    fn reply(&self, at: u64) -> Packet {
        Packet {
            at,
            from: CLIENT,
            flags: ACK,
            seq: self.isn[CLIENT].wrapping_add(1 + u32::from(REQUEST)),
            ack: self.place(self.awaited),
            sack: self.missing.then(|| (self.place(self.awaited + 1), self.place(self.next))),
            ..Packet::default()
        }
    }

    fn farewell(&self, at: u64) -> [Packet; 3] {
        let client = self.isn[CLIENT].wrapping_add(1 + u32::from(REQUEST));
        let server = self.place(self.next);
        let one = |from, at, flags, seq, ack| Packet { at, from, flags, seq, ack, ..Packet::default() };
        [
            one(SERVER, at, FIN | ACK, server, client),
            one(CLIENT, at + RECEIVER, FIN | ACK, client, server.wrapping_add(1)),
            one(SERVER, at + RECEIVER + SENDER, ACK, server.wrapping_add(1), client.wrapping_add(1)),
        ]
    }

    fn place(&self, number: u32) -> u32 {
        self.isn[SERVER].wrapping_add(1).wrapping_add(number.wrapping_mul(SEGMENT))
    }
}

/// SYNs that nobody answers.
fn scan(writer: &mut Writer, count: u64) -> io::Result<()> {
    let mut random = Random(0x7363_616e);
    for number in 0..count {
        let ends = [
            End { address: 0x0a02_0304, port: 1_024 + random.below(60_000) as u16 },
            End { address: 0x0b00_0000 + (number / 4) as u32, port: [22, 80, 443, 3389][(number % 4) as usize] },
        ];
        let at = START + number * 1_000;
        writer.packet(&ends, &Packet { at, flags: SYN, seq: random.next() as u32, ..Packet::default() })?;
    }
    Ok(())
}

/// Connections that begin and never end: a handshake and one request each.
fn open(writer: &mut Writer, count: u64) -> io::Result<()> {
    let apart = 1_000;
    for number in 0..count + 3 * apart {
        for stage in 0..4 {
            let Some(which) = number.checked_sub(stage * apart).filter(|which| *which < count) else { continue };
            let ends = [
                End { address: 0x0a00_0000 | (which % 65_000) as u32, port: 20_000 + (which / 65_000) as u16 },
                End { address: 0xc0a8_0001, port: 8883 },
            ];
            let isn = [which as u32 * 64_000, (which as u32).wrapping_mul(2_654_435_761)];
            let (seq, ack) = (isn[CLIENT].wrapping_add(1), isn[SERVER].wrapping_add(1));
            let one = |from, flags, seq, ack, len| Packet { from, flags, seq, ack, len, ..Packet::default() };
            let packet = match stage {
                0 => one(CLIENT, SYN, isn[CLIENT], 0, 0),
                1 => one(SERVER, SYN | ACK, isn[SERVER], seq, 0),
                2 => one(CLIENT, ACK, seq, ack, 0),
                _ => one(CLIENT, PSH | ACK, seq, ack, 40),
            };
            writer.packet(&ends, &Packet { at: START + number * 10_000 + stage * 1_000, ..packet })?;
        }
    }
    Ok(())
}

/// A stream of which every second segment was never captured.
fn holes(writer: &mut Writer, count: u64) -> io::Result<()> {
    let ends = [End { address: 0x0a00_0001, port: 50_000 }, End { address: 0xc0a8_0001, port: 9 }];
    let one = |at, from, flags, seq, ack, len| Packet { at, from, flags, seq, ack, len, ..Packet::default() };
    writer.packet(&ends, &one(START, CLIENT, SYN, 0, 0, 0))?;
    writer.packet(&ends, &one(START + MILLI, SERVER, SYN | ACK, 0, 1, 0))?;
    writer.packet(&ends, &one(START + 2 * MILLI, CLIENT, ACK, 1, 1, 0))?;
    for number in 0..count {
        let at = START + 3 * MILLI + number * 1_000;
        writer.packet(&ends, &one(at, CLIENT, ACK, 9 + number as u32 * 16, 1, 8))?;
    }
    Ok(())
}

/// The smallest whole life: ten segments.
fn ten(writer: &mut Writer) -> io::Result<()> {
    let ends = [End { address: 0x0a00_0001, port: 50_000 }, End { address: 0xc0a8_0001, port: 80 }];
    let script = [
        (CLIENT, SYN, 0, 0, 0),
        (SERVER, SYN | ACK, 0, 1, 0),
        (CLIENT, ACK, 1, 1, 0),
        (CLIENT, PSH | ACK, 1, 1, 10),
        (SERVER, ACK, 1, 11, 0),
        (SERVER, PSH | ACK, 1, 11, 10),
        (CLIENT, ACK, 11, 11, 0),
        (CLIENT, FIN | ACK, 11, 11, 0),
        (SERVER, FIN | ACK, 11, 12, 0),
        (CLIENT, ACK, 12, 12, 0),
    ];
    for (number, (from, flags, seq, ack, len)) in script.into_iter().enumerate() {
        let at = START + number as u64 * MILLI;
        writer.packet(&ends, &Packet { at, from, flags, seq, ack, len, ..Packet::default() })?;
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct End {
    address: u32,
    port: u16,
}

/// One segment, before it is octets. Its fields' order is that of comparing, which only ties of the time need.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    /// Nanoseconds since the epoch.
    at: u64,
    /// Which end sends it.
    from: usize,
    flags: u8,
    seq: u32,
    ack: u32,
    len: u16,
    sack: Option<(u32, u32)>,
    /// The other end's timestamp that it echoes.
    echo: u32,
}

/// Turns packets into frames and frames into a file.
struct Writer {
    out: BufWriter<File>,
    format: Format,
    snap: usize,
    packets: u64,
    frame: Vec<u8>,
    payload: Vec<u8>,
}

impl Writer {
    fn create(path: &Path, format: Format, snap: usize) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        match format {
            Format::Pcap => {
                out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
                out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
                out.write_all(&(snap as u32).to_le_bytes())?;
                out.write_all(&1_u32.to_le_bytes())?;
            }
            Format::Pcapng => {
                for word in [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28] {
                    out.write_all(&u32::to_le_bytes(word))?;
                }
                for word in [1, 20, 1, snap as u32, 20] {
                    out.write_all(&u32::to_le_bytes(word))?;
                }
            }
        }
        let mut random = Random(0x7061_796c);
        let payload = (0..POOL / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        Ok(Self { out, format, snap, packets: 0, frame: Vec::with_capacity(2048), payload })
    }

    fn packet(&mut self, ends: &[End; 2], packet: &Packet) -> io::Result<()> {
        self.build(ends, packet);
        self.packets += 1;
        let wire_len = self.frame.len() as u32;
        let kept = &self.frame[..self.frame.len().min(self.snap)];
        let cap_len = kept.len() as u32;
        match self.format {
            Format::Pcap => {
                let mut header = [0; 16];
                header[..4].copy_from_slice(&((packet.at / SECOND) as u32).to_le_bytes());
                header[4..8].copy_from_slice(&((packet.at % SECOND / 1_000) as u32).to_le_bytes());
                header[8..12].copy_from_slice(&cap_len.to_le_bytes());
                header[12..].copy_from_slice(&wire_len.to_le_bytes());
                self.out.write_all(&header)?;
                self.out.write_all(kept)
            }
            Format::Pcapng => {
                let padding = cap_len.wrapping_neg() & 3;
                let total = 32 + cap_len + padding;
                let micros = packet.at / 1_000;
                for word in [6, total, 0, (micros >> 32) as u32, micros as u32, cap_len, wire_len] {
                    self.out.write_all(&u32::to_le_bytes(word))?;
                }
                self.out.write_all(kept)?;
                self.out.write_all(&[0; 3][..padding as usize])?;
                self.out.write_all(&total.to_le_bytes())
            }
        }
    }

    /// Ethernet, IPv4 and TCP with timestamps, the handshake's options on a SYN, and both checksums right.
    fn build(&mut self, ends: &[End; 2], packet: &Packet) {
        let (source, target) = (ends[packet.from], ends[1 - packet.from]);
        let frame = &mut self.frame;
        frame.clear();
        for end in [target, source] {
            frame.extend_from_slice(&[2, 0]);
            frame.extend_from_slice(&end.address.to_be_bytes());
        }
        frame.extend_from_slice(&[8, 0]);

        frame.extend_from_slice(&[0x45, 0, 0, 0]);
        frame.extend_from_slice(&(self.packets as u16).to_be_bytes());
        frame.extend_from_slice(&[0x40, 0, 64, 6, 0, 0]);
        frame.extend_from_slice(&source.address.to_be_bytes());
        frame.extend_from_slice(&target.address.to_be_bytes());

        frame.extend_from_slice(&source.port.to_be_bytes());
        frame.extend_from_slice(&target.port.to_be_bytes());
        frame.extend_from_slice(&packet.seq.to_be_bytes());
        frame.extend_from_slice(&packet.ack.to_be_bytes());
        let window: u16 = if packet.flags & RST != 0 { 0 } else { 64_240 };
        frame.extend_from_slice(&[0, packet.flags]);
        frame.extend_from_slice(&window.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 0]);

        if packet.flags & SYN != 0 {
            frame.extend_from_slice(&[2, 4, (MSS >> 8) as u8, MSS as u8, 4, 2, 8, 10]);
        } else {
            frame.extend_from_slice(&[1, 1, 8, 10]);
        }
        frame.extend_from_slice(&((packet.at / MILLI) as u32).to_be_bytes());
        frame.extend_from_slice(&packet.echo.to_be_bytes());
        if packet.flags & SYN != 0 {
            frame.extend_from_slice(&[1, 3, 3, 7]);
        }
        if let Some((from, to)) = packet.sack {
            frame.extend_from_slice(&[1, 1, 5, 10]);
            frame.extend_from_slice(&from.to_be_bytes());
            frame.extend_from_slice(&to.to_be_bytes());
        }
        frame[TCP + 12] = ((frame.len() - TCP) as u8 / 4) << 4;

        // The octet at a stream position is always the same one, so what is sent again is equal.
        let from = packet.seq as usize % (POOL - 2048);
        frame.extend_from_slice(&self.payload[from..from + usize::from(packet.len)]);

        let datagram = (frame.len() - IP) as u16;
        frame[IP + 2..IP + 4].copy_from_slice(&datagram.to_be_bytes());
        let sum = folded(summed(&frame[IP..TCP]));
        frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
        let pseudo = summed(&frame[IP + 12..TCP]) + 6 + (frame.len() - TCP) as u64;
        let sum = folded(pseudo + summed(&frame[TCP..]));
        frame[TCP + 16..TCP + 18].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The sum of the octets taken as 16-bit words (RFC 1071), not yet folded.
fn summed(octets: &[u8]) -> u64 {
    let words = octets.chunks_exact(4);
    let mut last = [0; 4];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let word = |octets: &[u8]| u64::from(u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]));
    words.map(word).sum::<u64>() + word(&last)
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// SplitMix64: small, and the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    /// Exponentially spread around a mean.
    fn about(&mut self, mean: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (-(1.0 - unit).ln() * mean as f64) as u64
    }
}

/// The captures, in the order in which they are measured.
pub const RECIPES: [Recipe; 8] = [
    Recipe::new("ten", Shape::Ten, Format::Pcap, WHOLE),
    Recipe::new("many", Shape::Many, Format::Pcap, WHOLE),
    Recipe::new("many-ng", Shape::Many, Format::Pcapng, WHOLE),
    Recipe::new("elephants", Shape::Elephants, Format::Pcap, WHOLE),
    Recipe::new("elephants96", Shape::Elephants, Format::Pcap, 96),
    Recipe::new("scan", Shape::Scan, Format::Pcap, WHOLE),
    Recipe::new("open", Shape::Open, Format::Pcap, WHOLE),
    Recipe::new("holes", Shape::Holes, Format::Pcap, WHOLE),
];

/// Changes whenever the same recipe makes other octets, so that captures of before are not taken for those of now.
const REVISION: &str = "2";

const CLIENT: usize = 0;
const SERVER: usize = 1;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// Where the IPv4 header and the TCP header begin.
const IP: usize = 14;
const TCP: usize = 34;

const MSS: u16 = 1460;
/// A full segment: the MSS less the twelve octets of the timestamps.
const SEGMENT: u32 = 1448;
const REQUEST: u16 = 200;
const WHOLE: usize = 262_144;
const POOL: usize = 1 << 16;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// How long a server waits before it acknowledges a request that it has no answer to yet.
const DELAYED_ACK: u64 = 40 * MILLI;
/// 2025-01-01 00:00:00 UTC, when every capture begins.
const START: u64 = 1_735_689_600 * SECOND;
/// The time from the point of capture to a download's receiver and back, and to its sender and back.
const RECEIVER: u64 = 15_000_000;
const SENDER: u64 = 200_000;
