//! From where in a program a call was made: the frames of its stack, with source lines where the program has them.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The stack of a call, innermost frame first; empty where it was not looked at. Calls from the same place share it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stack(Arc<[StackFrame]>);

/// A frame of a stack.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct StackFrame {
    /// The function, as its language writes it; `None` where nothing names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The source file, as the compiler was given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The program or library that the code is in; `None` for code that is in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Where in the module the code is, as its symbols count.
    pub offset: u64,
}

impl Stack {
    /// A stack of these frames.
    pub fn of(frames: Vec<StackFrame>) -> Self {
        Self(frames.into())
    }

    /// The frames, innermost first.
    pub fn frames(&self) -> &[StackFrame] {
        &self.0
    }

    /// Whether it is not known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many octets of memory it takes.
    pub(super) fn octets(&self) -> usize {
        let texts = |frame: &StackFrame| {
            [&frame.function, &frame.file, &frame.module].into_iter().flatten().map(String::len).sum::<usize>()
        };
        self.0.iter().map(|frame| size_of::<StackFrame>() + texts(frame)).sum()
    }

    /// The frame that is the program's own: the first with a source line that is no library's; else the first outside of the C library.
    pub fn caller(&self) -> Option<&StackFrame> {
        let root = self.0.iter().find_map(|frame| go_root(frame.file.as_deref()?));
        let is_own = |frame: &&StackFrame| {
            let file = frame.file.as_deref().unwrap_or_default();
            frame.line.is_some() && !frame.is_library() && root.is_none_or(|root| !file.starts_with(root))
        };
        let outside = |frame: &&StackFrame| frame.module.is_some() && !frame.is_c_library();
        self.0.iter().find(is_own).or_else(|| self.0.iter().find(outside))
    }
}

impl StackFrame {
    /// In short: `server.c:41`; without a line `libcurl.so.4 curl_easy_perform`, and without a name `server+0x11f3`.
    pub fn short(&self) -> String {
        let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let module = || self.module.as_deref().map_or_else(|| "?".to_owned(), last);
        match (&self.file, self.line, &self.function) {
            (Some(file), Some(line), _) => format!("{}:{line}", last(file)),
            (_, _, Some(function)) => format!("{} {function}", module()),
            _ => format!("{}+{:#x}", module(), self.offset),
        }
    }

    /// Whether its source is a library's, as compilers and packages name the folders of these.
    fn is_library(&self) -> bool {
        let file = self.file.as_deref().unwrap_or_default();
        let within = ["/.cargo/registry/", "/.rustup/toolchains/", "/usr/include/"];
        self.is_c_library() || file.starts_with("/rustc/") || within.iter().any(|folder| file.contains(folder))
    }

    fn is_c_library(&self) -> bool {
        let module = self.module.as_deref().and_then(|module| module.rsplit('/').next()).unwrap_or_default();
        ["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "[vdso]"].iter().any(|name| module.starts_with(name))
            || self.file.as_deref().is_some_and(|file| file.contains("/sysdeps/"))
    }
}

/// The folder of Go's own sources, by a file of its runtime.
fn go_root(file: &str) -> Option<&str> {
    let folders = ["/src/runtime/", "/src/internal/runtime/", "/src/syscall/", "/src/internal/poll/"];
    folders
        .iter()
        .find_map(|folder| Some(&file[..file.find(folder)? + "/src/".len()]))
        .filter(|_| file.ends_with(".go") || file.ends_with(".s"))
}

impl Serialize for Stack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl<'de> Deserialize<'de> for Stack {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(module: &str, function: &str, file: &str, line: u32) -> StackFrame {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let line = Some(line).filter(|line| *line > 0);
        StackFrame { module: text(module), function: text(function), file: text(file), line, offset: 0x11f3 }
    }

    fn caller(frames: &[StackFrame]) -> String {
        Stack::of(frames.to_vec()).caller().map_or(String::new(), StackFrame::short)
    }

    #[test]
    fn the_programs_own_line_is_the_first_that_is_no_librarys() {
        let libc = frame("/lib/x86_64-linux-gnu/libc.so.6", "accept4", "", 0);
        let own = frame("/home/me/server", "serve", "/home/me/server.c", 41);
        assert_eq!(caller(&[libc.clone(), own.clone()]), "server.c:41");
        let std = frame("/home/me/server", "std::net::accept", "/rustc/5980/library/std/src/net/tcp.rs", 9);
        assert_eq!(caller(&[libc.clone(), std, own]), "server.c:41");
        let go = |file, line| frame("/home/me/server", "f", file, line);
        let frames = [
            go("/opt/go/src/internal/runtime/syscall/asm_linux_amd64.s", 36),
            go("/opt/go/src/net/tcpsock.go", 7),
            go("/home/me/main.go", 12),
        ];
        assert_eq!(caller(&frames), "main.go:12");
        assert_eq!(caller(&[libc]), "");
    }

    #[test]
    fn what_has_no_line_is_named_by_its_symbol_or_its_place() {
        let libc = frame("/lib/libc.so.6", "connect", "", 0);
        assert_eq!(
            caller(&[libc.clone(), frame("/usr/lib/libcurl.so.4", "curl_easy_perform", "", 0)]),
            "libcurl.so.4 curl_easy_perform"
        );
        assert_eq!(caller(&[libc, frame("/opt/server", "", "", 0)]), "server+0x11f3");
    }
}
