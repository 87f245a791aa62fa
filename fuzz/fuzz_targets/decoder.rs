//! The fuzz target `decoder`; what it does with the octets is in `src/decoder.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tcpflow_fuzz::decoder(octets));
