//! The list of findings for people: one line each, with frame number, connection, side and note.

use std::io::{self, Write};

use super::style::{Paint, Style};
use super::text::{Line, counted, escape};
use crate::flow::{Connection, FindingAt, Side};
use crate::tcp::Finding;

/// The list's columns on one page.
#[derive(Clone, Debug)]
pub struct FindingList {
    style: Style,
    note: usize,
}

impl FindingList {
    /// Lays out the columns for a page; on a narrow one the end of the note is cut.
    pub fn new(style: &Style) -> Self {
        let used = FRAME + ID + SIDE + longest() + 4;
        Self { style: *style, note: style.columns().saturating_sub(used) }
    }

    /// Writes the columns' names.
    ///
    /// # Errors
    /// Whatever `out` answers, here as in the others.
    pub fn header(&self, out: &mut dyn Write) -> io::Result<()> {
        self.line(out, ["frame", "id", "from", "finding", "note"].map(|name| Line::of(Paint::Strong, name)))
    }

    /// Writes the lines of one connection, and how many findings it has that were not kept.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn rows(&self, out: &mut dyn Write, connection: &Connection) -> io::Result<()> {
        for finding in &connection.findings {
            self.row(out, connection, finding)?;
        }
        if connection.findings_omitted == 0 {
            return Ok(());
        }
        let more =
            format!("and {} more of connection {}", counted(connection.findings_omitted, "finding"), connection.id.0);
        Line::of(Paint::Dim, " ".repeat(FRAME + 1) + &more).write(out, &self.style)
    }

    fn row(&self, out: &mut dyn Write, connection: &Connection, finding: &FindingAt) -> io::Result<()> {
        let side = match finding.side {
            Side::Client => Paint::Client,
            Side::Server => Paint::Server,
        };
        self.line(
            out,
            [
                Line::of(Paint::Plain, finding.frame.map_or("-".to_owned(), |frame| frame.to_string())),
                Line::of(Paint::Plain, connection.id.0.to_string()),
                Line::of(side, finding.side.name()),
                Line::of(Paint::Warn, finding.finding.name()),
                Line::of(Paint::Plain, escape(&self.style.wording().finding(finding), &self.style)),
            ],
        )
    }

    fn line(&self, out: &mut dyn Write, [frame, id, side, name, note]: [Line; 5]) -> io::Result<()> {
        let ellipsis = self.style.glyphs().ellipsis;
        let gap = || Line::of(Paint::Plain, " ");
        let mut line = frame.right(FRAME, ellipsis).joined(gap()).joined(id.right(ID, ellipsis)).joined(gap());
        line.append(side.left(SIDE, ellipsis).joined(gap()).joined(name.left(longest(), ellipsis)).joined(gap()));
        line.append(note.cut(self.note, ellipsis));
        line.write(out, &self.style)
    }
}

/// Columns of the longest name.
fn longest() -> usize {
    Finding::ALL.iter().map(|finding| finding.name().len()).max().unwrap_or(0)
}

const FRAME: usize = 9;
const ID: usize = 6;
const SIDE: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Detail;
    use crate::report::sample;
    use crate::time::Span;

    #[test]
    fn each_finding_is_a_line_that_fits_the_page() {
        let mut connection = sample::echo().connections.remove(0);
        connection.findings = vec![FindingAt {
            finding: Finding::SpuriousRetransmission,
            frame: Some(12),
            side: Side::Server,
            detail: Detail::Since(Some(Span::from_millis(1_500))),
        }];
        connection.findings_omitted = 2;
        for width in [Style::NARROWEST, 80, 120] {
            let style = Style::plain(width);
            let (list, mut out) = (FindingList::new(&style), Vec::new());
            list.header(&mut out).unwrap();
            list.rows(&mut out, &connection).unwrap();
            let text = String::from_utf8(out).unwrap();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines.len(), 3, "{text}");
            assert!(lines[1].starts_with("       12      0 server"), "{text}");
            assert!(lines[2].ends_with("and 2 findings more of connection 0"), "{text}");
            assert!(lines.iter().take(2).all(|line| line.chars().count() <= width.max(54)), "{width}\n{text}");
        }
    }
}
