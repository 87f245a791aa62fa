//! Where each connection's time went, for people: three bars and a sentence for each connection.

use std::io::{self, Write};

use super::clock;
use super::style::{Charset, Paint, Style};
use super::text::{Line, escape, push_end, wrap};
use crate::flow::{Class, Connection, Parts};

/// Draws the bars on one page.
///
/// A bar shows shares, not the order of time. Each class has a letter, so that colours say nothing alone.
#[derive(Clone, Debug)]
pub struct Bars {
    style: Style,
}

impl Bars {
    /// Bars for a page, as wide as it.
    pub fn new(style: &Style) -> Self {
        Self { style: *style }
    }

    /// Writes what the letters mean.
    ///
    /// # Errors
    /// Whatever `out` answers, here as in the others.
    pub fn legend(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut line = Line::of(Paint::Strong, "Shares of each connection's time:");
        for class in Class::ALL {
            let (letter, paint) = look(*class);
            // A name is not torn apart from its letter.
            let name = self.style.wording().class(*class).replace(' ', "\u{a0}");
            line = line.with(Paint::Plain, " ").with(paint, letter.to_string());
            line = line.with(Paint::Plain, format!("\u{a0}{name}"));
        }
        for line in line.wrapped(self.style.columns(), 2) {
            line.with_plain_spaces().write(out, &self.style)?;
        }
        Ok(())
    }

    /// Writes one connection.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn rows(&self, out: &mut dyn Write, connection: &Connection) -> io::Result<()> {
        let Self { style } = self;
        let (columns, glyphs) = (style.columns(), style.glyphs());
        let end = |end| {
            let mut text = String::new();
            push_end(&mut text, end);
            text
        };
        let micro = if style.charset == Charset::Unicode { "µ" } else { "u" };
        let mut head = Line::of(Paint::Strong, format!("{} ", connection.id.0));
        head.push(Paint::Client, end(connection.client));
        head.push(Paint::Plain, format!(" {} ", glyphs.becomes));
        head.push(Paint::Server, end(connection.server));
        if let Some(lasted) = connection.duration() {
            head.push(Paint::Plain, format!("  {}", clock::duration(lasted, micro)));
        }
        writeln!(out)?;
        for line in head.wrapped(columns, NAME) {
            line.write(out, style)?;
        }
        let said = match &connection.breakdown {
            Some(breakdown) => {
                if breakdown.total.sum().as_nanos() > 0 {
                    self.bar(out, "all", &breakdown.total)?;
                    self.bar(out, glyphs.becomes, &breakdown.client_to_server)?;
                    self.bar(out, glyphs.because, &breakdown.server_to_client)?;
                }
                style.wording().time_spent(breakdown)
            }
            None => "Where its time went is not known: it has no timestamps, or memory was short.".into(),
        };
        for text in wrap(&escape(&said, style), columns.saturating_sub(NAME), glyphs.ellipsis) {
            Line::blank(NAME).with(Paint::Plain, text).write(out, style)?;
        }
        Ok(())
    }

    fn bar(&self, out: &mut dyn Write, name: &str, parts: &Parts) -> io::Result<()> {
        let mut line = Line::of(Paint::Dim, format!("  {name}")).left(NAME, "");
        for (class, cells) in cells(parts, self.style.columns().saturating_sub(NAME)) {
            let (letter, paint) = look(class);
            line.push(paint, letter.to_string().repeat(cells));
        }
        line.write(out, &self.style)
    }
}

/// The letter of a class, and its paint.
const fn look(class: Class) -> (char, Paint) {
    match class {
        Class::Handshake => ('h', Paint::State),
        Class::ClientProgram => ('c', Paint::ClientStrong),
        Class::ServerProgram => ('s', Paint::ServerStrong),
        Class::SenderProgram => ('p', Paint::Plain),
        Class::ReceiverWindow => ('w', Paint::Kernel),
        Class::ZeroWindow => ('0', Paint::Kernel),
        Class::Network => ('n', Paint::Dim),
        Class::Timeout => ('T', Paint::Bad),
        Class::FastRecovery => ('F', Paint::Warn),
        Class::DelayedAck => ('d', Paint::Warn),
        Class::Closing => ('x', Paint::Dim),
        Class::Idle => ('.', Paint::Dim),
        Class::Unknown => ('?', Paint::Plain),
    }
}

/// How many of `columns` cells each class has: together all of them, by the largest remainders.
fn cells(parts: &Parts, columns: usize) -> Vec<(Class, usize)> {
    let whole = i128::from(parts.sum().as_nanos()).max(1);
    let exact = |class: &Class| i128::from(parts.of(*class).as_nanos()) * columns as i128;
    let mut cells: Vec<_> =
        Class::ALL.iter().map(|class| (*class, (exact(class) / whole) as usize, exact(class) % whole)).collect();
    let left = columns.saturating_sub(cells.iter().map(|(_, cells, _)| cells).sum());
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(cells[*at].2));
    for at in order.into_iter().take(left) {
        cells[at].1 += 1;
    }
    cells.into_iter().map(|(class, cells, _)| (class, cells)).filter(|(_, cells)| *cells > 0).collect()
}

/// Columns before a bar.
const NAME: usize = 6;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::flow::Breakdown;
    use crate::report::sample;
    use crate::report::style::Color;
    use crate::time::{Span, Timestamp};

    fn connection() -> Connection {
        let parts = |list: &[(Class, i64)]| -> Parts {
            list.iter().map(|(class, millis)| (*class, Span::from_millis(*millis))).collect()
        };
        let total = parts(&[(Class::Handshake, 100), (Class::ServerProgram, 500), (Class::Timeout, 400)]);
        let breakdown = Breakdown {
            client_to_server: parts(&[(Class::Handshake, 100), (Class::ServerProgram, 500), (Class::Idle, 400)]),
            server_to_client: total,
            total,
        };
        let mut connection = sample::echo().connections.remove(0);
        connection.breakdown = Some(Box::new(breakdown));
        connection.last = connection.first.map(|first| Timestamp::from_nanos(first.as_nanos() + 1_000_000_000));
        connection
    }

    fn drawn(style: &Style) -> String {
        let (bars, mut out) = (Bars::new(style), Vec::new());
        bars.legend(&mut out).unwrap();
        bars.rows(&mut out, &connection()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_bar_is_as_wide_as_the_page_and_shows_the_shares() {
        let text = drawn(&Style::plain(56));
        let bar = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name)).expect(&text).to_owned();
            line.chars().skip(NAME).collect::<String>()
        };
        assert_eq!(bar("all"), format!("{}{}{}", "h".repeat(5), "s".repeat(25), "T".repeat(20)));
        assert_eq!(bar("→ "), format!("{}{}{}", "h".repeat(5), "s".repeat(25), ".".repeat(20)));
        assert!(
            text.split_whitespace().collect::<Vec<_>>().join(" ").ends_with(
                "Took 1.0 s, of which 500 ms waiting for the server's program and 400 ms for retransmission timeouts."
            ),
            "{text}"
        );
    }

    #[test]
    fn every_line_fits_whatever_the_width_and_without_colour_letters_tell() {
        for width in [20, Style::NARROWEST, 60, 80, 100, 160] {
            for charset in [Charset::Unicode, Charset::Ascii] {
                let text = drawn(&Style { charset, ..Style::plain(width) });
                let most = text.lines().map(|line| line.chars().count()).max();
                assert!(most <= Some(width.max(Style::NARROWEST)), "{width}\n{text}");
                assert!(charset == Charset::Unicode || text.is_ascii(), "{text}");
            }
        }
        let letters: BTreeSet<_> = Class::ALL.iter().map(|class| look(*class).0).collect();
        assert_eq!(letters.len(), Class::ALL.len());
    }

    #[test]
    fn colours_change_no_letter() {
        let colourful = drawn(&Style { color: Color::Always, ..Style::plain(80) });
        let mut plain = String::new();
        let mut rest = &colourful[..];
        while let Some((before, after)) = rest.split_once('\x1b') {
            plain.push_str(before);
            rest = after.split_once('m').expect("a sequence").1;
        }
        plain.push_str(rest);
        assert_eq!(plain, drawn(&Style::plain(80)));
        assert_ne!(plain, colourful);
    }

    #[test]
    fn what_has_no_breakdown_is_told_so() {
        let (mut out, mut connection) = (Vec::new(), connection());
        connection.breakdown = None;
        Bars::new(&Style::plain(100)).rows(&mut out, &connection).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("Where its time went is not known"));
    }

    proptest! {
        #[test]
        fn cells_are_as_many_as_columns(nanos in proptest::collection::vec(0..i64::MAX / 16, 13), columns in 1_usize..300) {
            let parts: Parts = Class::ALL.iter().copied().zip(nanos.into_iter().map(Span)).collect();
            prop_assume!(parts.sum().as_nanos() > 0);
            prop_assert_eq!(cells(&parts, columns).iter().map(|(_, cells)| cells).sum::<usize>(), columns);
        }
    }
}
