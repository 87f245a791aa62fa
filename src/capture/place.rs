//! Where a file is to be: a folder that was opened, and files in it that get their names when they are whole.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, Flock, FlockArg, OFlag, fcntl, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{AccessFlags, Gid, UnlinkatFlags, faccessat, fchown, geteuid, unlinkat};

use super::{CaptureError, shown};

/// A name in a folder that is held open, so that nobody can put another folder in its place.
pub(super) struct Place {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
}

impl Place {
    /// Goes to where `path` leads, link by link.
    ///
    /// A symbolic link is followed where it belongs to this process's user or to root, and lies in no folder that everybody
    /// may write to.
    ///
    /// # Errors
    /// There is no such folder, `path` is a folder, or a link is not to be followed.
    pub(super) fn of(path: &Path) -> Result<Self, CaptureError> {
        match walk(path)? {
            (folder, Some(name)) => Ok(Self { folder, name }),
            (_, None) => Err(CaptureError::new(format!("{} is a directory", shown(&path.to_string_lossy())))),
        }
    }

    /// Sees that what is there is not protected: a file beside it that takes its name would not ask for the right to write it.
    pub(super) fn may_be_written(&self, path: &Path) -> Result<(), CaptureError> {
        match faccessat(&self.folder, &*self.name, AccessFlags::W_OK, AtFlags::AT_EACCESS) {
            Err(Errno::EACCES | Errno::EPERM | Errno::EROFS) => Err(CaptureError::new(format!(
                "{} is there and protected against writing: name another file, or remove it",
                shown(&path.to_string_lossy())
            ))),
            _ => Ok(()),
        }
    }

    /// What is there, if something is; a link is itself.
    fn status(&self) -> Result<Option<FileStat>, Errno> {
        match fstatat(&self.folder, &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// The folder that `path` leads to by links that may be followed, or in which it lies.
///
/// # Errors
/// As for [`Place::of`].
pub(super) fn folder(path: &Path) -> Result<OwnedFd, CaptureError> {
    Ok(walk(path)?.0)
}

/// The folder to which `path` leads, and the name in it unless that is a folder itself.
fn walk(path: &Path) -> Result<(OwnedFd, Option<OsString>), CaptureError> {
    let failed = |errno: Errno| failed(path, &errno.into());
    let mut folder = begin(path).map_err(failed)?;
    let mut parts = parts(path);
    let mut links = 0;
    while let Some(part) = parts.pop_front() {
        let is_last = parts.is_empty();
        let status = match fstatat(&folder, &*part, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) if is_last => return Ok((folder, Some(part))),
            status => status.map_err(failed)?,
        };
        match kind(&status) {
            SFlag::S_IFLNK => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(failed(Errno::ELOOP));
                }
                // What was looked at may be another one by now: the link itself is held, and asked.
                let link = openat(&folder, &*part, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
                    .map_err(failed)?;
                let status = fstat(&link).map_err(failed)?;
                if kind(&status) != SFlag::S_IFLNK {
                    parts.push_front(part);
                    continue;
                }
                may_be_followed(path, &part, &status, &folder)?;
                let target = PathBuf::from(readlinkat(&link, "").map_err(failed)?);
                if target.is_absolute() {
                    folder = begin(&target).map_err(failed)?;
                }
                let mut further = self::parts(&target);
                further.append(&mut parts);
                parts = further;
            }
            SFlag::S_IFDIR => folder = openat(&folder, &*part, FOLDER, Mode::empty()).map_err(failed)?,
            _ if is_last => return Ok((folder, Some(part))),
            _ => return Err(failed(Errno::ENOTDIR)),
        }
    }
    Ok((folder, None))
}

fn begin(path: &Path) -> Result<OwnedFd, Errno> {
    openat(AT_FDCWD, if path.is_absolute() { "/" } else { "." }, FOLDER, Mode::empty())
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

fn may_be_followed(path: &Path, part: &OsStr, link: &FileStat, folder: &OwnedFd) -> Result<(), CaptureError> {
    let refused = |why: &str| {
        let (path, part) = (shown(&path.to_string_lossy()), shown(&part.to_string_lossy()));
        let which = if Path::new(&path).file_name().is_some_and(|name| name == &*part) {
            path
        } else {
            format!("{path}: `{part}` in it")
        };
        Err(CaptureError::new(format!("{which} is a symbolic link {why}: name the file that it leads to")))
    };
    let folder = fstat(folder).map_err(|errno| failed(path, &errno.into()))?;
    if is_open_to_all(&folder) {
        return refused("in a folder that everybody may write to, and is not followed");
    }
    if !is_trusted(link) {
        return refused("of another user, and is not followed");
    }
    Ok(())
}

/// Whether everybody may put files there.
fn is_open_to_all(folder: &FileStat) -> bool {
    folder.st_mode & (libc::S_ISVTX | libc::S_IWOTH) != 0
}

fn is_trusted(status: &FileStat) -> bool {
    status.st_uid == 0 || status.st_uid == geteuid().as_raw()
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

/// A file that gets its name, in place of whatever had it, when it is whole; until then it is a hidden one beside it.
///
/// One that is dropped before leaves nothing. What other processes left that died meanwhile goes when this one is whole.
/// A named pipe or a device is written as it is.
pub struct NewFile {
    /// What it is called in messages.
    path: PathBuf,
    place: Place,
    /// Its name until it is whole.
    temporary: Option<OsString>,
    file: Output,
}

/// The file, locked for as long as it is not whole, which shows others that its writer lives.
enum Output {
    Locked(Flock<File>),
    Plain(File),
}

impl NewFile {
    /// Makes the file, with the mode of the one that it will replace, else as the umask says.
    ///
    /// # Errors
    /// It cannot be made, or one is there that is protected against writing; see also [`NewFile::finish`].
    pub fn create(path: &Path) -> Result<Self, CaptureError> {
        let place = Place::of(path)?;
        let before = place.status().map_err(|errno| failed(path, &errno.into()))?;
        if let Some(before) = &before
            && kind(before) != SFlag::S_IFREG
        {
            let file = Output::Plain(stream(path, &place, before)?);
            return Ok(Self { path: path.into(), place, temporary: None, file });
        }
        if before.is_some() {
            place.may_be_written(path)?;
        }
        let (temporary, file) =
            hidden(&place, before.as_ref(), hidden_name).map_err(|errno| failed(path, &errno.into()))?;
        Ok(Self { path: path.into(), place, temporary: Some(temporary), file })
    }

    /// The same, which is seen while it grows: until it is whole it has its name with `.partial`.
    ///
    /// # Errors
    /// As for [`NewFile::create`].
    pub fn create_seen(path: &Path) -> Result<Self, CaptureError> {
        let mut file = Self::create(path)?;
        if let Some(temporary) = &mut file.temporary {
            let mut partial = file.place.name.clone();
            partial.push(".partial");
            let folder = &file.place.folder;
            renameat(folder, &**temporary, folder, &*partial).map_err(|errno| failed(path, &errno.into()))?;
            *temporary = partial;
        }
        Ok(file)
    }

    /// What is written to.
    pub fn file(&mut self) -> &mut File {
        match &mut self.file {
            Output::Locked(file) => file,
            Output::Plain(file) => file,
        }
    }

    /// Whether it can only be added to: a pipe or a device.
    pub fn is_stream(&self) -> bool {
        self.temporary.is_none()
    }

    /// Gives the file its name. May be tried again.
    ///
    /// # Errors
    /// It cannot be renamed, or another program took it away; what had the name before still has it.
    pub fn finish(&mut self) -> Result<(), CaptureError> {
        if let Some(temporary) = &self.temporary {
            let Place { folder, name } = &self.place;
            if !self.is_called(temporary) {
                return Err(CaptureError::new(format!(
                    "{} cannot be written: another program took away {}, which it was to become",
                    shown(&self.path.to_string_lossy()),
                    shown(&temporary.to_string_lossy())
                )));
            }
            renameat(folder, &**temporary, folder, &**name).map_err(|errno| failed(&self.path, &errno.into()))?;
            self.temporary = None;
            self.sweep();
        }
        Ok(())
    }

    /// Whether the file itself has that name, and not what another program put there.
    fn is_called(&self, name: &OsStr) -> bool {
        let file = match &self.file {
            Output::Locked(file) => fstat(&**file),
            Output::Plain(file) => fstat(file),
        };
        let named = fstatat(&self.place.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        matches!((file, named), (Ok(file), Ok(named)) if (file.st_dev, file.st_ino) == (named.st_dev, named.st_ino))
    }

    /// Leaves the file with the name that it has, which is yielded: beside its own.
    pub(super) fn abandon(&mut self) -> Option<PathBuf> {
        let temporary = self.temporary.take().filter(|temporary| self.is_called(temporary));
        temporary.map(|temporary| self.path.with_file_name(temporary))
    }

    /// Removes a file of the same folder.
    pub(super) fn remove_beside(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.place.folder, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes hidden files of the same name whose writers have died.
    fn sweep(&self) {
        // Nothing is lost where it cannot be done.
        let Ok(folder) = openat(&self.place.folder, ".", READABLE_FOLDER, Mode::empty()) else { return };
        let Ok(mut entries) = Dir::from_fd(folder) else { return };
        for entry in entries.iter().flatten() {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if is_hidden_of(name, &self.place.name) && is_left_alone(&self.place.folder, name) {
                _ = self.remove_beside(name);
            }
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.as_ref().filter(|temporary| self.is_called(temporary)) {
            // Nothing can be done about a file that does not go away, and a drop has nobody to tell.
            _ = self.remove_beside(temporary);
        }
    }
}

/// Opens what is no file: somebody must read it, and nobody may have put it there for others to write into.
fn stream(path: &Path, place: &Place, before: &FileStat) -> Result<File, CaptureError> {
    let name = shown(&path.to_string_lossy());
    let failed = |errno: Errno| match errno {
        Errno::ENXIO => CaptureError::new(format!("{name} is a named pipe that nobody reads: start its reader first")),
        errno => failed(path, &errno.into()),
    };
    if !matches!(kind(before), SFlag::S_IFIFO | SFlag::S_IFCHR) {
        return Err(CaptureError::new(format!("{name} is neither a file nor a pipe")));
    }
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(&place.folder, &*place.name, flags, Mode::empty()).map_err(failed)?;
    let (status, folder) = (fstat(&file).map_err(failed)?, fstat(&place.folder).map_err(failed)?);
    if is_open_to_all(&folder) && !is_trusted(&status) || kind(&status) == SFlag::S_IFREG {
        return Err(CaptureError::new(format!(
            "{name} is a pipe of another user in a folder that everybody may write to, and is not written"
        )));
    }
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_WRONLY)).map_err(failed)?;
    Ok(file.into())
}

/// Makes a hidden file by one of the names that `name` yields, with the mode of the one that it will replace.
fn hidden(
    place: &Place,
    before: Option<&FileStat>,
    name: impl Fn(&OsStr) -> OsString,
) -> Result<(OsString, Output), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Until it has the mode of the one before, nobody else may look into it.
    let mode = Mode::from_bits_truncate(if before.is_some() { 0o600 } else { 0o666 });
    let mut last = Errno::EEXIST;
    for _ in 0..ATTEMPTS {
        let name = name(&place.name);
        let file = match openat(&place.folder, &*name, flags, mode) {
            Ok(file) => File::from(file),
            Err(Errno::EEXIST) => continue,
            Err(errno) => return Err(errno),
        };
        if let Some(before) = before {
            let mut mode = before.st_mode & 0o777;
            let status = fstat(&file)?;
            if status.st_gid != before.st_gid && fchown(&file, None, Some(Gid::from_raw(before.st_gid))).is_err() {
                // What the other group was allowed is not this one's.
                mode &= 0o707;
            }
            // Where a file system knows no modes there is none to keep.
            _ = fchmod(&file, Mode::from_bits_truncate(mode));
        }
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Output::Locked(file),
            // Another process takes it for one of the dead.
            Err((_, Errno::EWOULDBLOCK)) => {
                last = Errno::EWOULDBLOCK;
                continue;
            }
            // A file system without locks: nothing is ever swept there.
            Err((file, _)) => Output::Plain(file),
        };
        let is_there = fstatat(&place.folder, &*name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
        if is_there {
            return Ok((name, file));
        }
    }
    Err(last)
}

/// A name that nobody can foresee.
fn hidden_name(name: &OsStr) -> OsString {
    // The key of each is drawn at random.
    let number = RandomState::new().hash_one(std::process::id());
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{number:016x}.part"));
    hidden
}

/// Whether it is a name that [`hidden_name`] gives to `name`.
fn is_hidden_of(hidden: &OsStr, name: &OsStr) -> bool {
    let number = |hidden: &[u8]| -> Option<Vec<u8>> {
        let rest = hidden.strip_prefix(b".")?.strip_prefix(name.as_bytes())?.strip_prefix(b".")?;
        rest.strip_suffix(b".part").map(<[u8]>::to_vec)
    };
    number(hidden.as_bytes()).is_some_and(|number| number.len() == 16 && number.iter().all(u8::is_ascii_hexdigit))
}

/// Whether it is a file of this user that no living process writes.
fn is_left_alone(folder: &OwnedFd, name: &OsStr) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let is_own = |status: &FileStat| kind(status) == SFlag::S_IFREG && status.st_uid == geteuid().as_raw();
    fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|status| is_own(&status))
        && openat(folder, name, flags, Mode::empty()).is_ok_and(|file| {
            fstat(&file).is_ok_and(|status| is_own(&status))
                && Flock::lock(File::from(file), FlockArg::LockExclusiveNonblock).is_ok()
        })
}

/// The error of a file that cannot be written.
pub(super) fn failed(path: &Path, error: &io::Error) -> CaptureError {
    let name = shown(&path.to_string_lossy());
    CaptureError::new(match error.kind() {
        io::ErrorKind::NotFound => format!("{name} cannot be written: its folder does not exist"),
        io::ErrorKind::NotADirectory => format!("{name} cannot be written: what should be its folder is a file"),
        io::ErrorKind::IsADirectory => format!("{name} cannot be written: it is a directory"),
        io::ErrorKind::PermissionDenied => {
            format!("{name} cannot be written: permission denied in its folder (for {})", who())
        }
        io::ErrorKind::StorageFull => format!("{name} cannot be written: no space is left on the device"),
        io::ErrorKind::QuotaExceeded => format!("{name} cannot be written: the disk quota is used up"),
        io::ErrorKind::FileTooLarge => {
            format!("{name} cannot be written: the limit on the size of a file is reached (ulimit -f)")
        }
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            format!("{name} cannot be written: no more files may be open (ulimit -n)")
        }
        _ => format!("{name} cannot be written: {error}"),
    })
}

/// This process's user, as people call it.
fn who() -> String {
    let uid = geteuid();
    let name = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    format!("user {}", name.unwrap_or_else(|| uid.to_string()))
}

const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const READABLE_FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;
/// How many names are tried.
const ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_not_to_write_is_named() {
        for (errno, words) in [
            (libc::ENOSPC, "no space is left on the device"),
            (libc::EDQUOT, "the disk quota is used up"),
            (libc::EFBIG, "the limit on the size of a file is reached (ulimit -f)"),
            (libc::EMFILE, "no more files may be open (ulimit -n)"),
            (libc::ENOENT, "its folder does not exist"),
            (libc::EISDIR, "it is a directory"),
            (libc::EACCES, "permission denied in its folder (for user "),
        ] {
            let told = failed(Path::new("a\u{1b}.pcap"), &io::Error::from_raw_os_error(errno)).message;
            assert!(told.starts_with("a\\u{1b}.pcap cannot be written: ") && told.contains(words), "{told}");
        }
    }

    #[test]
    fn no_two_hidden_names_are_alike_and_each_is_known_again() {
        let name = OsStr::new("a b.pcap");
        let (one, other) = (hidden_name(name), hidden_name(name));
        assert_ne!(one, other);
        assert!(is_hidden_of(&one, name) && !is_hidden_of(&one, OsStr::new("b.pcap")));
        for foreign in [".a b.pcap.part", ".a b.pcap.12-0.part", "a b.pcap", ".a b.pcap.0123456789abcdeg.part"] {
            assert!(!is_hidden_of(OsStr::new(foreign), name), "{foreign}");
        }
    }

    #[test]
    fn a_file_that_another_program_took_away_is_told_and_nothing_else_gets_its_name() {
        let folder = std::env::temp_dir().join(format!("tcpflow-taken-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let target = folder.join("a.pcap");
        std::fs::write(&target, "before").unwrap();
        let (away, foreign) = (folder.join("away"), folder.join("foreign"));
        std::fs::write(&foreign, "foreign").unwrap();
        for replaced in [None, Some(true), Some(false)] {
            let mut file = NewFile::create(&target).unwrap();
            file.write_all(b"frames").unwrap();
            let hidden = folder.join(file.temporary.as_ref().unwrap());
            std::fs::rename(&hidden, &away).unwrap();
            match replaced {
                None => {}
                Some(true) => std::os::unix::fs::symlink(&foreign, &hidden).unwrap(),
                Some(false) => std::fs::write(&hidden, "other").unwrap(),
            }
            for _ in 0..2 {
                let told = file.finish().unwrap_err().message;
                assert!(told.contains("another program took away .a.pcap."), "{told}");
            }
            assert_eq!(file.abandon(), None, "it is not said to be where it is not");
            drop(file);
            assert_eq!(std::fs::read(&target).unwrap(), b"before");
            assert_eq!(std::fs::symlink_metadata(&hidden).is_ok(), replaced.is_some(), "what is another's is left");
        }
        assert_eq!(
            (std::fs::read(&away).unwrap(), std::fs::read(&foreign).unwrap()),
            (b"frames".into(), b"foreign".into())
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn of_hidden_names_so_many_are_tried() {
        let folder = std::env::temp_dir().join(format!("tcpflow-names-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let place = Place::of(&folder.join("a.pcap")).unwrap();
        std::fs::write(folder.join("taken"), "").unwrap();
        let made = |taken: usize| {
            let tried = std::cell::Cell::new(0);
            let made = hidden(&place, None, |_| {
                tried.set(tried.get() + 1);
                if tried.get() <= taken { "taken".into() } else { "free".into() }
            });
            (made.map(|(name, _)| name), tried.get())
        };
        assert_eq!(made(ATTEMPTS - 1), (Ok("free".into()), ATTEMPTS));
        std::fs::remove_file(folder.join("free")).unwrap();
        assert_eq!(made(ATTEMPTS), (Err(Errno::EEXIST), ATTEMPTS));
        // One that another process takes for that of a dead one, and locks.
        let locked = Flock::lock(File::open(folder.join("taken")).unwrap(), FlockArg::LockExclusiveNonblock);
        assert!(locked.is_ok() && !folder.join("free").exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
