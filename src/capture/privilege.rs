//! The privilege that a live capture takes: the ways to it, and giving it up as soon as the capture is open.

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, geteuid, getresgid, getresuid, setgroups, setresgid, setresuid};

use super::{CaptureError, shown};

/// The ways to the permission to capture, for the end of a message: sudo, or the setcap command for this very program.
pub fn ways_to_capture() -> String {
    let program = std::env::current_exe().map_or_else(|_| "tcpflow".to_owned(), |path| path.display().to_string());
    let plain = program.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    let program = if plain { program } else { format!("'{}'", shown(&program).replace('\'', r"'\''")) };
    format!("run it with sudo, or once: sudo setcap cap_net_raw+ep {program}")
}

/// Gives up what privilege the process has, for good: it was needed only to open the capture.
///
/// Under sudo (or doas, or pkexec) the process becomes the user who called; without root it lays down its capabilities.
/// Root itself stays root, as there is nobody else to be.
///
/// Must be called while the process has one thread.
///
/// # Errors
/// The kernel's; the process must not go on then.
pub fn give_up_privilege() -> Result<(), CaptureError> {
    let failed = |errno: Errno| CaptureError::new(format!("cannot give up root: {}", errno.desc()));
    if !geteuid().is_root() {
        return drop_capabilities().map_err(failed);
    }
    let Some((uid, gid)) = caller() else { return Ok(()) };
    setgroups(&[gid]).map_err(failed)?;
    setresgid(gid, gid, gid).map_err(failed)?;
    setresuid(uid, uid, uid).map_err(failed)?;
    let (users, groups) = (getresuid().map_err(failed)?, getresgid().map_err(failed)?);
    let still = [users.real, users.effective, users.saved].iter().any(|id| *id != uid)
        || [groups.real, groups.effective, groups.saved].iter().any(|id| *id != gid)
        || setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok();
    if still {
        return Err(CaptureError::new("cannot give up root: the kernel still lets this process be root"));
    }
    Ok(())
}

/// The user for whom root acts.
fn caller() -> Option<(Uid, Gid)> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let by_name = || User::from_name(&std::env::var("DOAS_USER").ok()?).ok().flatten().map(|user| user.uid.as_raw());
    let uid = number("SUDO_UID").or_else(|| number("PKEXEC_UID")).or_else(by_name).filter(|uid| *uid != 0)?;
    let gid = number("SUDO_GID")
        .or_else(|| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.gid.as_raw()))?;
    Some((Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// Empties all three capability sets (capset(2)); no effect on a process that has none.
fn drop_capabilities() -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    // Effective, permitted and inheritable, for capabilities 0 to 31 and 32 to 63.
    let none = [0u32; 6];
    // SAFETY: the kernel reads a header and, by its version, two triples of u32.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) }).map(drop)
}

const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;
