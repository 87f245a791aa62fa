//! Makes captures from a seed and measures how fast their connections are followed.
//!
//! `cargo bench --bench throughput -- write LOAD FILE [SCALE]` writes a capture: LOAD is many, elephants, elephants96 or scan.
//! `cargo bench --bench throughput -- follow LOAD [SCALE]` measures the table alone, with the segments decoded beforehand.

mod generate;

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use generate::Load;
use nix::time::{ClockId, clock_gettime};
use tcpflow::capture::{FileSource, FrameSource};
use tcpflow::flow::{Bundle, FlowTable};
use tcpflow::wire::Decoder;

fn main() -> ExitCode {
    // Cargo itself adds `--bench`.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["write", load, file, ref rest @ ..] => write(load, file, scale(rest)),
        ["follow", load, ref rest @ ..] => follow(load, scale(rest)),
        _ => {
            println!("throughput: write LOAD FILE [SCALE] | follow LOAD [SCALE]");
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throughput: {error}");
            ExitCode::from(2)
        }
    }
}

fn write(load: &str, file: &str, scale: f64) -> Result<(), String> {
    let name = |error| format!("{file}: {error}");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file).map_err(name)?);
    let frames = generate::write(&mut out, parse(load)?, SEED, scale).map_err(name)?;
    out.flush().map_err(name)?;
    println!("{file}: {frames} packets");
    Ok(())
}

fn follow(load: &str, scale: f64) -> Result<(), String> {
    let mut bytes = Vec::new();
    generate::write(&mut bytes, parse(load)?, SEED, scale).map_err(|error| error.to_string())?;
    let mut source = FileSource::from_reader("generated", Box::new(std::io::Cursor::new(bytes)))
        .map_err(|error| error.to_string())?;
    let mut decoder = Decoder::new();
    let mut table = FlowTable::new();
    let finder = table.finder();
    let (mut bundles, mut segments) = (vec![Bundle::default()], 0u64);
    while let Some(frame) = source.next_frame().map_err(|error| error.to_string())? {
        // Every generated frame holds a segment.
        let _ = decoder.decode(&frame, |segment, _| {
            segments += 1;
            if bundles.last().is_none_or(|bundle| bundle.len() == 1024) {
                bundles.push(Bundle::default());
            }
            if let Some(bundle) = bundles.last_mut() {
                bundle.push(&finder, segment);
            }
        });
    }
    let start = busy();
    let mut told = 0u64;
    let mut tell = |_| {
        told += 1;
        Ok::<_, Infallible>(())
    };
    for bundle in &bundles {
        table.observe_all(bundle, 0..bundle.len(), |_, answer: Option<()>| {
            std::hint::black_box(answer);
        });
        let Ok(()) = table.take_ended(&mut tell);
    }
    let Ok(tally) = table.finish(&mut tell);
    let took = busy() - start;
    println!(
        "{load}: {} segments of {} connections followed in {took:.2?}, {:.0} ns each",
        segments,
        tally.connections,
        took.as_secs_f64() * 1e9 / segments as f64
    );
    assert_eq!(told, tally.connections);
    Ok(())
}

/// Processor time of this thread so far, which other programs do not lengthen.
fn busy() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the kernel has this clock"))
}

fn parse(load: &str) -> Result<Load, String> {
    Ok(match load {
        "many" => Load::Many,
        "elephants" => Load::Elephants { snap: 262_144 },
        "elephants96" => Load::Elephants { snap: 96 },
        "scan" => Load::Scan,
        other => return Err(format!("{other}: neither many nor elephants, elephants96 or scan")),
    })
}

fn scale(rest: &[&str]) -> f64 {
    rest.first().and_then(|scale| scale.parse().ok()).unwrap_or(1.0)
}

const SEED: u64 = 9293;
