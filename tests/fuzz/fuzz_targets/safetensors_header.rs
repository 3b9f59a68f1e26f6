#![no_main]

libfuzzer_sys::fuzz_target!(
    init: graver_tests::fuzz::begin("safetensors_header"),
    |data: &[u8]| graver_tests::fuzz::safetensors_header::check(data)
);
