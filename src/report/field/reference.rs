//! What there is of fields, for the help and for `docs/fields.md`.

use super::{Field, Group, Kind, LIST};
use crate::report::text::wrap;

/// The fields of a connection with their sentences, for the help of a command, no line wider than `columns`.
pub fn fields_help(columns: usize) -> String {
    let mut text = String::from("Fields of a connection, for --where, --sort, csv and json lines:\n");
    let groups = || LIST.iter().copied().flatten();
    let own = groups().filter(|group| group.name.is_empty()).flat_map(Group::fields);
    for field in own {
        entry(&mut text, field.last_name(), &field.sentence(), columns);
    }
    for alike in alike() {
        let names: Vec<_> = alike.iter().map(|group| format!("{}.", group.name)).collect();
        let last = names.len() - 1;
        let names =
            if last > 0 { format!("{} or {}", names[..last].join(", "), names[last]) } else { names[0].clone() };
        let heading = wrap(&format!("Fields with {names} before their names:"), columns, "…");
        text.push_str(&format!("\n{}\n", heading.join("\n")));
        for group in &alike {
            entry(&mut text, &format!("{}.", group.name), group.doc(), columns);
        }
        for field in alike[0].fields() {
            entry(&mut text, field.last_name(), &field.sentence(), columns);
        }
    }
    text
}

fn entry(text: &mut String, name: &str, sentence: &str, columns: usize) {
    let mut lines = wrap(sentence, columns.saturating_sub(NAME), "…").into_iter();
    // A name that is too long stands on a line of its own.
    let first = if name.len() < NAME - 2 { lines.next().unwrap_or_default() } else { String::new() };
    text.push_str(format!("  {name:<0$}{first}", NAME - 2).trim_end());
    text.push('\n');
    for line in lines {
        text.push_str(&format!("{:NAME$}{line}\n", ""));
    }
}

/// The groups by the list of fields that they share.
fn alike() -> Vec<Vec<&'static Group>> {
    let mut found: Vec<Vec<&Group>> = Vec::new();
    for group in LIST.iter().copied().flatten().filter(|group| !group.name.is_empty()) {
        let names = |group: &Group| group.fields().map(Field::last_name).collect::<Vec<_>>();
        match found.iter_mut().find(|alike| names(alike[0]) == names(group)) {
            Some(alike) => alike.push(group),
            None => found.push(vec![group]),
        }
    }
    found
}

impl Group {
    fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.fields.iter().copied().flatten()
    }
}

impl Field {
    /// Its name without that of its group.
    fn last_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// What it is, and the words that it can be.
    fn sentence(&self) -> String {
        match self.kind {
            Kind::Word(words) => format!("{} One of {}.", self.doc(), words.join(", ")),
            _ => self.doc().to_owned(),
        }
    }
}

/// Columns before a field's sentence.
const NAME: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    fn table<'a>(text: &mut String, fields: impl Iterator<Item = &'a Field>) {
        text.push_str("\n| field | what it is | type |\n|---|---|---|\n");
        for field in fields {
            let kind = match field.kind {
                Kind::Truth => "true or false".to_owned(),
                Kind::Number => field.unit.map_or("number".to_owned(), |unit| format!("number of {}", unit.name())),
                Kind::Moment => "moment".to_owned(),
                Kind::Text => "text".to_owned(),
                Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
                Kind::Findings => "list".to_owned(),
            };
            let null = if field.nullable { ", or null" } else { "" };
            text.push_str(&format!("| `{}` | {} | {kind}{null} |\n", field.last_name(), field.doc()));
        }
    }

    #[test]
    fn the_fields_are_those_in_the_docs() {
        let mut text = String::from(
            "# The fields of a connection\n\n\
             One list in the program (`src/report/field/list.rs`) makes the `connection` line of `--format jsonl`, the columns of csv and parquet, \
             what `--where` and `--sort` know, the headings of the table, and this page.\n\
             A field with a dot in its name is within an object of the `connection` line: `client_to_server.octets`.\n\
             Null is what is not known; csv leaves it empty.\n\
             Written by the test the_fields_are_those_in_the_docs; TCPFLOW_BLESS=1 rewrites it.\n",
        );
        table(&mut text, LIST.iter().copied().flatten().filter(|group| group.name.is_empty()).flat_map(Group::fields));
        for alike in alike() {
            let names: Vec<_> = alike.iter().map(|group| format!("`{}`", group.name)).collect();
            text.push_str(&format!("\n## {}\n\n", names.join(", ")));
            for group in &alike {
                text.push_str(&format!("- `{}`: {}\n", group.name, group.doc()));
            }
            table(&mut text, alike[0].fields());
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fields.md");
        if std::env::var_os("TCPFLOW_BLESS").is_some() {
            std::fs::write(path, &text).expect("docs/fields.md can be written");
        }
        let kept = std::fs::read_to_string(path).expect("docs/fields.md is there; TCPFLOW_BLESS=1 writes it");
        assert_eq!(kept, text, "the list differs from docs/fields.md; if that is meant, run with TCPFLOW_BLESS=1");
    }

    #[test]
    fn the_help_has_every_field_once() {
        let help = fields_help(100);
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        for field in Field::all() {
            let named = help.lines().filter(|line| line.split_whitespace().next() == Some(field.last_name()));
            assert_eq!(named.count(), 1, "{}", field.name);
        }
    }
}
