#![no_main]

libfuzzer_sys::fuzz_target!(
    init: graver_tests::fuzz::begin("spec_step"),
    |data: &[u8]| graver_tests::fuzz::spec_step::check(data)
);
