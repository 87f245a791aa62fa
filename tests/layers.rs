//! Holds the order of the modules, the owner of each library, and the purity of the core.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// The modules; each names only those before it.
///
/// `tcp` comes before `kernel` and `kernel` before `calls`, because a call carries the TCP_INFO of its socket, which carries a state.
const ORDER: &[&str] = &[
    "time", "share", "hash", "capture", "wire", "tcp", "kernel", "calls", "script", "flow", "passage", "story",
    "session", "report", "lab", "cli", "commands",
];

/// These read no clock, file, socket or thread: time and bytes come in as data.
const PURE: &[&str] =
    &["time", "share", "hash", "wire", "tcp", "script", "flow", "passage", "story", "session", "report"];

/// Where each library may be named; a folder or a file below `src/`.
const OWNERS: &[(&str, &[&str])] = &[
    ("addr2line", &["calls/traced/stack.rs"]),
    ("bitflags", &["wire", "tcp", "calls", "flow"]),
    ("caps", &["capture/privilege.rs"]),
    ("cel", &["report/expression"]),
    ("chrono", &["commands", "report/expression"]),
    ("clap", &["cli", "commands/completions.rs", "commands/man.rs"]),
    ("clap_complete", &["cli", "commands/completions.rs"]),
    ("clap_mangen", &["commands/man.rs"]),
    ("colored", &["report"]),
    ("csv", &["report/csv.rs"]),
    ("dns_lookup", &["commands/names.rs"]),
    ("etherparse", &["wire/header.rs"]),
    ("flate2", &["capture"]),
    ("foldhash", &["flow", "hash.rs"]),
    ("framehop", &["calls/traced/stack.rs"]),
    ("hashbrown", &["flow"]),
    ("indicatif", &["commands"]),
    ("itoa", &["report/csv.rs", "report/jsonl", "report/text.rs"]),
    ("libc", &["capture", "kernel", "calls", "lab", "commands"]),
    ("lz4_flex", &["capture"]),
    ("nix", &["capture", "kernel", "calls", "lab", "commands"]),
    ("object", &["calls/traced/stack.rs"]),
    ("parquet", &["report/parquet.rs"]),
    ("pcap", &["capture"]),
    ("perf_event", &["kernel/tracepoints"]),
    ("pnet", &["wire"]),
    ("regex", &["report/expression"]),
    // The shared types say how they are written down; that is part of what they are.
    (
        "serde",
        &[
            "time.rs",
            "capture",
            "wire",
            "tcp",
            "kernel",
            "calls",
            "script/types.rs",
            "flow",
            "story",
            "lab",
            "report/jsonl",
        ],
    ),
    ("serde_json", &["calls", "capture", "lab", "report/jsonl"]),
    ("shlex", &["commands/run"]),
    ("signal_hook", &["commands"]),
    ("smallvec", &["report"]),
    ("strsim", &["report"]),
    ("terminal_size", &["commands"]),
    ("toml", &["lab"]),
    ("unicode_width", &["report"]),
    ("zstd", &["capture"]),
];

/// Files that name each other all the same; a circle that is untied must leave this list, and none may join it.
const CIRCLES: &[&str] = &[];

#[test]
fn each_module_names_only_those_before_it() {
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(place) = ORDER.iter().position(|module| *module == file.module) else {
            assert!(
                ["lib.rs", "main.rs"].contains(&file.name.as_str()),
                "src/{}: not in the order of modules",
                file.name
            );
            continue;
        };
        // Every test is written in the one notation.
        let in_tests = |named: &str| named == "script" && !named_by(&file.without_tests).contains(&named.to_owned());
        for named in file.modules_named() {
            match ORDER.iter().position(|module| *module == named) {
                Some(other) if other <= place || in_tests(&named) => {}
                Some(_) => wrong.push(format!(
                    "src/{}: `{}` must not name `{named}`, which comes after it",
                    file.name, file.module
                )),
                None => wrong.push(format!("src/{}: names `crate::{named}`, which is no module", file.name)),
            }
        }
        if file.climbs() {
            wrong.push(format!("src/{}: reaches another module with `super::`; write `crate::`", file.name));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn each_library_is_named_only_by_its_owner() {
    let mut wrong = Vec::new();
    for file in sources() {
        let named = roots_named(&file.without_tests);
        for (library, owners) in OWNERS {
            let owned = owners
                .iter()
                .any(|owner| Path::new(&file.name).starts_with(owner) || file.name == format!("{owner}.rs"));
            if !owned && named.contains(*library) {
                wrong.push(format!("src/{}: names `{library}`, which belongs to {}", file.name, owners.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn each_hop_of_the_two_ways_is_in_the_code() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("the document");
    let (_, ways) = text.split_once("## Two ways, hop by hop").expect("its part");
    let (ways, _) = ways.split_once("\n## ").expect("the part after it");
    let mut hops = 0;
    for line in ways.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())) {
        let names: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        let mut source = String::new();
        for name in names {
            if name.ends_with(".rs") || name.contains('/') {
                source = text_of(&root().join("src").join(name));
            } else if let Some((_, function)) = name.split_once("::") {
                assert!(source.contains(&format!("fn {function}")), "{function} is not there: {line}");
            }
        }
        assert!(!source.is_empty(), "{line}");
        hops += 1;
    }
    assert_eq!(hops, 24, "both ways");
}

#[test]
fn each_library_has_an_owner() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let libraries: BTreeSet<_> = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split([' ', '=', '.']).next().filter(|name| !name.is_empty() && !name.starts_with('#')))
        .map(|name| name.replace('-', "_"))
        .collect();
    let owned: BTreeSet<_> = OWNERS.iter().map(|(library, _)| library.to_string()).collect();
    assert_eq!(libraries, owned, "the dependencies in Cargo.toml, and the owners here");
    let map = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for library in owned {
        assert!(map.contains(&format!("`{library}`")), "docs/architecture.md does not say why {library} is here");
    }
}

#[test]
fn the_core_reads_no_clock_file_socket_or_thread() {
    let mut wrong = Vec::new();
    for file in sources().into_iter().filter(|file| PURE.contains(&file.module.as_str())) {
        let paths = paths(&file.without_tests);
        for path in paths.iter().map(|path| path.join("::")) {
            let outside =
                ["std::fs", "std::thread", "std::env", "std::process", "std::os"].iter().any(|p| path.starts_with(p))
                    || ["Instant", "SystemTime", "TcpStream", "TcpListener", "UdpSocket", "stdin", "stdout", "stderr"]
                        .iter()
                        .any(|name| path.split("::").any(|part| part == *name));
            if outside {
                wrong.push(format!("src/{}: `{}` is pure, and names `{path}`", file.name, file.module));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_file_begins_with_one_line_that_says_what_it_is() {
    for file in sources() {
        let first = file.text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("//! ") && first.len() > 8,
            "src/{}: begins with {first:?}, not with a `//!` line",
            file.name
        );
    }
}

#[test]
fn no_file_names_one_that_names_it() {
    let graph = Graph::of(&sources());
    let circles: BTreeSet<_> = graph.circles().iter().map(|circle| circle.join(" ")).collect();
    let known: BTreeSet<_> = CIRCLES.iter().map(|circle| circle.to_string()).collect();
    assert_eq!(
        circles, known,
        "each of these files names the next, and the last one the first; what is here, and CIRCLES"
    );
}

/// The rules above are worth nothing if the reader below sees nothing.
#[test]
fn the_reader_sees_what_it_must() {
    let tokens: TokenStream = r#"
        use crate::{flow::{Side, Step}, report, time as clock};
        /// [`crate::lab`] in words is no use of it.
        fn f() { let _ = "crate::commands"; vec![crate::calls::Call { pcap: 1 }]; nix::sys::wait(); capture::pcap::x() }
        use pcap as capture_library; // crate::cli
    "#
    .parse()
    .unwrap();
    let source = Source::new("session.rs".into(), String::new(), tokens.clone(), tokens.clone());
    assert_eq!(source.modules_named(), ["flow", "report", "time", "calls"]);
    let named = roots_named(&tokens);
    assert!(named.contains("nix") && named.contains("pcap"), "{named:?}");
    let innocent: TokenStream = "use crate::capture::pcap::x; fn f(pcap: u8) { x.nix(); pcap + 1 }".parse().unwrap();
    let named = roots_named(&innocent);
    assert!(!named.contains("nix") && !named.contains("pcap"), "{named:?}");
    let climbing = |name: &str, text: &str| {
        let tokens: TokenStream = text.parse().unwrap();
        Source::new(name.into(), String::new(), tokens.clone(), tokens).climbs()
    };
    assert!(climbing("time.rs", "use super::wire::Seq;"));
    assert!(climbing("wire/mod.rs", "use super::flow::Side;"));
    assert!(climbing("flow/key.rs", "use super::super::report;"));
    assert!(!climbing("flow/key.rs", "use super::Side;"));
    assert!(!climbing("time.rs", "mod tests { use super::*; }"));

    let circles = |files: &[(&str, &str)]| {
        let source = |(name, text): &(&str, &str)| {
            let tokens: TokenStream = text.parse().unwrap();
            Source::new((*name).into(), String::new(), tokens.clone(), tokens)
        };
        let files: Vec<_> = files.iter().map(source).collect();
        let graph = Graph::of(&files);
        graph.circles().iter().map(|circle| circle.join(" ")).collect::<Vec<_>>()
    };
    let module =
        ("a/mod.rs", "mod x; mod y; mod z; pub use x::X; pub(crate) use self::{y::Y, z::Z}; fn f() -> u8 { 0 }");
    assert_eq!(
        circles(&[
            module,
            ("a/x.rs", "use super::Y;"),
            ("a/y.rs", "fn f() { crate::a::z::g() }"),
            ("a/z.rs", "use super::{X, y};")
        ]),
        ["a/x.rs a/y.rs a/z.rs", "a/y.rs a/z.rs"]
    );
    let own = ("a/y.rs", "pub(super) struct Y; fn g() { super::f(); }");
    assert_eq!(circles(&[module, ("a/x.rs", "use super::{f, Y};"), own, ("a/z.rs", "pub struct Z;")]), [""; 0]);
    let calling = ("a/mod.rs", "mod x; use x::X; fn f() { X }");
    assert_eq!(circles(&[calling, ("a/x.rs", "pub use super::f;"), ("b.rs", "use crate::a::f;")]), [""; 0]);
    assert_eq!(circles(&[calling, ("a/x.rs", "use super::f;")]), ["a/mod.rs a/x.rs"]);
}

struct Source {
    /// Below `src/`, as `wire/seq.rs`.
    name: String,
    /// The top-level module it belongs to.
    module: String,
    text: String,
    tokens: TokenStream,
    without_tests: TokenStream,
}

impl Source {
    fn new(name: String, text: String, tokens: TokenStream, without_tests: TokenStream) -> Self {
        let module = name.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        Self { name, module, text, tokens, without_tests }
    }

    /// The modules that it names by a path from the crate's root, each once, in order.
    fn modules_named(&self) -> Vec<String> {
        named_by(&self.tokens)
    }

    /// Whether a chain of `super` leaves its top-level module.
    fn climbs(&self) -> bool {
        let depth = self.name.split('/').filter(|part| *part != "mod.rs").count();
        climbs(&self.tokens, depth)
    }
}

/// Which file names which, by paths; a name that a `mod.rs` hands on stands for the file that it is from.
struct Graph {
    names: Vec<String>,
    named: Vec<BTreeSet<usize>>,
}

impl Graph {
    fn of(files: &[Source]) -> Self {
        let module = |name: &str| -> Vec<String> {
            let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
            path.split('/').map(str::to_owned).collect()
        };
        let modules: BTreeMap<_, _> = files.iter().enumerate().map(|(at, file)| (module(&file.name), at)).collect();
        // What the `pub use` of a module hands on, by the module's path and the name.
        let mut handed_on: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
        for (path, at) in &modules {
            for used in public_uses(&files[*at].without_tests) {
                let absolute = absolute(path, &used, &modules);
                if let (Some(absolute), Some(name)) = (absolute, used.last()) {
                    handed_on.insert([&path[..], std::slice::from_ref(name)].concat(), absolute);
                }
            }
        }
        let mut named = vec![BTreeSet::new(); files.len()];
        for (path, at) in &modules {
            for used in paths(&without_public_uses(&files[*at].without_tests)) {
                let Some(mut used) = absolute(path, &used, &modules) else { continue };
                for _ in 0..4 {
                    let from = (1..=used.len()).rev().find_map(|count| handed_on.get(&used[..count]));
                    match from {
                        Some(from) => used = from.clone(),
                        None => break,
                    }
                }
                let file = (1..=used.len()).rev().find_map(|count| modules.get(&used[..count]));
                if let Some(file) = file.filter(|file| *file != at) {
                    named[*at].insert(*file);
                }
            }
        }
        Self { names: files.iter().map(|file| file.name.clone()).collect(), named }
    }

    /// One circle for each two files of which each can be reached from the other, the shortest there is; each circle once.
    fn circles(&self) -> BTreeSet<Vec<&str>> {
        let mut circles = BTreeSet::new();
        for start in 0..self.names.len() {
            // Breadth first, so that the way back is the shortest.
            let mut before: BTreeMap<usize, usize> = BTreeMap::new();
            let mut queue = std::collections::VecDeque::from([start]);
            while let Some(at) = queue.pop_front() {
                for next in &self.named[at] {
                    if !before.contains_key(next) {
                        before.insert(*next, at);
                        queue.push_back(*next);
                    }
                }
            }
            if let Some(mut at) = before.get(&start).copied() {
                let mut circle = vec![start];
                while at != start {
                    circle.push(at);
                    at = before[&at];
                }
                circle.reverse();
                let first = circle.iter().enumerate().min_by_key(|(_, at)| **at).map_or(0, |(place, _)| place);
                circle.rotate_left(first);
                circles.insert(circle.iter().map(|at| self.names[*at].as_str()).collect());
            }
        }
        circles
    }
}

/// A path from the crate's root; `None` where it begins with something else than `crate`, `super`, `self` or a module of this one.
fn absolute(module: &[String], path: &[String], modules: &BTreeMap<Vec<String>, usize>) -> Option<Vec<String>> {
    let mut from = module.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            from.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while let Some(rest_of) = rest.strip_prefix(&["super".to_owned()]) {
                from.pop()?;
                rest = rest_of;
            }
        }
        child if path.len() > 1 && modules.contains_key(&[module, &[child.to_owned()]].concat()) => {}
        _ => return None,
    }
    // A visibility, as `pub(super)`, names nothing.
    if rest.is_empty() {
        return None;
    }
    from.extend(rest.iter().cloned());
    Some(from)
}

/// The paths of all `pub use`, of whatever visibility.
fn public_uses(tokens: &TokenStream) -> Vec<Vec<String>> {
    statements(tokens)
        .into_iter()
        .filter(|statement| is_public_use(statement))
        .flat_map(|statement| {
            let path = statement
                .into_iter()
                .skip_while(|token| !matches!(token, TokenTree::Ident(ident) if ident == "use"))
                .skip(1);
            paths(&path.collect())
        })
        .collect()
}

fn without_public_uses(tokens: &TokenStream) -> TokenStream {
    statements(tokens).into_iter().filter(|statement| !is_public_use(statement)).flatten().collect()
}

/// Tokens up to each semicolon or block, outside of any group.
fn statements(tokens: &TokenStream) -> Vec<Vec<TokenTree>> {
    let mut statements = vec![Vec::new()];
    for token in tokens.clone() {
        let ends = match &token {
            TokenTree::Punct(punct) => punct.as_char() == ';',
            TokenTree::Group(group) => {
                let in_use = statements.last().is_some_and(|last: &Vec<TokenTree>| {
                    last.iter().any(|token| matches!(token, TokenTree::Ident(ident) if ident == "use"))
                });
                group.delimiter() == proc_macro2::Delimiter::Brace && !in_use
            }
            _ => false,
        };
        if let Some(last) = statements.last_mut() {
            last.push(token);
        }
        if ends {
            statements.push(Vec::new());
        }
    }
    statements
}

fn is_public_use(statement: &[TokenTree]) -> bool {
    let mut words = statement.iter().filter_map(|token| match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    });
    let mut is_public = false;
    // Attributes have no words of their own outside of groups.
    loop {
        match words.next().as_deref() {
            Some("pub") => is_public = true,
            Some("use") => return is_public,
            _ => return false,
        }
    }
}

fn named_by(tokens: &TokenStream) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    for path in paths(tokens) {
        if let [root, module, ..] = &path[..]
            && root == "crate"
            && !named.contains(module)
        {
            named.push(module.clone());
        }
    }
    named
}

fn climbs(tokens: &TokenStream, depth: usize) -> bool {
    let mut after_mod = false;
    let mut chain = 0;
    for token in tokens.clone() {
        match &token {
            TokenTree::Ident(ident) if ident == "super" => {
                chain += 1;
                if chain >= depth {
                    return true;
                }
            }
            TokenTree::Ident(ident) => {
                (after_mod, chain) = (ident == "mod" || after_mod, 0);
            }
            TokenTree::Group(group) => {
                if climbs(&group.stream(), depth + usize::from(after_mod)) {
                    return true;
                }
                (after_mod, chain) = (false, 0);
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => {}
            _ => (after_mod, chain) = (false, 0),
        }
    }
    false
}

/// Every path in the tokens, those in groups of `use` and in the arguments of macros too.
fn paths(tokens: &TokenStream) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    gather(tokens, &[], &mut found);
    found
}

fn gather(tokens: &TokenStream, prefix: &[String], found: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    let mut colons = 0;
    let mut extends = !prefix.is_empty();
    for token in tokens.clone() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ':' => {
                colons += 1;
                continue;
            }
            TokenTree::Ident(ident) => {
                if colons != 2 && !extends {
                    found.push(std::mem::take(&mut path));
                }
                path.push(ident.to_string());
            }
            TokenTree::Group(group) => {
                let into = if colons == 2 { &path[..] } else { &[] };
                gather(&group.stream(), into, found);
            }
            TokenTree::Punct(punct) if punct.as_char() == ',' => {
                found.push(std::mem::replace(&mut path, prefix.to_vec()));
                (colons, extends) = (0, !prefix.is_empty());
                continue;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => found.push(std::mem::take(&mut path)),
        }
        (colons, extends) = (0, false);
    }
    found.push(path);
    found.retain(|path| !path.is_empty());
}

/// What paths begin with, among it libraries; a bare word is a path of one, and counts only after `use`.
fn roots_named(tokens: &TokenStream) -> BTreeSet<String> {
    let mut roots: BTreeSet<_> =
        paths(tokens).into_iter().filter(|path| path.len() > 1).map(|mut path| path.swap_remove(0)).collect();
    let mut after_use = false;
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(ident) if after_use => {
                roots.insert(ident.to_string());
                after_use = false;
            }
            TokenTree::Ident(ident) => after_use = ident == "use",
            _ => after_use = false,
        }
    }
    roots
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = BTreeMap::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(files.len() > 10, "src/ holds {} files", files.len());
    files
        .into_iter()
        .map(|(name, text)| {
            let parse = |text: &str| text.parse().unwrap_or_else(|error| panic!("src/{name}: {error}"));
            // Tests stand last in a file, or in one of their own.
            let code = match name.ends_with("/tests.rs") {
                true => "",
                false => text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default(),
            };
            let (tokens, without) = (parse(&text), parse(code));
            Source::new(name.clone(), text, tokens, without)
        })
        .collect()
}

/// A file, or all that lie in a folder.
fn text_of(path: &Path) -> String {
    if !path.is_dir() {
        return fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    fs::read_dir(path).unwrap().map(|entry| text_of(&entry.unwrap().path())).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
