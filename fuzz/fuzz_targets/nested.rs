//! The fuzz target `nested`; what it does with the octets is in `src/nested.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tcpflow_fuzz::nested(octets));
