//! Calls and the kernel's answers as they are kept in a capture file, one JSON object a line.

use std::io;

use serde::{Deserialize, Serialize};

use super::Call;
use crate::kernel::Evidence;

/// What a recording knew besides its frames.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kept {
    /// The calls, in the order in which they were entered.
    pub calls: Vec<Call>,
    /// What sock_diag answered.
    pub evidence: Vec<Evidence>,
    /// What was worth saying about how it was recorded.
    pub notices: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Tcpflow { version: u32 },
    Call(Box<Call>),
    Evidence(Box<Evidence>),
    Notice(String),
}

impl Kept {
    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let lines = std::iter::once(Line::Tcpflow { version: VERSION })
            .chain(self.calls.iter().map(|call| Line::Call(Box::new(call.clone()))))
            .chain(self.evidence.iter().map(|evidence| Line::Evidence(Box::new(evidence.clone()))))
            .chain(self.notices.iter().cloned().map(Line::Notice));
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, &line).expect("strings, numbers and lists always serialize into memory");
            bytes.push(b'\n');
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `Ok(None)` when the bytes are something else's.
    ///
    /// # Errors
    /// The bytes begin as ours and are damaged, or were written by a later version.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Option<Self>> {
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        match lines.next().map(serde_json::from_slice) {
            Some(Ok(Line::Tcpflow { version: VERSION })) => {}
            Some(Ok(Line::Tcpflow { version })) => {
                return Err(io::Error::other(format!(
                    "written by a later tcpflow (format {version}); this one reads format {VERSION}"
                )));
            }
            _ => return Ok(None),
        }
        let mut kept = Self::default();
        for line in lines {
            match serde_json::from_slice(line)? {
                Line::Call(call) => {
                    if let Some(errno) = call.errno.as_deref().filter(|errno| !is_errno(errno)) {
                        return Err(io::Error::other(format!("{errno:.20} is not the name of an error")));
                    }
                    kept.calls.push(*call);
                }
                Line::Evidence(evidence) => kept.evidence.push(*evidence),
                Line::Notice(notice) => kept.notices.push(notice),
                Line::Tcpflow { .. } => {}
            }
        }
        Ok(Some(kept))
    }
}

/// Whether a name is like those of errno(3), which readers of the machine-readable output rely on.
fn is_errno(name: &str) -> bool {
    name.strip_prefix('E').is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|octet| octet.is_ascii_uppercase() || octet.is_ascii_digit())
    })
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn what_is_kept_is_read_back() {
        let at = Timestamp::from_nanos(1_795_223_276_320_071_123);
        let evidence = Evidence {
            asked: at,
            answered: at,
            local: "127.0.0.1:3000".parse().expect("an address"),
            peer: "[::1]:40000".parse().expect("an address"),
            state: Some(crate::tcp::State::TimeWait),
            timer: None,
            inode: 0,
            uid: 0,
        };
        let kept = Kept { calls: Vec::new(), evidence: vec![evidence], notices: vec!["line\nbreak \u{1b}[31m".into()] };
        assert_eq!(Kept::from_bytes(&kept.to_bytes()).expect("readable"), Some(kept));
    }

    #[test]
    fn foreign_bytes_are_left_alone_and_damaged_ones_are_told() {
        assert_eq!(Kept::from_bytes(b"\x00\x01").expect("foreign"), None);
        assert_eq!(Kept::from_bytes(b"").expect("empty"), None);
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":1}}\n{\"call\":").is_err());
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":9}}\n").is_err());
        assert!(["ECONNREFUSED", "E2BIG"].into_iter().all(is_errno));
        assert!(!["", "E", "EXIT\x1b[31m", "connreset", "-1"].into_iter().any(is_errno));
    }
}
