//! Measures what it costs a program to be watched: bare, under strace, and under `tcpflow run` without packets.
//!
//! `cargo bench --bench trace_cost -- [ROUNDS [BACKEND]...]` runs every way once in each round, and compares the minima and the medians of
//! the rounds: absolute times mean nothing on a machine that does other work, too.
//! Two programs are played, both of two threads over loopback: an echo of 32 octets to and fro, and connections that carry 32 octets.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["play", program, times] => times.parse().map_err(io::Error::other).and_then(|times| play(program, times)),
        _ => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trace_cost: {error}");
            ExitCode::from(2)
        }
    }
}

/// The program that is watched: it prints how many microseconds its work took.
fn play(program: &str, times: u32) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let connections = if program == "ping-pong" { 1 } else { times };
    let rounds = if program == "ping-pong" { times } else { 1 };
    let begun = Instant::now();
    let server = thread::spawn(move || -> io::Result<()> {
        for _ in 0..connections {
            let (mut client, _) = listener.accept()?;
            let mut octets = [0; SIZE];
            for _ in 0..rounds {
                client.read_exact(&mut octets)?;
                client.write_all(&octets)?;
            }
        }
        Ok(())
    });
    for _ in 0..connections {
        let mut server = TcpStream::connect(address)?;
        server.set_nodelay(true)?;
        let mut octets = [7; SIZE];
        for _ in 0..rounds {
            server.write_all(&octets)?;
            server.read_exact(&mut octets)?;
        }
    }
    server.join().map_err(|_| io::Error::other("the server panicked"))??;
    println!("{}", begun.elapsed().as_micros());
    Ok(())
}

/// A way to run a program.
struct Way {
    name: String,
    words: Vec<String>,
}

fn ways(backends: &[String]) -> Vec<Way> {
    let way = |name: &str, words: &[&str]| Way {
        name: name.to_owned(),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let mut ways = vec![way("bare", &[])];
    let is_installed = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    if is_installed {
        ways.push(way("strace", &STRACE));
    } else {
        println!("strace is not installed: nothing is compared with it");
    }
    for backend in backends {
        let tcpflow = env!("CARGO_BIN_EXE_tcpflow");
        let mut words = vec![tcpflow, "run", "--no-packets", "-o", "/dev/null"];
        if backend != "auto" {
            words.extend(["--backend", backend.as_str()]);
        }
        words.push("--");
        ways.push(way(&format!("tcpflow run, {backend}"), &words));
    }
    ways
}

/// How long the program's work took in a way of running it, and how long all of it did, from start to exit.
struct Took {
    work: Vec<Duration>,
    whole: Vec<Duration>,
}

fn measure(arguments: &[String]) -> io::Result<()> {
    let rounds = arguments.first().and_then(|rounds| rounds.parse().ok()).unwrap_or(7);
    let backends: Vec<String> = match arguments.get(1..) {
        Some(named @ [_, ..]) => named.to_vec(),
        _ => vec!["auto".to_owned()],
    };
    let ways = ways(&backends);
    let own = std::env::current_exe()?;
    for (program, times) in PROGRAMS {
        let mut took: Vec<Took> = ways.iter().map(|_| Took { work: Vec::new(), whole: Vec::new() }).collect();
        for _ in 0..rounds {
            for (way, took) in ways.iter().zip(&mut took) {
                let mut words: Vec<&std::ffi::OsStr> = way.words.iter().map(std::ffi::OsStr::new).collect();
                words.push(own.as_os_str());
                let mut command = Command::new(words[0]);
                command.args(&words[1..]).args(["play", program, &times.to_string()]);
                let begun = Instant::now();
                let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
                let whole = begun.elapsed();
                let text = String::from_utf8_lossy(&output.stdout);
                let work = text.trim().parse().ok().filter(|_| output.status.success());
                let work = work.ok_or_else(|| {
                    io::Error::other(format!("{}: {}", way.name, String::from_utf8_lossy(&output.stderr)))
                })?;
                took.work.push(Duration::from_micros(work));
                took.whole.push(whole);
            }
        }
        println!("{program}, {times} times, {rounds} rounds; milliseconds, and how many times the bare program's:");
        println!("{:24} {:>30} {:>30}", "", "the program's work", "from start to exit");
        println!("{:24} {:>15}{:>15} {:>15}{:>15}", "", "minimum", "median", "minimum", "median");
        took.iter_mut().for_each(|took| {
            took.work.sort_unstable();
            took.whole.sort_unstable();
        });
        for (way, of) in ways.iter().zip(&took) {
            let mut line = format!("{:24}", way.name);
            for (of, bare) in [(&of.work, &took[0].work), (&of.whole, &took[0].whole)] {
                for at in [0, of.len() / 2] {
                    let millis = of[at].as_secs_f64() * 1000.0;
                    let ratio = of[at].as_secs_f64() / bare[at].as_secs_f64();
                    write!(line, " {millis:8.1} {ratio:5.2}").map_err(io::Error::other)?;
                }
                line.push(' ');
            }
            println!("{}", line.trim_end());
        }
        println!();
    }
    Ok(())
}

/// How many octets go each way at a time.
const SIZE: usize = 32;
const PROGRAMS: [(&str, u32); 2] = [("ping-pong", 20_000), ("connections", 4_000)];
const STRACE: [&str; 6] = ["strace", "-f", "--seccomp-bpf", "-e", "trace=network,close,read,write", "-o/dev/null"];
