#![no_main]

libfuzzer_sys::fuzz_target!(
    init: graver_tests::fuzz::begin("expressions"),
    |data: &[u8]| graver_tests::fuzz::expressions::check(data)
);
