//! What the arguments of `analyze` mean: files first, then a filter.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use crate::capture::hold;

/// The arguments of `analyze`, told apart.
#[derive(Debug)]
pub struct Inputs {
    /// The capture files, at least one; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// The filter that the rest of the arguments make, if there is a rest.
    pub filter: Option<String>,
    /// The files that were opened in advance, each in its place; empty where none was.
    held: Vec<Option<Arc<File>>>,
}

impl Inputs {
    /// Tells files from a filter: arguments that name something that exists (and `-`) come first, from the first other one on all are one filter.
    ///
    /// # Errors
    /// The first argument names nothing that exists; or the filter is not text.
    pub fn among(arguments: &[OsString], exists: impl Fn(&Path) -> bool) -> Result<Self, Failure> {
        let is_file = |argument: &&OsString| argument.as_os_str() == "-" || exists(Path::new(argument));
        let files: Vec<_> = arguments.iter().take_while(is_file).map(PathBuf::from).collect();
        let rest = &arguments[files.len()..];
        if let ([], Some(first)) = (&files[..], rest.first()) {
            return Err(Failure::new(format!(
                "{}: no such file; the first argument must be a capture file, or `-` for standard input",
                Path::new(first).display()
            )));
        }
        let filter = match rest {
            [] => None,
            words => Some(words.join(OsStr::new(" ")).into_string().map_err(|words| {
                Failure::new(format!("{}: neither a file nor a filter", Path::new(&words).display()))
            })?),
        };
        Ok(Self { files, filter, held: Vec::new() })
    }

    /// Opens the files, of which nothing is read yet: who gives up root may not be able to open them later.
    ///
    /// One that cannot be opened is tried again when it is to be read, and then told.
    pub fn hold(&mut self) {
        let held = |file: &PathBuf| if file.as_os_str() == "-" { None } else { hold(file).ok() };
        self.held = self.files.iter().map(held).collect();
    }

    /// The file in that place of [`Inputs::files`], if it was opened in advance.
    pub fn held(&self, place: usize) -> Option<Arc<File>> {
        self.held.get(place)?.clone()
    }

    /// The files one by one, each with the filter.
    pub fn one_by_one(self) -> Vec<Self> {
        let Self { files, filter, held } = self;
        let mut held = held.into_iter();
        let held = |file| Self { files: vec![file], filter: filter.clone(), held: held.next().into_iter().collect() };
        files.into_iter().map(held).collect()
    }

    /// What all of them are called together.
    pub fn name(&self) -> String {
        match &self.files[..] {
            [file] if file.as_os_str() == "-" => "standard input".into(),
            [file] => file.to_string_lossy().into_owned(),
            files => format!("{} and {} more", files[0].to_string_lossy(), files.len() - 1),
        }
    }

    /// The failure of a filter that does not compile, `why` being what is wrong with it: names both readings of its first word.
    pub fn not_a_filter(filter: &str, why: &impl fmt::Display) -> Failure {
        let first = filter.split_whitespace().next().unwrap_or(filter);
        Failure::new(format!("`{first}` is no file, and {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files and filter.
    type Told = (Vec<PathBuf>, Option<String>);

    fn told(inputs: Inputs) -> Told {
        (inputs.files, inputs.filter)
    }

    fn read(arguments: &[&str]) -> Result<Inputs, Failure> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        Inputs::among(&arguments, |path| path.extension().is_some_and(|ending| ending == "pcap"))
    }

    fn among(arguments: &[&str]) -> Result<Told, Failure> {
        read(arguments).map(told)
    }

    fn inputs(files: &[&str], filter: Option<&str>) -> Told {
        (files.iter().map(PathBuf::from).collect(), filter.map(String::from))
    }

    #[test]
    fn files_come_first_and_the_rest_is_one_filter() {
        assert_eq!(among(&["a.pcap"]), Ok(inputs(&["a.pcap"], None)));
        assert_eq!(among(&["a.pcap", "-", "b.pcap"]), Ok(inputs(&["a.pcap", "-", "b.pcap"], None)));
        assert_eq!(among(&["-", "tcp", "port", "80"]), Ok(inputs(&["-"], Some("tcp port 80"))));
        assert_eq!(among(&["a.pcap", "host", "b.pcap"]), Ok(inputs(&["a.pcap"], Some("host b.pcap"))));
    }

    #[test]
    fn each_file_has_the_filter() {
        let each = read(&["a.pcap", "b.pcap", "tcp"]).unwrap().one_by_one();
        let each: Vec<_> = each.into_iter().map(told).collect();
        assert_eq!(each, [inputs(&["a.pcap"], Some("tcp")), inputs(&["b.pcap"], Some("tcp"))]);
    }

    #[test]
    fn the_first_argument_must_be_a_file() {
        let Err(Failure::Told(message)) = among(&["b.cap", "a.pcap"]) else { panic!("took b.cap for a file") };
        assert!(message.starts_with("b.cap: no such file"), "{message}");
    }

    #[test]
    fn both_readings_of_a_bad_filter_are_named() {
        let Failure::Told(message) =
            Inputs::not_a_filter("trace2.cap extra", &"the filter \"trace2.cap extra\" cannot be used: syntax error")
        else {
            panic!("not told")
        };
        assert_eq!(
            message,
            "`trace2.cap` is no file, and the filter \"trace2.cap extra\" cannot be used: syntax error"
        );
    }
}
