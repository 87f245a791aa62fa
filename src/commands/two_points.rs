//! `tcpflow analyze --client-side A --server-side B`: two captures of the same connections, laid side by side.

use std::ops::ControlFlow;
use std::path::Path;

use super::cores::Cores;
use super::outlet::Outlet;
use super::{Failure, Inputs, Outcome, complain, look, memory, source};
use crate::capture::{Allowance, CaptureError, CapturePoint, FileSource, FrameSource};
use crate::cli::{Analyze, Form, Look};
use crate::passage::{self, Capture, Paired, Seen};
use crate::report;
use crate::share::Share as _;
use crate::wire::Decoder;

pub(super) fn run(client: &Path, server: &Path, options: &Analyze, look: &Look) -> Result<Outcome, Failure> {
    // With a file before them the two are interfaces of it.
    let both = match &options.arguments[..] {
        [] => None,
        [file] => Some(Path::new(file)),
        _ => return Err(Failure::new("--client-side and --server-side name two files, or two interfaces of one file")),
    };
    let files: Vec<_> = match both {
        Some(file) => vec![file.as_os_str().to_owned()],
        None => [client, server].map(|path| path.as_os_str().to_owned()).into(),
    };
    let mut inputs = Inputs::among(&files, |path| both.is_none() || path.exists())?;
    source::once_each(&inputs)?;
    source::give_up_privilege(&mut inputs, options)?;
    // Each keeps its segments until both are read.
    let most = memory::of(options.memory).paired() / 2;
    let mut captures = [Capture::within(most), Capture::within(most)];
    let mut outcome = Outcome::Done;
    let mut sources = Vec::new();
    for (place, path) in inputs.files.iter().enumerate() {
        sources.push(match inputs.held(place) {
            Some(held) => FileSource::open_held(path, held, &Allowance::default())?,
            None => FileSource::open(path)?,
        });
    }
    let broken = match &mut sources[..] {
        [source] => vec![read_interfaces(source, [client, server], &mut captures)?],
        sources => read_both(sources, &mut captures),
    };
    for ((source, path), broken) in sources.iter().zip(&inputs.files).zip(broken) {
        if let Err(broken) = broken {
            complain(&broken);
            outcome = Outcome::Incomplete;
        }
        if let Some(dropped @ 1..) = source.dropped() {
            complain(&format!(
                "{}: {dropped} packets were dropped while it was captured: what seems lost or made up may only be missing in it",
                path.display()
            ));
        }
    }
    for (capture, name) in captures.iter().zip([client, server]) {
        if capture.left_out() > 0 {
            let left_out = capture.left_out();
            complain(&format!(
                "{}: {left_out} segments are left out: --memory has room for those before",
                name.display()
            ));
            outcome = Outcome::Incomplete;
        }
    }
    let [at_client, at_server] = captures;
    let (here, there) = (at_client.connections().len(), at_server.connections().len());
    let Paired { pairs, alone } = passage::pair(at_client, at_server, options.offset, &Cores);
    if pairs.is_empty() {
        complain(&format!(
            "no connection is in both captures: {} has {here}, {} has {there}; are they of the same time?",
            client.display(),
            server.display()
        ));
        return Ok(Outcome::Incomplete);
    }
    for (alone, name) in alone.iter().zip([client, server]) {
        if let [[one, other], rest @ ..] = &alone[..] {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            let be = if rest.is_empty() { "is" } else { "are" };
            complain(&format!("{one} → {other}{more} {be} in {} alone", name.display()));
        }
    }
    let mut out = Outlet::open();
    let written = match options.format {
        Form::Text => report::passages::text(&mut out, &pairs, &look::style(look), &Cores),
        Form::Csv => report::passages::csv(&mut out, &pairs, &Cores),
        _ => report::passages::json_lines(&mut out, &pairs, &Cores),
    };
    // The end of the process frees all of it at once.
    std::mem::forget(pairs);
    written.and_then(|()| out.finish()).map_err(|error| Failure::output(&error))?;
    Ok(outcome)
}

/// Reads each file into its capture, side by side.
fn read_both(sources: &mut [FileSource], captures: &mut [Capture; 2]) -> Vec<Result<(), CaptureError>> {
    let mut work: Vec<_> = sources.iter_mut().zip(captures).map(|both| (both, Ok(()))).collect();
    Cores.each(&mut work, |(), ((source, capture), read_to)| *read_to = read(source, capture));
    work.into_iter().map(|(_, read_to)| read_to).collect()
}

/// Reads a file to its end, or to where it is damaged: what came before is kept.
fn read(source: &mut FileSource, capture: &mut Capture) -> Result<(), CaptureError> {
    let (mut decoder, mut seen) = (Decoder::new(), Vec::with_capacity(2 * TOGETHER));
    let mut read_to = Ok(TOGETHER);
    while let Ok(TOGETHER) = read_to {
        read_to = source.next_frames(TOGETHER, |frame| {
            frame.at.into_iter().for_each(|at| capture.ran(at));
            // What is no segment has no passage.
            let _ = decoder.decode(&frame, |segment, octets| seen.push(Seen::of(segment, octets)));
            Ok(ControlFlow::Continue(()))
        });
        capture.observe_all(&seen);
        seen.clear();
    }
    read_to?;
    source.ran().into_iter().flatten().for_each(|at| capture.ran(at));
    Ok(())
}

/// Reads a file of which two interfaces are the two points: to its end, or to where it is damaged.
fn read_interfaces(
    source: &mut FileSource,
    names: [&Path; 2],
    captures: &mut [Capture; 2],
) -> Result<Result<(), CaptureError>, Failure> {
    let mut decoder = Decoder::new();
    // Whose each point is, by its number.
    let mut sides: Vec<Option<usize>> = Vec::new();
    let side_of = |point: &CapturePoint| {
        let name = point.interface.as_deref()?;
        names.iter().position(|wanted| wanted.as_os_str() == name)
    };
    let read = loop {
        let frame = match source.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (point, at) = (frame.seen.point.0 as usize, frame.at);
        if let Some(side) = sides.get(point) {
            if let Some(side) = *side {
                at.into_iter().for_each(|at| captures[side].ran(at));
                let _ = decoder.decode(&frame, |segment, octets| captures[side].observe(segment, octets));
            }
            continue;
        }
        // The first frame of a point is kept until the point's name is known, which belongs to the source as the frame does.
        let mut kept = Vec::new();
        let _ = decoder.decode(&frame, |segment, octets| kept.push((*segment, octets.to_vec())));
        sides = source.points().iter().map(side_of).collect();
        if let Some(side) = sides.get(point).copied().flatten() {
            at.into_iter().for_each(|at| captures[side].ran(at));
            kept.iter().for_each(|(segment, octets)| captures[side].observe(segment, octets));
        }
    };
    let known: Vec<_> = source.points().iter().filter_map(|point| point.interface.clone()).collect();
    for wanted in names {
        if !known.iter().any(|name| wanted.as_os_str() == name.as_str()) {
            let name = wanted.display();
            return Err(Failure::new(match &known[..] {
                [] => format!("{}: its interfaces have no names: {name} is none of them", source.name()),
                known => format!("{}: no interface is called {name}; there are {}", source.name(), known.join(", ")),
            }));
        }
    }
    Ok(read)
}

/// How many frames are read before their segments are taken in.
const TOGETHER: usize = 32;
