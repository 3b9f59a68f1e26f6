#![no_main]

libfuzzer_sys::fuzz_target!(
    init: graver_tests::fuzz::begin("gguf_header"),
    |data: &[u8]| graver_tests::fuzz::gguf_header::check(data)
);
