//! Playing a program as root, as root under sudo, and as an ordinary user.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use nix::unistd::geteuid;

use crate::executable;

/// As whom a program is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// Root; only where the tests themselves run as root.
    Root,
    /// Root, with the environment that sudo gives; likewise.
    #[allow(dead_code, reason = "not every test plays it")]
    Sudo,
    /// An ordinary user without capabilities.
    User,
}

impl Who {
    /// Whether the tests may play it.
    pub(crate) fn is_playable(self) -> bool {
        self == Self::User || geteuid().is_root()
    }
}

/// A program, where every user can reach it.
pub(crate) struct Program {
    path: PathBuf,
    copied_to: Option<PathBuf>,
}

impl Program {
    /// The build directory may lie in root's home, where nobody else may look: then the program is copied.
    pub(crate) fn within_reach(path: &Path) -> Self {
        if !geteuid().is_root() {
            return Self { path: path.to_owned(), copied_to: None };
        }
        let name = path.file_name().expect("a program has a name");
        let folder = env::temp_dir().join(format!(
            "tcpflow-test-{}-{}",
            std::process::id(),
            COPIES.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&folder).expect("a folder of its own");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its mode");
        let copy = folder.join(name);
        executable::make(&copy, File::open(path).expect("the program is there"));
        Self { path: copy, copied_to: Some(folder) }
    }

    /// A command that starts it as `who`.
    pub(crate) fn played_by(&self, who: Who) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        for name in ["SUDO_UID", "SUDO_GID", "PKEXEC_UID", "DOAS_USER"] {
            command.env_remove(name);
        }
        match who {
            Who::Root => {}
            Who::Sudo => {
                command.env("SUDO_UID", NOBODY.to_string()).env("SUDO_GID", NOBODY.to_string());
            }
            Who::User if geteuid().is_root() => {
                // That takes the supplementary groups away, too.
                command.uid(NOBODY).gid(NOBODY);
            }
            Who::User => {}
        }
        command
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(folder) = &self.copied_to {
            drop(fs::remove_dir_all(folder));
        }
    }
}

/// How many programs this process has copied.
static COPIES: AtomicU32 = AtomicU32::new(0);

/// The user and group `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// Whether the kernel's trace of states may be read here; says why where it may not.
#[allow(dead_code, reason = "not every test reads it")]
pub(crate) fn may_read_the_trace() -> bool {
    let is_there = |tracefs: &&str| Path::new(tracefs).join("events/sock/inet_sock_set_state").exists();
    if !Who::Root.is_playable() {
        eprintln!("NOT CHECKED here: only root may read the kernel's trace");
    } else if !["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].iter().any(is_there) {
        eprintln!("NOT CHECKED here: this kernel has no tracepoint sock:inet_sock_set_state, or no tracefs is mounted");
    } else {
        return true;
    }
    false
}
