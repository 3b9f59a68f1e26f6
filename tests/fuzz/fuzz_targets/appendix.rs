#![no_main]

libfuzzer_sys::fuzz_target!(
    init: graver_tests::fuzz::begin("appendix"),
    |data: &[u8]| graver_tests::fuzz::appendix::check(data)
);
