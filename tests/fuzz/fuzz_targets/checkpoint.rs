#![no_main]

libfuzzer_sys::fuzz_target!(
    init: graver_tests::fuzz::begin("checkpoint"),
    |data: &[u8]| graver_tests::fuzz::checkpoint::check(data)
);
