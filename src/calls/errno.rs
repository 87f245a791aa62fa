//! `Errno`: the error of a call as a number that has a name.

use std::fmt;
use std::sync::LazyLock;

use nix::errno::Errno as Known;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An error number of errno(3), as the kernel of this machine numbers them.
///
/// Shown, it is its name, or `E` and the number where it has none, as those that only a tracer sees (ERESTARTSYS, include/linux/errno.h).
/// It is written down by its name, because a number means something else on another architecture.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Errno(pub i32);

impl Errno {
    /// A signal ended the wait.
    pub const EINTR: Self = Self(libc::EINTR);
    /// It would have had to wait (also EWOULDBLOCK).
    pub const EAGAIN: Self = Self(libc::EAGAIN);
    /// The connection is closed for sending.
    pub const EPIPE: Self = Self(libc::EPIPE);
    /// The address is in use.
    pub const EADDRINUSE: Self = Self(libc::EADDRINUSE);
    /// The connection was given up.
    pub const ECONNABORTED: Self = Self(libc::ECONNABORTED);
    /// The peer reset the connection.
    pub const ECONNRESET: Self = Self(libc::ECONNRESET);
    /// The socket is connected already.
    pub const EISCONN: Self = Self(libc::EISCONN);
    /// Nothing answered in time.
    pub const ETIMEDOUT: Self = Self(libc::ETIMEDOUT);
    /// A SYN was answered with RST.
    pub const ECONNREFUSED: Self = Self(libc::ECONNREFUSED);
    /// No route leads to the host.
    pub const EHOSTUNREACH: Self = Self(libc::EHOSTUNREACH);
    /// No route leads to the network.
    pub const ENETUNREACH: Self = Self(libc::ENETUNREACH);
    /// A filter prohibits it, or the program may not.
    pub const EACCES: Self = Self(libc::EACCES);
    /// There is no such protocol, or no such option.
    pub const ENOPROTOOPT: Self = Self(libc::ENOPROTOOPT);
    /// A nonblocking connect is under way since an earlier call.
    pub const EALREADY: Self = Self(libc::EALREADY);
    /// A nonblocking connect goes on after the call.
    pub const EINPROGRESS: Self = Self(libc::EINPROGRESS);

    /// Its name, such as `ECONNREFUSED`; `None` for a number that has none.
    pub fn name(self) -> Option<&'static str> {
        let place = usize::try_from(self.0).ok()?;
        NAMES.get(place)?.as_deref()
    }

    /// The error of that name.
    pub fn named(name: &str) -> Option<Self> {
        let place = NAMES.iter().position(|known| known.as_deref() == Some(name))?;
        i32::try_from(place).ok().map(Self)
    }
}

impl From<Known> for Errno {
    fn from(errno: Known) -> Self {
        Self(errno as i32)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "E{}", self.0),
        }
    }
}

impl Serialize for Errno {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_i32(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Errno {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i32),
            Name(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number @ 1..=MOST) => Ok(Self(number)),
            Written::Number(_) => Err(D::Error::custom("no number of an error")),
            Written::Name(name) => {
                Self::named(&name).ok_or_else(|| D::Error::custom(format!("{name:.20} is not the name of an error")))
            }
        }
    }
}

/// The names by number; the kernel itself ends at `MAX_ERRNO` (include/linux/err.h), and those that programs see end far before.
static NAMES: LazyLock<Vec<Option<String>>> = LazyLock::new(|| {
    let name = |number| match Known::from_raw(number) {
        Known::UnknownErrno => None,
        known => Some(format!("{known:?}")),
    };
    (0..=LAST_NAMED).map(name).collect()
});

/// MAX_ERRNO (include/linux/err.h).
const MOST: i32 = 4095;

/// No architecture of Linux gives a name to a greater one but mips, whose one is EDQUOT.
const LAST_NAMED: i32 = 1133;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_known_by_its_name_and_written_down_by_it() {
        for (errno, name) in [(Errno::ECONNREFUSED, "ECONNREFUSED"), (Errno::EAGAIN, "EAGAIN"), (Errno(7), "E2BIG")] {
            assert_eq!((errno.name(), Errno::named(name)), (Some(name), Some(errno)));
            assert_eq!(serde_json::to_string(&errno).unwrap(), format!("{name:?}"));
            assert_eq!(serde_json::from_str::<Errno>(&format!("{name:?}")).unwrap(), errno);
        }
    }

    #[test]
    fn what_has_no_name_keeps_its_number() {
        for number in [512, 530, 4095] {
            let errno = Errno(number);
            assert_eq!((errno.name(), errno.to_string()), (None, format!("E{number}")));
            let written = serde_json::to_string(&errno).unwrap();
            assert_eq!(serde_json::from_str::<Errno>(&written).unwrap(), errno);
        }
        for name in
            ["\"\"", "\"E\"", "\"econnreset\"", "\"EXIT\\u001b[31m\"", "1e99", "null", "4294967296", "0", "-1", "4096"]
        {
            assert!(serde_json::from_str::<Errno>(name).is_err(), "{name}");
        }
    }
}
