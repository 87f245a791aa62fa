//! `tcpflow analyze --client-side A --server-side B`: two captures of the same connections, laid side by side.

use std::path::Path;

use super::outlet::Outlet;
use super::{Failure, Inputs, Outcome, complain, look, memory, source};
use crate::capture::{Allowance, CaptureError, FileSource, FrameSource};
use crate::cli::{Analyze, Form, Look};
use crate::passage::{self, Capture};
use crate::report;
use crate::wire::Decoder;

pub(super) fn run(client: &Path, server: &Path, options: &Analyze, look: &Look) -> Result<Outcome, Failure> {
    let files = [client, server].map(|path| path.as_os_str().to_owned());
    let mut inputs = Inputs::among(&files, |_| true)?;
    source::once_each(&inputs)?;
    source::give_up_privilege(&mut inputs, options)?;
    // Each keeps its segments until both are read.
    let most = memory::of(options.memory).segments() / 2;
    let mut outcome = Outcome::Done;
    let mut captures = Vec::new();
    for (place, path) in [client, server].into_iter().enumerate() {
        let source = match inputs.held(place) {
            Some(held) => FileSource::open_held(path, held, &Allowance::default())?,
            None => FileSource::open(path)?,
        };
        let mut capture = Capture::within(most);
        if let Err(broken) = read(source, &mut capture) {
            complain(&broken);
            outcome = Outcome::Incomplete;
        }
        if capture.left_out() > 0 {
            let left_out = capture.left_out();
            complain(&format!(
                "{}: {left_out} segments are left out: --memory has room for those before",
                path.display()
            ));
            outcome = Outcome::Incomplete;
        }
        captures.push(capture.into_connections());
    }
    let (Some(at_server), Some(at_client)) = (captures.pop(), captures.pop()) else { return Ok(outcome) };
    let (here, there) = (at_client.len(), at_server.len());
    let pairs = passage::pair(at_client, at_server, options.offset);
    if pairs.is_empty() {
        complain(&format!(
            "no connection is in both captures: {} has {here}, {} has {there}; are they of the same time, and the right way round?",
            client.display(),
            server.display()
        ));
        return Ok(Outcome::Incomplete);
    }
    let mut out = Outlet::open();
    let written = match options.format {
        Form::Text => report::passages::text(&mut out, &pairs, &look::style(look)),
        Form::Csv => report::passages::csv(&mut out, &pairs),
        _ => report::passages::json_lines(&mut out, &pairs),
    };
    written.and_then(|()| out.finish()).map_err(|error| Failure::output(&error))?;
    Ok(outcome)
}

/// Reads a file to its end, or to where it is damaged: what came before is kept.
fn read(mut source: FileSource, capture: &mut Capture) -> Result<(), CaptureError> {
    let mut decoder = Decoder::new();
    while let Some(frame) = source.next_frame()? {
        // What is no segment has no passage.
        let _ = decoder.decode(&frame, |segment, octets| capture.observe(segment, octets));
    }
    Ok(())
}
