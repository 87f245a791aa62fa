//! The interfaces of this host as a table: what can be captured, and why not.

use std::io::{self, Write};

use super::style::{Paint, Style};
use super::text::{Line, escape, write_beside};
use crate::capture::Interface;

/// Writes the interfaces, each with its addresses, its state, its link type, and why nothing can be captured on it where that is so.
///
/// # Errors
/// Whatever `out` answers.
pub fn write(out: &mut dyn Write, interfaces: &[Interface], style: &Style) -> io::Result<()> {
    let name = interfaces.iter().map(|interface| interface.name.chars().count()).max().unwrap_or(0).clamp(9, 16);
    let ellipsis = style.glyphs().ellipsis;
    let mut header = Line::of(Paint::Strong, "interface").left(name, ellipsis);
    header.push(Paint::Strong, format!("  {:<13} {:<12} addresses, description", "state", "link type"));
    header.write(out, style)?;
    for interface in interfaces {
        let mut line = Line::of(Paint::Strong, escape(&interface.name, style)).left(name, ellipsis);
        let state = match (interface.up, interface.running) {
            (false, _) => "down",
            (true, false) => "up, no link",
            (true, true) => "up, running",
        };
        line.push(Paint::Plain, "  ");
        line.push(if interface.up { Paint::Plain } else { Paint::Dim }, format!("{state:<13} "));
        let link = interface.link.as_ref().map_or(style.glyphs().dash, |link| &link.name);
        line.append(Line::of(Paint::Plain, link.to_owned()).left(12, ellipsis));
        let mut about: Vec<String> = interface
            .addresses
            .iter()
            .map(|address| match address.prefix {
                Some(prefix) => format!("{}/{prefix}", address.addr),
                None => address.addr.to_string(),
            })
            .collect();
        if let Some(description) = &interface.description {
            about.push(escape(description, style));
        }
        for (is, what) in
            [(interface.loopback, "loopback"), (interface.wireless, "wireless"), (interface.default, "the default")]
        {
            if is && about.iter().all(|said| !said.eq_ignore_ascii_case(what)) {
                about.push(what.to_owned());
            }
        }
        line.push(Paint::Plain, format!(" {}", about.join(", ")));
        line.write(out, style)?;
    }
    // One reason often holds for all.
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for interface in interfaces {
        let Some(why_not) = interface.why_not.as_deref() else { continue };
        match reasons.iter_mut().find(|(reason, _)| *reason == why_not) {
            Some((_, names)) => names.push(&interface.name),
            None => reasons.push((why_not, vec![&interface.name])),
        }
    }
    for (why_not, names) in reasons {
        let said = format!("{}: {}", escape(&names.join(", "), style), escape(why_not, style));
        write_beside(out, Line::of(Paint::Bad, "not captured:"), &said, Paint::Plain, style)?;
    }
    Ok(())
}
