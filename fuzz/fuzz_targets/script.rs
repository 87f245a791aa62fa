//! The fuzz target `script`; what it does with the octets is in `src/script.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tcpflow_fuzz::script(octets));
