//! How a run ended: the exit status, and what is said of what could not be started or watched.

use nix::errno::Errno;

use crate::calls::traced::{Ended, Notice, Step, Unstarted};
use crate::commands::Failure;

/// The status of a run.
#[derive(Clone, Debug)]
pub(super) enum Status {
    /// That of the program.
    Program(u8),
    /// The program could not be started.
    Unstarted(String, u8),
}

impl Status {
    /// The status of a program that ended, of that name.
    pub(super) fn of(name: &str, ended: Ended) -> Self {
        match ended {
            Ended::Exited(status) => Self::Program(status as u8),
            Ended::Killed(signal) => Self::Program((128 + signal) as u8),
            Ended::Unstarted(why) => {
                let (failure, status) = unstarted(name, why);
                match failure {
                    Failure::Told(message) => Self::Unstarted(message, status),
                    Failure::OutputClosed => Self::Program(status),
                }
            }
        }
    }

    /// Its number.
    pub(super) fn number(&self) -> u8 {
        match self {
            Self::Program(status) | Self::Unstarted(_, status) => *status,
        }
    }
}

/// Why a program could not be started, with the way out, and the status that says so: 127 where there is none, 126 where it may not be
/// run, as env(1) has them; 2 for what is no fault of the program's.
pub(super) fn unstarted(name: &str, why: Unstarted) -> (Failure, u8) {
    let errno = Errno::from_raw(why.errno.0);
    let (message, status) = match (why.step, errno) {
        // A folder of PATH that may not be searched hides whether there is one.
        (Step::Execute, Errno::EACCES) if !name.contains('/') && !is_in_path(name) => {
            (format!("{name}: no such program (searched in PATH)"), 127)
        }
        (Step::Execute, Errno::ENOENT) if !name.contains('/') => {
            (format!("{name}: no such program (searched in PATH)"), 127)
        }
        // The kernel says so, too, where what is to run the file is not there.
        (Step::Execute, Errno::ENOENT) if std::path::Path::new(name).exists() => {
            (format!("{name}: the interpreter (#!) or loader that it names is not there"), 127)
        }
        (Step::Execute, Errno::ENOENT) => (format!("{name}: no such program"), 127),
        (Step::Execute, Errno::EACCES) => {
            (format!("{name}: no permission to run it: is it a program, and may it be executed (chmod +x)?"), 126)
        }
        (Step::Execute, errno) => (format!("{name}: cannot be run: {}", errno.desc()), 126),
        (Step::Watch, Errno::EPERM | Errno::EACCES) => (
            format!(
                "{name}: cannot be watched: ptrace is forbidden here ({}kernel.yama.ptrace_scope = 3, a container \
                 without CAP_SYS_PTRACE, or a seccomp profile: docker run --cap-add SYS_PTRACE)",
                scope()
            ),
            2,
        ),
        (Step::Watch, errno) => (format!("{name}: cannot be watched: {}", errno.desc()), 2),
        (Step::Filter, errno) => (
            format!(
                "{name}: the kernel takes no seccomp filter ({}): it was built without it, or a container forbids it",
                errno.desc()
            ),
            2,
        ),
        (Step::User, errno) => (format!("{name}: cannot be run as the user who called sudo: {}", errno.desc()), 2),
        (Step::Fork, errno) => (format!("{name}: no process can be made for it: {}", errno.desc()), 2),
    };
    (Failure::new(message), status)
}

fn is_in_path(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).exists()))
}

/// Says of a program that is setuid or setgid, before it starts, that an ordinary user has it run without that privilege.
pub(super) fn unprivileged(name: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let found = match name.contains('/') {
        true => std::fs::metadata(name).ok(),
        false => std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path)
                .find_map(|folder| std::fs::metadata(folder.join(name)).ok().filter(|of| of.is_file()))
        }),
    }?;
    let mode = found.mode();
    let is_setuid = mode & 0o4000 != 0 && found.uid() != nix::unistd::geteuid().as_raw();
    // Without the right to execute it for the group, the bit means something else.
    let is_setgid = mode & 0o2010 == 0o2010 && found.gid() != nix::unistd::getegid().as_raw();
    (is_setuid || is_setgid).then(|| {
        let which = if is_setuid { "setuid" } else { "setgid" };
        format!(
            "{name} is {which}: watched by ptrace it runs without that privilege, which the kernel demands; run tcpflow with sudo"
        )
    })
}

fn scope() -> String {
    std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .map(|scope| format!("kernel.yama.ptrace_scope is {} on this host; ", scope.trim()))
        .unwrap_or_default()
}

/// What could not be watched, in words.
pub(super) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::OtherAbi { pid, comm } => {
            format!("{comm} ({pid}) is a 32-bit program: its calls on sockets are not seen, its packets are")
        }
        Notice::More(more) => {
            format!(
                "of {more} more processes calls on sockets are not seen, as they are 32-bit programs or use io_uring"
            )
        }
        Notice::Ring { pid, comm } => {
            format!(
                "{comm} ({pid}) uses io_uring: what it does with sockets through it makes no calls, and is not seen as such"
            )
        }
    }
}

/// What is left out where sockets connect while too many others are open, in words; `None` where nothing is.
pub(super) fn unfollowed(count: u64) -> Option<String> {
    let s = if count == 1 { "" } else { "s" };
    (count > 0).then(|| {
        format!(
            "{count} socket{s} began to connect while very many others were open: what the kernel recorded of {} later states is left out, and calls may stand without a connection",
            if count == 1 { "its" } else { "their" }
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_whose_states_are_left_out_are_counted_where_there_are_any() {
        assert_eq!(unfollowed(0), None);
        let said = |count| unfollowed(count).expect("it is said");
        assert!(said(1).starts_with("1 socket began") && said(1).contains("its later states"));
        assert!(said(7).starts_with("7 sockets began") && said(7).contains("their later states"));
    }
}
