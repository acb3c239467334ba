#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sextant_fuzz_targets::redo::apply_record(data));
