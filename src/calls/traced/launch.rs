//! Starting a program that is held back until it is watched: fork, wait, filter, user, exec.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::unistd::{ForkResult, Gid, Uid, User, fork, getgrouplist, pipe2, read};

use super::filter;
use super::system::{self, Tid};

/// A program to be started.
#[derive(Clone, Debug)]
pub struct Program {
    words: Vec<CString>,
    user: Option<Credentials>,
    files: Option<(u64, u64)>,
}

/// As whom a program runs.
#[derive(Clone, Debug)]
struct Credentials {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// The descriptors that this process was started with, which are the program's, too; all others are none of its business.
#[derive(Clone, Debug)]
pub struct Inherited(BTreeSet<i32>);

impl Inherited {
    /// Those that are open now; to be asked before any is opened.
    pub fn now() -> Self {
        Self(open_descriptors())
    }

    /// Has all others closed by exec, those among them that a library opened without that.
    pub fn keep_others(&self) {
        for fd in open_descriptors().difference(&self.0) {
            // SAFETY: fcntl takes numbers; a descriptor that is gone is an error that does not matter.
            unsafe { libc::fcntl(*fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

/// The descriptors of this process, without the one by which they are listed.
fn open_descriptors() -> BTreeSet<i32> {
    let is_open = |fd: &i32| {
        // SAFETY: fcntl takes numbers.
        unsafe { libc::fcntl(*fd, libc::F_GETFD) != -1 }
    };
    let listed = std::fs::read_dir("/proc/self/fd")
        .map(|folder| folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect());
    // Without /proc: as far as they usually go.
    let all: BTreeSet<i32> = listed.unwrap_or_else(|_| (0..1024).collect());
    all.into_iter().filter(is_open).collect()
}

/// Why a program could not be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unstarted {
    /// What was done when it failed.
    pub step: Step,
    /// How.
    pub errno: super::super::Errno,
}

/// The steps on the way to a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Making a process.
    Fork,
    /// Watching it (ptrace).
    Watch,
    /// Putting the filter into it (seccomp).
    Filter,
    /// Becoming the user.
    User,
    /// Executing the program.
    Execute,
}

impl Program {
    /// The program of these words: its name, searched in PATH as a shell does, and its arguments.
    ///
    /// `None` where there is no word, or one holds an octet of zero.
    pub fn new<W: AsRef<OsStr>>(words: &[W]) -> Option<Self> {
        let words: Vec<CString> =
            words.iter().map(|word| CString::new(word.as_ref().as_bytes()).ok()).collect::<Option<_>>()?;
        (!words.is_empty()).then_some(Self { words, user: None, files: None })
    }

    /// The same, as a user: with the groups that the user has.
    #[must_use]
    pub fn run_by(self, uid: u32, gid: u32) -> Self {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let name = User::from_uid(uid).ok().flatten().and_then(|user| CString::new(user.name).ok());
        let groups = name.and_then(|name| getgrouplist(&name, gid).ok()).unwrap_or_else(|| vec![gid]);
        Self { user: Some(Credentials { uid, gid, groups }), ..self }
    }

    /// The same, with a limit on open files (soft and hard), where ours was changed.
    #[must_use]
    pub fn with_files(self, soft: u64, hard: u64) -> Self {
        Self { files: Some((soft, hard)), ..self }
    }

    /// Makes the process, which waits, and attaches to it; `others` wait, too, and end where nobody can let them go any more.
    pub(super) fn hold<'h>(&self, others: impl Iterator<Item = &'h Held>, to: Hold) -> Result<Held, Unstarted> {
        let theirs: Vec<i32> = others.filter_map(|other| Some(other.release.as_ref()?.as_raw_fd())).collect();
        let failed = |step| move |errno: Errno| Unstarted { step, errno: errno.into() };
        let (go, release) = pipe2(OFlag::O_CLOEXEC).map_err(failed(Step::Fork))?;
        let (told, tell) = pipe2(OFlag::O_CLOEXEC).map_err(failed(Step::Fork))?;
        let argv: Vec<*const libc::c_char> = self.words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
        let program = if to == Hold::ToStop { filter::program() } else { Vec::new() };
        // A signal that comes before the child is ready for it waits.
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before)).map_err(failed(Step::Fork))?;
        // SAFETY: the child makes nothing but system calls until it executes the program or ends: it allocates nothing, and takes no lock.
        let forked = unsafe { fork() };
        if !matches!(forked, Ok(ForkResult::Child)) {
            _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
        }
        match forked.map_err(failed(Step::Fork))? {
            ForkResult::Child => {
                // SAFETY: the pointers are to what lives on in the copy of this process's memory.
                unsafe {
                    libc::close(release.as_raw_fd());
                    for fd in &theirs {
                        libc::close(*fd);
                    }
                    self.become_it(go.as_raw_fd(), tell.as_raw_fd(), &argv, &program, &before)
                }
            }
            ForkResult::Parent { child } => {
                let held = Held { pid: child.as_raw(), release: Some(release), told };
                match if to == Hold::ToStop { system::seize(held.pid) } else { Ok(()) } {
                    Ok(()) => Ok(held),
                    Err(errno) => {
                        held.give_up();
                        Err(Unstarted { step: Step::Watch, errno: errno.into() })
                    }
                }
            }
        }
    }

    /// The way of the child: it returns never.
    ///
    /// # Safety
    /// Only right after fork, with valid descriptors and an `argv` that ends with a null pointer.
    unsafe fn become_it(
        &self,
        go: i32,
        tell: i32,
        argv: &[*const libc::c_char],
        program: &[libc::sock_filter],
        mask: &SigSet,
    ) -> ! {
        let fail = |step: Step| -> ! {
            let message = [step as i32, Errno::last_raw()];
            // SAFETY: eight octets of the array are written; nobody is told anything where that fails.
            unsafe {
                libc::write(tell, message.as_ptr().cast(), size_of_val(&message));
                libc::_exit(127)
            }
        };
        // SAFETY: system calls on numbers and on what lives in this frame and in `self`.
        unsafe {
            // What this process was forked from does with them is not to be done here; what is ignored stays so.
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP] {
                let mut now: libc::sigaction = std::mem::zeroed();
                if libc::sigaction(signal, ptr::null(), &mut now) == 0 && now.sa_sigaction != libc::SIG_IGN {
                    libc::signal(signal, libc::SIG_DFL);
                }
            }
            libc::sigprocmask(libc::SIG_SETMASK, mask.as_ref(), ptr::null_mut());
            let mut octet = 0u8;
            while libc::read(go, (&raw mut octet).cast(), 1) != 1 {
                if Errno::last() != Errno::EINTR {
                    // Whoever held it back is gone, or wants it no more.
                    libc::_exit(127);
                }
            }
            // The standard library has it ignored, which the program would inherit.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            if let Some((soft, hard)) = self.files {
                libc::setrlimit(libc::RLIMIT_NOFILE, &libc::rlimit { rlim_cur: soft, rlim_max: hard });
            }
            let fprog = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
            let install = || libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const fprog);
            // Root may filter without forswearing setuid programs.
            let is_filtered = !program.is_empty();
            if is_filtered
                && install() != 0
                && (libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || install() != 0)
            {
                fail(Step::Filter);
            }
            if let Some(user) = &self.user {
                let groups = user.groups.as_ptr().cast::<libc::gid_t>();
                let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
                if libc::setgroups(user.groups.len(), groups) != 0
                    || libc::setresgid(gid, gid, gid) != 0
                    || libc::setresuid(uid, uid, uid) != 0
                {
                    fail(Step::User);
                }
            }
            libc::execvp(argv[0], argv.as_ptr());
            fail(Step::Execute)
        }
    }
}

/// What a process is held for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// To be attached to, with a filter at whose calls it stops.
    ToStop,
    /// To be recorded: it runs as it would by itself.
    ToRecord,
}

/// A process that waits to execute its program.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) pid: Tid,
    /// While it is open, the process waits.
    release: Option<OwnedFd>,
    told: OwnedFd,
}

impl Held {
    /// Lets it go.
    pub(super) fn go(&mut self) {
        if let Some(release) = self.release.take() {
            _ = nix::unistd::write(&release, &[1]);
        }
    }

    /// Whether it waits.
    pub(super) fn waits(&self) -> bool {
        self.release.is_some()
    }

    /// Why it ended before its program began; `None` if it did not.
    pub(super) fn failure(&self) -> Option<Unstarted> {
        let mut message = [0; 8];
        // The other end is closed by exec, or with the process.
        if read(&self.told, &mut message) != Ok(8) {
            return None;
        }
        let number = |at: usize| i32::from_ne_bytes(message[at..at + 4].try_into().expect("4 octets"));
        let step = [Step::Fork, Step::Watch, Step::Filter, Step::User, Step::Execute][number(0).clamp(0, 4) as usize];
        Some(Unstarted { step, errno: super::super::Errno(number(4)) })
    }

    /// Has it end where it waits.
    pub(super) fn release_to_nothing(&mut self) {
        self.release = None;
    }

    /// Ends it where it waits, and waits for that.
    pub(super) fn give_up(mut self) {
        self.release_to_nothing();
        _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(self.pid), None);
    }
}
