//! The octets are a script: what two ends of some connections say, what the capture sees of it, and what the programs called.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;

use tcpflow::calls::{
    Arg, Call, CallId, Domain, Errno, How, MessageFlags, Op, OptionName, OptionValue, Process, Protocol, Receiving,
    Returned, Role, Sending, SocketFlags, SocketId, SocketOption, SocketType, SocketUse, Thread, ThreadId, Threads,
};
use tcpflow::capture::{CaptureError, Frame, FrameSource, Given, LinkType};
use tcpflow::flow::{Connection, Limits, SideSummary, Step, Totals};
use tcpflow::kernel::{Answer, Timer, TimerKind};
use tcpflow::report::live::{JsonLines, Lines, Open, Teller};
use tcpflow::report::wording::{English, Wording};
use tcpflow::report::{
    self, Bars, Charset, Clock, Color, Columns, Csv, Detail, FindingList, Jsonl, Origin, Style, Table,
};
use tcpflow::session::{Batch, Keep, Session, Sink};
use tcpflow::story::Story;
use tcpflow::tcp::State;
use tcpflow::time::{Span, Timestamp};
use tcpflow::wire::Segment;

/// Plays the octets as a script of up to four connections and analyzes what the capture saw, as a summary and as a story.
///
/// Summary and story agree; counts add up, also where there is room for few connections, and as a live capture sees them;
/// every cause and effect names an event that is there;
/// every form of output can be written, is text, and has no octet of a terminal's control in it.
pub fn flow(octets: &[u8]) {
    let script = Script::play(octets);
    let looks = octets.first().map_or(0, |kind| kind >> 4);
    let told = summarize(&script, Limits::default());
    let totals = told.totals.expect("a run ends with its totals");
    assert_eq!(totals.let_go, 0, "there is room for more than a script has");
    let limits = tight(looks);
    for connection in summarize(&script, limits).connections {
        assert!(connection.findings.len() <= limits.findings, "more findings than are kept");
    }
    watch(&script, limits, looks);

    let mut session = Session::new(Keep::All);
    let run = session.run(&mut script.frames(), |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
    assert!(run.is_ok(), "a script broke off");
    let story = session.story(script.threads, script.calls, &script.evidence, Some(0));
    assert_eq!(story.totals.segments, totals.segments);
    assert_eq!(story.connections.len(), told.connections.len());
    for (one, other) in told.connections.iter().zip(&story.connections) {
        assert_eq!((one.id, one.client, one.server), (other.id, other.client, other.server));
        assert_eq!(
            (one.ending, one.conn_state, one.completeness),
            (other.ending, other.conn_state, other.completeness)
        );
        assert_eq!((&one.client_to_server, &one.server_to_client), (&other.client_to_server, &other.server_to_client));
    }
    check_story(&story);
    check_outputs(&story, looks);
}

/// The connections of a run that keeps nothing, by number.
fn summarize(script: &Script, limits: Limits) -> Told {
    let mut told = Told::default();
    let mut session = Session::new(Keep::Nothing).with_limits(limits).with_breakdowns(1 << 20);
    let run = session.run(&mut script.frames(), |_| Ok(true), |_| ControlFlow::Continue(()), &mut told);
    assert!(run.is_ok() && session.finish(&mut told).is_ok(), "a script broke off");
    told.connections.sort_by_key(|connection| connection.id);
    let totals = told.totals.as_ref().expect("a run ends with its totals");
    check_connections(&told.connections, totals, script.frames.len() as u64);
    told
}

/// So little room that four pairs of ends are too many.
fn tight(looks: u8) -> Limits {
    Limits {
        linger: Span::from_millis([0, 10_000][usize::from(looks & 1)]),
        closed: usize::from(looks >> 1 & 1),
        half_open: 1,
        open: 1 + usize::from(looks >> 2 & 1),
        findings: usize::from(looks >> 3) * 2,
        octets: [usize::MAX, 700][usize::from(looks >> 1 & 1)],
    }
}

/// Follows the script as a live capture, and tells it line by line.
fn watch(script: &Script, limits: Limits, looks: u8) {
    let mut session = Session::new(Keep::Nothing).telling_steps().with_limits(limits);
    let mut reader = session.reader(|_: &Frame<'_>| Ok(true));
    let mut batch = Batch::default();
    let mut out = Vec::new();
    let drawn = looks & 4 == 0;
    let style = if drawn { style(looks) } else { Style::plain(80) };
    let start = Timestamp::from_nanos(1_700_000_000_000_000_000);
    let (connections, totals) = {
        let teller: Box<dyn Teller + '_> = match drawn {
            true => Box::new(Lines::new(&mut out, &style, start)),
            false => Box::new(JsonLines::new(&mut out)),
        };
        let mut told = Watched { teller, now: start, is_over: false, connections: Vec::new() };
        for captured in &script.frames {
            told.now = captured.at.unwrap_or(start);
            let mut one = Given::of(std::iter::once(captured.frame()));
            session.advance(&mut reader, &mut one, &mut batch, &mut told).expect("memory takes everything");
            if captured.number % 16 == 0 {
                let mut open = Open::default();
                session.each(|connection| open.add(connection));
                told.teller.overview(told.now, open, &session.totals(), None).expect("memory takes everything");
            }
            session.pass(told.now, &mut told).expect("memory takes everything");
        }
        told.is_over = true;
        let totals = session.finish(&mut told).expect("memory takes everything");
        (told.connections, totals)
    };
    check_connections(&connections, &totals, script.frames.len() as u64);
    check_text(&out, &style);
}

fn check_connections(connections: &[Connection], totals: &Totals, frames: u64) {
    assert_eq!(totals.frames, frames);
    assert_eq!(totals.connections, connections.len() as u64);
    let ids: BTreeSet<_> = connections.iter().map(|connection| connection.id).collect();
    assert_eq!(ids.len(), connections.len(), "a connection told twice");
    for connection in connections {
        let Some(breakdown) = &connection.breakdown else { continue };
        for parts in [&breakdown.client_to_server, &breakdown.server_to_client, &breakdown.total] {
            assert_eq!(Some(parts.sum()), connection.duration(), "a breakdown that does not add up");
        }
    }
    let segments: u64 = connections.iter().map(|c| c.client_to_server.segments + c.server_to_client.segments).sum();
    assert_eq!(segments + totals.late_segments, totals.segments, "a segment of no connection");
    for connection in connections {
        assert!(connection.first_frame <= connection.last_frame && connection.last_frame <= frames);
        assert!(connection.completeness < 64);
        let verdict = English.verdict(&connection.verdict);
        assert!(verdict.ends_with('.') && !verdict.contains('\n'), "{verdict}");
        assert!(connection.history.to_string().len() < 1_000);
        check_side(&connection.client_to_server);
        check_side(&connection.server_to_client);
    }
}

fn check_side(side: &SideSummary) {
    assert!(side.unique_octets <= side.octets, "{} of {} octets are unique", side.unique_octets, side.octets);
    for part in [side.syn, side.fin, side.rst, side.out_of_order, side.duplicate_acks, side.zero_windows] {
        assert!(part <= side.segments);
    }
    assert!(side.fast_retransmissions + side.spurious_retransmissions <= side.retransmissions);
    assert!(side.retransmissions + side.out_of_order <= side.segments);
    if let (Some(least), Some(mean), Some(most)) = (side.rtt_min_ns, side.rtt_avg_ns, side.rtt_max_ns) {
        assert!(least <= mean && mean <= most, "round trips {least} {mean} {most}");
    }
}

pub(super) fn check_story(story: &Story) {
    let known: BTreeSet<_> = story.connections.iter().map(|connection| connection.id).collect();
    for (place, event) in story.events.iter().enumerate() {
        assert_eq!(event.id.0, place as u64);
        assert!(event.connection.is_none_or(|id| known.contains(&id)), "an event of no connection");
    }
    let events = story.events.len() as u64;
    for edge in story.edges() {
        assert!(edge.cause.0 < events && edge.effect.0 < events, "an edge to nowhere");
        assert!(edge.cause != edge.effect, "an event that causes itself");
    }
}

/// One of the ways to draw.
fn style(looks: u8) -> Style {
    Style {
        charset: if looks & 1 == 0 { Charset::Unicode } else { Charset::Ascii },
        color: if looks & 2 == 0 { Color::Never } else { Color::Always },
        clock: if looks & 4 == 0 { Clock::Elapsed } else { Clock::TimeOfDay },
        detail: if looks & 4 == 0 { Detail::Runs } else { Detail::Every },
        ..Style::plain(if looks & 8 == 0 { 40 } else { 130 })
    }
}

/// Writes the story in every form; `looks` chooses one of the ways to draw it, because drawing takes most of the time.
pub(super) fn check_outputs(story: &Story, looks: u8) {
    let style = style(looks);
    let mut out = Vec::new();
    report::timeline::write(&mut out, story, &[], &style, &tcpflow::share::InTurn).expect("memory takes everything");
    let (mut table, list, bars) = (Table::new(&style), FindingList::new(&style), Bars::new(&style));
    table.header(&mut out).expect("memory takes everything");
    list.header(&mut out).expect("memory takes everything");
    for connection in &story.connections {
        table.row(&mut out, connection).expect("memory takes everything");
        list.rows(&mut out, connection).expect("memory takes everything");
        bars.rows(&mut out, connection).expect("memory takes everything");
    }
    table.totals(&mut out, &story.totals, story.connections.len() as u64).expect("memory takes everything");
    check_text(&out, &style);

    let mut out = Vec::new();
    let mut csv = Csv::of_connections(&mut out, Origin::Only, Columns::Usual).expect("memory takes everything");
    for connection in &story.connections {
        csv.connection(connection).expect("memory takes everything");
    }
    csv.flush().expect("memory takes everything");
    drop(csv);
    let lines = std::str::from_utf8(&out).expect("CSV is UTF-8").lines().count();
    assert_eq!(lines, 1 + story.connections.len(), "not a line for each connection");

    let mut out = Vec::new();
    Jsonl::new(&mut out).story(story).expect("memory takes everything");
    check_lines(&out);
    report::comments(story);
}

fn check_lines(out: &[u8]) {
    let text = std::str::from_utf8(out).expect("JSON is UTF-8");
    for line in text.lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect("a line is an object");
        assert!(object["type"].is_string());
    }
}

fn check_text(out: &[u8], style: &Style) {
    let text = std::str::from_utf8(out).expect("the output is UTF-8");
    let colored = style.color == Color::Always;
    assert!(
        text.chars().all(|c| c == '\n' || (c == '\u{1b}' && colored) || !c.is_control()),
        "a control character in the output"
    );
    assert!(style.charset == Charset::Unicode || text.is_ascii(), "a character beyond ASCII");
}

/// What a script put on the wire and into the other witnesses.
#[derive(Default)]
struct Script {
    frames: Vec<Captured>,
    threads: Threads,
    calls: Vec<Call>,
    evidence: Vec<Answer>,
}

pub(super) struct Captured {
    pub(super) number: u64,
    pub(super) at: Option<Timestamp>,
    pub(super) octets: Vec<u8>,
    pub(super) wire_len: u32,
}

impl Captured {
    fn frame(&self) -> Frame<'_> {
        let Self { number, at, octets, wire_len } = self;
        Frame {
            number: *number,
            at: *at,
            link: LinkType::RAW,
            bytes: octets,
            wire_len: *wire_len,
            seen: Default::default(),
        }
    }
}

pub(super) struct Frames<'a>(pub(super) std::slice::Iter<'a, Captured>);

impl FrameSource for Frames<'_> {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        Ok(self.0.next().map(Captured::frame))
    }
}

#[derive(Default)]
struct Told {
    connections: Vec<Connection>,
    totals: Option<Totals>,
}

/// Hands on what a live capture tells, and keeps the connections.
struct Watched<'a> {
    teller: Box<dyn Teller + 'a>,
    now: Timestamp,
    is_over: bool,
    connections: Vec<Connection>,
}

impl Sink for Watched<'_> {
    fn step(&mut self, segment: &Segment, step: &Step, connection: &Connection) -> std::io::Result<()> {
        assert_eq!(connection.id, step.connection, "a segment of another connection");
        self.teller.step(segment, step, connection)
    }

    fn connection(&mut self, connection: Connection) -> std::io::Result<()> {
        self.connections.push(connection.clone());
        if self.is_over { self.teller.left(connection) } else { self.teller.told(connection, self.now) }
    }

    fn finish(&mut self, totals: &Totals) -> std::io::Result<()> {
        self.teller.finish(totals, None)
    }
}

impl Sink for Told {
    fn connection(&mut self, connection: Connection) -> std::io::Result<()> {
        self.connections.push(connection);
        Ok(())
    }

    fn finish(&mut self, totals: &Totals) -> std::io::Result<()> {
        assert!(self.totals.replace(totals.clone()).is_none(), "ended twice");
        Ok(())
    }
}

impl Script {
    fn play(octets: &[u8]) -> Self {
        let mut tape = Tape(octets);
        let mut world = World::new(&mut tape);
        for _ in 0..MOST_STEPS {
            let Some(step) = tape.next() else { break };
            world.step(step, &mut tape);
        }
        let process = world.script.threads.add_process(Process { pid: 100, comm: "a\u{1b}[31m\nb".into() });
        for tid in [100, 101] {
            world.script.threads.add(Thread { process, tid, comm: "a\u{1b}[31m\nb".into() });
        }
        world.script
    }

    fn frames(&self) -> Frames<'_> {
        Frames(self.frames.iter())
    }
}

/// The script's octets, one after the other; zeros where it has ended.
struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn octet(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn half(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }
}

/// One end of a connection, as its own TCP would have it.
#[derive(Clone, Copy)]
struct End {
    at: SocketAddr,
    isn: u32,
    /// The next sequence number it sends.
    next: u32,
    /// The next sequence number it waits for.
    awaited: u32,
    window: u16,
    timestamps: bool,
}

struct World {
    script: Script,
    now: i64,
    untimed: bool,
    ends: [[End; 2]; 4],
    said: Vec<Said>,
    held: Vec<Said>,
}

/// A segment as it was said, so that it can be said again.
#[derive(Clone)]
struct Said {
    from: SocketAddr,
    to: SocketAddr,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    len: u16,
    options: Vec<u8>,
}

impl World {
    fn new(tape: &mut Tape<'_>) -> Self {
        let kind = tape.octet();
        let address = |last: u8| match kind & 1 {
            0 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
            _ => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last))),
        };
        let end = |at, isn| End { at, isn, next: isn, awaited: 0, window: 64_240, timestamps: kind & 2 != 0 };
        let wrapping = if kind & 4 != 0 { u32::MAX - 40 } else { 1_000 };
        let between = |client, server| [end(client, wrapping), end(server, wrapping.wrapping_add(77_777))];
        let one = SocketAddr::new(address(1), 50_000);
        let two = SocketAddr::new(address(2), 80);
        Self {
            script: Script::default(),
            now: 1_700_000_000_000_000_000,
            untimed: kind & 8 != 0,
            ends: [
                between(one, two),
                between(SocketAddr::new(address(1), 50_001), two),
                // Both ends on one address, as on loopback; and both ends the same in address and port.
                between(SocketAddr::new(address(7), 50_000), SocketAddr::new(address(7), 80)),
                between(SocketAddr::new(address(9), 9), SocketAddr::new(address(9), 9)),
            ],
            said: Vec::new(),
            held: Vec::new(),
        }
    }

    /// One step: its kind, the connection and the end in the upper bits, and what it takes from the tape.
    fn step(&mut self, step: u8, tape: &mut Tape<'_>) {
        let which = usize::from(step >> 6);
        let from = usize::from(step >> 5 & 1);
        let me = self.ends[which][from];
        let peer = self.ends[which][1 - from];
        match step & 31 {
            0 => {
                let syn = self.segment(which, from, SYN, me.isn, 0, 0);
                self.ends[which][from].next = me.isn.wrapping_add(1);
                self.capture(syn);
            }
            1 => {
                let mut syn = self.segment(which, from, SYN | ACK, me.isn, peer.next, 0);
                syn.len = if tape.octet() > 250 { 5 } else { 0 };
                self.ends[which][from].next = me.isn.wrapping_add(1);
                self.ends[which][from].awaited = peer.next;
                self.capture(syn);
            }
            2 => {
                self.ends[which][from].awaited = peer.next;
                let ack = self.segment(which, from, ACK, me.next, peer.next, 0);
                self.capture(ack);
            }
            3 | 4 => {
                let len = tape.half() % 2_000;
                let data = self.segment(which, from, PSH | ACK, me.next, me.awaited, len);
                self.ends[which][from].next = me.next.wrapping_add(u32::from(len));
                self.capture(data);
            }
            5 => {
                let fin = self.segment(which, from, FIN | ACK, me.next, peer.next, u16::from(tape.octet() % 8));
                self.ends[which][from].next = me.next.wrapping_add(u32::from(fin.len) + 1);
                self.capture(fin);
            }
            6 => {
                let rst = self.segment(which, from, RST, me.next, 0, 0);
                self.capture(rst);
            }
            7 => {
                let rst = self.segment(which, from, RST | ACK, me.next, peer.next, u16::from(tape.octet() % 4));
                self.capture(rst);
            }
            // A keep-alive, and a probe of a window that is shut.
            8 => {
                let probe =
                    self.segment(which, from, ACK, me.next.wrapping_sub(1), peer.next, u16::from(tape.octet() & 1));
                self.capture(probe);
            }
            9 => {
                let probe = self.segment(which, from, ACK, me.next, me.awaited, 1);
                self.capture(probe);
            }
            10 => {
                self.ends[which][from].window = tape.half();
                let update = self.segment(which, from, ACK, me.next, me.awaited, 0);
                self.capture(update);
            }
            // An acknowledgement that repeats the last one, with or without what came beyond the gap.
            11 => {
                let again = self.segment(which, from, ACK, me.next, me.awaited, 0);
                self.capture(again);
            }
            12 => {
                let mut again = self.segment(which, from, ACK, me.next, me.awaited, 0);
                let left = me.awaited.wrapping_add(u32::from(tape.octet()) * 100).wrapping_sub(1_000);
                let right = left.wrapping_add(u32::from(tape.octet()) * 100);
                again.options = [&[1, 1, 5, 10][..], &left.to_be_bytes(), &right.to_be_bytes()].concat();
                self.capture(again);
            }
            // Octets that were sent and not captured, a segment that the network lost.
            13 => self.ends[which][from].next = me.next.wrapping_add(u32::from(tape.half())),
            14 => self.ends[which][from].awaited = peer.next,
            // Something that was said before is sent again, is captured twice, or is cut otherwise when it is sent again.
            15 => {
                if let Some(said) = self.recall(tape.octet()) {
                    self.put(&said);
                }
            }
            16 => {
                if let Some(last) = self.script.frames.last() {
                    let copy = (last.octets.clone(), last.wire_len);
                    self.push(copy.0, copy.1);
                }
            }
            17 => {
                if let Some(mut said) = self.recall(tape.octet()) {
                    let skip = u16::from(tape.octet()) % said.len.max(1);
                    said.seq = said.seq.wrapping_add(u32::from(skip));
                    said.len = (said.len - skip.min(said.len)).saturating_add(u16::from(tape.octet()));
                    self.put(&said);
                }
            }
            // The last segment is late: others overtake it.
            18 => {
                if let (Some(said), true) = (self.said.last().cloned(), !self.script.frames.is_empty()) {
                    self.script.frames.pop();
                    self.held.push(said);
                }
            }
            19 => {
                if let Some(said) = self.held.pop() {
                    self.put(&said);
                }
            }
            20 => self.now += i64::from(tape.half()) * 1_000,
            21 => self.now += i64::from(tape.half()) * 10_000_000,
            22 => self.now -= i64::from(tape.half()) * 1_000_000,
            // Both ends forget the connection, and the port is used again, or another one.
            23 => {
                let changes = [tape.half(), tape.half()];
                for (end, change) in self.ends[which].iter_mut().zip(changes) {
                    end.isn = end.isn.wrapping_add(u32::from(change) << 4);
                    (end.next, end.awaited, end.window) = (end.isn, 0, 64_240);
                }
                if changes[0] & 0x8000 != 0 {
                    self.ends[which][0].at.set_port(40_000 + (changes[0] & 63));
                }
            }
            // Anything at all.
            24 => {
                let flags = tape.octet();
                let seq = me.next.wrapping_add(i32::from(tape.half() as i16) as u32);
                let ack = me.awaited.wrapping_add(i32::from(tape.half() as i16) as u32);
                let wild = self.segment(which, from, flags, seq, ack, u16::from(tape.octet()));
                self.capture(wild);
            }
            25 => {
                let seq = (u32::from(tape.half()) << 16) | u32::from(tape.half());
                let far = self.segment(which, from, ACK, seq, peer.next, tape.half() % 1_500);
                self.capture(far);
            }
            26 => {
                let len = usize::from(tape.octet() % 41);
                let mut odd = self.segment(which, from, ACK, me.next, me.awaited, 0);
                odd.options = (0..len).map(|_| tape.octet()).collect();
                self.capture(odd);
            }
            // The capture kept less of the last frame than there was.
            27 => {
                let keep = usize::from(tape.octet());
                if let Some(last) = self.script.frames.last_mut() {
                    last.octets.truncate(keep);
                }
            }
            28 | 29 => self.call(which, from, tape),
            // A router says that something did not arrive, and quotes its beginning.
            30 => {
                let (back, len) = (tape.octet(), tape.octet());
                if let Some(said) = self.recall(back) {
                    self.quote(&said, usize::from(len));
                }
            }
            _ => self.ask(which, from, tape),
        }
    }

    fn segment(&self, which: usize, from: usize, flags: u8, seq: u32, ack: u32, len: u16) -> Said {
        let (me, peer) = (self.ends[which][from], self.ends[which][1 - from]);
        let mut options = Vec::new();
        if flags & SYN != 0 {
            options.extend_from_slice(&[2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1]);
        }
        if me.timestamps {
            options.extend_from_slice(&[1, 1, 8, 10]);
            options.extend_from_slice(&((self.now / 1_000_000) as u32).to_be_bytes());
            options.extend_from_slice(&((self.now / 1_000_000 - 5) as u32).to_be_bytes());
        }
        Said { from: me.at, to: peer.at, seq, ack, flags, window: me.window, len, options }
    }

    fn recall(&self, back: u8) -> Option<Said> {
        self.said.len().checked_sub(1 + usize::from(back)).map(|place| self.said[place].clone())
    }

    fn capture(&mut self, said: Said) {
        self.put(&said);
        self.said.push(said);
    }

    /// Puts a segment on the wire: IP and TCP headers with right lengths, and octets that tell their position.
    fn put(&mut self, said: &Said) {
        self.now += 50_000;
        let mut tcp = Vec::with_capacity(60 + usize::from(said.len));
        tcp.extend_from_slice(&said.from.port().to_be_bytes());
        tcp.extend_from_slice(&said.to.port().to_be_bytes());
        tcp.extend_from_slice(&said.seq.to_be_bytes());
        tcp.extend_from_slice(&said.ack.to_be_bytes());
        let options = said.options.len().min(40).div_ceil(4) * 4;
        tcp.extend_from_slice(&[((20 + options) as u8 / 4) << 4, said.flags]);
        tcp.extend_from_slice(&said.window.to_be_bytes());
        tcp.extend_from_slice(&[0; 4]);
        tcp.extend_from_slice(&said.options[..said.options.len().min(40)]);
        tcp.resize(20 + options, 0);
        tcp.extend((0..u32::from(said.len)).map(|place| said.seq.wrapping_add(place) as u8));
        let datagram = self.datagram(said.from.ip(), said.to.ip(), [6, 6], &tcp);
        let wire_len = datagram.len() as u32;
        self.push(datagram, wire_len);
    }

    /// Puts an ICMP error on the wire, "destination unreachable", that quotes the first octets of what was said.
    fn quote(&mut self, said: &Said, len: usize) {
        let frames = self.script.frames.len();
        self.put(said);
        let Some(mut quoted) = self.script.frames.pop().map(|frame| frame.octets) else { return };
        assert_eq!(self.script.frames.len(), frames);
        quoted.truncate(20 + len);
        let kind = if said.from.is_ipv4() { 3 } else { 1 };
        let error = [&[kind, 1, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
        let datagram = self.datagram(said.to.ip(), said.from.ip(), [1, 58], &error);
        let wire_len = datagram.len() as u32;
        self.push(datagram, wire_len);
    }

    /// A packet with an IP header; the protocol has a number for IPv4 and one for IPv6.
    fn datagram(&self, from: IpAddr, to: IpAddr, protocol: [u8; 2], payload: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(40 + payload.len());
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let identification = self.script.frames.len() as u16;
                datagram.extend_from_slice(&[0x45, 0]);
                datagram.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
                datagram.extend_from_slice(&identification.to_be_bytes());
                datagram.extend_from_slice(&[0x40, 0, 64, protocol[0], 0, 0]);
                datagram.extend_from_slice(&from.octets());
                datagram.extend_from_slice(&to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                datagram.extend_from_slice(&[0x60, 0, 0, 0]);
                datagram.extend_from_slice(&(payload.len() as u16).to_be_bytes());
                datagram.extend_from_slice(&[protocol[1], 64]);
                datagram.extend_from_slice(&from.octets());
                datagram.extend_from_slice(&to.octets());
            }
            _ => unreachable!("both ends are of one family"),
        }
        datagram.extend_from_slice(payload);
        datagram
    }

    fn push(&mut self, octets: Vec<u8>, wire_len: u32) {
        let number = self.script.frames.last().map_or(1, |frame| frame.number + 1);
        let at = (!self.untimed).then(|| Timestamp::from_nanos(self.now));
        self.script.frames.push(Captured { number, at, octets, wire_len });
    }

    /// The program on an end makes a call.
    fn call(&mut self, which: usize, from: usize, tape: &mut Tape<'_>) {
        let (me, peer) = (self.ends[which][from].at, self.ends[which][1 - from].at);
        let kind = tape.octet();
        let took = i64::from(tape.octet()) * 20_000;
        let amount = u64::from(tape.octet()) * 10;
        let failed = kind & 0x80 != 0;
        let socket = SocketId((which * 2 + from) as u64);
        self.now += 1_000;
        let (op, role) = operation(kind % OPERATIONS, peer, amount);
        let moves = matches!(op, Op::Send { .. } | Op::Receive { .. });
        let fd = 3 + which as i32;
        let mut sockets = vec![SocketUse::of(socket, fd, role)];
        if matches!(op, Op::Accept { .. }) {
            sockets.push(SocketUse::of(socket, fd, Role::Made));
        }
        for used in &mut sockets {
            used.local = (kind & 0x20 == 0).then_some(me);
            used.peer = (kind & 0x10 == 0).then_some(peer);
        }
        let returned = Returned {
            at: Timestamp::from_nanos(self.now + took),
            result: if failed { Err(Errno::ECONNRESET) } else { Ok(amount as i64) },
            octets: (moves && !failed).then_some(amount),
            preview: vec![kind; usize::from(kind & 7)],
        };
        self.script.calls.push(Call {
            id: CallId { thread: ThreadId(from as u32), n: self.script.calls.len() as u64 },
            entered: Timestamp::from_nanos(self.now),
            op,
            sockets,
            returned: (kind & 0x40 == 0).then_some(returned),
            stack: Default::default(),
        });
    }

    /// The kernel is asked about an end.
    fn ask(&mut self, which: usize, from: usize, tape: &mut Tape<'_>) {
        let (local, peer) = (self.ends[which][from].at, self.ends[which][1 - from].at);
        let answer = tape.octet();
        let asked = Timestamp::from_nanos(self.now);
        self.script.evidence.push(Answer {
            asked,
            answered: asked.after(Span(i64::from(tape.octet()) * 1_000)),
            local,
            peer,
            state: STATES.get(usize::from(answer & 15)).copied(),
            timer: (answer & 16 != 0)
                .then_some(Timer { kind: TimerKind::TimeWait, remaining: Span::from_millis(60_000) }),
            inode: u32::from(answer >> 5),
            uid: 0,
        });
    }
}

/// The n-th kind of call, and what it does with the socket it is made on.
fn operation(n: u8, peer: SocketAddr, len: u64) -> (Op, Role) {
    let option = OptionName::Socket(SocketOption::SO_LINGER);
    let linger = |on| Op::SetOption { option, value: OptionValue::Linger { on, seconds: 0 } };
    let op = match n {
        0 => Op::Socket {
            domain: Domain::AF_INET,
            r#type: SocketType::SOCK_STREAM,
            flags: SocketFlags::SOCK_NONBLOCK,
            protocol: Protocol(-1),
        },
        1 => linger(false),
        2 => linger(true),
        3 => Op::Bind { address: Some(peer) },
        4 => Op::Listen { backlog: i32::MIN },
        5 => Op::Connect { address: Some(peer) },
        6 => Op::Accept { flags: None, room: None },
        7 => Op::Send { by: Sending::Send, len: Some(len), flags: MessageFlags::from_bits_retain(-1) },
        8 => Op::Receive { by: Receiving::Recv, len: Some(len), flags: MessageFlags::MSG_PEEK },
        9 => Op::Shutdown { how: How::SHUT_WR },
        10 => Op::Shutdown { how: How::SHUT_RD },
        11 | 12 => Op::Close,
        13 => Op::Exit,
        _ => Op::Other { name: "ioctl\u{7}".into(), args: vec![("flags".into(), Arg::Text("\u{202e}\r".into()))] },
    };
    let role = match n {
        0 => Role::Made,
        11 | 13 => Role::Released,
        _ => Role::On,
    };
    (op, role)
}

/// How many kinds of call there are.
const OPERATIONS: u8 = 15;

const STATES: [State; 11] = [
    State::Closed,
    State::Listen,
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

/// More steps than these show nothing that fewer do not.
const MOST_STEPS: usize = 600;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
