//! Captures made to hurt, streamed into `tcpflow analyze`: every segment is told, in bounded memory, and without a panic.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;
use tcpflow::capture::{Frame, LinkType, Writer};
use tcpflow::time::Timestamp;

#[test]
fn a_million_unanswered_connections_are_each_told() {
    let told = analyze(|capture| {
        for number in 0..MILLION {
            capture.segment(
                number,
                client(number),
                SERVER,
                &Header { seq: number as u32, ack: 0, flags: SYN, ..HEADER },
            )?;
        }
        Ok(())
    });
    assert_eq!(told.connections, MILLION);
    assert_eq!(told.segments, MILLION);
    assert!(told.peak < 200 << 20, "{} MiB", told.peak >> 20);
}

#[test]
fn a_quarter_million_half_open_connections_are_each_told() {
    let told = analyze(|capture| {
        for number in 0..MILLION / 4 {
            let seq = number as u32;
            capture.segment(number, client(number), SERVER, &Header { seq, flags: SYN, ..HEADER })?;
            capture.segment(number, SERVER, client(number), &Header { ack: seq + 1, flags: SYN | ACK, ..HEADER })?;
        }
        Ok(())
    });
    assert_eq!(told.connections, MILLION / 4);
    assert_eq!(told.segments, MILLION / 2);
    assert!(told.peak < 200 << 20, "{} MiB", told.peak >> 20);
}

#[test]
fn a_million_holes_take_no_memory() {
    let told = analyze(|capture| {
        for number in 0..MILLION {
            capture.segment(number, CLIENT, SERVER, &Header { seq: number as u32 * 16, len: 8, ..HEADER })?;
        }
        Ok(())
    });
    assert_eq!((told.connections, told.octets), (1, 8 * MILLION));
    assert_eq!(told.sum("lost_segments"), MILLION - 1);
    assert!(told.peak < 64 << 20, "{} MiB", told.peak >> 20);
}

#[test]
fn clocks_that_run_backwards_change_no_count() {
    let count = 20_000;
    let told = analyze(|capture| {
        for number in 0..count {
            capture.segment(count - number, CLIENT, SERVER, &Header { seq: number as u32 * 8, len: 8, ..HEADER })?;
        }
        Ok(())
    });
    assert_eq!((told.connections, told.segments, told.octets), (1, count, 8 * count));
    assert_eq!(told.sum("lost_segments") + told.sum("retransmissions") + told.sum("out_of_order"), 0);
}

#[test]
fn one_4_tuple_on_both_ends_is_one_connection() {
    let told = analyze(|capture| {
        for number in 0..100 {
            capture.segment(number, SERVER, SERVER, &Header { seq: number as u32 * 8, len: 8, ..HEADER })?;
        }
        Ok(())
    });
    assert_eq!((told.connections, told.segments, told.octets), (1, 100, 800));
}

#[test]
fn every_pair_of_flags_is_shown() {
    let told = analyze(|capture| {
        for first in 0..=255 {
            for second in 0..=255 {
                let number = u64::from(first);
                let (client, header) = (client(number), Header { seq: 9, ack: 9, flags: first, ..HEADER });
                capture.segment(number, client, SERVER, &header)?;
                capture.segment(number, SERVER, client, &Header { flags: second, len: 1, ..header })?;
            }
        }
        Ok(())
    });
    assert_eq!(told.segments, 2 * 256 * 256);
    assert!(told.connections >= 256);
}

#[test]
fn lengths_that_lie_hide_no_frame() {
    let mut frames = 0;
    let told = analyze(|capture| {
        // The version and header length, the total length, the data offset, and an option's length: each of every value.
        for place in [0, 2, 3, 32, 41] {
            for value in 0..=255 {
                let mut datagram = datagram(CLIENT, SERVER, &Header { seq: 1, len: 40, ..HEADER });
                datagram[40..44].copy_from_slice(&[5, 10, 0, 0]);
                datagram[place] = value;
                capture.record(frames, &datagram)?;
                frames += 1;
            }
        }
        Ok(())
    });
    assert_eq!(told.frames, 5 * 256);
    assert_eq!(told.segments + told.skipped, told.frames, "a frame that is neither told nor skipped");
    assert!(told.segments > 256 * 3);
}

/// Twenty thousand sends of an octet, and a segment with the octets of them all that is sent five hundred times: ten million joins.
#[test]
fn saved_calls_do_not_multiply_with_segments() {
    let (calls, again) = (20_000_u16, 500);
    let call = |effect: &str, octets: u8| {
        format!(
            r#"{{"call":{{"entered":"1700000000.000000000","returned":"1700000009.000000000","process":{{"pid":1,"tid":1,"comm":"x"}},"name":"{effect}","effect":"{effect}","socket":1,"args":[],"octets":{octets},"local":"10.9.9.9:40000","peer":"192.0.2.1:443"}}}}"#
        )
    };
    let mut kept = format!("{{\"tcpflow\":{{\"version\":1}}}}\n{}\n", call("connect", 0));
    kept += &format!("{}\n", call("send", 1)).repeat(calls.into());
    // No two are the same frame: those are one transmission.
    let header = |seq, ack, flags, len| datagram(CLIENT, SERVER, &Header { seq, ack, flags, len });
    let told = timeline("multiply", kept.as_bytes(), |writer| {
        writer(&header(0, 0, SYN, 0));
        (0..again).for_each(|ack| writer(&header(1, ack, ACK, calls)));
    });
    assert_eq!(told.status, 2);
    assert!(told.complaint.contains(" joins of calls and segments are left out: "), "{}", told.complaint);
    assert!(told.peak < 150 << 20, "{} MiB", told.peak >> 20);
}

#[test]
fn what_no_call_can_have_takes_no_memory() {
    let call = r#"{"call":{"entered":"1.000000000","process":{"pid":1,"tid":1,"comm":"x"},"name":"x","effect":"other","args":["#;
    let kept = format!("{{\"tcpflow\":{{\"version\":1}}}}\n{call}{}[\"\",1]]}}}}\n", "[\"\",1],".repeat(4_000_000));
    let told = timeline("arguments", kept.as_bytes(), |writer| {
        writer(&datagram(CLIENT, SERVER, &Header { seq: 0, flags: SYN, ..HEADER }));
    });
    assert_eq!(told.status, 2);
    let why =
        "arguments.pcapng: the calls kept in it cannot be read, and its packets are told without them: line 2 has ";
    assert!(told.complaint.contains(why), "{}", told.complaint);
    assert!(told.peak < 128 << 20, "{} MiB", told.peak >> 20);
}

/// What `analyze --timeline` told of a capture with an attached record, and what it took.
struct Complaint {
    status: i32,
    complaint: String,
    peak: u64,
}

#[expect(clippy::zombie_processes, reason = "wait4 waits for it, which tells its memory too")]
fn timeline(name: &str, attached: &[u8], frames: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Complaint {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).with_extension("pcapng");
    let mut writer = Writer::create(&path).expect("a capture");
    let mut number = 0;
    frames(&mut |octets| {
        number += 1;
        let at = Some(Timestamp::from_parts(1_700_000_001, number as u32 * 1000));
        let frame = Frame {
            number,
            at,
            link: LinkType::RAW,
            bytes: octets,
            wire_len: octets.len() as u32,
            seen: Default::default(),
        };
        writer.write(&frame, &[]).expect("a frame is written");
    });
    writer.attach(attached).expect("there is room");
    writer.finish().expect("the capture is whole");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tcpflow"))
        .args(["analyze", "--timeline", "--format", "jsonl"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpflow starts");
    let mut complaint = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut complaint).expect("text");
    let (status, peak) = wait(child.id());
    std::fs::remove_file(&path).expect("the capture is there");
    Complaint { status: libc::WEXITSTATUS(status), complaint, peak }
}
/// Before tunnels were entered only once, each of these frames was 2^15 frames' work.
#[test]
fn tunnels_in_each_other_are_decoded_once() {
    let mut frame = datagram(CLIENT, SERVER, &HEADER);
    // GTP-U on both of its ports: each of them would do.
    for _ in 0..14 {
        let gtp = [&[0x30, 0xff, 0, 0, 0, 0, 0, 7][..], &frame].concat();
        let udp = [&[8, 0x68, 13, 0x3a][..], &(8 + gtp.len() as u16).to_be_bytes(), &[0, 0], &gtp].concat();
        let ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        frame = [&ip[..], &udp].concat();
    }
    // In the innermost one nothing is TCP, so that nothing ends the search.
    let place = frame.len() - 40 + 9;
    frame[place] = 250;
    let told = analyze(|capture| (0..20_000).try_for_each(|number| capture.record(number, &frame)));
    assert_eq!((told.frames, told.segments, told.skipped), (20_000, 0, 20_000));
    assert_eq!(told.totals["skipped"]["not_tcp"], 20_000);
}

/// A frame of 802.11 that aggregates `count` segments, each between ends of its own.
fn aggregate(count: u64, number: u64) -> Vec<u8> {
    let mut frame = vec![0x88, 1, 0, 0];
    frame.resize(24, 0);
    frame.extend([0x80, 0]);
    for segment in 0..count {
        let inside = datagram(client(number * count + segment), SERVER, &Header { flags: SYN, ..HEADER });
        frame.extend([0; 12]);
        frame.extend((8 + inside.len() as u16).to_be_bytes());
        frame.extend([0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
        frame.extend(inside);
        frame.resize(26 + (frame.len() - 26).next_multiple_of(4), 0);
    }
    assert!(frame.len() <= 262_144);
    frame
}

#[test]
fn of_a_frame_that_aggregates_thousands_of_segments_a_bounded_number_is_told() {
    let told = analyze_with(Command::new(env!("CARGO_BIN_EXE_tcpflow")), &[], IEEE_802_11, |capture| {
        (0..200).try_for_each(|number| capture.record(number, &aggregate(4000, number)))
    });
    // As many as fit what may be sent as one, 11,454 octets.
    assert_eq!((told.frames, told.segments), (200, 200 * 179));
    assert_eq!(told.totals["skipped"]["over_budget"], 200);
    assert_eq!((told.status, told.complaint.as_str()), (0, ""));
}

#[test]
fn what_aggregates_many_segments_takes_no_more_memory_than_they_do() {
    for options in [&["--memory", "64M"][..], &["--memory", "64M", "--timeline"]] {
        let told = analyze_with(Command::new(env!("CARGO_BIN_EXE_tcpflow")), options, IEEE_802_11, |capture| {
            (0..2000).try_for_each(|number| capture.record(number, &aggregate(170, number)))
        });
        assert_eq!((told.frames, told.segments), (2000, 340_000));
        let evicted = |what: &str| told.totals["evicted"][what].as_u64().expect("a count");
        // What is held of the segments is counted with them; the rest of the memory is what one frame may cost.
        let is_timeline = options.len() > 2;
        let lines = if is_timeline { told.shown + evicted("segments") } else { told.connections };
        assert_eq!(lines, 340_000, "{}", told.totals);
        assert_eq!((told.status, told.complaint.is_empty()), if is_timeline { (2, false) } else { (0, true) });
        assert!(told.peak < 160 << 20, "{options:?}: {} MiB", told.peak >> 20);
    }
}

#[test]
fn holes_and_findings_of_all_connections_together_have_a_bound() {
    for options in [&["--memory", "64M"][..], &["--memory", "64M", "--findings"]] {
        let told = analyze_with(Command::new(env!("CARGO_BIN_EXE_tcpflow")), options, RAW, |capture| {
            let mut micros = 0;
            for round in 0..1500 {
                for number in 0..400 {
                    micros += 1;
                    capture.segment(micros, client(number), SERVER, &Header { seq: round * 16, len: 4, ..HEADER })?;
                }
            }
            Ok(())
        });
        assert_eq!(told.segments, 600_000);
        let evicted = |what: &str| told.totals["evicted"][what].as_u64().expect("a count");
        assert!(evicted("connections") > 0 && evicted("findings") > 0, "{}", told.totals);
        assert_eq!(told.totals["let_go"], told.totals["evicted"]["connections"]);
        assert!(told.peak < 128 << 20, "{options:?}: {} MiB", told.peak >> 20);
    }
}

/// The command as somebody who may have no further thread, and no further process.
fn without_threads(program: &Path) -> Command {
    use std::os::unix::process::CommandExt;

    let mut command = Command::new(program);
    // SAFETY: between fork and exec nothing but system calls are made.
    unsafe {
        command.pre_exec(|| {
            let nobody = 65_534;
            // The limit is not for root; it is asked for at last, because whoever is over it may not change who it is.
            if libc::geteuid() == 0 && (libc::setgid(nobody) != 0 || libc::setuid(nobody) != 0) {
                return Err(io::Error::last_os_error());
            }
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            if libc::setrlimit(libc::RLIMIT_NPROC, &none) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command
}

#[test]
fn where_there_can_be_no_thread_one_does_all_the_work() {
    let shell = without_threads(Path::new("/bin/sh")).args(["-c", "(exit 0) & wait"]).output();
    assert!(!shell.expect("a shell").stderr.is_empty(), "it may fork: nothing is shown by this test");
    // Where everybody may read it.
    let folder = std::env::temp_dir().join(format!("tcpflow-one-thread-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join("tcpflow");
    std::fs::copy(env!("CARGO_BIN_EXE_tcpflow"), &program).expect("a copy");
    for options in [&[][..], &["--timeline"], &["--findings"]] {
        let told = analyze_with(without_threads(&program), options, RAW, |capture| {
            (0..5000).try_for_each(|number| {
                capture.segment(number, client(number), SERVER, &Header { flags: SYN, ..HEADER })
            })
        });
        assert_eq!((told.frames, told.segments), (5000, 5000), "{options:?}");
        assert_eq!(told.totals["connections"], 5000);
    }
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}

/// A file of some megabytes that decompresses to a hundred gigabytes without a frame: only an interrupt ends its reading.
#[test]
fn an_interrupt_ends_the_reading_of_what_never_has_a_frame() {
    let section =
        [&[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8], &[28, 0, 0, 0]];
    // A block that nobody knows: type, length, nothing, length.
    let block = [0x77, 0x77, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0];
    let path = std::env::temp_dir().join(format!("tcpflow-endless-{}.pcapng.zst", std::process::id()));
    let blocks = zstd::bulk::compress(&block.repeat(2_000_000), 1).expect("it compresses");
    let head = zstd::bulk::compress(&section.concat(), 1).expect("it compresses");
    std::fs::write(&path, [head, blocks.repeat(4_000)].concat()).expect("a file");
    for options in [&[][..], &["--timeline"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tcpflow"))
            .arg("analyze")
            .args(options)
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpflow starts");
        let mut said = child.stderr.take().expect("a pipe");
        // Once it reads the file, it has caught the signal.
        let open = format!("/proc/{}/fd", child.id());
        let is_reading = || {
            std::fs::read_dir(&open).is_ok_and(|files| {
                files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == path))
            })
        };
        while !is_reading() {
            assert!(child.try_wait().expect("a child").is_none(), "it ended by itself");
            thread::yield_now();
        }
        // SAFETY: the child was not waited for: the number is its own.
        assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) }, 0);
        let status = child.wait().expect("a status");
        let mut complaint = String::new();
        said.read_to_string(&mut complaint).expect("text");
        assert_eq!((status.code(), complaint.as_str()), (Some(2), INTERRUPTED), "{options:?}");
    }
    std::fs::remove_file(&path).expect("the file goes");
}

const INTERRUPTED: &str = "tcpflow: interrupted: this is what was seen until then\n";

/// What `analyze` told, and what it took.
#[derive(Default)]
struct Told {
    status: i32,
    complaint: String,
    totals: Value,
    /// The lines of segments.
    shown: u64,
    lines: Vec<Value>,
    connections: u64,
    frames: u64,
    segments: u64,
    skipped: u64,
    octets: u64,
    peak: u64,
}

impl Told {
    fn sum(&self, name: &str) -> u64 {
        let sides = ["client_to_server", "server_to_client"];
        let counts = self.lines.iter().flat_map(|line| sides.map(|side| line[side][name].as_u64().expect("a count")));
        counts.sum()
    }
}

/// Streams a capture into the command, from a thread of its own, and reads what it tells.
fn analyze(write: impl FnOnce(&mut Capture) -> io::Result<()> + Send) -> Told {
    let told = analyze_with(Command::new(env!("CARGO_BIN_EXE_tcpflow")), &[], RAW, write);
    assert_eq!((told.status, told.complaint.as_str()), (0, ""));
    assert_eq!(told.totals["connections"], told.connections);
    told
}

#[expect(clippy::zombie_processes, reason = "wait4 waits for it, which tells its memory too")]
fn analyze_with(
    mut tcpflow: Command,
    options: &[&str],
    link: u8,
    write: impl FnOnce(&mut Capture) -> io::Result<()> + Send,
) -> Told {
    let mut child = tcpflow
        .args(["analyze", "--format", "jsonl"])
        .args(options)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpflow starts");
    let input = child.stdin.take().expect("a pipe");
    let mut output = io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut told = Told::default();
    let mut totals = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut capture = Capture { out: BufWriter::with_capacity(1 << 16, input) };
            capture
                .head(link)
                .and_then(|()| write(&mut capture))
                .and_then(|()| capture.out.flush())
                .expect("it reads on");
        });
        for line in io::BufRead::lines(&mut output) {
            let line = line.expect("lines of text");
            if line.starts_with("{\"type\":\"connection\"") {
                told.connections += 1;
                // Of a million lines the counts of the first few are looked at.
                if told.connections <= 300 {
                    told.lines.push(serde_json::from_str(&line).expect("an object"));
                }
            } else if line.starts_with("{\"type\":\"segment\"") {
                told.shown += 1;
            } else if line.starts_with("{\"type\":\"totals\"") || line.starts_with("{\"connections\"") {
                let line: Value = serde_json::from_str(&line).expect("an object");
                assert_eq!(line["type"], "totals");
                let count = |name: &str| line[name].as_u64().expect("a count");
                (told.frames, told.segments) = (count("frames"), count("segments"));
                told.skipped = line["skipped"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum();
                told.totals = line;
                totals += 1;
            }
        }
    });
    child.stderr.take().expect("a pipe").read_to_string(&mut told.complaint).expect("text");
    let (status, peak) = wait(child.id());
    assert!(libc::WIFEXITED(status), "{status}: {}", told.complaint);
    assert_eq!(totals, 1, "{}", told.complaint);
    told.status = libc::WEXITSTATUS(status);
    told.octets = told.sum("octets");
    told.peak = peak;
    told
}

/// Waits for the child: its status, and the peak of its memory in octets.
fn wait(pid: u32) -> (i32, u64) {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain struct, and both pointers are to live values.
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid as libc::pid_t, &raw mut status, 0, &raw mut usage), usage)
    };
    assert_eq!(waited, pid as libc::pid_t);
    (status, usage.ru_maxrss as u64 * 1024)
}

/// A capture of raw IP while it is written.
struct Capture {
    out: BufWriter<std::process::ChildStdin>,
}

impl Capture {
    fn head(&mut self, link: u8) -> io::Result<()> {
        self.out.write_all(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, link, 0, 0, 0])
    }

    fn segment(&mut self, micros: u64, from: End, to: End, header: &Header) -> io::Result<()> {
        self.record(micros, &datagram(from, to, header))
    }

    fn record(&mut self, micros: u64, octets: &[u8]) -> io::Result<()> {
        let len = octets.len() as u32;
        for word in [1_700_000_000 + (micros / 1_000_000) as u32, (micros % 1_000_000) as u32, len, len] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(octets)
    }
}

type End = ([u8; 4], u16);

struct Header {
    seq: u32,
    ack: u32,
    flags: u8,
    len: u16,
}

/// An IPv4 datagram with a bare TCP header and zeros after it.
fn datagram(from: End, to: End, header: &Header) -> Vec<u8> {
    let Header { seq, ack, flags, len } = *header;
    let mut octets = Vec::with_capacity(40 + usize::from(len));
    octets.extend_from_slice(&[0x45, 0]);
    octets.extend_from_slice(&(40 + len).to_be_bytes());
    octets.extend_from_slice(&(seq as u16).to_be_bytes());
    octets.extend_from_slice(&[0x40, 0, 64, 6, 0, 0]);
    octets.extend_from_slice(&from.0);
    octets.extend_from_slice(&to.0);
    octets.extend_from_slice(&from.1.to_be_bytes());
    octets.extend_from_slice(&to.1.to_be_bytes());
    octets.extend_from_slice(&seq.to_be_bytes());
    octets.extend_from_slice(&ack.to_be_bytes());
    octets.extend_from_slice(&[0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    octets.resize(40 + usize::from(len), 0);
    octets
}

/// One end of many, each its own.
fn client(number: u64) -> End {
    let [.., a, b, c] = ((number / 50_000) as u32).to_be_bytes();
    ([10, a, b, c], 1_024 + (number % 50_000) as u16)
}

const RAW: u8 = 101;
const IEEE_802_11: u8 = 105;
const CLIENT: End = ([10, 9, 9, 9], 40_000);
const SERVER: End = ([192, 0, 2, 1], 443);
const HEADER: Header = Header { seq: 0, ack: 1, flags: ACK, len: 0 };
const MILLION: u64 = 1_000_000;
const SYN: u8 = 2;
const ACK: u8 = 16;
