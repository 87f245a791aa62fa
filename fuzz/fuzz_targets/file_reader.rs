//! The fuzz target `file_reader`; what it does with the octets is in `src/file_reader.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tcpflow_fuzz::file_reader(octets));
