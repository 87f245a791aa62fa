//! The fuzz target `kept`; what it does with the octets is in `src/kept.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tcpflow_fuzz::kept(octets));
