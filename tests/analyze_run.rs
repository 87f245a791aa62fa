//! `analyze` while it runs: clocks, names, Ctrl-C and the progress bar.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[test]
fn moments_are_told_by_the_clock_that_was_asked_for() {
    let file = capture("echo-v4.pcapng");
    let first: f64 = {
        let lines = command(&["--format", "jsonl"]).arg(&file).output().unwrap().stdout;
        let line: serde_json::Value =
            serde_json::from_slice(lines.split(|octet| *octet == b'\n').next().unwrap()).unwrap();
        line["first"].as_str().unwrap().parse().unwrap()
    };
    let table = |zone: &str, clock: &str| {
        let mut command = command(&["--time", clock, "--width", "180"]);
        text(&command.env("TZ", zone).arg(&file).output().unwrap())
    };
    let untimed = text(&command(&["--width", "180"]).arg(&file).output().unwrap());
    assert!(!untimed.contains("began"), "{untimed}");
    assert!(table("UTC", "relative").contains(" 0.000000 "), "{}", table("UTC", "relative"));
    let epoch = table("UTC", "epoch");
    assert!(epoch.contains(&format!("{}.", first as i64)), "{epoch}");

    let moment = |table: &str| -> String {
        let row = table.lines().nth(1).unwrap();
        row.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" ")
    };
    let utc = table("Asia/Kolkata", "utc");
    assert!(utc.contains("began (UTC)"), "{utc}");
    let local = table("Asia/Kolkata", "local");
    assert!(local.contains("began (UTC+5:30)"), "{local}");
    let date = |zone: &str| {
        let at = format!("@{}", first as i64);
        let date = Command::new("date").env("TZ", zone).args(["-d", &at, "+%Y-%m-%d %H:%M:%S"]).output().unwrap();
        String::from_utf8(date.stdout).unwrap().trim().to_owned()
    };
    assert!(moment(&utc).starts_with(&date("UTC")), "{utc}");
    assert!(moment(&local).starts_with(&date("Asia/Kolkata")), "{local}");

    let timeline = text(&command(&["-t", "--time", "local"]).env("TZ", "Asia/Kolkata").arg(&file).output().unwrap());
    assert!(timeline.contains(&date("Asia/Kolkata")[11..]) && timeline.contains("UTC+5:30"), "{timeline}");
    let timeline = text(&command(&["-t", "--time", "epoch"]).arg(&file).output().unwrap());
    assert!(timeline.contains(&format!("{}.", first as i64)), "{timeline}");
}

#[test]
fn names_are_asked_for_only_with_resolve() {
    let file = capture("echo-v4.pcapng");
    let system = Command::new("getent").args(["hosts", "127.0.0.1"]).output().unwrap().stdout;
    let system = String::from_utf8(system).unwrap();
    let numbers = text(&command(&[]).arg(&file).output().unwrap());
    assert!(numbers.contains("127.0.0.1:"), "{numbers}");
    let names = text(&command(&["--resolve"]).arg(&file).output().unwrap());
    match system.split_whitespace().nth(1) {
        Some(name) => assert!(names.contains(&format!("{name}:3000")), "{name}\n{names}"),
        None => assert_eq!(names, numbers),
    }
}

#[test]
fn ctrl_c_tells_what_was_seen_until_then() {
    for (line, wanted, said) in [
        (&["--format", "jsonl"][..], "\"type\":\"totals\"", "this is what was seen until then"),
        (&["--format", "csv"], "127.0.0.1,7", "this is what was seen until then"),
        (&[], "1 connection, ", "this is what was seen until then"),
        // It has more segments than are told in an instant.
        (&["-t"], "SYN", "not all of what was seen until then is told"),
    ] {
        let mut child =
            command(line).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut input, id) = (child.stdin.take().unwrap(), child.id() as i32);
        let feeder = std::thread::spawn(move || {
            input.write_all(&pcap_header()).unwrap();
            let frames = syn_frame().repeat(1000);
            // More than the pipe and the reader's window hold: so it is reading, and Ctrl-C was caught before that.
            for _ in 0..20 {
                input.write_all(&frames).unwrap();
            }
            // SAFETY: a signal to a child that nobody has waited for, for it reads until it gets one.
            assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
            // There is always more to read, until nobody reads.
            while input.write_all(&frames).is_ok() {}
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(stderr, format!("tcpflow: interrupted: {said}\n"), "{line:?}");
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert!(stdout.contains(wanted), "{line:?}: {stdout}");
    }
}

#[test]
fn a_long_file_has_a_progress_bar_on_a_terminal_and_leaves_nothing_of_it() {
    // The terminal of standard error; standard output is none, so that both can be told apart.
    let (mut main, terminal) = terminal();
    let mut child = command(&["--format", "jsonl", "-"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(terminal)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        input.write_all(&pcap_header()).unwrap();
        let frames = syn_frame().repeat(1000);
        // Until the other thread has seen the bar, and interrupts.
        while input.write_all(&frames).is_ok() {}
    });
    let mut seen = String::new();
    let mut octets = [0; 1024];
    while !(seen.contains("standard input") && seen.contains("/s") && seen.contains(" frames")) {
        let read = main.read(&mut octets).unwrap();
        assert_ne!(read, 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&octets[..read]));
    }
    // SAFETY: a signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    feeder.join().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    // The terminal's other end is closed now: reading it ends with an error.
    while let Ok(read @ 1..) = main.read(&mut octets) {
        seen.push_str(&String::from_utf8_lossy(&octets[..read]));
    }
    let last = seen.rsplit("\u{1b}[2K").next().unwrap();
    assert!(last.contains("interrupted") && !last.contains(" frames"), "{last:?} of {seen:?}");
}

#[test]
fn a_short_file_has_no_progress_bar() {
    let (mut main, terminal) = terminal();
    let mut child = command(&["--format", "jsonl"])
        .env("TERM", "xterm")
        .arg(capture("echo-v4.pcapng"))
        .stdout(Stdio::null())
        .stderr(terminal)
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let mut octets = [0; 1024];
    assert!(main.read(&mut octets).is_err(), "{}", String::from_utf8_lossy(&octets));
}

fn command(line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    command.arg("analyze").args(line).stdin(Stdio::null()).env_remove("COLUMNS").env("LC_ALL", "C.UTF-8");
    command
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name)
}

/// Both ends of a new terminal; the child's end closes with the command that it is given to.
fn terminal() -> (File, OwnedFd) {
    let (mut main, mut other) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: both descriptors are written by the call, and owned by nobody else afterwards.
    unsafe {
        assert_eq!(libc::openpty(&mut main, &mut other, std::ptr::null_mut(), std::ptr::null(), &size), 0);
        (File::from_raw_fd(main), OwnedFd::from_raw_fd(other))
    }
}

/// The header of a capture of raw IPv4.
fn pcap_header() -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(0xa1b2_c3d4_u32.to_le_bytes());
    header.extend(2_u16.to_le_bytes());
    header.extend(4_u16.to_le_bytes());
    header.extend([0; 8]);
    header.extend(65_535_u32.to_le_bytes());
    header.extend(228_u32.to_le_bytes());
    header
}

/// A SYN from 127.0.0.1:5 to 127.0.0.1:7, with the header of its record.
fn syn_frame() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    packet.extend([0, 5, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let mut frame = Vec::new();
    frame.extend(1_700_000_000_u32.to_le_bytes());
    frame.extend(0_u32.to_le_bytes());
    frame.extend((packet.len() as u32).to_le_bytes());
    frame.extend((packet.len() as u32).to_le_bytes());
    frame.extend(packet);
    frame
}
