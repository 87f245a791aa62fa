//! The kernel's trace, where it may be read.

use nix::unistd::geteuid;

use super::complain;
use super::files::{LEAST_FILES, may_open};
use crate::kernel::{Ports, Tracepoints, Untraced};

/// Opens the kernel's trace where that is permitted; who is not root is not told that it is not.
pub(super) fn open() -> Result<Tracepoints, Option<String>> {
    open_for(None)
}

fn open_for(ports: Option<&Ports>) -> Result<Tracepoints, Option<String>> {
    // A descriptor for each tracepoint and processor; where that is too much, opening says so.
    _ = may_open(LEAST_FILES + Tracepoints::descriptors());
    let why = match Tracepoints::open_for(ports) {
        Ok(tracepoints) => return Ok(tracepoints),
        Err(_) if !geteuid().is_root() => return Err(None),
        Err(Untraced::Forbidden) => {
            "perf_event_open is forbidden here (a container without CAP_PERFMON or tracefs)".to_owned()
        }
        Err(Untraced::Absent) => "this kernel has no tracepoint sock:inet_sock_set_state".to_owned(),
        Err(Untraced::Other(why)) => why,
    };
    Err(Some(format!("the kernel's trace is not read: {why}; states are told by segments, TCP_INFO and sock_diag")))
}

/// Opens it as root alone, for sockets with those ports, and says why where that does not succeed.
///
/// Who is not root makes a user namespace next, which takes a process that never had a second thread; and may not read the trace.
pub(super) fn open_as_root(ports: &Ports) -> Option<Tracepoints> {
    let opened = geteuid().is_root().then(|| open_for(Some(ports)))?;
    opened.map_err(|why| why.iter().for_each(complain)).ok()
}
