//! How many files may be open at once.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Failure;

/// Sees that as many files may be open as are needed: where they may not, what fails names something else.
pub(super) fn may_open(files: u64) -> Result<(), Failure> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if files <= soft || files <= hard && setrlimit(Resource::RLIMIT_NOFILE, files, hard).is_ok() {
        return Ok(());
    }
    Err(Failure::new(format!("only {hard} files may be open at once (ulimit -Hn), and this takes {files}")))
}

/// How many files are open at the most, besides captures and the sockets of an experiment's clients.
pub(super) const LEAST_FILES: u64 = 32;
