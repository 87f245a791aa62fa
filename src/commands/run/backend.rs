//! By what calls are watched: stops, or records of the kernel; and the processes that are joined.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

use crate::calls::traced::{Refused, Step, Tracer, Unstarted};
use crate::cli::{self, Run};
use crate::commands::Failure;

/// By what calls are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Backend {
    /// Threads stop at them (ptrace).
    Ptrace,
    /// The kernel records them (perf_event_open).
    Perf,
}

impl Backend {
    /// What the options ask for: without a word stops, which are exact; a process that runs already is not to be stopped.
    ///
    /// # Errors
    /// They contradict each other.
    pub(super) fn of(options: &Run) -> Result<Self, Failure> {
        let joins = !options.pid.is_empty();
        match options.backend {
            cli::Backend::Ptrace if joins => Err(Failure::new(
                "run: -p takes the perf backend: a process that runs already cannot be given a filter at whose calls it stops",
            )),
            cli::Backend::Auto if joins => Ok(Self::Perf),
            cli::Backend::Perf => Ok(Self::Perf),
            cli::Backend::Auto | cli::Backend::Ptrace => Ok(Self::Ptrace),
        }
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ptrace => "ptrace",
            Self::Perf => "perf",
        }
    }

    /// Whether the other one is to be tried where this one failed to watch a program.
    pub(super) fn may_give_way(self, options: &Run, why: Unstarted) -> bool {
        let is_free = options.backend == cli::Backend::Auto && !options.exact;
        self == Self::Ptrace && is_free && why.step == Step::Watch
    }

    /// Prepares the tracer for it.
    ///
    /// # Errors
    /// The kernel does not permit it, or cannot.
    pub(super) fn prepare(self, tracer: &mut Tracer<'_>, has_stacks: bool) -> Result<(), Failure> {
        match self {
            Self::Ptrace => Ok(()),
            Self::Perf => {
                // An event for each call, thread and processor.
                if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
                    && soft < hard
                {
                    _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
                }
                tracer
                    .record_calls(if has_stacks { STACK } else { 0 })
                    .map_err(|why| Failure::new(format!("run: {}", unrecorded(&why))))
            }
        }
    }
}

/// As much of a stack as usually holds all its frames.
const STACK: u32 = 8 << 10;

/// Joins the processes that the options name.
///
/// # Errors
/// Why one cannot be joined, with the way out.
pub(super) fn join(tracer: &mut Tracer<'_>, pids: &[u32]) -> Result<Vec<String>, Failure> {
    let mut notices = Vec::new();
    for pid in pids {
        if *pid == std::process::id() {
            return Err(Failure::new(format!("run -p {pid}: that is tcpflow itself")));
        }
        let joining = tracer.join(*pid, pids).map_err(|why| {
            Failure::new(match why {
                Refused::Gone => format!("run -p {pid}: there is no such process (any more)"),
                Refused::OtherUser => {
                    format!("run -p {pid}: the process belongs to another user: run tcpflow with sudo")
                }
                why => format!("run -p {pid}: {}", unrecorded(&why)),
            })
        })?;
        if joining.sockets > 0 {
            let sockets =
                if joining.sockets == 1 { "1 TCP socket" } else { &format!("{} TCP sockets", joining.sockets) };
            notices.push(format!("process {pid} had {sockets} open already: what happened there before is not known"));
        }
    }
    Ok(notices)
}

/// Why the kernel records no calls, with the way out.
fn unrecorded(why: &Refused) -> String {
    match why {
        Refused::Forbidden | Refused::OtherUser => {
            let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
            let level = level.trim();
            match (geteuid().is_root(), level.parse::<i32>()) {
                (false, Ok(3..)) => format!(
                    "calls may not be recorded: kernel.perf_event_paranoid is {level} on this host; \
                     use sudo, or allow it to all users (sudo sysctl kernel.perf_event_paranoid=2)"
                ),
                (false, _) => "calls may not be recorded by this user (perf_event_open): use sudo".to_owned(),
                (true, _) => {
                    "perf_event_open is forbidden here (a container without CAP_PERFMON or tracefs)".to_owned()
                }
            }
        }
        Refused::Absent => {
            "this kernel has no tracepoints of system calls (CONFIG_FTRACE_SYSCALLS): use --backend ptrace".to_owned()
        }
        Refused::Descriptors(wanted) => format!(
            "it takes {wanted} open files to record all its threads: raise the limit (ulimit -n), or use sudo, which takes fewer"
        ),
        Refused::Gone => "the process is gone".to_owned(),
        Refused::Other(why) => format!("calls cannot be recorded: {why}"),
    }
}
