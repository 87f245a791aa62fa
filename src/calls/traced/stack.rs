//! The stack of a thread from its registers and its memory, and the source lines of its frames.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use addr2line::Loader;
use framehop::{
    CacheNative, ExplicitModuleSectionInfo, MayAllocateDuringUnwind, Module, UnwindRegsNative, Unwinder, UnwinderNative,
};
use object::{Object, ObjectSection, ObjectSegment, ReadCache, SegmentFlags};

use super::super::{Stack, StackFrame};
use super::system::{Memory, Registers, Tid};

/// The programs of all processes whose stacks are looked at.
#[derive(Default)]
pub(super) struct Stacks {
    images: HashMap<Tid, Image>,
    modules: HashMap<PathBuf, Option<Rc<Binary>>>,
}

/// What a process has in its memory that is executed.
#[derive(Default)]
struct Image {
    unwinder: UnwinderNative<Arc<[u8]>, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    mapped: Vec<Mapped>,
    /// Addresses of code that nothing is known of, though it was looked for.
    unknown: HashSet<u64>,
    known: HashMap<Vec<u64>, Stack>,
}

/// A piece of a program or library in memory.
struct Mapped {
    range: Range<u64>,
    /// What is to be taken off an address there, to have one of the file's.
    bias: u64,
    binary: Rc<Binary>,
}

/// A program or library.
struct Binary {
    name: String,
    lines: Option<Loader>,
    /// The pieces that are loaded to be executed: where in the file, how long, and to which address.
    segments: Vec<(u64, u64, u64)>,
    sections: Sections,
}

/// The parts of a program that say how to unwind it.
#[derive(Clone, Default)]
struct Sections {
    text: Option<Range<u64>>,
    got: Option<Range<u64>>,
    eh_frame: Option<(Range<u64>, Arc<[u8]>)>,
    eh_frame_hdr: Option<(Range<u64>, Arc<[u8]>)>,
    debug_frame: Option<Arc<[u8]>>,
}

impl Stacks {
    /// The stack of a thread of a process, as far as it can be followed.
    pub(super) fn stack(&mut self, pid: Tid, registers: Registers, memory: Memory<'_>) -> Stack {
        let modules = &mut self.modules;
        let image = self.images.entry(pid).or_insert_with(|| {
            let mut image = Image::default();
            image.map(pid, modules);
            image
        });
        let code = registers.instruction;
        if image.at(code).is_none() && image.unknown.len() < MOST_UNKNOWN && image.unknown.insert(code >> 12) {
            // A library that was loaded since.
            image.map(pid, modules);
        }
        let places = image.unwind(registers, memory);
        if let Some(known) = image.known.get(&places) {
            return known.clone();
        }
        let stack = Stack::of(places.iter().flat_map(|place| image.frames(*place)).take(MOST_FRAMES).collect());
        if image.known.len() >= MOST_KNOWN {
            image.known.clear();
        }
        image.known.insert(places, stack.clone());
        stack
    }

    /// A process has a piece of a file in its memory, to be executed.
    pub(super) fn maps(&mut self, pid: Tid, range: Range<u64>, offset: u64, path: PathBuf) {
        let image = self.images.entry(pid).or_default();
        image.map_one(pid, (range, offset, path), &mut self.modules);
    }

    /// A process has made another, which has the same in its memory.
    pub(super) fn copy(&mut self, parent: Tid, child: Tid) {
        if let Some(image) = self.images.get(&parent) {
            let copy = image.copy();
            self.images.insert(child, copy);
        }
    }

    /// A process executes another program, or has ended.
    pub(super) fn forget(&mut self, pid: Tid) {
        self.images.remove(&pid);
    }
}

impl Image {
    /// Takes in what is executable in a process's memory.
    fn map(&mut self, pid: Tid, modules: &mut HashMap<PathBuf, Option<Rc<Binary>>>) {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.lines().filter_map(mapping).for_each(|mapped| self.map_one(pid, mapped, modules));
    }

    fn map_one(
        &mut self,
        pid: Tid,
        (range, offset, path): Mapping,
        modules: &mut HashMap<PathBuf, Option<Rc<Binary>>>,
    ) {
        if self.mapped.iter().any(|known| known.range == range) || self.mapped.len() >= MOST_MAPPED {
            return;
        }
        let binary = match modules.get(&path) {
            Some(known) => known.clone(),
            None => {
                // As the process sees it, in whatever place it has for its root.
                let inside = Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap_or(&path));
                let read = Binary::read(&inside, &path).or_else(|| Binary::read(&path, &path)).map(Rc::new);
                modules.insert(path, read.clone());
                read
            }
        };
        let Some(binary) = binary else { return };
        let Some(bias) = binary.bias(range.start, offset) else { return };
        self.add(Mapped { range, bias, binary });
    }

    fn add(&mut self, mapped: Mapped) {
        let Mapped { range, bias, binary } = &mapped;
        self.unwinder.add_module(Module::new(binary.name.clone(), range.clone(), *bias, binary.sections.info()));
        self.mapped.push(mapped);
    }

    fn copy(&self) -> Self {
        let mut copy = Self::default();
        for Mapped { range, bias, binary } in &self.mapped {
            copy.add(Mapped { range: range.clone(), bias: *bias, binary: Rc::clone(binary) });
        }
        copy
    }

    fn at(&self, code: u64) -> Option<&Mapped> {
        self.mapped.iter().find(|mapped| mapped.range.contains(&code))
    }

    /// The addresses of the code of each frame.
    fn unwind(&mut self, registers: Registers, memory: Memory<'_>) -> Vec<u64> {
        let mut read = |at: u64| memory.word(at).ok_or(());
        #[cfg(target_arch = "x86_64")]
        let begin = UnwindRegsNative::new(registers.instruction, registers.pointer, registers.frame);
        #[cfg(target_arch = "aarch64")]
        let begin = UnwindRegsNative::new(registers.link, registers.pointer, registers.frame);
        let mut frames = self.unwinder.iter_frames(registers.instruction, begin, &mut self.cache, &mut read);
        let mut places = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let place = frame.address_for_lookup();
            // What leads to no code has not been followed rightly; the first place may be in code that a program has made itself.
            let is_code = self.mapped.iter().any(|mapped| mapped.range.contains(&place));
            if !places.is_empty() && !is_code || places.len() >= MOST_FRAMES {
                break;
            }
            places.push(place);
        }
        places
    }

    /// What is known of the code at an address: the function, and before it those that the compiler put into it.
    fn frames(&self, place: u64) -> Vec<StackFrame> {
        let Some(Mapped { bias, binary, .. }) = self.at(place) else {
            return vec![StackFrame { offset: place, ..StackFrame::default() }];
        };
        let offset = place.wrapping_sub(*bias);
        let module = Some(binary.name.clone());
        let mut frames = Vec::new();
        if let Some(lines) = &binary.lines {
            if let Ok(mut found) = lines.find_frames(offset) {
                while let Ok(Some(frame)) = found.next() {
                    let function = frame.function.as_ref().and_then(|name| name.demangle().ok()).map(String::from);
                    let (file, line) = frame.location.map_or((None, None), |at| (at.file.map(str::to_owned), at.line));
                    let line = line.filter(|line| *line > 0);
                    frames.push(StackFrame { function, file, line, module: module.clone(), offset });
                }
            }
            if frames.iter().all(|frame| frame.function.is_none()) {
                let name =
                    lines.find_symbol(offset).map(|name| addr2line::demangle_auto(name.into(), None).into_owned());
                match frames.last_mut() {
                    Some(frame) => frame.function = name,
                    None => frames.push(StackFrame {
                        function: name,
                        module: module.clone(),
                        offset,
                        ..StackFrame::default()
                    }),
                }
            }
        }
        if frames.is_empty() {
            frames.push(StackFrame { module, offset, ..StackFrame::default() });
        }
        frames
    }
}

impl Binary {
    /// Reads a file that is mapped; `None` for one that is no program.
    fn read(path: &Path, name: &Path) -> Option<Self> {
        Self::read_within(path, name, LARGEST_SECTION)
    }

    /// The same without sections of more octets than `most`.
    fn read_within(path: &Path, name: &Path, most: u64) -> Option<Self> {
        let data = ReadCache::new(File::open(path).ok()?);
        let file = object::File::parse(&data).ok()?;
        // PF_X: it is executed.
        let is_code = |flags| matches!(flags, SegmentFlags::Elf { p_flags } if p_flags & 1 != 0);
        let segments = file.segments().filter(|segment| is_code(segment.flags()));
        let segments = segments.map(|segment| {
            let (offset, len) = segment.file_range();
            (offset, len, segment.address())
        });
        let range = |name: &str| {
            file.section_by_name(name)
                .map(|section| section.address()..section.address().saturating_add(section.size()))
        };
        let octets = |name: &str| {
            let section = file.section_by_name(name).filter(|section| section.size() <= most)?;
            Some(Arc::<[u8]>::from(section.data().ok()?))
        };
        let sections = Sections {
            text: range(".text"),
            got: range(".got"),
            eh_frame: range(".eh_frame").zip(octets(".eh_frame")),
            eh_frame_hdr: range(".eh_frame_hdr").zip(octets(".eh_frame_hdr")),
            debug_frame: octets(".debug_frame"),
        };
        let name = name.to_string_lossy().into_owned();
        Some(Self { name, lines: Loader::new(path).ok(), segments: segments.collect(), sections })
    }

    /// What is to be taken off addresses of a piece that is mapped at `start` from `offset` of the file on.
    fn bias(&self, start: u64, offset: u64) -> Option<u64> {
        // A piece is mapped from the page on in which it begins.
        let holds = |(at, len, _): &&(u64, u64, u64)| (at & !0xfff) <= offset && offset < at.saturating_add(*len);
        let (at, _, address) = self.segments.iter().find(holds)?;
        Some(start.wrapping_sub(offset.wrapping_sub(*at).wrapping_add(*address)))
    }
}

impl Sections {
    fn info(&self) -> ExplicitModuleSectionInfo<Arc<[u8]>> {
        let split = |part: &Option<(Range<u64>, Arc<[u8]>)>| part.clone().unzip();
        let ((eh_frame_svma, eh_frame), (eh_frame_hdr_svma, eh_frame_hdr)) =
            (split(&self.eh_frame), split(&self.eh_frame_hdr));
        ExplicitModuleSectionInfo {
            text_svma: self.text.clone(),
            got_svma: self.got.clone(),
            eh_frame_svma,
            eh_frame,
            eh_frame_hdr_svma,
            eh_frame_hdr,
            debug_frame: self.debug_frame.clone(),
            ..ExplicitModuleSectionInfo::default()
        }
    }
}

/// An executable mapping of a file: where it is, from which place of the file on, and the file.
type Mapping = (Range<u64>, u64, PathBuf);

/// Reads a line of proc_pid_maps(5).
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let is_executable = words.next()?.as_bytes().get(2) == Some(&b'x');
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let path = words.nth(2)?.trim_start();
    let number = |text| u64::from_str_radix(text, 16).ok();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    (is_executable && path.starts_with('/')).then_some((number(start)?..number(end)?, offset, PathBuf::from(path)))
}

/// How many frames of a stack are kept.
const MOST_FRAMES: usize = 48;
/// How many stacks of a process are remembered, and pieces of code that belong to nothing.
const MOST_KNOWN: usize = 1 << 14;
const MOST_UNKNOWN: usize = 64;
/// How many pieces of memory of a process are looked at.
const MOST_MAPPED: usize = 4096;
/// A section that is larger says nothing of how to unwind.
const LARGEST_SECTION: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_that_are_executed_are_found_with_their_files() {
        let line = "55d0c8a01000-55d0c8a02000 r-xp 00001000 08:01 42                         /home/me/a server";
        assert_eq!(mapping(line), Some((0x55d0c8a01000..0x55d0c8a02000, 0x1000, PathBuf::from("/home/me/a server"))));
        for line in ["55d0-55d1 rw-p 00000000 08:01 42 /bin/x", "55d0-55d1 r-xp 00000000 00:00 0 [vdso]", "", "x y"] {
            assert_eq!(mapping(line), None, "{line}");
        }
    }

    /// Code that nothing is known of, in ever new places, as a program has that makes its own.
    #[test]
    fn stacks_and_code_without_a_file_are_remembered_only_so_far() {
        let me = std::process::id() as Tid;
        let (mut stacks, nothing) = (Stacks::default(), crate::kernel::UserStack::default());
        for n in 0..MOST_KNOWN as u64 + 10 {
            let registers = Registers { instruction: 0x10_0000 + (n << 12), pointer: 0, frame: 0, link: 0 };
            assert!(stacks.stack(me, registers, Memory::Stack(&nothing)).caller().is_none());
            assert!(stacks.images[&me].known.len() <= MOST_KNOWN);
        }
        assert_eq!((stacks.images[&me].known.len(), stacks.images[&me].unknown.len()), (10, MOST_UNKNOWN));
    }

    #[test]
    fn of_a_process_without_end_so_many_pieces_are_looked_at() {
        let me = std::process::id() as Tid;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let (range, offset, path) = maps.lines().filter_map(mapping).next().unwrap();
        let (mut image, mut modules) = (Image::default(), HashMap::new());
        let len = range.end - range.start;
        for n in 0..MOST_MAPPED as u64 + 10 {
            let begin = range.start + n * len;
            image.map_one(me, (begin..begin + len, offset, path.clone()), &mut modules);
        }
        assert_eq!((image.mapped.len(), modules.len()), (MOST_MAPPED, 1));
    }

    /// The code of this test itself: where it calls, its own line is among the frames of its stack.
    #[test]
    fn the_frames_of_this_test_are_found() {
        let mut image = Image::default();
        let mut modules = HashMap::new();
        image.map(std::process::id() as Tid, &mut modules);
        let here = the_frames_of_this_test_are_found as fn() as usize as u64;
        let frames = image.frames(here);
        let names: Vec<_> = frames.iter().filter_map(|frame| frame.function.clone()).collect();
        assert!(names.iter().any(|name| name.contains("the_frames_of_this_test_are_found")), "{frames:?}");
    }

    #[test]
    fn a_section_that_is_too_large_is_not_read() {
        let me = std::env::current_exe().unwrap();
        let frames = |most: u64| Binary::read_within(&me, &me, most).unwrap().sections.eh_frame;
        let (_, octets) = frames(LARGEST_SECTION).expect("a program has its tables");
        let len = octets.len() as u64;
        assert_eq!(frames(len).map(|(_, whole)| whole.len() as u64), Some(len));
        assert_eq!(frames(len - 1), None);

        // One octet more than the bound, in a file with a hole as large: its header, the name of its sections, and three of these.
        let names = b"\0.debug_frame\0.shstrtab\0";
        let (at, large) = (0x1000u64, LARGEST_SECTION + 1);
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_ne_bytes()).collect::<Vec<u8>>();
        let section = |name: u32, kind: u32, from: u64, len: u64| {
            let head = [name.to_ne_bytes(), kind.to_ne_bytes()].concat();
            [head, words(&[0, 0, from, len, 0, 1, 0])].concat()
        };
        let order = if cfg!(target_endian = "little") { 1 } else { 2 };
        let ident = [0x7f, b'E', b'L', b'F', 2, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let sections = [section(0, 0, 0, 0), section(1, 1, at, large), section(14, 3, 64, names.len() as u64)].concat();
        let table = 64 + names.len().next_multiple_of(8) as u64;
        let head = [
            &ident[..],
            &halves(&[3, 62]),
            &1u32.to_ne_bytes(),
            &words(&[0, 0, table]),
            &0u32.to_ne_bytes(),
            &halves(&[64, 56, 0, 64, 3, 2]),
        ];
        let mut bytes = head.concat();
        bytes.extend(names);
        bytes.resize(table as usize, 0);
        bytes.extend(sections);
        let path = std::env::temp_dir().join(format!("tcpflow-large-section-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(at + large).unwrap();
        let data = ReadCache::new(File::open(&path).unwrap());
        let file = object::File::parse(&data).unwrap();
        assert_eq!(file.section_by_name(".debug_frame").map(|section| section.size()), Some(large));
        let read = Binary::read(&path, &path).expect("it is a program");
        std::fs::remove_file(&path).unwrap();
        assert!(read.sections.debug_frame.is_none());
    }
}
