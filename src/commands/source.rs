//! The capture files of one command line as one source of frames, and the filters before it.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

use super::{Failure, Inputs, Outcome, complain};
use crate::calls::{Kept, PartsRead, Room};
use crate::capture::{self, Allowance, CaptureError, FileSource, Filter, Frame, Merged, Meter, Successor};
use crate::cli::Analyze;
use crate::story::LinkRecord;

/// The capture files as one source.
pub(super) enum Source {
    One(Box<FileSource>),
    Many(Merged<FileSource>),
}

impl Source {
    /// Opens the files, which together take no more than is allowed; an interrupt ends their reading.
    ///
    /// Of several files, those that cannot be read are left out, and yielded as what is wrong with each.
    ///
    /// # Errors
    /// None can be read, or there are more than can be open at once.
    pub(super) fn open(inputs: &Inputs, allowance: &Allowance) -> Result<(Self, Vec<CaptureError>), Failure> {
        let open = |place: usize, file: &PathBuf| match inputs.held(place) {
            Some(held) => FileSource::open_held(file, held, allowance),
            None => FileSource::open_within(file, allowance),
        };
        if let [file] = &inputs.files[..] {
            return Ok((Self::One(Box::new(open(0, file)?)), Vec::new()));
        }
        allow(inputs.files.len())?;
        let (mut sources, mut left_out) = (Vec::new(), Vec::new());
        for (place, file) in inputs.files.iter().enumerate() {
            match open(place, file) {
                Ok(source) => sources.push(source),
                Err(error) => left_out.push(error),
            }
        }
        match left_out.pop() {
            Some(last) if sources.is_empty() => {
                left_out.iter().for_each(complain);
                Err(last.into())
            }
            last => {
                left_out.extend(last);
                let share = READ_AHEAD / sources.len().max(1);
                sources.iter_mut().for_each(|source| source.limit_read_ahead(share));
                Ok((Self::Many(Merged::new(sources)), left_out))
            }
        }
    }

    fn files(&self) -> &[FileSource] {
        match self {
            Self::One(file) => std::slice::from_ref(&**file),
            Self::Many(files) => files.sources(),
        }
    }

    fn files_mut(&mut self) -> &mut [FileSource] {
        match self {
            Self::One(file) => std::slice::from_mut(&mut **file),
            Self::Many(files) => files.sources_mut(),
        }
    }

    /// The calls and answers that the files carry, what a link says of the frames of one, and whether they are whole:
    /// damaged ones are told and left out.
    ///
    /// As events they take no more than `octets`. Notices are a file's words, so they are told as these.
    pub(super) fn kept(&mut self, octets: u64) -> (Kept, Option<LinkRecord>, Outcome) {
        let (mut all, mut link) = (Kept::default(), None);
        // The link counts the frames of its file, and among those of several files they have other numbers.
        let is_one = matches!(self, Self::One(_));
        let mut outcome = Outcome::Done;
        let mut room = Room::of(usize::try_from(octets).unwrap_or(usize::MAX));
        for file in self.files_mut() {
            let before = room.omitted();
            let mut records = PartsRead::default();
            let attachments = file.take_attachments();
            // Besides that of the whole each of the two ends then has a timeline of its own, with all calls.
            if is_one && attachments.iter().any(|attachment| LinkRecord::is_one(attachment)) {
                room = room.told_in(3);
            }
            for attachment in attachments {
                match LinkRecord::read(&attachment, &mut room) {
                    Ok(None) => {}
                    Ok(record) if is_one => {
                        link = record;
                        continue;
                    }
                    Ok(Some(_)) => {
                        complain(&format!("{}: what the link did is told where this is the only file", file.name()));
                        continue;
                    }
                    Err(error) => {
                        complain(&format!(
                            "{}: what the link did, which is kept in it, cannot be read, and is not told: {error}",
                            file.name()
                        ));
                        outcome = Outcome::Incomplete;
                        continue;
                    }
                }
                if let Err(error) = records.read(&attachment, &mut room) {
                    complain(&format!(
                        "{}: the calls kept in it cannot be read, and its packets are told without them: {error}",
                        file.name()
                    ));
                    outcome = Outcome::Incomplete;
                }
            }
            for mut kept in records.finish() {
                all.threads.adopt(kept.threads, &mut kept.calls);
                all.calls.extend(kept.calls);
                all.lost = all.lost.saturating_add(kept.lost);
                all.evidence.extend(kept.evidence);
                all.kernel.extend(kept.kernel);
                all.notices.extend(kept.notices.iter().map(|notice| said_by(file.name(), notice)));
            }
            let omitted = room.omitted() - before;
            if omitted > 0 {
                complain(&format!(
                    "{}: {omitted} of the calls, answers and notices kept in it, and of what its link did, are left out: there is room for those before",
                    file.name()
                ));
                outcome = Outcome::Incomplete;
            }
        }
        (all, link, outcome)
    }

    /// How far each of the files is read, while it is.
    pub(super) fn meters(&self) -> Vec<Meter> {
        self.files().iter().map(FileSource::meter).collect()
    }

    /// The octets of all files; `None` where one is a stream.
    pub(super) fn size(&self) -> Option<u64> {
        self.files().iter().map(FileSource::size).sum()
    }

    /// What it is called on the progress bar.
    pub(super) fn name(&self) -> String {
        match self.files() {
            [file] => file.name().to_owned(),
            files => format!("{} files", files.len()),
        }
    }

    pub(super) fn dropped(&self) -> Option<u64> {
        self.files().iter().filter_map(FileSource::dropped).reduce(u64::saturating_add)
    }
}

/// What a file says of itself, in quotes: it may say anything, and it is not this program that says it.
fn said_by(file: &str, notice: &str) -> String {
    format!("{file}: a note kept in this file says \"{}\"", notice.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Gives up what privilege the process has before anything of the files is read: root opens them first.
///
/// # Errors
/// It cannot be given up.
pub(super) fn give_up_privilege(inputs: &mut Inputs, options: &Analyze) -> Result<(), Failure> {
    if geteuid().is_root() {
        // Where not all can be open at once, those that are left must be readable by the user whom root becomes.
        let wanted = inputs.files.len() as u64 + OTHERS;
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && wanted > soft
        {
            _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
        }
        inputs.hold();
    }
    let writes = options.output.as_ref().or(options.expectations.junit.as_ref());
    let successor = Successor { user: options.user.clone(), writes: writes.cloned() };
    Ok(capture::give_up_privilege(&successor)?)
}

/// How many octets of all files together are read ahead.
const READ_AHEAD: usize = 16 << 20;

/// Sees that no stream is named twice: standard input, a pipe or a device.
pub(super) fn once_each(inputs: &Inputs) -> Result<(), Failure> {
    match named_twice(&inputs.files) {
        Some(stream) => Err(Failure::new(format!("{stream} is named twice, and it can be read only once"))),
        None => Ok(()),
    }
}

fn named_twice(files: &[PathBuf]) -> Option<String> {
    let mut seen = HashSet::new();
    let is_new = |path: &Path, seen: &mut HashSet<(u64, u64)>| {
        let metadata = path.metadata().ok().filter(|metadata| !metadata.is_dir() && !metadata.is_file());
        metadata.is_none_or(|metadata: Metadata| seen.insert((metadata.dev(), metadata.ino())))
    };
    let mut dashes = 0;
    for file in files {
        let is_dash = file.as_os_str() == "-";
        dashes += usize::from(is_dash);
        let path = if is_dash { Path::new("/dev/stdin") } else { file };
        if dashes > 1 || !is_new(path, &mut seen) {
            return Some(if is_dash { "standard input".into() } else { file.to_string_lossy().into_owned() });
        }
    }
    None
}

/// Has the system allow so many files to be open at once: all of them are, because they are merged by time.
fn allow(files: usize) -> Result<(), Failure> {
    let wanted = files as u64 + OTHERS;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if wanted <= soft || setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_ok() && wanted <= hard {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{files} files cannot be open at once here, where {hard} may: raise that as root with `ulimit -Hn {wanted}`, \
         or put them together first, some at a time (mergecap -w SOME.pcapng FILE...)"
    )))
}

/// How many files besides the captures may be open: the standard ones, the terminal, tables.
const OTHERS: u64 = 32;

/// The filters asked for, all of which a frame must match.
pub(super) struct Filters {
    filters: Vec<Filter>,
    tried: u64,
    matched: u64,
}

impl Filters {
    pub(super) fn compile(inputs: &Inputs, options: &Analyze) -> Result<Self, Failure> {
        let mut filters = Vec::new();
        if let Some(filter) = &inputs.filter {
            filters.push(Filter::compile(filter).map_err(|error| Inputs::not_a_filter(filter, &error))?);
        }
        if let Some(filter) = &options.filter {
            filters.push(Filter::compile(filter).map_err(|error| Failure::new(error.message))?);
        }
        Ok(Self { filters, tried: 0, matched: 0 })
    }

    pub(super) fn matches(&mut self, frame: &Frame<'_>) -> Result<bool, CaptureError> {
        self.tried += 1;
        for filter in &mut self.filters {
            if !filter.matches(frame)? {
                return Ok(false);
            }
        }
        self.matched += 1;
        Ok(true)
    }

    /// Counts anew, for a capture that is read again.
    pub(super) fn count_anew(&mut self) {
        (self.tried, self.matched) = (0, 0);
    }

    /// That the filters match no frame of the capture, in one line.
    pub(super) fn in_vain(&self) -> Option<String> {
        let in_vain = !self.filters.is_empty() && self.matched == 0 && self.tried > 0;
        in_vain.then(|| format!("filter: 0 of {} frames match", self.tried))
    }
}
