//! cargo-fuzz target over `sextant_fuzz_targets::log::checkpoint`, which the ordinary tests run as well.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sextant_fuzz_targets::log::checkpoint(data));
