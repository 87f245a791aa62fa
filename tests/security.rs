//! Holds docs/security.md to the tests that it names.

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let rows = page.lines().skip_while(|line| *line != "| attack | outcome | held by |").skip(2);
    let mut named = 0;
    for row in rows.take_while(|line| line.starts_with('|')) {
        let held_by = row.trim_end_matches([' ', '|']).rsplit_once(" | ").expect("three columns").1;
        // What stands between two backticks is a file, or a test in the file before it.
        let mut text = None;
        for name in held_by.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                text = Some(fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")));
            } else if let Some(text) = &text {
                let is_there =
                    text.contains(&format!("fn {name}(")) || root.join(format!("fuzz/src/{name}.rs")).exists();
                assert!(is_there, "{name} is not there: {row}");
                named += 1;
            }
        }
        assert!(text.is_some(), "no test holds: {row}");
    }
    assert!(named > 20, "{named} tests are named");
}
