//! What a scenario needs of the kernel, and how it shows that the kernel has it.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Something that a kernel may have been built without.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// Multipath TCP (RFC 8684).
    Mptcp,
    /// The signatures of RFC 2385.
    Md5,
    /// The authentication option (RFC 5925), from Linux 6.7 on.
    Ao,
    /// An algorithm of congestion control.
    Congestion(String),
}

impl Need {
    /// The one that a scenario calls so.
    pub(super) fn named(name: &str) -> Option<Self> {
        WORDS.into_iter().find(|(word, _)| *word == name).map(|(_, need)| need)
    }

    /// What there is, for those who called one that is not.
    pub(super) fn words() -> String {
        let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
        format!("a scenario may need {}", words.join(", "))
    }

    /// What this kernel lacks, in words; `None` where it has it.
    pub fn lack(&self) -> Option<String> {
        match self {
            Self::Mptcp => (!Path::new("/proc/sys/net/mptcp").exists())
                .then(|| "this kernel has no Multipath TCP (CONFIG_MPTCP)".to_owned()),
            Self::Md5 => (!knows(libc::TCP_MD5SIG))
                .then(|| "this kernel has no TCP MD5 signatures (CONFIG_TCP_MD5SIG)".to_owned()),
            Self::Ao => (!knows(TCP_AO_ADD_KEY))
                .then(|| "this kernel has no TCP Authentication Option (CONFIG_TCP_AO)".to_owned()),
            Self::Congestion(name) => {
                let known = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").ok()?;
                let is_known = known.split_whitespace().any(|known| known == name);
                (!is_known).then(|| {
                    format!(
                        "this kernel has no congestion control {name}, or has not loaded it (sudo modprobe tcp_{name}); it has {}",
                        known.trim()
                    )
                })
            }
        }
    }
}

/// Whether the kernel knows an option of TCP: it complains of an empty value of one that it knows in another way.
fn knows(option: i32) -> bool {
    let Ok(socket) = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None) else { return true };
    let number = 0i32;
    // SAFETY: the kernel reads at most four octets from `number`.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, (&raw const number).cast(), 4) };
    Errno::result(set) != Err(Errno::ENOPROTOOPT)
}

const TCP_AO_ADD_KEY: i32 = 38;
const WORDS: [(&str, Need); 3] = [("mptcp", Need::Mptcp), ("md5", Need::Md5), ("ao", Need::Ao)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_kernel_has_is_lacking_and_what_all_have_is_not() {
        assert_eq!(Need::Congestion("reno".to_owned()).lack(), None);
        assert!(Need::Congestion("nonesuch".to_owned()).lack().is_some_and(|lack| lack.contains("nonesuch")));
        assert!(knows(libc::TCP_NODELAY) && !knows(9999));
        assert_eq!(Need::named("mptcp"), Some(Need::Mptcp));
        assert_eq!(Need::named("reno"), None);
    }
}
