//! `docs/limits.md` says what the code says: each value is the constant's, and each test named is one.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_limits_documented_are_those_of_the_code() {
    let mut checked = 0;
    for [what, value, place, ..] in bounds() {
        let spans = spans(&place);
        let [file, name] = &spans[..] else {
            assert!(root().join(&spans[0]).is_file(), "{what}: {place}");
            continue;
        };
        let source = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{what}: {file}: {error}"));
        let value = value.trim_matches('`');
        let is_constant = source
            .lines()
            .filter_map(|line| line.split_once(&format!("const {name}: ")))
            .any(|(_, rest)| rest.split_once(" = ").is_some_and(|(_, is)| is == format!("{value};")));
        let is_default = source.contains(&format!("            {name}: {value},\n"));
        assert!(is_constant || is_default, "{what}: {name} in {file} is not {value}");
        checked += 1;
    }
    assert!(checked > 25, "{checked} bounds with a value");
}

#[test]
fn each_limit_has_a_test_that_reaches_it() {
    let mut tests = String::new();
    for folder in ["src", "tests"] {
        gather(&root().join(folder), &mut tests);
    }
    for [what, _, _, told, test] in bounds() {
        assert!(told.len() > 7, "{what}: what happens?");
        let names = spans(&test);
        assert!(!names.is_empty(), "{what} has no test");
        for name in names {
            let is_test = tests.contains(&format!("fn {name}("));
            assert!(is_test, "{what}: there is no test {name}");
        }
    }
}

/// The rows of those tables that have the five columns of bounds.
fn bounds() -> Vec<[String; 5]> {
    let text = fs::read_to_string(root().join("docs/limits.md")).expect("docs/limits.md");
    let rows = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect());
    let rows: Vec<[String; 5]> = cells.filter_map(|cells: Vec<String>| cells.try_into().ok()).collect();
    rows.into_iter().filter(|row| row[0] != "bound").collect()
}

/// What stands between backticks.
fn spans(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn gather(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("source text"));
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
