//! Programs that a test makes in order to run them.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// Makes a program that everybody may run, of what `content` yields.
///
/// Another process writes it. Had this one its file open for that, a program that another test starts at that moment would inherit the
/// descriptor and hold it until its own exec, and as long as anybody may write to a file the kernel refuses to run it (`ETXTBSY`).
pub(crate) fn make(path: &Path, mut content: impl Read) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = shell.spawn().expect("a shell to write a program");
    let mut to_writer = writer.stdin.take().expect("it is piped");
    io::copy(&mut content, &mut to_writer).expect("the shell takes a program");
    drop(to_writer);
    assert!(writer.wait().expect("the shell ends").success(), "{} is not written", path.display());
}
