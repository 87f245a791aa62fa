//! The octets are frames of one link type.

use tcpflow::capture::{Frame, LinkType};
use tcpflow::time::Timestamp;
use tcpflow::wire::{Checksums, Decoder};

/// Decodes the octets as frames: the link type, then each frame's captured length, how much the snap length cut, and its octets.
///
/// What is decoded at once is what is decoded layer by layer. A payload is never longer than its segment says, nor longer than what was captured of frames; every derived number can be asked for.
pub fn decoder(octets: &[u8]) {
    let mut rest = octets;
    let Some(kind) = take(&mut rest, 1) else { return };
    let link = LINKS.get(usize::from(kind[0])).copied().unwrap_or(u16::from(kind[0]));
    for checksums in [Checksums::Ignore, Checksums::Verify] {
        let mut decoder = Decoder::new().with_checksums(checksums).with_tunnels();
        let mut layered = Decoder::new().with_checksums(checksums).with_tunnels();
        let mut rest = rest;
        let mut captured = 0;
        let mut number = 0;
        while let Some(head) = take(&mut rest, 4) {
            let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
            let cut = u32::from(u16::from_be_bytes([head[2], head[3]]));
            let len = len.min(rest.len());
            let Some(bytes) = take(&mut rest, len) else { break };
            captured += bytes.len();
            number += 1;
            let at = Timestamp::from_nanos(number as i64 * 1_000);
            let frame = Frame {
                number,
                at: Some(at),
                link: LinkType(link),
                bytes,
                wire_len: bytes.len() as u32 + cut,
                seen: Default::default(),
            };
            let mut segments = 0;
            let mut found = Vec::new();
            let decoded = decoder.decode(&frame, |segment, payload| {
                segments += 1;
                found.push((*segment, payload.len()));
                assert!(payload.len() <= segment.len as usize, "{} octets of {}", payload.len(), segment.len);
                assert!(payload.len() <= captured, "more octets than were captured");
                assert_eq!(segment.frame, number);
                assert!(segment.options.sack_edges().len() <= 4);
                let _ = (segment.end(), segment.seq_len(), segment.data_seq(), segment.is_pure_ack());
                let _ = (segment.from(), segment.to(), segment.flags.to_string());
            });
            assert!(segments > 0 || decoded.is_err(), "a frame that is neither told nor skipped");
            let mut found_by_layer = Vec::new();
            let by_layer =
                layered.decode_layers(&frame, |segment, payload| found_by_layer.push((*segment, payload.len())));
            assert_eq!((&decoded, &found, decoder.steps()), (&by_layer, &found_by_layer, layered.steps()));
            assert_eq!(decoder.tunnels(), layered.tunnels());
            let quote = decoder.quote();
            assert_eq!(quote, layered.quote());
            if let Some(quote) = quote {
                assert!(decoded.is_err() && segments == 0, "a frame that is a segment and quotes one");
                assert_eq!(quote.0.frame, number);
            }
            // Sixteen octets of a TCP header are the least that is a segment, behind twenty of an IP header.
            assert!(36 * segments <= 36 + captured, "{segments} segments in {captured} octets");
            assert!(decoder.steps() as usize <= 33 + captured / 8, "{} steps for {captured} octets", decoder.steps());
            assert!(decoder.tunnels().len() <= 16, "{:?}", decoder.tunnels());
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

/// Every link type that is decoded, so that one octet chooses among them.
pub const LINKS: [u16; 42] = [
    0, 1, 6, 7, 8, 9, 10, 11, 12, 14, 50, 51, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 113, 117, 119, 122,
    127, 129, 138, 149, 163, 166, 192, 204, 228, 229, 239, 240, 241, 258, 274, 276,
];
