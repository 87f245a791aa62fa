//! Measures how long after it happened each row of a timeline that grows comes through a pipe.
//!
//! `cargo bench --bench delay -- [SECONDS]` makes connections over loopback, watches them with `live --timeline`, and plays demos with
//! `--follow`; it needs the permission to capture. The sorter waits 50 ms, an event settles for 40 ms, and a row should be there at
//! most 100 ms after the sorter let its event go.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tcpflow::story::Sorter;

fn main() -> ExitCode {
    // Cargo itself adds `--bench`.
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    match run(Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("delay: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(lasts: Duration) -> Result<(), String> {
    println!(
        "{:32} {:>7} {:>9} {:>9} {:>9}   after the sorter, at most",
        "milliseconds", "rows", "median", "99 %", "most"
    );
    for (name, form) in [("live --timeline, json lines", "jsonl"), ("live --timeline, text", "text")] {
        let server = Server::start()?;
        let filter = format!("tcp port {}", server.port);
        let options = ["live", "-i", "lo", "--timeline", "--time", "epoch", "--format", form, &filter];
        let mut watching = start(&options)?;
        let delays = read(&mut watching);
        await_capture(&mut watching)?;
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            server.visit()?;
            thread::sleep(Duration::from_millis(7));
        }
        // What happened last is told before the end, not because of it.
        thread::sleep(Duration::from_millis(300));
        kill(Pid::from_raw(watching.id() as i32), Signal::SIGINT).map_err(|errno| errno.to_string())?;
        watching.wait().map_err(|error| error.to_string())?;
        tell(name, delays.iter().collect());
    }
    let mut all = Vec::new();
    for _ in 0..10 {
        let mut playing = start(&["demo", "--follow", "--rounds", "20", "--format", "jsonl"])?;
        let delays = read(&mut playing);
        let status = playing.wait().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err("demo failed".to_owned());
        }
        all.extend(delays.iter());
    }
    tell("demo --follow, json lines", all);
    Ok(())
}

fn start(arguments: &[&str]) -> Result<Child, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| error.to_string())
}

/// Waits until it is said that the capture runs.
fn await_capture(child: &mut Child) -> Result<(), String> {
    let stderr = child.stderr.take().ok_or("no standard error")?;
    let mut lines = BufReader::new(stderr);
    let mut said = String::new();
    lines.read_line(&mut said).map_err(|error| error.to_string())?;
    // The rest is read so that nobody waits for room.
    thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    if said.contains("capturing on") { Ok(()) } else { Err(said) }
}

/// How long after each event its row came.
fn read(child: &mut Child) -> mpsc::Receiver<Duration> {
    let (delay, delays) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                if let Some(at) = moment(&line) {
                    _ = delay.send(now.saturating_sub(at));
                }
            }
        });
    }
    delays
}

/// When what a line tells happened: of a call when it returned, as far as it has.
fn moment(line: &str) -> Option<Duration> {
    if let Some(rest) = line.strip_prefix('{') {
        let is_row =
            ["call", "segment", "transition"].iter().any(|kind| rest.starts_with(&format!(r#""type":"{kind}""#)));
        let of = |name: &str| rest.split_once(&format!(r#""{name}":""#)).and_then(|(_, value)| seconds(value));
        return of("returned").or_else(|| of("at")).filter(|_| is_row);
    }
    let (_, rest) = line.trim_start().split_once(' ')?;
    seconds(rest.trim_start())
}

fn seconds(text: &str) -> Option<Duration> {
    let (seconds, rest) = text.split_once('.')?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let nanos = format!("{digits:0<9}").parse().ok()?;
    seconds.parse().ok().filter(|seconds| *seconds > 1_000_000_000).map(|seconds| Duration::new(seconds, nanos))
}

fn tell(name: &str, mut delays: Vec<Duration>) {
    delays.sort_unstable();
    let millis = |delay: Duration| delay.as_secs_f64() * 1000.0;
    let at = |share: usize| delays.get((delays.len() * share / 100).min(delays.len().saturating_sub(1))).copied();
    let [median, most_of, most] =
        [at(50), at(99), delays.last().copied()].map(|delay| millis(delay.unwrap_or_default()));
    let after = most - Sorter::LONGEST.as_nanos() as f64 / 1e6;
    println!("{name:32} {:7} {median:9.1} {most_of:9.1} {most:9.1}   {after:9.1}", delays.len());
}

/// Answers on a port of the loopback.
struct Server {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Server {
    fn start() -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        thread::spawn(move || {
            for connection in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                let Ok(mut connection) = connection else { return };
                let mut room = [0; 64];
                while let Ok(octets @ 1..) = connection.read(&mut room) {
                    if connection.write_all(&room[..octets]).is_err() {
                        break;
                    }
                }
            }
        });
        Ok(Self { port, over })
    }

    /// Makes a connection, has some octets sent back, and closes it.
    fn visit(&self) -> Result<(), String> {
        let visit = || {
            let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            let mut room = [0; 5];
            connection.write_all(b"hello")?;
            connection.read_exact(&mut room)
        };
        visit().map_err(|error| error.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}
