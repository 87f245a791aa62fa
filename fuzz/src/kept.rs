//! The octets are what a recording kept in its capture file.

use tcpflow::calls::Kept;

/// Reads the octets as kept calls; what is read is written again and read again as the same.
pub fn kept(octets: &[u8]) {
    match Kept::from_bytes(octets) {
        Ok(Some(kept)) => {
            let again = Kept::from_bytes(&kept.to_bytes()).expect("what was written is readable");
            assert_eq!(again.as_ref(), Some(&kept), "what was written reads as something else");
        }
        Ok(None) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
