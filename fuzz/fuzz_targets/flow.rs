//! The fuzz target `flow`; what it does with the octets is in `src/flow.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tcpflow_fuzz::flow(octets));
