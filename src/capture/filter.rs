//! Capture filters in the language of libpcap (pcap-filter(7)), applied to frames of any link type.

use pcap::{BpfProgram, Capture, Linktype};

use super::{CaptureError, Frame, LinkType, shown};

/// A filter expression, compiled for each link type when the first frame of that type comes.
pub struct Filter {
    expression: String,
    /// A capture has frames of one link type, or of a few.
    programs: Vec<(LinkType, BpfProgram)>,
}

impl Filter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// No link type understands it; the message is libpcap's.
    pub fn compile(expression: &str) -> Result<Self, CaptureError> {
        let mut filter = Self { expression: expression.into(), programs: Vec::new() };
        // Some words belong to a link type; the first one's complaint is the one that people expect.
        let mut complaint = None;
        for link in [LinkType::ETHERNET, LinkType(127), LinkType::LINUX_SLL2, LinkType::RAW, LinkType(9), LinkType(117)]
        {
            match filter.program(link) {
                Ok(_) => return Ok(filter),
                Err(error) => _ = complaint.get_or_insert(error),
            }
        }
        Err(complaint.unwrap_or_else(|| CaptureError::new("no filter can be compiled")))
    }

    /// Whether the frame is one of those that the expression names.
    ///
    /// # Errors
    /// The expression makes no sense for the frame's link type.
    #[inline]
    pub fn matches(&mut self, frame: &Frame<'_>) -> Result<bool, CaptureError> {
        let program = self.program(frame.link)?;
        Ok(run(program, frame))
    }

    fn program(&mut self, link: LinkType) -> Result<&BpfProgram, CaptureError> {
        let known = self.programs.iter().position(|(of, _)| *of == link);
        let place = match known {
            Some(place) => place,
            None => {
                let compiled = Capture::dead(Linktype(dlt(link)))
                    .and_then(|capture| capture.compile(&self.expression, true))
                    .map_err(|error| unusable(&self.expression, link, &error))?;
                self.programs.push((link, compiled));
                self.programs.len() - 1
            }
        };
        Ok(&self.programs[place].1)
    }
}

/// Why frames of that type cannot be chosen by an expression, in libpcap's words.
pub(super) fn unusable(expression: &str, link: LinkType, error: &pcap::Error) -> CaptureError {
    let of = match Linktype(dlt(link)).get_name() {
        Ok(name) if link != LinkType::ETHERNET => format!(" for frames of type {name}"),
        _ => String::new(),
    };
    let reason = match error {
        // Newer versions begin by saying that it cannot be used.
        pcap::Error::PcapError(message) => {
            shown(message.strip_prefix("can't parse filter expression: ").unwrap_or(message))
        }
        other => shown(&other.to_string()),
    };
    CaptureError::new(format!(
        "the filter \"{}\" cannot be used{of}: {reason} (the language is that of pcap-filter(7), as in: tcp port 443)",
        shown(expression)
    ))
}

/// The number by which libpcap on this system knows a link type, where that is not the registry's.
pub(super) fn dlt(link: LinkType) -> i32 {
    match link.0 {
        100 => 11,
        101 => 12,
        102 => 15,
        103 => 16,
        106 => 19,
        number => i32::from(number),
    }
}

fn run(program: &BpfProgram, frame: &Frame<'_>) -> bool {
    unsafe extern "C" {
        fn bpf_filter(program: *const pcap::BpfInstruction, packet: *const u8, wire_len: u32, len: u32) -> u32;
    }
    let captured = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
    // The crate's own way to run a program takes the captured length for the length on the wire,
    // and so tests such as `greater 1000` would go wrong in snapped captures.
    // SAFETY: the program is one that libpcap compiled and validated, whose type is a transparent `struct bpf_insn`,
    // and which ends in a return on every path; the packet has at least `captured` readable octets.
    unsafe {
        bpf_filter(program.get_instructions().as_ptr(), frame.bytes.as_ptr(), frame.wire_len.max(captured), captured)
            > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(link: LinkType, bytes: &[u8], wire_len: u32) -> Frame<'_> {
        Frame { number: 1, at: None, link, bytes, wire_len, seen: Default::default() }
    }

    /// IPv4 and TCP from port 12345 to port 443.
    fn packet() -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        bytes.extend([0x30, 0x39, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn a_filter_holds_for_every_link_type_that_comes() {
        let mut filter = Filter::compile("tcp port 443").unwrap();
        let raw = packet();
        assert!(filter.matches(&frame(LinkType::RAW, &raw, 40)).unwrap());
        let mut ethernet = vec![0; 12];
        ethernet.extend([8, 0]);
        ethernet.extend(packet());
        assert!(filter.matches(&frame(LinkType::ETHERNET, &ethernet, 54)).unwrap());
        ethernet[37] = 0xbc;
        assert!(!filter.matches(&frame(LinkType::ETHERNET, &ethernet, 54)).unwrap());
    }

    #[test]
    fn a_length_is_the_length_on_the_wire() {
        let mut filter = Filter::compile("greater 1000").unwrap();
        let raw = packet();
        assert!(filter.matches(&frame(LinkType::RAW, &raw, 1500)).unwrap());
        assert!(!filter.matches(&frame(LinkType::RAW, &raw, 40)).unwrap());
    }

    #[test]
    fn an_error_has_the_expression_and_the_words_of_libpcap() {
        let error = Filter::compile("tcp prot 80").err().unwrap();
        assert!(error.message.contains("\"tcp prot 80\"") && error.message.contains("syntax error"), "{error}");
    }

    #[test]
    fn words_of_one_link_type_are_an_error_on_another() {
        let mut filter = Filter::compile("wlan type mgt").unwrap();
        let raw = packet();
        assert!(filter.matches(&frame(LinkType::RAW, &raw, 40)).is_err());
    }
}
