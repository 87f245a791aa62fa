//! The privilege that a live capture takes: the ways to it, and giving it up as soon as the capture is open.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::stat::fstat;
use nix::unistd::{
    AccessFlags, Gid, Uid, User, faccessat, getegid, geteuid, getgid, getresgid, getresuid, getuid, setgroups,
    setresgid, setresuid,
};

use super::place;
use super::{CaptureError, shown};

/// The ways to the permission to capture, for the end of a message: sudo, or the setcap command for this very program.
pub fn ways_to_capture() -> String {
    let program = std::env::current_exe().map_or_else(|_| "tcpflow".to_owned(), |path| path.display().to_string());
    let plain = program.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    let program = if plain { program } else { format!("'{}'", shown(&program).replace('\'', r"'\''")) };
    format!("run it with sudo, or once: sudo setcap cap_net_raw+ep {program}")
}

/// As whom a process goes on that was root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Successor {
    /// The user asked for, by name or number.
    ///
    /// Without one it is the user who called sudo (doas, pkexec), and for plain root `nobody`, but for `writes`.
    pub user: Option<String>,
    /// The file or folder that will be written: where its folder belongs to root, plain root keeps its number, and nothing else.
    pub writes: Option<PathBuf>,
}

/// Gives up what privilege the process has, for good: it was needed only to open the capture.
///
/// Root becomes the [`Successor`]. Whoever it is then has no capability, and no program that it could start gets any:
/// the bounding set is empty, where the process may empty it (CAP_SETPCAP, which root has and a program with CAP_NET_RAW alone
/// has not), and no_new_privs is set.
///
/// It is never to be called on behalf of a command that is started for the user.
///
/// # Errors
/// There is a second thread, which would keep its privilege; the user asked for does not exist, or only root could become it;
/// or what the kernel says. The process must not go on then.
pub fn give_up_privilege(successor: &Successor) -> Result<(), CaptureError> {
    give_up(successor, &CapsHashSet::new())
}

/// As [`give_up_privilege`], in a user namespace of the process's own, where its capabilities are worth nothing outside:
/// it keeps its user, and, if `low_ports`, the capability to listen on ports below 1024.
pub fn give_up_privilege_inside(low_ports: LowPorts) -> Result<(), CaptureError> {
    let kept = match low_ports {
        LowPorts::Closed => CapsHashSet::new(),
        LowPorts::Open => CapsHashSet::from([Capability::CAP_NET_BIND_SERVICE]),
    };
    alone()?;
    lay_down(&kept)
}

/// The user and group for whom root acts: those of whoever called sudo (doas, pkexec); `None` for plain root, and for whom is not root.
pub fn acts_for() -> Option<(u32, u32)> {
    let (uid, gid) = caller().filter(|(uid, _)| geteuid().is_root() && !uid.is_root())?;
    Some((uid.as_raw(), gid.as_raw()))
}

/// As [`give_up_privilege`], for a process that watches programs that run already, held back, as `user`, or else as itself:
/// it becomes that user. Root that watches a program of root's stays root, with the capability to look into it (CAP_SYS_PTRACE) and no other.
///
/// # Errors
/// As [`give_up_privilege`].
pub fn give_up_privilege_beside(user: Option<(u32, u32)>) -> Result<(), CaptureError> {
    alone()?;
    empty_bounding_set()?;
    let is_root = geteuid().is_root();
    if let Some((uid, gid)) = user.filter(|_| is_root) {
        become_user(&Heir { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), is_default: false })?;
        return lay_down(&CapsHashSet::new());
    }
    let kept = if is_root { CapsHashSet::from([Capability::CAP_SYS_PTRACE]) } else { CapsHashSet::new() };
    lay_down(&kept)
}

/// Whether a port below 1024 is to be listened on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LowPorts {
    /// It is not.
    Closed,
    /// It is.
    Open,
}

fn give_up(successor: &Successor, kept: &CapsHashSet) -> Result<(), CaptureError> {
    alone()?;
    let heir = heir(successor)?;
    empty_bounding_set()?;
    match heir {
        Some(heir) => {
            become_user(&heir)?;
            if heir.is_default && geteuid() == heir.uid {
                successor.writes.as_deref().map_or(Ok(()), may_be_written)?;
            }
        }
        // The groups of root are not its capabilities; in a container they may have to stay.
        None if geteuid().is_root() => _ = setgroups(&[getegid()]),
        None => {}
    }
    lay_down(kept)
}

/// Sees that there is one thread: the others would keep their capabilities.
fn alone() -> Result<(), CaptureError> {
    // It changes nothing, and is refused to a process of more than one thread (unshare(2)).
    let threads = match unshare(CloneFlags::CLONE_THREAD) {
        Ok(()) => 1,
        Err(Errno::EINVAL) => 2,
        // A container may forbid the question itself.
        Err(_) => fs::read_dir("/proc/self/task").map_or(1, Iterator::count),
    };
    match threads {
        1 => Ok(()),
        _ => Err(CaptureError::new("cannot give up privilege: there is a second thread, which would keep it")),
    }
}

/// A user that root becomes.
struct Heir {
    uid: Uid,
    gid: Gid,
    /// Whether nobody chose it: where it cannot be, root without capabilities is as good.
    is_default: bool,
}

/// Whom the process becomes; `None` where it keeps its user.
fn heir(successor: &Successor) -> Result<Option<Heir>, CaptureError> {
    let chosen = successor.user.as_deref().map(user).transpose()?;
    if !geteuid().is_root() {
        return match chosen {
            Some((uid, _)) if uid != geteuid() => {
                Err(CaptureError::new("--user: only root can become another user: leave it out, or run it with sudo"))
            }
            _ => Ok(None),
        };
    }
    if let Some((uid, gid)) = chosen.or_else(caller) {
        return Ok((!uid.is_root()).then_some(Heir { uid, gid, is_default: false }));
    }
    if let Some(path) = &successor.writes
        && belongs_to_root(path)?
    {
        return Ok(None);
    }
    let nobody = User::from_name(NOBODY).ok().flatten();
    Ok(nobody.map(|user| Heir { uid: user.uid, gid: user.gid, is_default: true }))
}

/// A user by name or number.
fn user(name: &str) -> Result<(Uid, Gid), CaptureError> {
    let number = name.parse::<u32>().ok().filter(|number| *number != u32::MAX);
    let known = match number {
        Some(number) => User::from_uid(Uid::from_raw(number)),
        None => User::from_name(name),
    };
    match (known.ok().flatten(), number) {
        (Some(user), _) => Ok((user.uid, user.gid)),
        (None, Some(number)) => Ok((Uid::from_raw(number), Gid::from_raw(number))),
        (None, None) => Err(CaptureError::new(format!("--user: there is no user {}", shown(name)))),
    }
}

/// The user for whom root acts.
fn caller() -> Option<(Uid, Gid)> {
    // A program that is setuid root.
    if !getuid().is_root() {
        return Some((getuid(), getgid()));
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let by_name = || User::from_name(&std::env::var("DOAS_USER").ok()?).ok().flatten().map(|user| user.uid.as_raw());
    let uid = number("SUDO_UID").or_else(|| number("PKEXEC_UID")).or_else(by_name).filter(|uid| *uid != 0)?;
    let gid = number("SUDO_GID")
        .or_else(|| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.gid.as_raw()))?;
    Some((Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// Whether the folder is root's in which `path` lies or will lie.
fn belongs_to_root(path: &Path) -> Result<bool, CaptureError> {
    Ok(fstat(&folder_of(path)?).is_ok_and(|folder| folder.st_uid == 0))
}

/// Sees that the folder can be written by whom root became because nobody else was named.
fn may_be_written(path: &Path) -> Result<(), CaptureError> {
    let folder = folder_of(path)?;
    if faccessat(&folder, ".", AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok() {
        return Ok(());
    }
    let owner = fstat(&folder).map_or(0, |folder| folder.st_uid);
    let owner = User::from_uid(Uid::from_raw(owner)).ok().flatten().map_or_else(|| owner.to_string(), |user| user.name);
    Err(CaptureError::new(format!(
        "{}: permission denied in its folder for user {NOBODY}, which root becomes unless --user names another \
         (--user {owner}: whose folder it is)",
        shown(&path.to_string_lossy())
    )))
}

/// The folder that `path` is or in which it lies; where that is not there yet, the nearest one that is.
fn folder_of(path: &Path) -> Result<OwnedFd, CaptureError> {
    let mut path = path;
    while let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        path = parent;
    }
    place::folder(path)
}

fn become_user(heir: &Heir) -> Result<(), CaptureError> {
    let Heir { uid, gid, is_default } = *heir;
    let changed = setgroups(&[gid]).and_then(|()| setresgid(gid, gid, gid)).and_then(|()| setresuid(uid, uid, uid));
    match changed {
        Ok(()) => {}
        // Root of a namespace that knows only itself, or root without CAP_SETGID or CAP_SETUID: what is left of it has no capability.
        Err(Errno::EPERM | Errno::EINVAL) if is_default => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    }
    let (users, groups) = (getresuid().map_err(failed)?, getresgid().map_err(failed)?);
    let still = [users.real, users.effective, users.saved].iter().any(|id| *id != uid)
        || [groups.real, groups.effective, groups.saved].iter().any(|id| *id != gid)
        || setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok();
    if still {
        return Err(CaptureError::new("cannot give up root: the kernel still lets this process be root"));
    }
    Ok(())
}

fn failed(errno: Errno) -> CaptureError {
    CaptureError::new(format!("cannot give up root: {}", errno.desc()))
}

/// Empties the bounding set where this process may; it is the limit of what a program that it starts could get from its file.
fn empty_bounding_set() -> Result<(), CaptureError> {
    let refused = |error| CaptureError::new(format!("cannot empty the bounding set of capabilities: {error}"));
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(refused)? {
        return Ok(());
    }
    caps::clear(None, CapSet::Bounding).map_err(refused)?;
    match caps::read(None, CapSet::Bounding).map_err(refused)?.is_empty() {
        true => Ok(()),
        false => Err(CaptureError::new("cannot empty the bounding set of capabilities: the kernel keeps some")),
    }
}

/// Lays down all capabilities but `kept`, of which it never has more than it had, and forswears all that a program could bring.
fn lay_down(kept: &CapsHashSet) -> Result<(), CaptureError> {
    let refused = |error| CaptureError::new(format!("cannot give up the capabilities: {error}"));
    empty_bounding_set()?;
    let had = caps::read(None, CapSet::Permitted).map_err(refused)?;
    let left: CapsHashSet = had.intersection(kept).copied().collect();
    // Without these two the kernel empties the ambient set, too.
    caps::clear(None, CapSet::Inheritable).map_err(refused)?;
    if left.is_empty() {
        caps::clear(None, CapSet::Permitted).map_err(refused)?;
    } else {
        caps::set(None, CapSet::Effective, &left).map_err(refused)?;
        caps::set(None, CapSet::Permitted, &left).map_err(refused)?;
    }
    prctl::set_no_new_privs()
        .map_err(|errno| CaptureError::new(format!("cannot set no_new_privs: {}", errno.desc())))?;
    for set in [CapSet::Permitted, CapSet::Effective, CapSet::Inheritable] {
        if !caps::read(None, set).map_err(refused)?.is_subset(&left) {
            return Err(CaptureError::new("cannot give up the capabilities: the kernel keeps some"));
        }
    }
    Ok(())
}

/// Whom plain root becomes where nobody else is named.
const NOBODY: &str = "nobody";
