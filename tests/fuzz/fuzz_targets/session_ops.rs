#![no_main]

libfuzzer_sys::fuzz_target!(
    init: graver_tests::fuzz::begin("session_ops"),
    |data: &[u8]| graver_tests::fuzz::session_ops::check(data)
);
