//! Numbers of tracepoints that were found, remembered in the kernel's keyring of the user (keyrings(7)), which like them is gone at the next boot.

use std::ffi::CStr;

use nix::errno::Errno;

/// Those that were remembered last by that name; none where there is no keyring, or nothing is remembered.
///
/// Any program of the same user may have put them there: they are to be tried.
pub(super) fn recall(name: &CStr) -> Vec<u64> {
    let mut octets = [0u8; MOST * size_of::<u64>()];
    // SAFETY: the calls take numbers, strings that end with a zero octet, and a place of the length that is given.
    let read = unsafe {
        let key = libc::syscall(libc::SYS_keyctl, SEARCH, USER_KEYRING, KIND.as_ptr(), name.as_ptr(), 0);
        let key = Errno::result(key);
        key.and_then(|key| Errno::result(libc::syscall(libc::SYS_keyctl, READ, key, octets.as_mut_ptr(), octets.len())))
    };
    // It is told how long it is, also where there is no room for it.
    let len = read.ok().and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= octets.len()).unwrap_or(0);
    octets[..len].chunks_exact(8).map(|octets| u64::from_ne_bytes(octets.try_into().expect("8 octets"))).collect()
}

/// Remembers them by a name for a day, where there is a keyring.
pub(super) fn remember(name: &CStr, numbers: impl Iterator<Item = u64>) {
    let octets: Vec<u8> = numbers.take(MOST).flat_map(u64::to_ne_bytes).collect();
    // SAFETY: the calls take numbers, strings that end with a zero octet, and octets with their length.
    unsafe {
        let (kind, name) = (KIND.as_ptr(), name.as_ptr());
        let key = libc::syscall(libc::SYS_add_key, kind, name, octets.as_ptr(), octets.len(), USER_KEYRING);
        if Errno::result(key).is_ok() {
            libc::syscall(libc::SYS_keyctl, SET_TIMEOUT, key, A_DAY);
        }
    }
}

/// What kind of key it is.
const KIND: &CStr = c"user";
/// KEY_SPEC_USER_KEYRING and operations of keyctl(2) (linux/keyctl.h).
const USER_KEYRING: libc::c_long = -4;
const SEARCH: libc::c_long = 10;
const READ: libc::c_long = 11;
const SET_TIMEOUT: libc::c_long = 15;
/// In seconds.
const A_DAY: libc::c_long = 24 * 60 * 60;
/// How many are remembered at most.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_last_is_recalled() {
        const NAME: &CStr = c"tcpflow:test";
        for numbers in [&[7u64, 9][..], &[11]] {
            remember(NAME, numbers.iter().copied());
            // A container may have no keyring: then nothing is remembered.
            let has_keyring = !matches!(keyring(), Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES));
            assert_eq!(recall(NAME), if has_keyring { numbers } else { &[] });
        }
        assert_eq!(recall(c"tcpflow:none"), [0; 0]);
    }

    fn keyring() -> Result<(), Errno> {
        const GET_ID: libc::c_long = 0;
        // SAFETY: the call takes numbers.
        Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, GET_ID, USER_KEYRING, 1) }).map(drop)
    }
}
